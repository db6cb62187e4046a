"""Colours that nobody sees: under full transparency, what costs few bits is coded instead of what is there."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from model.steps import Work
from model.tiling import TileGrid
from model.types import Pixels

_LEAST = 1e-9  # share of visible pixels: below that of one in the largest tile


def without_hidden(array: Pixels, *, tile: int) -> Work[Pixels]:
    """A picture, uint8 [H, W, 3] or [H, W, 4], whose hidden pixels go on smoothly from the visible ones.

    Tile by tile, which bounds memory. Alpha and what is visible stay as they are; a picture that hides nothing is
    returned itself.
    """
    out = array
    if array.shape[2] == 4:
        grid = TileGrid(array.shape[1], array.shape[0], tile)
        for index in range(grid.count):
            yield ()
            own = grid.box(index).slices(grid.bounds, 1)
            hidden = array[own][..., 3] == 0
            if hidden.any():
                out = array.copy() if out is array else out
                out[own][hidden, :3] = continued(array[own], hidden)[hidden]
    return out


def continued(pixels: Pixels, hidden: NDArray[np.bool_]) -> Pixels:
    """Colours, [H, W, 3], for the hidden pixels of a tile, [H, W, 3 or 4], by a pyramid of means of the others."""
    height, width = hidden.shape
    seen = np.concatenate((pixels[..., :3], np.ones((height, width, 1), np.uint8)), 2)
    seen[hidden] = 0
    known = torch.from_numpy(seen).permute(2, 0, 1)[None].float()  # [1, 4, H, W]: RGB, and 1 where it is seen
    means = [functional.avg_pool2d(known, 2, ceil_mode=True)]
    while max(means[-1].shape[2:]) > 1:
        means.append(functional.avg_pool2d(means[-1], 2, ceil_mode=True))
    whole = means.pop()
    filled = whole[:, :3] / whole[:, 3:].clamp(min=_LEAST)  # black where all is hidden
    for mean in reversed(means):
        coarse = functional.interpolate(filled, size=mean.shape[2:], mode="bilinear", align_corners=False)
        filled = mean[:, :3] + (1 - mean[:, 3:]) * coarse
    halved: Pixels = filled[0].permute(1, 2, 0).round().clamp(0, 255).byte().numpy()
    return halved.repeat(2, 0).repeat(2, 1)[:height, :width]
