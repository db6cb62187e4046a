"""One level of the orthonormal 2x2 Haar transform, through which the first channel group is coded.

Of each square a b / c d of a channel: the average (a + b + c + d) / 2 and three details, horizontal a - b + c - d,
vertical a + b - c - d, diagonal a - b - c + d, each / 2. Squared errors are the same before and after.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

FACTOR = 2  # by which the grid is coarser, and averages are larger than what they stand for
DETAILS = 3  # for each channel


def split(values: Tensor) -> tuple[Tensor, Tensor]:
    """Averages [B, C, h / 2, w / 2], and details [B, 3 C, h / 2, w / 2] kind by kind, of values [B, C, h, w]."""
    a, b = values[..., ::2, ::2], values[..., ::2, 1::2]
    c, d = values[..., 1::2, ::2], values[..., 1::2, 1::2]
    details = torch.cat([a - b + c - d, a + b - c - d, a - b - c + d], 1)
    return (a + b + c + d) / 2, details / 2


def join(averages: Tensor, details: Tensor) -> Tensor:
    """What `split` took apart, of integers of any type, in integers: a half is rounded up."""
    return _whole([torch.div(corner + 1, 2, rounding_mode="floor") for corner in _corners(averages, details)])


def join_exactly(averages: Tensor, details: Tensor) -> Tensor:
    """The same of real numbers, differentiable."""
    return _whole([corner / 2 for corner in _corners(averages, details)])


def _corners(averages: Tensor, details: Tensor) -> list[Tensor]:
    """Twice the values at the four corners of each square, from left to right, the upper ones first."""
    horizontal, vertical, diagonal = details.chunk(DETAILS, 1)
    return [
        averages + horizontal + vertical + diagonal,
        averages - horizontal + vertical - diagonal,
        averages + horizontal - vertical - diagonal,
        averages - horizontal - vertical + diagonal,
    ]


def _whole(corners: Sequence[Tensor]) -> Tensor:
    """Values [B, C, h, w] of those at the four corners of each square, each [B, C, h / 2, w / 2]."""
    a, b, c, d = corners
    rows = [torch.stack(pair, -1).flatten(3) for pair in ((a, b), (c, d))]
    return torch.stack(rows, 3).flatten(2, 3)
