"""The container: facts and section payloads to bytes and back. Bytes only; nothing here decodes a payload.

Format, version 1. Integers are little-endian; a varint is unsigned LEB128 in its shortest form, at most
32 bits.

    header
        magic           4 bytes   b"CWIC"
        version         u8        1
        profile         u8        0 stored, 1 cwic, 2 cvpr2018
        flags           u8        bit 0: the picture has alpha; bit 1, of cvpr2018 only: the importance map
                                  has a level 0, which keeps no channels (otherwise its lowest is 1); the other
                                  bits are zero
        width, height   varint    in pixels, 1 and above
        model id        4 bytes   first bytes of the SHA-256 of the checkpoint's weights; zero when stored
        quality         u16       0..4096, position on the quality axis; zero when stored or where the
                                  profile has one rate for each checkpoint
        sections        u8        how many follow
        header CRC      u32       CRC-32 of all bytes before it
    each section
        type            u8        see SectionType; bit 7 set: ancillary, a reader may skip it if unknown
        length          varint    of the payload, in bytes
        CRC             u32       CRC-32 of type, length and payload
        payload         length bytes

The file ends with its last section. Sections come in ascending order of their type, each at most once.

    MAP       importance map, range-coded (`model.entropy.symbols`); absent when stored
    CODES     CODES + k: the codes of channel group k, range-coded, k = 0, 1, ... without gaps
    ALPHA     the alpha plane, zlib-compressed differences to the row above, modulo 256; present if flagged
    STORED    RGB samples, zlib-compressed differences to the row above; in stored files only

Payloads of the range coder are its 32-bit words in big-endian order with trailing zero bytes left out.
"""

import struct
import zlib
from dataclasses import dataclass

from model.config import MAX_GROUPS, PROFILES
from model.errors import (
    ChecksumError,
    HeaderError,
    LimitError,
    NotCwicError,
    SectionError,
    TrailingDataError,
    TruncatedFileError,
    UnsupportedVersionError,
)
from model.types import FileInfo, Limits, SectionInfo

MAGIC = b"CWIC"
VERSION = 1
QUALITY_STEPS = 4096
_PROFILE_NAMES = ("stored", "cwic", "cvpr2018")
_ANCILLARY = 0x80
_FLAG_ALPHA = 0x01
_FLAG_EMPTY = 0x02


class SectionType:
    """Section types; CODES is the first of `MAX_GROUPS` types."""

    MAP = 1
    CODES = 16
    ALPHA = 64
    STORED = 65


_NAMES = {SectionType.MAP: "map", SectionType.ALPHA: "alpha", SectionType.STORED: "stored"}


@dataclass(frozen=True, kw_only=True)
class Container:
    """One file, parsed and checked: header facts and section payloads by type, in file order.

    Attributes:
        width: in pixels.
        height: in pixels.
        profile: `stored` or a codec profile.
        model_id: 4 bytes.
        quality: 0 to QUALITY_STEPS.
        has_alpha: whether an ALPHA section belongs to the file.
        lowest_level: of the importance map, 0 or 1.
        sections: payloads by section type.
    """

    width: int
    height: int
    profile: str
    model_id: bytes
    quality: int
    has_alpha: bool
    lowest_level: int = 1
    sections: dict[int, bytes]

    def codes(self) -> list[bytes]:
        """The payloads of the channel groups, in order."""
        return [
            payload
            for kind, payload in self.sections.items()
            if SectionType.CODES <= kind < SectionType.CODES + MAX_GROUPS
        ]


def pack(container: Container) -> bytes:
    """The file of a container."""
    header = bytearray(MAGIC)
    flags = _FLAG_ALPHA * container.has_alpha | _FLAG_EMPTY * (container.lowest_level == 0)
    header += bytes([VERSION, _PROFILE_NAMES.index(container.profile), flags])
    header += _varint(container.width) + _varint(container.height)
    header += container.model_id + struct.pack("<HB", container.quality, len(container.sections))
    header += struct.pack("<I", zlib.crc32(header))
    for kind, payload in sorted(container.sections.items()):
        head = bytes([kind]) + _varint(len(payload))
        header += head + struct.pack("<I", zlib.crc32(payload, zlib.crc32(head))) + payload
    return bytes(header)


def unpack(data: bytes, *, limits: Limits) -> Container:
    """Parse a file and check all that can be checked without the model.

    Raises:
        FileError: one class for each kind of damage.
        LimitError: the picture is larger than `limits`.
    """
    reader = _Reader(data)
    if data[: len(MAGIC)] != MAGIC[: len(data)] or not data:
        raise NotCwicError("not a .cwic file: it does not start with CWIC")
    reader.take(len(MAGIC))
    version = reader.take(1)[0]
    if version != VERSION:
        raise UnsupportedVersionError(f"format version {version}; this program reads version {VERSION}")
    profile, flags = reader.take(2)
    width, height = reader.varint(), reader.varint()
    model_id = reader.take(4)
    quality, count = struct.unpack("<HB", reader.take(3))
    reader.check_crc(0)
    if profile >= len(_PROFILE_NAMES) or flags & ~(_FLAG_ALPHA | _FLAG_EMPTY) or quality > QUALITY_STEPS:
        raise HeaderError(f"profile {profile}, flags {flags:#04x}, quality {quality}: out of range")
    name = _PROFILE_NAMES[profile]
    if name == "stored" and (quality or any(model_id)):
        raise HeaderError("a stored picture has neither quality nor model")
    if flags & _FLAG_EMPTY and name != "cvpr2018":
        raise HeaderError(f"a level 0 in a file of profile {name}, which has none")
    if quality and _fixed_rate(name):
        raise HeaderError(f"quality {quality} in a file of profile {name}, which has none")
    check_size(width, height, limits=limits)
    sections = dict(_section(reader) for _ in range(count))
    if reader.position != len(data):
        raise TrailingDataError(f"{len(data) - reader.position} bytes after the end of the file")
    if len(sections) != count or list(sections) != sorted(sections):
        raise SectionError(f"section types {list(sections)} are repeated or out of order")
    container = Container(
        width=width,
        height=height,
        profile=name,
        model_id=model_id,
        quality=quality,
        has_alpha=bool(flags & _FLAG_ALPHA),
        lowest_level=0 if flags & _FLAG_EMPTY else 1,
        sections=sections,
    )
    _check_sections(container)
    return container


def check_size(width: int, height: int, *, limits: Limits) -> None:
    """Raise HeaderError or LimitError unless a picture of this size may be handled."""
    if width < 1 or height < 1:
        raise HeaderError(f"a picture of {width}x{height} pixels has no pixels")
    if max(width, height) > limits.max_dimension:
        raise LimitError("max_dimension", limit=limits.max_dimension, actual=max(width, height))
    if width * height > limits.max_pixels:
        raise LimitError("max_pixels", limit=limits.max_pixels, actual=width * height)


def inspect(data: bytes, *, limits: Limits | None = None) -> FileInfo:
    """The facts of a file; every checksum is verified, nothing is decoded. Raises FileError, LimitError."""
    unlimited = Limits(max_pixels=2**64, max_dimension=2**32)
    container = unpack(data, limits=limits or unlimited)
    stored = container.profile == "stored"
    return FileInfo(
        version=VERSION,
        width=container.width,
        height=container.height,
        channels=4 if container.has_alpha else 3,
        profile=container.profile,
        model_id="" if stored else container.model_id.hex(),
        quality=None
        if _fixed_rate(container.profile)
        else round(1 + 99 * container.quality / QUALITY_STEPS, 1),
        lowest_level=None if stored else container.lowest_level,
        sections=tuple(
            SectionInfo(_name(kind), len(payload)) for kind, payload in container.sections.items()
        ),
        size=len(data),
    )


def _fixed_rate(profile: str) -> bool:
    return profile == "stored" or PROFILES[profile].fixed_rate


def _name(kind: int) -> str:
    if SectionType.CODES <= kind < SectionType.CODES + MAX_GROUPS:
        return f"codes{kind - SectionType.CODES}"
    return _NAMES.get(kind, f"unknown{kind}")


def _section(reader: "_Reader") -> tuple[int, bytes]:
    start = reader.position
    kind = reader.take(1)[0]
    length = reader.varint()
    crc = zlib.crc32(reader.data[start : reader.position])
    expected = struct.unpack("<I", reader.take(4))[0]
    payload = reader.take(length)
    if zlib.crc32(payload, crc) != expected:
        raise ChecksumError(f"section {_name(kind)} at byte {start}: checksum does not match")
    return kind, payload


def _check_sections(container: Container) -> None:
    known = {kind for kind in container.sections if not kind & _ANCILLARY}
    codes = {SectionType.CODES + k for k in range(len(container.codes()))}
    required = {SectionType.STORED} if container.profile == "stored" else {SectionType.MAP, *codes}
    if container.has_alpha:
        required.add(SectionType.ALPHA)
    if known != required:
        unexpected = ", ".join(sorted(_name(kind) for kind in known - required)) or "none"
        missing = ", ".join(sorted(_name(kind) for kind in required - known)) or "none"
        raise SectionError(f"sections that do not belong: {unexpected}; missing: {missing}")


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


class _Reader:
    """A cursor over a file that never reads past its end."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.position = 0

    def take(self, count: int) -> bytes:
        if count > len(self.data) - self.position:
            raise TruncatedFileError(
                f"the file ends at byte {len(self.data)}, {count} bytes were expected at byte {self.position}"
            )
        self.position += count
        return self.data[self.position - count : self.position]

    def varint(self) -> int:
        value = 0
        for shift in range(0, 35, 7):
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                if (shift and not byte) or value >= 2**32:
                    break
                return value
        raise HeaderError(f"the number that ends at byte {self.position} is not in its shortest 32-bit form")

    def check_crc(self, start: int) -> None:
        computed = zlib.crc32(self.data[start : self.position])
        if struct.unpack("<I", self.take(4))[0] != computed:
            raise ChecksumError("header: checksum does not match")
