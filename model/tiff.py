"""TIFF directories, read from the bytes before anything else is: what would take a decoder for ever is refused.

A tile may be far larger than its picture, and strips may lie on top of each other: small files that decode for
minutes. Sizes and counts are those of the TIFF 6.0 specification and of BigTIFF.
"""

import struct
from typing import NamedTuple

from model.errors import BrokenImageError

MAX_COUNTED_PAGES = 1000
_WIDTH, _HEIGHT, _SAMPLES, _TILE_WIDTH, _TILE_HEIGHT = 256, 257, 277, 322, 323
_OFFSETS, _SIZES = (273, 324), (279, 325)  # of strips, of tiles
_CHECKED = frozenset((_WIDTH, _HEIGHT, _SAMPLES, _TILE_WIDTH, _TILE_HEIGHT, *_OFFSETS, *_SIZES))
_INTEGERS = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 13: "I", 16: "Q", 17: "q", 18: "Q"}
_LEAST_TILE = 16  # pixels on a side, by the specification
_LARGEST_TILE = 1 << 20  # pixels, where the picture is small
_SLACK = 1 << 20  # bytes


class _Layout(NamedTuple):
    """How a file writes its directories: byte order, and the wide form of BigTIFF."""

    order: str
    big: bool

    def directory(self, data: bytes, at: int) -> tuple[int, int]:
        """Where the entries of the directory at a position begin, and how many there are."""
        (count,) = struct.unpack_from(f"{self.order}Q" if self.big else f"{self.order}H", data, at)
        return at + (8 if self.big else 2), count

    def position(self, data: bytes, at: int) -> int:
        """A position in the file that is written at another."""
        (found,) = struct.unpack_from(f"{self.order}Q" if self.big else f"{self.order}I", data, at)
        return int(found)

    @property
    def entry_size(self) -> int:
        """Bytes of a directory's entry."""
        return 20 if self.big else 12


def check_tiff(data: bytes) -> None:
    """Refuse a file whose first picture has more to decode than its size and its bytes account for.

    Raises:
        BrokenImageError: tiles far larger than the picture or too small, more strips or tiles than rows and
            columns make, or strips and tiles that overlap; also a directory that cannot be read.
    """
    try:
        tags = _tags(data)
    except struct.error as exc:
        raise BrokenImageError(f"the TIFF's directory cannot be read: {exc}") from exc
    width, height = (max(tags.get(tag, (0,))) for tag in (_WIDTH, _HEIGHT))
    samples = max(tags.get(_SAMPLES, (1,)))
    most = height * samples
    if _TILE_WIDTH in tags or _TILE_HEIGHT in tags:
        across, down = (max(tags.get(tag, (0,))) for tag in (_TILE_WIDTH, _TILE_HEIGHT))
        if min(across, down) < _LEAST_TILE or across * down > max(4 * width * height, _LARGEST_TILE):
            raise BrokenImageError(f"TIFF tiles of {across}x{down} in a picture of {width}x{height} pixels")
        most = max(most, -(-width // across) * -(-height // down) * samples)
    count = max(len(tags.get(tag, ())) for tag in _OFFSETS)
    if count > most:
        raise BrokenImageError(f"{count} TIFF strips or tiles in a picture of {width}x{height} pixels")
    size = max(sum(tags.get(tag, ())) for tag in _SIZES)
    if size > 4 * len(data) + _SLACK:
        raise BrokenImageError(f"TIFF strips or tiles of {size} bytes in a file of {len(data)}")


def count_tiff_pages(data: bytes) -> int:
    """Length of the chain of directories, as far as it matters. Pillow's own count takes quadratic time."""
    layout = _layout(data)
    at = layout.position(data, 8 if layout.big else 4)
    seen: set[int] = set()
    while at and at not in seen and at + 10 < len(data) and len(seen) <= MAX_COUNTED_PAGES:
        seen.add(at)
        first, entries = layout.directory(data, at)
        end = first + layout.entry_size * entries
        if end + (8 if layout.big else 4) > len(data):
            break
        at = layout.position(data, end)
    return len(seen)


def _layout(data: bytes) -> _Layout:
    return _Layout("<" if data[:2] == b"II" else ">", 43 in (data[2], data[3]))


def _tags(data: bytes) -> dict[int, tuple[int, ...]]:
    """The values of the first directory's `_CHECKED` tags; raises struct.error, BrokenImageError."""
    layout = _layout(data)
    first, entries = layout.directory(data, layout.position(data, 8 if layout.big else 4))
    if first + layout.entry_size * entries > len(data):
        raise BrokenImageError(f"a TIFF directory of {entries} entries in a file of {len(data)} bytes")
    tags: dict[int, tuple[int, ...]] = {}
    for at in range(first, first + layout.entry_size * entries, layout.entry_size):
        tag, kind = struct.unpack_from(f"{layout.order}HH", data, at)
        if tag not in _CHECKED:
            continue
        if tag in tags or kind not in _INTEGERS:
            raise BrokenImageError(f"TIFF tag {tag} comes twice or has no whole numbers")
        count = layout.position(data, at + 4)
        values = at + (12 if layout.big else 8)
        size = count * struct.calcsize(_INTEGERS[kind])
        if size > (8 if layout.big else 4):
            values = layout.position(data, values)
        if values + size > len(data):
            raise BrokenImageError(f"TIFF tag {tag} has {count} values behind the end of the file")
        tags[tag] = struct.unpack_from(f"{layout.order}{count}{_INTEGERS[kind]}", data, values)
    return tags
