"""Near-lossless coding: colours that are close to each other are made equal, and the picture is then kept as it is.

Pictures of screens and of print have few colours, with noise around them where they were a JPEG file or came from a
scanner, or shades at the edges of letters. What lossless coding then spends its bits on is noise.
"""

import math
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from model.steps import Work
from model.tiling import TileGrid
from model.types import Pixels

Colours = NDArray[np.int16]
TOLERANCES = (2, 4, 6, 8, 12, 16, 24, 32)  # of 255; letters are still whole at the largest

_DOMINANT = 64
# Where colours have nothing to do with the dominant ones, errors are those of a grid, tolerance^2 / 3. Of pictures
# of few colours they are at most this share of that, at one of two tolerances: seen 0.01 to 0.4, of all but a
# twelfth of photographs more.
_FEW, _FEW_AT = 0.4, (8, 16)
_AT_ONCE = 2048  # pixels, the side of what is snapped between two steps
_LOOKED_AT = 1 << 14  # pixels, about, in which the dominant colours are looked for
_GUESSED_FROM = 1 << 12  # pixels, about, that tell whether there are few: every picture has to be asked
_COLOURS = 1 << 24


@dataclass(frozen=True, eq=False)
class Snapping:
    """A map from colours to others that are no farther away than a tolerance, in each channel.

    Colours near one of the dominant ones become that one, the most frequent first; all others the nearest ones of a
    regular grid. Whatever is grey stays grey.

    Attributes:
        tolerance: 1 to 255.
        dominant: int16 [N, 3], the most frequent one first, no two within the tolerance.
    """

    tolerance: int
    dominant: Colours

    @classmethod
    def of(cls, array: Pixels, tolerance: int) -> Self:
        """For a picture, uint8 [H, W, 3 or 4]; alpha does not count."""
        return cls(tolerance, _clusters(*_sampled(array, pixels=_LOOKED_AT), tolerance)[0])

    def __call__(self, samples: Pixels) -> Pixels:
        """Samples, uint8 [H, W, 3 or 4], with the colours that stand for theirs; alpha as it is."""
        packed = _packed(np.moveaxis(samples, -1, 0))
        present = np.zeros(_COLOURS, np.bool_)
        present[packed] = True
        used = np.flatnonzero(present)
        table = np.empty(_COLOURS, np.uint32)
        table[used] = _packed(self._of(_unpacked(used)))
        snapped = samples.copy()
        snapped[..., :3] = np.moveaxis(_unpacked(table[packed]), 0, -1)
        return snapped

    def _of(self, colours: Colours) -> Colours:
        """What stands for colours [3, N]."""
        snapped = _on_grid(colours, self.tolerance)
        left = np.arange(colours.shape[1])
        for one in self.dominant:
            near = _near(colours[:, left], one, self.tolerance)
            snapped[:, left[near]] = one[:, None]
            left = left[~near]
        return snapped


def snapped_picture(array: Pixels, tolerance: int) -> Work[Pixels]:
    """A picture, uint8 [H, W, 3 or 4], with colours that are at most so far away."""
    snapping = Snapping.of(array, tolerance)
    out = np.empty_like(array)
    grid = TileGrid(array.shape[1], array.shape[0], _AT_ONCE)
    for index in range(grid.count):
        yield ()
        part = grid.box(index).slices(grid.bounds, 1)
        out[part] = snapping(array[part])
    return out


def has_few_colours(array: Pixels) -> bool:
    """Whether a picture, uint8 [H, W, 3 or 4], is one of few colours with noise or shades around them; a guess."""
    colours, counts = _sampled(array, pixels=_GUESSED_FROM)
    for tolerance in _FEW_AT:
        dominant, nearest = _clusters(colours, counts, tolerance)
        snapped = np.where(nearest < 0, _on_grid(colours, tolerance), dominant.T[:, nearest])
        squares = np.square(snapped - colours, dtype=np.float32).mean(axis=0)
        if (squares * counts).sum() <= _FEW * tolerance**2 / 3 * counts.sum():
            return True
    return False


def _clusters(colours: Colours, counts: NDArray[np.intp], tolerance: int) -> tuple[Colours, NDArray[np.intp]]:
    """The dominant ones of colours [3, N], [K, 3], and for each colour which one it is near, -1 if none."""
    found: list[Colours] = []
    nearest = np.full(len(counts), -1)
    left = counts.copy()
    while len(found) < _DOMINANT and left.any():
        one = colours[:, left.argmax()]
        near = _near(colours, one, tolerance) & (left > 0)
        nearest[near] = len(found)
        left[near] = 0
        found.append(one)
    return np.stack(found), nearest


def _on_grid(colours: Colours, tolerance: int) -> Colours:
    """The nearest colours of a regular grid."""
    step = 2 * tolerance + 1
    return np.minimum((colours + tolerance) // step * step, 255)


def _sampled(array: Pixels, *, pixels: int) -> tuple[Colours, NDArray[np.intp]]:
    """The colours of about so many of a picture's pixels, [3, N], and how often each is there."""
    every = max(1, math.isqrt(array.shape[0] * array.shape[1] // pixels))
    packed, counts = np.unique(_packed(np.moveaxis(array[::every, ::every], -1, 0)), return_counts=True)
    return _unpacked(packed), counts


def _packed(colours: NDArray[np.integer]) -> NDArray[np.uint32]:
    """One number for each colour of [3 or more, ...]."""
    red, green, blue = (colours[channel].astype(np.uint32) for channel in range(3))
    packed: NDArray[np.uint32] = red << np.uint32(16) | green << np.uint32(8) | blue
    return packed


def _unpacked(packed: NDArray[np.integer]) -> Colours:
    """The colours of such numbers, [3, ...]."""
    return np.stack([packed >> 16, packed >> 8 & 0xFF, packed & 0xFF]).astype(np.int16)


def _near(colours: Colours, one: Colours, tolerance: int) -> NDArray[np.bool_]:
    red, green, blue = np.abs(colours - one[:, None]) <= tolerance
    near: NDArray[np.bool_] = red & green & blue
    return near
