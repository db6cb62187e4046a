"""Regions of interest to a quality plane: where errors weigh more than elsewhere, and where less. numpy only.

A weight multiplies lambda, the weight of the squared error against the rate. The quality axis goes through lambda in
equal ratios, so that a weight is an offset on it, whatever the quality is: whoever searches for the quality of a size
moves all places together, as far as the axis reaches.

Regions are told by pixels and planes by cells of 64 x 64 of them. A cell has the largest weight of its pixels, so
that none is coded worse than was asked for it. For two rectangles, the second of which covers the lower right of the
first, with a number for every 32 pixels, in octaves of weight:

    0 0 | 0 0 | 0 0
    0 2 | 2 2 | 2 0              2 | 2 | 2
    ----+-----+----     ->      ---+---+---
    0 2 |-1-1 |-1 0              2 |-1 | 0
    0 2 |-1-1 |-1 0
"""

import math
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from model.config import CwicConfig
from model.errors import ParameterError
from model.options import PLANE_CELL, PLANE_STEPS, Offsets, box_inside
from model.tiling import Box
from model.types import Pixels, Roi

_NEUTRAL = 128  # of a mask: a weight of 1
_OCTAVE = 32  # values of a mask that double the weight
Octaves = NDArray[np.float64]  # binary logarithms of weights
Starts = NDArray[np.intp]
Number = TypeVar("Number", np.uint8, np.float64)


def interest_offsets(roi: Sequence[Roi] | Pixels, config: CwicConfig, *, height: int, width: int) -> Offsets:
    """The quality plane of regions of interest in a picture of that size.

    Raises:
        ParameterError: a rectangle that is empty or not inside the picture, or a mask of another size.
    """
    bounds = Box(0, 0, width, height)
    octaves = _of_mask(roi, bounds) if isinstance(roi, np.ndarray) else _of_rectangles(roi, bounds)
    steps = octaves * (PLANE_STEPS / math.log2(config.lambda_max / config.lambda_min))
    offsets: Offsets = steps.round().clip(-PLANE_STEPS, PLANE_STEPS).astype(np.int8)
    return offsets


def _of_mask(mask: Pixels, bounds: Box) -> Octaves:
    """Of each cell, [ceil(H / 64), ceil(W / 64)]."""
    height, width = mask.shape
    if (width, height) != bounds.size:
        raise ParameterError(
            f"a mask of {width}x{height} pixels for a picture of {bounds.width}x{bounds.height}", name="roi"
        )
    largest = _largest(mask, np.arange(0, height, PLANE_CELL), np.arange(0, width, PLANE_CELL))
    return (largest.astype(np.float64) - _NEUTRAL) / _OCTAVE


def _of_rectangles(rois: Sequence[Roi], bounds: Box) -> Octaves:
    """Of each cell, [ceil(H / 64), ceil(W / 64)]; drawn on strips from each edge to the next instead of on pixels."""
    boxes = [box_inside(roi, bounds) for roi in rois]
    rows = _strips(bounds.height, [edge for box in boxes for edge in (box.top, box.bottom)])
    columns = _strips(bounds.width, [edge for box in boxes for edge in (box.left, box.right)])
    octaves = np.zeros((len(rows), len(columns)))
    for roi, box in zip(rois, boxes, strict=True):
        covered = (
            slice(*np.searchsorted(rows, (box.top, box.bottom))),
            slice(*np.searchsorted(columns, (box.left, box.right))),
        )
        octaves[covered] = math.log2(roi.weight)
    return _largest(
        octaves, np.flatnonzero(rows % PLANE_CELL == 0), np.flatnonzero(columns % PLANE_CELL == 0)
    )


def _strips(size: int, edges: Sequence[int]) -> Starts:
    """Where strips begin, so that neither an edge nor a border of cells is within one; ascending."""
    starts = np.unique([*range(0, size, PLANE_CELL), *edges])
    return starts[starts < size]


def _largest(values: NDArray[Number], rows: Starts, columns: Starts) -> NDArray[Number]:
    """The largest value of each cell, by the rows and columns of values that cells begin with."""
    largest: NDArray[Number] = np.maximum.reduceat(np.maximum.reduceat(values, rows, axis=0), columns, axis=1)
    return largest
