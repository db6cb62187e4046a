"""What follows a file's header: lengths and checks of its payloads and extensions, together its parts.

The bytes are specified in `model.container.format`.
"""

from binascii import crc_hqx
from collections.abc import Sequence
from typing import NamedTuple

from model.container.reader import Reader, varint
from model.errors import HeaderError, SectionError, TruncatedFileError

ANCILLARY = 0x80  # the bit of an extension's type
_TYPES = 0x100


class Directory(NamedTuple):
    """The lengths of a file's parts.

    Attributes:
        payloads: the length of each.
        extensions: the type and the length of each.
    """

    payloads: tuple[int, ...]
    extensions: tuple[tuple[int, int], ...] = ()

    @classmethod
    def of(cls, payloads: Sequence[bytes], extensions: Sequence[tuple[int, bytes]]) -> "Directory":
        """Of a file's payloads, and of its extensions' types and contents."""
        return cls(tuple(map(len, payloads)), tuple((kind, len(contents)) for kind, contents in extensions))

    @property
    def lengths(self) -> tuple[int, ...]:
        """Of all parts."""
        return (*self.payloads, *(length for _, length in self.extensions))

    @property
    def checked(self) -> list[int]:
        """The parts that have a check: all but the payloads without bytes."""
        filled = [index for index, length in enumerate(self.payloads) if length]
        return filled + [len(self.payloads) + index for index in range(len(self.extensions))]

    def first(self, parts: int) -> "Directory":
        """The directory of the first so many parts."""
        return Directory(self.payloads[:parts], self.extensions[: max(0, parts - len(self.payloads))])

    def write(self) -> bytes:
        """The bytes of the lengths."""
        written = [varint(length) for length in self.payloads]
        if self.extensions:
            written.append(varint(len(self.extensions)))
            written += [bytes([kind]) + varint(length) for kind, length in self.extensions]
        return b"".join(written)


def read_directory(reader: Reader, count: int, *, extended: bool) -> Directory:
    """The lengths of `count` payloads and, if `extended`, of extensions; their checksum comes later.

    Raises:
        FileError: TruncatedFileError, HeaderError, SectionError.
    """
    payloads = tuple(reader.varint() for _ in range(count))
    return Directory(payloads, _read_extensions(reader) if extended else ())


def _read_extensions(reader: Reader) -> tuple[tuple[int, int], ...]:
    count = reader.varint()
    if count < 1:
        raise HeaderError("extensions are flagged, but there are 0")
    if count > reader.remaining:
        raise TruncatedFileError(f"{count} extensions are announced, {reader.remaining} bytes follow")
    if count > _TYPES:  # before they are read: a file of megabytes could announce millions
        raise SectionError(f"{count} extensions of {_TYPES} types: some are repeated")
    extensions = tuple((reader.integer(1), reader.varint()) for _ in range(count))
    kinds = [kind for kind, _ in extensions]
    if kinds != sorted(set(kinds)):
        raise SectionError(f"extension types {kinds} are repeated or out of order")
    return extensions


def checksum(data: bytes) -> int:
    """CRC-16/IBM-3740."""
    return crc_hqx(data, 0xFFFF)


def joint_check(checksums: Sequence[int]) -> int:
    """One byte of the high bytes of checksums, which differs if any one of them does."""
    joint = 0
    for crc in checksums:
        joint = (joint << 1 | joint >> 7) & 0xFF ^ crc >> 8
    return joint
