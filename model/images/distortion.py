"""How far two 8-bit pictures are apart: PSNR, and SSIMULACRA2 where its package is installed. No torch."""

import math
from io import BytesIO

import numpy as np
from PIL import Image

from model.errors import ParameterError
from model.types import Pixels

_STRIP = 1 << 20  # samples whose errors are summed at once
_BLOCK = 8  # pixels, a side
_SMALLEST = 8  # pixels on a side that SSIMULACRA2 is defined for


def psnr(one: Pixels, other: Pixels) -> float:
    """Peak signal-to-noise ratio over all samples of two pictures of one shape, in dB; infinite for equal ones."""
    assert one.shape == other.shape, f"pictures of one shape, got {one.shape} and {other.shape}"
    rows = max(1, _STRIP // max(1, one[0].size))
    squares = 0
    for top in range(0, len(one), rows):
        errors = one[top : top + rows].astype(np.int32) - other[top : top + rows]
        squares += int(np.square(errors).sum(dtype=np.int64))
    return 10 * math.log10(255**2 * one.size / squares) if squares else math.inf


def coarse_psnr(one: Pixels, other: Pixels) -> float:
    """As `psnr`, of the means of blocks of 8x8 pixels of two pictures, [H, W, C]."""
    assert one.shape == other.shape, f"pictures of one shape, got {one.shape} and {other.shape}"
    height, width = one.shape[:2]
    rows = _BLOCK * max(1, _STRIP // max(1, _BLOCK * one[0].size))
    lefts = np.arange(0, width, _BLOCK)
    columns = np.minimum(lefts + _BLOCK, width) - lefts
    squares = 0.0
    for top in range(0, height, rows):
        errors = one[top : top + rows].astype(np.int32) - other[top : top + rows]
        tops = np.arange(0, len(errors), _BLOCK)
        sums = np.add.reduceat(np.add.reduceat(errors, tops), lefts, axis=1)
        pixels = np.outer(np.minimum(tops + _BLOCK, len(errors)) - tops, columns)
        squares += float(np.square(sums / pixels[..., None]).sum())
    blocks = -(-height // _BLOCK) * len(lefts) * one.shape[2]
    return 10 * math.log10(255**2 * blocks / squares) if squares else math.inf


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
