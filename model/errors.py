"""Every error that the codec raises on purpose, as one tree. Imports nothing.

CwicError
├── InputError                  what the caller sent is at fault
│   ├── ParameterError          an argument is out of its range
│   ├── LimitError              a size is above a limit (carries `limit` and `actual`)
│   ├── TargetError             no file of this picture reaches the target
│   ├── ImageError
│   │   ├── UnsupportedImageError   no picture format that we read
│   │   └── BrokenImageError        a picture that is damaged or cut short
│   └── FileError               a .cwic file
│       ├── NotCwicError            the magic is missing
│       ├── UnsupportedVersionError a format version that we do not know
│       ├── TruncatedFileError      the file ends early
│       ├── ChecksumError           a CRC does not match
│       ├── TrailingDataError       bytes after the end
│       ├── HeaderError             header fields that contradict each other or leave their range
│       ├── SectionError            a critical section that is unknown, missing, repeated or out of order
│       ├── PayloadError            a section whose contents cannot have been written by an encoder
│       ├── WrongModelError         made with a checkpoint that is not loaded
│       └── NoImportanceMapError    a lossless file has no importance map
├── DeviceError                 the device that was asked for is not here, or is full or broken
└── CheckpointError             the installation is at fault
    ├── CheckpointNotFoundError
    ├── CheckpointFormatError   files that are damaged or do not belong together
    └── SelfTestError           the golden vector decodes to something else on this machine
"""


class CwicError(Exception):
    """Base of all errors of this package."""


class InputError(CwicError):
    """What the caller sent is at fault."""


class ParameterError(InputError):
    """An argument is out of its range.

    Attributes:
        name: of the argument, where the message does not stand beside it.
    """

    def __init__(self, message: str, *, name: str | None = None) -> None:
        super().__init__(message)
        self.name = name


class LimitError(InputError):
    """A size is above a limit.

    Attributes:
        limit: the largest value allowed.
        actual: the value that was found.
        name: the limit's name: `max_pixels` or `max_dimension`.
    """

    def __init__(self, name: str, *, limit: int, actual: int) -> None:
        super().__init__(f"{name} is {limit}, got {actual}")
        self.name = name
        self.limit = limit
        self.actual = actual


class TargetError(InputError):
    """No file of this picture reaches the target; the message has what can be reached.

    Attributes:
        lowest: the least that a file of this picture can have, in the target's unit.
        highest: the most.
    """

    def __init__(self, message: str, *, lowest: float, highest: float) -> None:
        super().__init__(message)
        self.lowest = lowest
        self.highest = highest


class ImageError(InputError):
    """A picture cannot be read."""


class UnsupportedImageError(ImageError):
    """No picture format that we read."""


class BrokenImageError(ImageError):
    """A picture that is damaged or cut short."""


class FileError(InputError):
    """A .cwic file cannot be read."""


class NotCwicError(FileError):
    """The magic is missing."""


class UnsupportedVersionError(FileError):
    """A format version that we do not know."""


class TruncatedFileError(FileError):
    """The file ends early."""


class ChecksumError(FileError):
    """A CRC does not match."""


class TrailingDataError(FileError):
    """Bytes after the end."""


class HeaderError(FileError):
    """Header fields that contradict each other or leave their range."""


class SectionError(FileError):
    """A critical section that is unknown, missing, repeated or out of order."""


class PayloadError(FileError):
    """A section whose contents cannot have been written by an encoder."""


class WrongModelError(FileError):
    """Made with a checkpoint that is not loaded."""


class NoImportanceMapError(FileError):
    """A lossless file has no importance map."""


class DeviceError(CwicError):
    """The device that was asked for is not here, or is full or broken."""


class CheckpointError(CwicError):
    """The installation is at fault, not the input."""


class CheckpointNotFoundError(CheckpointError):
    """No checkpoint of that name or path."""


class CheckpointFormatError(CheckpointError):
    """Checkpoint files that are damaged or do not belong together."""


class SelfTestError(CheckpointError):
    """The golden vector decodes to something else on this machine."""
