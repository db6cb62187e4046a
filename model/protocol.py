"""The codec as its users see it, so that another may stand in for it."""

from abc import abstractmethod
from typing import Protocol

from model.container.format import Container
from model.options import DecodeOptions, EncodeOptions, MapOptions
from model.steps import Work, run
from model.types import Check, ModelInfo, Pixels, unchecked

DEFAULT_ENCODE_OPTIONS = EncodeOptions()
DEFAULT_DECODE_OPTIONS = DecodeOptions()
DEFAULT_MAP_OPTIONS = MapOptions()


class PictureCodec(Protocol):
    """Pictures to bytes and back. Safe to use from several threads; holds no state between calls.

    `encoding`, `decoding` and `mapping` are the work of the three methods below them, for those who run the steps of
    several pictures together; see `model.steps`.
    """

    @property
    @abstractmethod
    def info(self) -> ModelInfo:
        """The checkpoint behind it."""

    @abstractmethod
    def encoding(self, array: Pixels, options: EncodeOptions = DEFAULT_ENCODE_OPTIONS) -> Work[bytes]:
        """See `encode`."""

    @abstractmethod
    def read(self, data: bytes, *, allow_truncated: bool = False) -> Container:
        """Parse a file and check all of it that needs no decoding.

        Raises:
            FileError: one class for each kind of damage.
            LimitError: the picture is larger than the codec's limits.
        """

    @abstractmethod
    def decoding(
        self, file: bytes | Container, options: DecodeOptions = DEFAULT_DECODE_OPTIONS
    ) -> Work[Pixels]:
        """See `decode`."""

    @abstractmethod
    def mapping(
        self, source: Pixels | bytes | Container, options: EncodeOptions = DEFAULT_ENCODE_OPTIONS
    ) -> Work[Pixels]:
        """See `importance_map`."""

    @abstractmethod
    def kept_codes(self, file: bytes | Container) -> int:
        """How many codes a file keeps under its mask: raw bits, where codes are binary. 0 for a lossless file."""

    def encode(
        self, array: Pixels, options: EncodeOptions = DEFAULT_ENCODE_OPTIONS, *, check: Check = unchecked
    ) -> bytes:
        """A .cwic file of a picture, uint8 [H, W, 3] or [H, W, 4].

        Raises:
            ParameterError: an array of another kind, or options that this checkpoint does not have or that do not
                fit the picture.
            TargetError: no file of this picture reaches the target of the options.
            LimitError: the picture is larger than the codec's limits.
        """
        return run(self.encoding(array, options), check)

    def decode(
        self,
        file: bytes | Container,
        options: DecodeOptions = DEFAULT_DECODE_OPTIONS,
        *,
        check: Check = unchecked,
    ) -> Pixels:
        """The picture of a .cwic file, or a region of it, uint8 [H, W, 3] or [H, W, 4].

        Raises:
            FileError: the file is damaged, cut short without permission, or was made with another checkpoint.
            LimitError: the picture is larger than the codec's limits.
            ParameterError: a region that is not inside the picture.
        """
        return run(self.decoding(file, options), check)

    def importance_map(
        self,
        source: Pixels | bytes | Container,
        options: EncodeOptions = DEFAULT_ENCODE_OPTIONS,
        *,
        check: Check = unchecked,
    ) -> Pixels:
        """The importance level of each place as a share of the highest, uint8 [H, W]; 255 keeps all channels.

        Of a picture, with options as in `encode`; or of a .cwic file, where it is read without decoding the codes.
        A file that was cut in transfer has all of it: once it could be read, no more permission is needed.

        Raises:
            FileError: see `decode`; NoImportanceMapError for a lossless file.
            ParameterError, LimitError: see `encode`.
        """
        return run(self.mapping(source, options), check)
