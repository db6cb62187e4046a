"""The facts at the start of a file, and the order of payloads that follows from them.

The bytes are specified in `model.container.format`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from math import isqrt
from typing import NamedTuple

from model.config import MAX_GROUPS, PROFILES, TUNES
from model.container.reader import Reader, varint
from model.errors import (
    HeaderError,
    NotCwicError,
    SectionError,
    TruncatedFileError,
    UnsupportedVersionError,
)
from model.tiling import TileGrid
from model.types import Limits

MAGIC = b"CWIC"
VERSION = 2
QUALITY_STEPS = 1024  # from quality 1 to 100
DEFAULT_TILE = 1024
LOSSLESS_TILE = 4096
LARGEST_TILE = 2048  # of a coded picture: it bounds what a decoder needs, whatever a file says
LARGEST_LOSSLESS_TILE = 8192  # the largest power of two within WebP's 16383 pixels

_PROFILES = ("lossless", "cwic", "cvpr2018")
_TILES = tuple(256 << k for k in range(8))
CODED_TILES = tuple(tile for tile in _TILES if tile <= LARGEST_TILE)
_ALPHA, _GREY, _PLANE = 1 << 5, 1 << 6, 1 << 7
_QUALITY_MASK = 0x7FF
_LEVEL_ZERO = _PATCHES = 1 << 11  # of profile cvpr2018, and of cwic
_TUNE_SHIFT, _EXTENDED, _USUAL = 12, 1 << 14, 1 << 15
_USUAL_GROUPS = 6
_MOST_TOLERANCE = 255
_MODEL_ID_SIZE = 4
_SIZE_BITS = 64


class Section(Enum):
    """What a payload holds; the value is its name in `FileInfo`."""

    PLANE = "plane"
    MAP = "map"
    ALPHA = "alpha"
    CODES = "codes"
    SAMPLES = "samples"


class Slot(NamedTuple):
    """A section as it stands in the file: one payload for each tile."""

    section: Section
    group: int = 0

    @property
    def name(self) -> str:
        """As `FileInfo` names it."""
        return f"{self.section.value}{self.group}" if self.section is Section.CODES else self.section.value


@dataclass(frozen=True, kw_only=True)
class Header:
    """What a file says about its picture before its payloads.

    Attributes:
        width: in pixels.
        height: in pixels.
        profile: `lossless` (samples kept as they are) or a codec profile.
        tile: side of the tiles in pixels, a power of two.
        model_id: first 4 bytes of the SHA-256 of the checkpoint's weights; empty when lossless.
        quality: position on the quality axis, 0 to QUALITY_STEPS; 0 when lossless or where the profile has one rate.
        tolerance: how far the samples kept may be from the picture's, of 255; 0 where they are the picture's, and
            outside profile `lossless`.
        tune: what the picture was coded for, `psnr` or `visual`; always `psnr` outside profile `cwic`.
        alpha: whether the picture has alpha.
        grey: whether the three colour channels are equal.
        plane: whether a quality plane is coded.
        patches: whether some blocks of a coded picture are kept without loss.
        lowest_level: of the importance map, 0 or 1.
    """

    width: int
    height: int
    profile: str
    tile: int
    model_id: bytes = b""
    quality: int = 0
    tolerance: int = 0
    tune: str = "psnr"
    alpha: bool = False
    grey: bool = False
    plane: bool = False
    patches: bool = False
    lowest_level: int = 1

    @cached_property
    def grid(self) -> TileGrid:
        """The tiles of the picture."""
        return TileGrid(self.width, self.height, self.tile)

    @property
    def lossless(self) -> bool:
        """Whether the samples are kept as they are."""
        return self.profile == "lossless"

    @property
    def fixed_rate(self) -> bool:
        """Whether the file has no quality."""
        return self.lossless or PROFILES[self.profile].fixed_rate

    @cached_property
    def slots(self) -> tuple[Slot, ...]:
        """The sections that may stand in the file, in its order."""
        if self.lossless:
            return (Slot(Section.SAMPLES),)
        codes = (Slot(Section.CODES, group) for group in range(MAX_GROUPS))
        return (*self._before_codes, *codes)

    @property
    def _before_codes(self) -> tuple[Slot, ...]:
        flagged = {
            Section.PLANE: self.plane,
            Section.MAP: True,
            Section.ALPHA: self.alpha,
            Section.SAMPLES: self.patches,
        }
        return tuple(Slot(section) for section, present in flagged.items() if present)

    @property
    def required(self) -> int:
        """Payloads that no file can do without: all up to and including group 0 of the last tile."""
        return self.grid.count * (1 if self.lossless else len(self._before_codes) + 1)

    @property
    def usual(self) -> int:
        """The number of payloads that need not be said: of six channel groups, or of a lossless picture."""
        return self.grid.count * (1 if self.lossless else len(self._before_codes) + _USUAL_GROUPS)

    @property
    def maximum(self) -> int:
        """The largest number of payloads."""
        return self.grid.count * len(self.slots)


def write_header(header: Header, count: int, *, extended: bool) -> bytes:
    """The bytes of a header that `count` payloads and, if `extended`, extensions belong to."""
    contradiction = next(_contradictions(header), None)
    assert contradiction is None, contradiction
    assert header.required <= count <= header.maximum, f"{count} payloads for {header}"
    assert header.tile in _TILES, f"tile {header.tile} is none of {_TILES}"
    assert len(header.model_id) == (0 if header.lossless else _MODEL_ID_SIZE), header.model_id
    kind = _PROFILES.index(header.profile) | _TILES.index(header.tile) << 2
    kind |= _ALPHA * header.alpha | _GREY * header.grey | _PLANE * header.plane
    quality = header.tolerance if header.lossless else header.quality
    quality |= _LEVEL_ZERO * (header.lowest_level == 0) | _PATCHES * header.patches
    quality |= TUNES.index(header.tune) << _TUNE_SHIFT | _EXTENDED * extended
    usual = count == header.usual
    start = MAGIC + bytes([VERSION, kind]) + (quality | _USUAL * usual).to_bytes(2, "little")
    start += varint(_paired(header.width - 1, header.height - 1), bits=_SIZE_BITS) + header.model_id
    return start if usual else start + varint(count)


def read_header(reader: Reader, *, limits: Limits) -> tuple[Header, int, bool]:
    """The header, the number of payloads, and whether extensions follow; the header's checksum comes later.

    Raises:
        FileError: one class for each kind of damage.
        LimitError: the picture is larger than `limits`.
    """
    if reader.data[: len(MAGIC)] != MAGIC[: len(reader.data)] or not reader.data:
        raise NotCwicError("not a .cwic file: it does not start with CWIC")
    reader.take(len(MAGIC))
    _check_version(reader.integer(1))
    kind, quality = reader.integer(1), reader.integer(2)
    if kind & 3 >= len(_PROFILES):
        raise HeaderError(f"kind {kind & 3} of picture: out of range")
    if quality >> _TUNE_SHIFT & 3 >= len(TUNES):
        raise HeaderError(f"tune {quality >> _TUNE_SHIFT & 3}: out of range")
    width, height = (side + 1 for side in _unpaired(reader.varint(bits=_SIZE_BITS)))
    limits.check(width, height)
    profile = _PROFILES[kind & 3]
    header = Header(
        width=width,
        height=height,
        profile=profile,
        tile=_TILES[kind >> 2 & 7],
        model_id=b"" if profile == "lossless" else reader.take(_MODEL_ID_SIZE),
        quality=0 if profile == "lossless" else quality & _QUALITY_MASK,
        tolerance=quality & _QUALITY_MASK if profile == "lossless" else 0,
        tune=TUNES[quality >> _TUNE_SHIFT & 3],
        alpha=bool(kind & _ALPHA),
        grey=bool(kind & _GREY),
        plane=bool(kind & _PLANE),
        patches=profile == "cwic" and bool(quality & _PATCHES),
        lowest_level=0 if profile != "cwic" and quality & _LEVEL_ZERO else 1,
    )
    for contradiction in _contradictions(header):
        raise HeaderError(contradiction)
    count = header.usual if quality & _USUAL else reader.varint()
    if count == header.usual and not quality & _USUAL:
        raise HeaderError(f"{count} payloads are announced, which is not said where it is the usual number")
    _check_count(header, count, available=reader.remaining)
    return header, count, bool(quality & _EXTENDED)


def quality_at(position: int) -> float:
    """The quality, 1 to 100, at a position on the quality axis."""
    return 1 + 99 * position / QUALITY_STEPS


def position_of(quality: float) -> int:
    """The position on the quality axis that is nearest to a quality, 1 to 100."""
    return round((quality - 1) / 99 * QUALITY_STEPS)


def _paired(x: int, y: int) -> int:
    """One number for two, small where both are (Rosenberg and Strong 1972)."""
    largest = max(x, y)
    return largest**2 + largest + x - y


def _unpaired(number: int) -> tuple[int, int]:
    largest = isqrt(number)
    rest = number - largest**2
    return (rest, largest) if rest < largest else (largest, 2 * largest - rest)


def _check_version(version: int) -> None:
    if version == 1:
        raise UnsupportedVersionError(
            "made by a pre-release, in format version 1, which is no longer readable;"
            f" this program reads version {VERSION}"
        )
    if version != VERSION:
        raise UnsupportedVersionError(f"format version {version}; this program reads version {VERSION}")


def _contradictions(header: Header) -> Iterator[str]:
    if header.quality > QUALITY_STEPS:
        yield f"quality {header.quality} of {QUALITY_STEPS}: out of range"
    if header.tolerance > _MOST_TOLERANCE or (header.tolerance and not header.lossless):
        yield f"tolerance {header.tolerance} of {_MOST_TOLERANCE} in a file of profile {header.profile}"
    if header.quality and header.fixed_rate:
        yield f"quality {header.quality} in a file of profile {header.profile}, which has none"
    if header.tune != "psnr" and header.profile != "cwic":
        yield f"tune {header.tune} in a file of profile {header.profile}, which has none"
    if header.plane and header.profile != "cwic":
        yield f"a quality plane in a file of profile {header.profile}, which has none"
    if header.patches and header.profile != "cwic":
        yield f"patches in a file of profile {header.profile}"
    if header.lowest_level == 0 and header.profile != "cvpr2018":
        yield f"a level 0 in a file of profile {header.profile}, which has none"
    largest = LARGEST_LOSSLESS_TILE if header.lossless else LARGEST_TILE
    if header.tile > largest:
        yield f"tiles of {header.tile} pixels; at most {largest} can be in a file of profile {header.profile}"


def _check_count(header: Header, count: int, *, available: int) -> None:
    if count > header.maximum:
        raise HeaderError(f"{count} payloads where {header.maximum} can be at most")
    if count < header.required:
        raise SectionError(f"{count} payloads where {header.required} are needed at least")
    if count > available:
        raise TruncatedFileError(f"{count} payloads are announced, {available} bytes follow")
