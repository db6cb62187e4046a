"""Which pixels belong to which tile. Integers only; nothing here knows what a tile is coded as."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

_BAND = 8  # tiles: enough for all cores, few enough to be kept in memory at once


class Box(NamedTuple):
    """A rectangle of pixels; right and bottom are outside. Without pixels where right <= left or bottom <= top."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def width(self) -> int:
        """Pixels from left to right."""
        return self.right - self.left

    @property
    def height(self) -> int:
        """Pixels from top to bottom."""
        return self.bottom - self.top

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return self.width, self.height

    @property
    def pixels(self) -> int:
        """Width times height."""
        return self.width * self.height

    def intersects(self, other: "Box") -> bool:
        """Whether the two have a pixel in common."""
        both = self.intersection(other)
        return both.width > 0 and both.height > 0

    def intersection(self, other: "Box") -> "Box":
        """The pixels that the two have in common; a box without pixels where there are none."""
        left, top = max(self.left, other.left), max(self.top, other.top)
        return Box(
            left, top, max(left, min(self.right, other.right)), max(top, min(self.bottom, other.bottom))
        )

    def slices(self, within: "Box", stride: int) -> tuple[slice, slice]:
        """Rows and columns of the box in an array of what lies within another, `stride` pixels for one place."""
        top, left = (self.top - within.top) // stride, (self.left - within.left) // stride
        return slice(top, top + self.height // stride), slice(left, left + self.width // stride)

    def grown(self, margin: int, *, within: "Box") -> "Box":
        """The box with `margin` more pixels on each side, as far as they lie within another box."""
        larger = Box(self.left - margin, self.top - margin, self.right + margin, self.bottom + margin)
        return larger.intersection(within)


@dataclass(frozen=True)
class TileGrid:
    """A picture cut into square tiles, in raster order; those of the last row and column may be smaller.

    A picture of 5x3 pixels in tiles of 2, with the index of each pixel's tile:

        0 0 1 1 2
        0 0 1 1 2
        3 3 4 4 5

    Attributes:
        width: of the picture, in pixels.
        height: of the picture, in pixels.
        tile: side of a tile, in pixels.
    """

    width: int
    height: int
    tile: int

    def __post_init__(self) -> None:
        """A grid has pixels."""
        assert min(self.width, self.height, self.tile) > 0, f"no pixels in {self}"

    @property
    def columns(self) -> int:
        """Tiles in a row."""
        return -(-self.width // self.tile)

    @property
    def rows(self) -> int:
        """Tiles in a column."""
        return -(-self.height // self.tile)

    @property
    def count(self) -> int:
        """All tiles."""
        return self.columns * self.rows

    @property
    def bounds(self) -> Box:
        """The whole picture."""
        return Box(0, 0, self.width, self.height)

    def box(self, index: int) -> Box:
        """The pixels of a tile."""
        assert 0 <= index < self.count, f"tile {index} of {self.count}"
        row, column = divmod(index, self.columns)
        left, top = column * self.tile, row * self.tile
        return Box(left, top, min(left + self.tile, self.width), min(top + self.tile, self.height))

    def touching(self, box: Box) -> list[int]:
        """The tiles that have a pixel in common with a box, in raster order."""
        inside = box.intersection(self.bounds)
        if not inside.intersects(self.bounds):
            return []
        columns = range(inside.left // self.tile, (inside.right - 1) // self.tile + 1)
        rows = range(inside.top // self.tile, (inside.bottom - 1) // self.tile + 1)
        return [row * self.columns + column for row in rows for column in columns]

    def bands(self, tiles: Iterable[int]) -> Iterator[list[int]]:
        """Ascending tiles in runs of whole rows, as few rows as have `_BAND` of them."""
        band: list[int] = []
        for _, row in groupby(tiles, key=lambda index: index // self.columns):
            band += row
            if len(band) >= _BAND:
                yield band
                band = []
        if band:
            yield band
