"""A guard before the readers of AVIF and HEIC: how many items a file may describe, and how large.

libavif looks its items up one by one, so that boxes of n items cost n^2, seconds for some hundred kilobytes, in which
Pillow lets no other thread run. A picture has a few items, a phone's grid of tiles below a hundred.

libheif decodes no item that is larger than the file says; what it says is checked here.

    meta                      one of each:
    ├── iloc, iinf, iref      where items lie, what they are, how they belong together
    └── iprp
        ├── ipco              properties, a box for each
        └── ipma              which item has which
    moov                      of sequences: the tables of frames, in trak/mdia/minf/stbl
"""

import struct
from collections.abc import Iterator
from typing import NamedTuple

from model.errors import BrokenImageError, LimitError
from model.types import Limits

_LARGEST = 32 << 10  # bytes of a box that lists items
_LARGEST_TABLE = 256 << 10  # bytes of a table of frames, which is looked up by arithmetic
_MOST = 256  # boxes in a box
_MOST_OF_ALL = 1024  # boxes that are looked at in a file, and so the depth of boxes in boxes
_LISTS = frozenset({b"iloc", b"iinf", b"iref", b"ipma"})
_INSIDE = frozenset({b"moov", b"trak", b"mdia", b"minf", b"iprp", b"ipco"})


class Box(NamedTuple):
    """A box of ISO/IEC 14496-12: its name and where its content lies."""

    name: bytes
    start: int
    end: int


def check_boxes(data: bytes, *, name: str, limits: Limits) -> None:
    """Refuse a file of the format `name` by what it says about its items: the picture, or its tiles and thumbnails.

    Raises:
        BrokenImageError: it describes more items than a picture has.
        LimitError: one of them has more pixels than a picture may have.
    """
    for count, box in enumerate(_checked(data, Box(b"", 0, len(data)), name)):
        if count >= _MOST_OF_ALL:
            raise BrokenImageError(f"{name} with more than {_MOST_OF_ALL} boxes")
        if box.name == b"ispe" and box.end - box.start >= 12:
            width, height = struct.unpack_from(">II", data, box.start + 4)  # behind version and flags
            if width * height > limits.max_pixels:
                raise LimitError("max_pixels", limit=limits.max_pixels, actual=width * height)


def _checked(data: bytes, outer: Box, name: str) -> Iterator[Box]:
    """The boxes in a box, and those in them as far as the drawing above goes; raises BrokenImageError."""
    for count, box in enumerate(_boxes(data, outer)):
        size = box.end - box.start
        if count >= _MOST:
            raise BrokenImageError(f"{name} with more than {_MOST} boxes in {_named(outer)}")
        largest = _LARGEST_TABLE if outer.name == b"stbl" else _LARGEST if box.name in _LISTS else size
        if size > largest:
            raise BrokenImageError(f"{name} with {size} bytes in {_named(box)}, at most {largest} are read")
        yield box
        if box.name == b"meta":
            yield from _checked(data, box._replace(start=box.start + 4), name)  # behind version and flags
        elif box.name in _INSIDE or box.name == b"stbl":
            yield from _checked(data, box, name)


def _boxes(data: bytes, outer: Box) -> Iterator[Box]:
    start = outer.start
    while start + 8 <= outer.end:
        size, name, head = int.from_bytes(data[start : start + 4]), data[start + 4 : start + 8], 8
        if size == 1:
            size, head = int.from_bytes(data[start + 8 : start + 16]), 16
        end = start + size if size else outer.end  # 0 means to the end
        if size and size < head:
            return  # damaged: libavif refuses it as well
        yield Box(name, start + head, min(end, outer.end))
        start = end


def _named(box: Box) -> str:
    return repr(box.name.decode("latin-1")) if box.name else "the file"
