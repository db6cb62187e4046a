"""Near-lossless coding: colours that are close to each other are made equal, and the picture is then kept as it is.

Pictures of screens and of print have few colours, with noise around them where they were a JPEG file or came from a
scanner, or shades at the edges of letters. What lossless coding then spends its bits on is noise.
"""

import math
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from model.entropy.tables import Ints
from model.steps import Work
from model.tiling import TileGrid
from model.types import Pixels

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
        dominant: int [N, 3], the most frequent one first, no two within the tolerance.
    """

    tolerance: int
    dominant: Ints

    @classmethod
    def of(cls, array: Pixels, tolerance: int) -> Self:
        """For a picture, uint8 [H, W, 3 or 4]; alpha does not count."""
        return cls._of_colours(*_sampled(array, pixels=_LOOKED_AT), tolerance)

    @classmethod
    def _of_colours(cls, colours: Ints, counts: NDArray[np.intp], tolerance: int) -> Self:
        found: list[Ints] = []
        while len(found) < _DOMINANT and len(colours):
            found.append(colours[counts.argmax()])
            rest = ~_near(colours, found[-1], tolerance)
            colours, counts = colours[rest], counts[rest]
        return cls(tolerance, np.stack(found))

    def __call__(self, samples: Pixels) -> Pixels:
        """Samples, uint8 [H, W, 3 or 4], with the colours that stand for theirs; alpha as it is."""
        packed = _packed(samples)
        present = np.zeros(_COLOURS, np.bool_)
        present[packed] = True
        used = np.flatnonzero(present)
        table = np.empty(_COLOURS, np.uint32)
        table[used] = _packed(self._of(_unpacked(used)))
        snapped = samples.copy()
        snapped[..., :3] = _unpacked(table[packed])
        return snapped

    def _of(self, colours: Ints) -> Ints:
        """What stands for colours [N, 3]."""
        step = 2 * self.tolerance + 1
        snapped = np.minimum((colours + self.tolerance) // step * step, 255)
        left = np.arange(len(colours))
        for one in self.dominant:
            near = _near(colours[left], one, self.tolerance)
            snapped[left[near]] = one
            left = left[~near]
        return snapped

    def error(self, colours: Ints, counts: NDArray[np.intp]) -> float:
        """The mean squared error of so many pixels of each of the colours [N, 3]."""
        squares = np.square(self._of(colours) - colours).mean(axis=1)
        return float((squares * counts).sum() / counts.sum())


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
    return any(
        Snapping._of_colours(colours, counts, tolerance).error(colours, counts) <= _FEW * tolerance**2 / 3
        for tolerance in _FEW_AT
    )


def _sampled(array: Pixels, *, pixels: int) -> tuple[Ints, NDArray[np.intp]]:
    """The colours of about so many of a picture's pixels, [N, 3], and how often each is there."""
    every = max(1, math.isqrt(array.shape[0] * array.shape[1] // pixels))
    packed, counts = np.unique(_packed(array[::every, ::every]), return_counts=True)
    return _unpacked(packed), counts


def _packed(colours: NDArray[np.integer]) -> NDArray[np.uint32]:
    """One number for each colour of [..., 3 or more]."""
    red, green, blue = (colours[..., channel].astype(np.uint32) for channel in range(3))
    packed: NDArray[np.uint32] = red << np.uint32(16) | green << np.uint32(8) | blue
    return packed


def _unpacked(packed: NDArray[np.integer]) -> Ints:
    """The colours of such numbers, [..., 3]."""
    return np.stack([packed >> 16, packed >> 8 & 0xFF, packed & 0xFF], axis=-1).astype(np.int32)


def _near(colours: Ints, one: Ints, tolerance: int) -> NDArray[np.bool_]:
    near: NDArray[np.bool_] = np.abs(colours - one).max(axis=-1, initial=0) <= tolerance
    return near
