"""Patches: blocks of a picture that are kept without loss where that costs less than to code them.

A picture of a screen has letters and lines on flat grounds, and often photographs and shades among them. The former
cost the network the most bits and have the largest errors all the same, while lossless coding finds the same few
colours again and again; for the latter it is the other way round. Each block goes where it costs less, by itself or
with close colours made equal; below the patches the coded picture goes on smoothly. Layers like these are what
scanned pages have as mixed raster content (ITU-T T.44, 1999), there with a mask of any shape.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.container import lossless
from model.hidden import continued
from model.images.distortion import block_sums, sum_of_squares
from model.snapping import Snapping
from model.source import Source
from model.steps import Work
from model.tiling import TileGrid
from model.types import Pixels

_BLOCK, _COARSE = 32, 8  # pixels on a side

# What WebP spends on a pixel that is neither its left nor its upper neighbour's equal, and on any other, in bits.
_FRESH_BITS, _OTHER_BITS = 6.0, 0.02
# The bits of a coded picture lie about where its errors are; and so much are the errors worth for each bit that was
# spent, at quality 0 and how much less at 1, but at least. A trial of the whole file follows: all these need only be
# about right. Measured on drawn screens.
_WORTH, _WORTH_FALLS, _WORTH_LEAST = 1.25, 2.0, 0.5
_TOLERANCES = (4, 12, 32)  # of 255
# Patches have values that are so far apart, or all equal: in shades between the two their borders would be seen.
_SHARP = 48

# What letters and lines look like: few fresh pixels, and a wide range of values. The share of a picture's blocks that
# have to look so, for patches to be tried: seen 0.06 to 0.74 of screens, and more than this of 2 of 24 photographs.
_FEW_FRESH, _CONTRAST, _SHARE = 0.3, 96, 1 / 32
_LOOKED_AT = 1 << 20  # pixels, about

_Plane = NDArray[np.bool_]
_Errors = NDArray[np.float32]


def has_sharp_flat_blocks(array: Pixels) -> bool:
    """Whether a picture, uint8 [H, W, 3 or 4], has letters or lines on flat grounds; a guess that costs little."""
    rows, columns = (side // _BLOCK for side in array.shape[:2])
    if not rows * columns:
        return False
    every = -(-rows * columns * _BLOCK**2 // _LOOKED_AT)
    found, seen = 0, 0
    for top in range(0, rows * _BLOCK, every * _BLOCK):
        green = np.ascontiguousarray(array[top : top + _BLOCK, : columns * _BLOCK, 1:2])
        share = block_sums(_fresh(green).astype(np.float32), _BLOCK) / _BLOCK**2
        values = green.reshape(_BLOCK, columns, _BLOCK)
        contrast = values.max((0, 2)) - values.min((0, 2))
        found += int(((share[0] <= _FEW_FRESH) & (contrast >= _CONTRAST)).sum())
        seen += columns
    return found >= _SHARE * seen


def with_patches(
    source: Source, decoded: Pixels, *, size: int, quality: float, tile: int
) -> Work[tuple[Source, int] | None]:
    """A source with patches, and the bytes that its file may have; None where coding everything is cheapest.

    Args:
        source: without patches.
        decoded: what coding it makes of it, uint8 [H, W, 3 or 4].
        size: of that file, in bytes.
        quality: of that file, 0 to 1.
        tile: side of the tiles that are coded.
    """
    array = source.array
    errors = sum_of_squares(array[..., :3], decoded[..., :3]) / 3
    if not errors:
        return None
    costs = _Costs(8 * size / errors, max(_WORTH - _WORTH_FALLS * quality, _WORTH_LEAST))
    grid = TileGrid(array.shape[1], array.shape[0], tile)
    snappings = [Snapping.of(array, tolerance) for tolerance in _TOLERANCES]
    coded, payloads, left = array.copy(), [], 0.0
    for index in range(grid.count):
        yield ()
        own = grid.box(index).slices(grid.bounds, 1)
        patches = _patches(array[own][..., :3], decoded[own][..., :3], snappings, costs)
        there = patches[..., 3] > 0
        left += sum_of_squares(array[own][~there, :3], decoded[own][~there, :3]) / 3
        coded[own][there, :3] = continued(array[own], there)[there]
        payloads.append(lossless.pack(patches) if there.any() else b"")
    patched = replace(source, coded=coded, patches=tuple(payloads))
    return (patched, patched.fixed + round(size * left / errors)) if any(payloads) else None


class _Costs(NamedTuple):
    """What squared errors stand for.

    Attributes:
        bits: that coding has spent for each.
        worth: of each, in such bits.
    """

    bits: float
    worth: float

    def of_coding(self, errors: _Errors) -> _Errors:
        """In bits, of blocks with these errors."""
        return (1 + self.worth) * self.bits * errors

    def of_patches(self, pixels: Pixels, errors: _Errors) -> _Errors:
        """In bits, of the blocks of pixels, [H, W, 3], with these errors."""
        bits = np.where(_fresh(pixels), np.float32(_FRESH_BITS), np.float32(_OTHER_BITS))
        total: _Errors = block_sums(bits, _BLOCK) + self.worth * self.bits * errors
        return total


def _patches(pixels: Pixels, decoded: Pixels, snappings: Sequence[Snapping], costs: _Costs) -> Pixels:
    """The patches of a tile, uint8 [H, W, 4]: alpha is 255 where they are, all is 0 where they are not."""
    found = np.zeros((*pixels.shape[:2], 4), np.uint8)
    errors, coarse_errors = _errors(pixels, decoded)
    sharp = _contrast(pixels) >= _SHARP
    least = costs.of_coding(errors)
    for snapping in (None, *snappings):
        kept = pixels if snapping is None else snapping(pixels)
        own, own_coarse = _errors(pixels, kept)
        cost = costs.of_patches(kept, own)
        better = (sharp & (cost < least)) | (_contrast(kept) == 0)
        better &= (own <= errors) & (own_coarse <= coarse_errors)
        chosen = better.repeat(_BLOCK, 0).repeat(_BLOCK, 1)[: len(pixels), : pixels.shape[1]]
        found[chosen, :3], found[chosen, 3] = kept[chosen], 255
        least = np.where(better, cost, least)
    return found


def _contrast(pixels: Pixels) -> NDArray[np.uint8]:
    """How far apart the values of pixels [H, W, 3] are in each block, in the channel in which they are farthest."""
    rows, columns = (np.arange(0, side, _BLOCK) for side in pixels.shape[:2])
    most, least = (
        extreme.reduceat(extreme.reduceat(pixels, rows), columns, axis=1)
        for extreme in (np.maximum, np.minimum)
    )
    contrast: NDArray[np.uint8] = (most - least).max(2)
    return contrast


def _errors(one: Pixels, other: Pixels) -> tuple[_Errors, _Errors]:
    """The squared errors in each block, in the mean of the channels: of the pixels, and of means of 8x8 of them."""
    errors = one.astype(np.float32) - other
    means = block_sums(errors, _COARSE) / _COARSE**2
    squares = block_sums(np.square(errors).mean(2), _BLOCK)
    return squares, block_sums(np.square(means).mean(2), _BLOCK // _COARSE)


def _fresh(pixels: Pixels) -> _Plane:
    """Which pixels, [H, W, C], are equal neither to their left nor to their upper neighbour."""
    fresh = np.ones(pixels.shape[:2], np.bool_)
    fresh[:, 1:] &= (pixels[:, 1:] != pixels[:, :-1]).any(2)
    fresh[1:] &= (pixels[1:] != pixels[:-1]).any(2)
    return fresh
