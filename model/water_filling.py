"""What to expect of a picture at each quality before anything is coded: reverse water-filling.

A transform coder of Gaussian coefficients leaves an error of min(variance, t) in each, where t is how high the water
stands, and spends log2(variance / t) / 2 bits on each that rises above. The quality says how high it stands. Here
they are the coefficients of the DCT of 8x8 blocks of green, each with its own square for a variance. That is crude
but tells pictures apart: at a quality, the PSNR of photographs has a standard deviation of 2 to 4 dB, and of 1 to
1.5 dB around this curve (`training/results/ablations.md`, "Targets").

Cover, Thomas: Elements of Information Theory, 2nd edition, section 10.3.3.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from model.container.format import QUALITY_STEPS
from model.entropy.tables import Floats
from model.types import Pixels

_SIDE = 8  # of a block
_LOOKED_AT = 2**20  # pixels, about: of a larger picture every so many-th row of blocks
# How high the water stands, in dB above a squared error of 1, at the lowest quality, and how far it falls to the
# highest: the median of 60 photographs with the default checkpoint, within 0.3 dB everywhere.
_HIGHEST, _FALL = 34.8, 26.0
_KNOTS = np.linspace(
    0, QUALITY_STEPS, 17
)  # positions on the quality axis; between them the curve hardly bends
# Bits per pixel of files are exp(1.31) * bits^1.94 * exp(0.46 * quality): the closest to 71 photographs.
_RATE = (1.31, 1.94, 0.46)
_LEAST = 1e-3  # of a squared error and of bits: a flat picture has none

Powers = NDArray[np.float32]


def expected_psnr(array: Pixels) -> Floats:
    """The PSNR in dB at each position of the quality axis, ascending, [QUALITY_STEPS + 1], of uint8 [H, W, 3]."""
    errors = _means(array, lambda powers, height: np.minimum(powers, height))
    return _between(10 * np.log10(255**2 / np.maximum(errors, _LEAST)))


def expected_rate(array: Pixels) -> Floats:
    """The natural logarithm of the bits per pixel, likewise."""
    bits = _means(array, lambda powers, height: np.log2(np.maximum(powers / height, 1)) / 2)
    scale, power, slope = _RATE
    return _between(scale + power * np.log(bits + _LEAST) + slope * _KNOTS / QUALITY_STEPS)


def _means(array: Pixels, of: Callable[[Powers, np.float32], Powers]) -> Floats:
    """Something of all coefficients' squares and how high the water stands, at each of the knots."""
    green = _whole_blocks(array[..., 1])
    every = -(-green.size // _LOOKED_AT)
    basis = _basis()
    heights = (10 ** ((_HIGHEST - _FALL * _KNOTS / QUALITY_STEPS) / 10)).astype(np.float32)
    means = np.zeros(len(heights))
    tops = range(0, len(green), _SIDE * every)
    for top in tops:
        blocks = green[top : top + _SIDE].astype(np.float32).reshape(_SIDE, -1, _SIDE).swapaxes(0, 1)
        powers = np.square(blocks.reshape(-1, _SIDE**2) @ basis)
        means += [of(powers, height).mean() for height in heights]
    return means / len(tops)


def _between(values: Floats) -> Floats:
    """At all positions, of values at the knots."""
    curve: Floats = np.interp(np.arange(QUALITY_STEPS + 1), _KNOTS, values)
    return curve


def _whole_blocks(plane: Pixels) -> Pixels:
    """Without the rows and columns that fill no block; what is smaller than one goes on as its edge."""
    height, width = plane.shape
    padding = ((0, max(0, _SIDE - height)), (0, max(0, _SIDE - width)))
    padded = np.pad(plane, padding, mode="edge")
    return padded[: len(padded) // _SIDE * _SIDE, : padded.shape[1] // _SIDE * _SIDE]


def _basis() -> NDArray[np.float32]:
    """The orthonormal DCT-II of a block, pixels by coefficients, [64, 64]."""
    order, place = np.arange(_SIDE)[:, None], np.arange(_SIDE)
    rows = np.sqrt(np.where(order, 2, 1) / _SIDE) * np.cos(np.pi * (2 * place + 1) * order / (2 * _SIDE))
    return np.kron(rows, rows).T.astype(np.float32)
