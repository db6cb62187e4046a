"""How far two 8-bit pictures are apart: PSNR, and SSIMULACRA2 where its package is installed. No torch."""

import math
from io import BytesIO
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from model.errors import ParameterError
from model.types import Pixels

Number = TypeVar("Number", np.int32, np.float32)

_STRIP = 1 << 20  # samples whose errors are summed at once
_BLOCK = 8  # pixels, a side
_SMALLEST = 8  # pixels on a side that SSIMULACRA2 is defined for


def psnr(one: Pixels, other: Pixels) -> float:
    """Peak signal-to-noise ratio over all samples of two pictures of one shape, in dB; infinite for equal ones."""
    squares = sum_of_squares(one, other)
    return 10 * math.log10(255**2 * one.size / squares) if squares else math.inf


def sum_of_squares(one: Pixels, other: Pixels) -> int:
    """The squared differences of all samples of two pictures of one shape."""
    assert one.shape == other.shape, f"pictures of one shape, got {one.shape} and {other.shape}"
    rows = max(1, _STRIP // max(1, one[:1].size))
    squares = 0
    for top in range(0, len(one), rows):
        errors = one[top : top + rows].astype(np.int32) - other[top : top + rows]
        squares += int(np.square(errors).sum(dtype=np.int64))
    return squares


def coarse_psnr(one: Pixels, other: Pixels) -> float:
    """As `psnr`, of the means of blocks of 8x8 pixels of two pictures, [H, W, C]."""
    assert one.shape == other.shape, f"pictures of one shape, got {one.shape} and {other.shape}"
    rows = _BLOCK * max(1, _STRIP // max(1, _BLOCK * one[0].size))
    squares, blocks = 0.0, 0
    for top in range(0, len(one), rows):
        errors = one[top : top + rows].astype(np.int32) - other[top : top + rows]
        pixels = block_sums(np.ones((*errors.shape[:2], 1), np.int32), _BLOCK)
        means = block_sums(errors, _BLOCK) / pixels
        squares += float(np.square(means).sum())
        blocks += means.size
    return 10 * math.log10(255**2 * blocks / squares) if squares else math.inf


def block_sums(values: NDArray[Number], side: int) -> NDArray[Number]:
    """The sums of values [H, W, ...] in blocks of side by side pixels, [ceil(H / side), ceil(W / side), ...]."""
    rows, columns = (np.arange(0, length, side) for length in values.shape[:2])
    return np.add.reduceat(np.add.reduceat(values, rows), columns, axis=1)


def ssimulacra2(one: Pixels, other: Pixels) -> float:
    """SSIMULACRA2 of a picture `other` that was made from `one`, both [H, W, 3].

    100 for equal pictures, 90 where nobody sees a difference, below 0 for the worst. What has fewer than 8 pixels on
    a side, which the package does not look at, is made as large by repeating its edge.

    Sneyers: "SSIMULACRA 2", 2022, in the implementation of the PyPI package `ssimulacra2`.

    Raises:
        ParameterError: the package is not installed.
    """
    check_ssimulacra2()
    from ssimulacra2 import compute_ssimulacra2

    files = (BytesIO(), BytesIO())
    height, width = one.shape[:2]
    padding = ((0, max(0, _SMALLEST - height)), (0, max(0, _SMALLEST - width)), (0, 0))
    for array, file in zip((one, other), files, strict=True):
        Image.fromarray(np.pad(array, padding, mode="edge")).save(file, "BMP")
    return float(compute_ssimulacra2(*files))


def check_ssimulacra2() -> None:
    """Raise ParameterError where the package that measures SSIMULACRA2 is not installed."""
    try:
        import ssimulacra2  # noqa: F401
    except ImportError as exc:
        raise ParameterError(
            "SSIMULACRA2 needs the extra `ssimulacra2`: pip install 'cwic[ssimulacra2]'"
        ) from exc
