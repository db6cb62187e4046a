"""TIFF directories, read from the bytes before anything else is: what would take a decoder for ever is refused.

A tile may be far larger than its picture, and strips may lie on top of each other: small files that decode for
minutes. Fractions, of which EXIF has a few dozen, take Pillow ten microseconds each, and other numbers 40 bytes.
Sizes and counts are those of the TIFF 6.0 specification and of BigTIFF.
"""

import struct
from contextlib import suppress
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.errors import BrokenImageError

_WIDTH, _HEIGHT, _SAMPLES, _TILE_WIDTH, _TILE_HEIGHT = 256, 257, 277, 322, 323
_OFFSETS, _SIZES = (273, 324), (279, 325)  # of strips, of tiles
_PLACES = frozenset((*_OFFSETS, *_SIZES))
_CHECKED = frozenset((_WIDTH, _HEIGHT, _SAMPLES, _TILE_WIDTH, _TILE_HEIGHT, *_PLACES))
_INTEGERS = {1: "u1", 3: "u2", 4: "u4", 6: "i1", 8: "i2", 9: "i4", 13: "u4", 16: "u8", 17: "i8", 18: "u8"}
_FRACTIONS = frozenset((5, 10))  # types
_MOST_FRACTIONS = 4096  # values of all tags
_NUMBERS = frozenset((*_INTEGERS, 11, 12)) - {1}  # types of which Pillow makes a Python object for each value
_MOST_NUMBERS = 2**20  # values of all tags but strips and tiles; colour tables of 16 bits have 2**18
_MOST_INNER = 8  # directories that the first one names
_MOST_ENTRIES = 4096  # of one; cameras write some dozens
_EXIF, _GPS = 34665, 34853  # positions of directories
_LEAST_TILE = 16  # pixels on a side, by the specification
_LARGEST_TILE = 1 << 20  # pixels, where the picture is small
_SLACK = 1 << 20  # bytes


class _Layout(NamedTuple):
    """How a file writes its directories.

    Attributes:
        order: byte order, `<` or `>`.
        word: bytes of a position or a count of values: 4, or 8 in BigTIFF. The first directory's position is
            written behind as many bytes, and an entry is a tag, a type, a count and a word of values.
    """

    order: str
    word: int

    @classmethod
    def of(cls, data: bytes) -> "_Layout":
        """That of a file, by its first bytes."""
        return cls("<" if data[:2] == b"II" else ">", 8 if 43 in (data[2], data[3]) else 4)

    def directory(self, data: bytes, at: int) -> range:
        """Where the entries of the directory at a position begin; the range ends where they do."""
        (count,) = struct.unpack_from(f"{self.order}Q" if self.word == 8 else f"{self.order}H", data, at)
        first, size = at + (8 if self.word == 8 else 2), 4 + 2 * self.word
        return range(first, first + size * count, size)

    def entries(self, data: bytes, at: int) -> range:
        """The same of those entries that are whole, where a directory is cut short; raises BrokenImageError."""
        every = self.directory(data, at)
        whole = range(every.start, min(every.stop, len(data) - every.step + 1), every.step)
        if len(whole) > _MOST_ENTRIES:
            raise BrokenImageError(
                f"a TIFF directory of {len(whole)} entries, at most {_MOST_ENTRIES} are read"
            )
        return whole

    def position(self, data: bytes, at: int) -> int:
        """A position in the file, or a count, that is written at another position."""
        (found,) = struct.unpack_from(f"{self.order}Q" if self.word == 8 else f"{self.order}I", data, at)
        return int(found)


def check_tiff(data: bytes) -> None:
    """Refuse a file whose first picture has more to decode than its size and its bytes account for.

    Raises:
        BrokenImageError: tiles far larger than the picture or too small, more strips or tiles than rows and
            columns make, or strips and tiles that overlap; tags of too many values; also a directory that cannot be
            read.
    """
    check_counts(data)
    try:
        tags = _tags(data)
    except struct.error as exc:
        raise BrokenImageError(f"the TIFF's directory cannot be read: {exc}") from exc
    width, height, samples, across, down = (
        int(tags[tag].max(initial=0)) if tag in tags else 0
        for tag in (_WIDTH, _HEIGHT, _SAMPLES, _TILE_WIDTH, _TILE_HEIGHT)
    )
    samples = max(samples, 1)
    most = height * samples
    if _TILE_WIDTH in tags or _TILE_HEIGHT in tags:
        if min(across, down) < _LEAST_TILE or across * down > max(4 * width * height, _LARGEST_TILE):
            raise BrokenImageError(f"TIFF tiles of {across}x{down} in a picture of {width}x{height} pixels")
        most = max(most, -(-width // across) * -(-height // down) * samples)
    count = max((tags[tag].size for tag in _OFFSETS if tag in tags), default=0)
    if count > most:
        raise BrokenImageError(f"{count} TIFF strips or tiles in a picture of {width}x{height} pixels")
    size = max((float(tags[tag].sum(dtype=np.float64)) for tag in _SIZES if tag in tags), default=0.0)
    if size > 4 * len(data) + _SLACK:
        raise BrokenImageError(f"TIFF strips or tiles of {size:.0f} bytes in a file of {len(data)}")


def check_counts(data: bytes) -> None:
    """Refuse a TIFF structure, of a file or of EXIF, of more entries or values than anything has a use for.

    The first directory is looked at, and those of EXIF and of the place that it names; what cannot be read is passed
    over. Raises BrokenImageError.
    """
    layout, fractions, numbers = _Layout.of(data), 0, 0
    with suppress(struct.error):
        first = layout.position(data, layout.word)
        inner = [at for at in map(partial(_pointer, data, layout), layout.entries(data, first)) if at]
        if len(inner) > _MOST_INNER:
            raise BrokenImageError(f"a TIFF directory that names {len(inner)} others")
        for at in (first, *inner):
            with suppress(struct.error):
                for entry in layout.entries(data, at):
                    tag, kind = struct.unpack_from(f"{layout.order}HH", data, entry)
                    count = layout.position(data, entry + 4)
                    fractions += count if kind in _FRACTIONS else 0
                    numbers += count if kind in _NUMBERS and (at != first or tag not in _PLACES) else 0
            if fractions > _MOST_FRACTIONS:
                raise BrokenImageError(f"TIFF tags of {fractions} fractions, at most {_MOST_FRACTIONS}")
            if numbers > _MOST_NUMBERS:
                raise BrokenImageError(f"TIFF tags of {numbers} numbers, at most {_MOST_NUMBERS}")


def _pointer(data: bytes, layout: _Layout, entry: int) -> int:
    """The position of the directory that an entry names; 0 where it names none."""
    tag, kind = struct.unpack_from(f"{layout.order}HH", data, entry)
    if tag not in (_EXIF, _GPS) or kind not in _INTEGERS:
        return 0
    return int(np.frombuffer(data, f"{layout.order}{_INTEGERS[kind]}", 1, entry + 4 + layout.word)[0])


def count_tiff_pages(data: bytes, *, most: int) -> int:
    """Length of the chain of directories, up to `most` + 1. Pillow's own count takes quadratic time."""
    layout = _Layout.of(data)
    at = layout.position(data, layout.word)
    seen: set[int] = set()
    while at and at not in seen and at + 10 < len(data) and len(seen) <= most:
        seen.add(at)
        end = layout.directory(data, at).stop
        if end + layout.word > len(data):
            break
        at = layout.position(data, end)
    return len(seen)


def _tags(data: bytes) -> dict[int, NDArray[np.integer]]:
    """The values of the first directory's `_CHECKED` tags; raises struct.error, BrokenImageError."""
    layout = _Layout.of(data)
    entries = layout.directory(data, layout.position(data, layout.word))
    if entries.stop > len(data):
        raise BrokenImageError(f"a TIFF directory of {len(entries)} entries in a file of {len(data)} bytes")
    tags: dict[int, NDArray[np.integer]] = {}
    for at in entries:
        tag, kind = struct.unpack_from(f"{layout.order}HH", data, at)
        if tag not in _CHECKED:
            continue
        if tag in tags or kind not in _INTEGERS:
            raise BrokenImageError(f"TIFF tag {tag} comes twice or has no whole numbers")
        dtype = np.dtype(f"{layout.order}{_INTEGERS[kind]}")
        count = layout.position(data, at + 4)
        values, size = at + 4 + layout.word, count * dtype.itemsize
        if size > layout.word:
            values = layout.position(data, values)
        if values + size > len(data):
            raise BrokenImageError(f"TIFF tag {tag} has {count} values behind the end of the file")
        tags[tag] = np.frombuffer(data, dtype, count, values)
    return tags
