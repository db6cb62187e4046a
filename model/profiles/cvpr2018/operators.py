"""The three discrete operators of the paper, with the gradients that it gives them.

Li, Zuo, Gu, Zhao, Zhang: Learning Convolutional Networks for Content-Weighted Image Compression, CVPR 2018,
section 3: the binarizer B, the quantiser Q and the importance mask m, in the paper's letters.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def binarize(e: Tensor) -> Tensor:
    """B(e): 1 where e > 0.5, else 0; any shape. The gradient is that of the identity on [0, 1], 0 outside."""
    bits: Tensor = _Binarize.apply(e)  # type: ignore[no-untyped-call]  # torch's own
    return bits


def quantize_importance(p: Tensor, *, levels: int) -> Tensor:
    """Q(p) = floor(L p), at most L - 1, of p in [0, 1]; any shape, the dtype of p. No gradient of its own."""
    return (p.detach() * levels).floor().clamp_(0, levels - 1)


def importance_mask(p: Tensor, *, channels: int, levels: int, lowest_level: int) -> Tensor:
    """The mask of kept channels: m_k = 1 iff k <= (n / L) (Q(p) + lowest level), k = 1..n.

    The gradient is dm_k/dp = L where L p - 1 <= ceil(k L / n) - lowest level < L p + 2, and 0 elsewhere: it
    reaches the channels of three levels around the last one kept. The paper has it for the lowest level 0;
    level 1 shifts mask and window alike.

    Args:
        p: importance in [0, 1], [B, 1, h, w].
        channels: n.
        levels: L, a divisor of n.
        lowest_level: 0 as in the paper, or 1 as in the authors' released models, where no place is ever empty.

    Returns:
        0 or 1, [B, n, h, w], the dtype of p.
    """
    mask: Tensor = _ImportanceMask.apply(p, channels, levels, lowest_level)  # type: ignore[no-untyped-call]
    return mask


class _Binarize(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, e: Tensor) -> Tensor:
        ctx.save_for_backward(e)
        return (e > 0.5).to(e.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (e,) = ctx.saved_tensors
        inside: Tensor = ((e >= 0) & (e <= 1)).to(grad.dtype)
        return grad * inside


class _ImportanceMask(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, p: Tensor, channels: int, levels: int, lowest_level: int) -> Tensor:
        ctx.save_for_backward(p)
        ctx.sizes = channels, levels, lowest_level
        level = _level_of_channels(channels, levels, p) - lowest_level
        mask: Tensor = (level <= quantize_importance(p, levels=levels)).to(p.dtype)
        return mask

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        (p,) = ctx.saved_tensors
        channels, levels, lowest_level = ctx.sizes
        level = _level_of_channels(channels, levels, p) - lowest_level
        window = (level >= levels * p - 1) & (level < levels * p + 2)
        grad_p: Tensor = levels * (grad * window).sum(1, keepdim=True)
        return grad_p, None, None, None


def _level_of_channels(channels: int, levels: int, like: Tensor) -> Tensor:
    """ceil(k L / n) for k = 1..n: the level that adds channel k, [1, n, 1, 1]."""
    step = channels // levels
    return (torch.arange(channels, device=like.device, dtype=like.dtype) // step + 1).view(1, -1, 1, 1)
