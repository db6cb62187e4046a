"""The quality plane of the tune `visual`: it follows the content of the picture."""

import numpy as np

from model.options import PLANE_CELL, PLANE_STEPS, Offsets, plane_shape
from model.types import Pixels

# Chosen on held-out pictures by SSIMULACRA2 (training/results/ablations.md).
_PER_OCTAVE = 0.05  # of the quality axis, for a factor of two in variance
_CALM = 256.0  # variance below which places are alike
_STRONG = 512.0  # variance above which they are: lettering and outlines hide no more than foliage does
_LEAST_CELLS = 16
_VARIANCE_BLOCK = 8
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def content_offsets(array: Pixels) -> Offsets:
    """A quality plane that follows a picture's content: calm places up, busy ones, which hide errors, down.

    Of each cell the mean logarithm of the variance of luma in blocks of 8x8; the offsets are proportional to how far
    it is from the picture's mean, at most 5 steps. Zero where a picture has so few cells that a plane costs more
    than it gains.

    Args:
        array: uint8 [H, W, 3] or [H, W, 4].
    """
    height, width = array.shape[:2]
    rows, columns = plane_shape(height, width)
    if rows * columns < _LEAST_CELLS:
        return np.zeros((rows, columns), np.int8)
    busy = np.empty((rows, columns), np.float32)
    blocks = PLANE_CELL // _VARIANCE_BLOCK
    for row in range(rows):  # a band at a time, to bound memory
        luma = array[row * PLANE_CELL : (row + 1) * PLANE_CELL, :, :3] @ _LUMA
        beyond = (PLANE_CELL - luma.shape[0], columns * PLANE_CELL - width)
        band = np.pad(luma, ((0, beyond[0]), (0, beyond[1])), mode="edge")
        variance = band.reshape(blocks, _VARIANCE_BLOCK, -1, _VARIANCE_BLOCK).var((1, 3))
        octaves = np.log2(np.minimum(variance, _STRONG) + _CALM)
        busy[row] = octaves.reshape(blocks, columns, blocks).mean((0, 2))
    offsets: Offsets = np.rint((busy.mean() - busy) * (_PER_OCTAVE * PLANE_STEPS)).astype(np.int8)
    return offsets
