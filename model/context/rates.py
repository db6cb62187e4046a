"""Bits of integers under the float context models: what training pays, and what the coder then comes close to."""

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from model.config import CodecConfig
from model.context.network import GroupContext
from model.context.passes import pass_grid

Price = Callable[[Tensor, Tensor, Tensor], Tensor]
_SCALE_MIN = 0.04
_LIKELIHOOD_MIN = 1e-6


def scale_of(log_scale: Tensor) -> Tensor:
    """The logistic's scale of a context model's second output."""
    return torch.exp(log_scale - 1) + _SCALE_MIN


def logistic_bits(
    values: Tensor, mean: Tensor, log_scale: Tensor, *, low: float = -math.inf, high: float = math.inf
) -> Tensor:
    """Bits of integers under a discretised logistic whose tails belong to the ends of the alphabet.

    The mean is kept within the alphabet, as the coder keeps it.
    """
    scale = scale_of(log_scale)
    distance = values - mean.clamp(low, high)
    sign = torch.where(distance > 0, -1.0, 1.0)  # work in the lower tail, where float32 is exact
    upper = torch.sigmoid((distance + 0.5) * sign / scale)
    lower = torch.sigmoid((distance - 0.5) * sign / scale)
    upper = torch.where(values >= high, (1 + sign) / 2, upper)
    lower = torch.where(values <= low, (1 - sign) / 2, lower)
    return -torch.log2((upper - lower).abs().clamp_min(_LIKELIHOOD_MIN))


def bernoulli_bits(bits: Tensor, mean: Tensor, log_scale: Tensor) -> Tensor:
    """What `logistic_bits` gives for the alphabet 0, 1; and a bit's gradient is what flipping it costs."""
    logit = (mean.clamp(0, 1) - 0.5) / scale_of(log_scale)
    return (functional.softplus(logit) - bits * logit) / math.log(2)


def symbol_bits(group: GroupContext, base: Tensor, symbols: Tensor, codes: Tensor, *, price: Price) -> Tensor:
    """Bits of each symbol of a group, pass by pass, each predicted from the passes before.

    Args:
        group: its context model.
        base: of `GroupContext.base`.
        symbols: what is written, [B, size, H, W].
        codes: the same as context models see them, 0 where masked, [B, size, H, W].
        price: bits of symbols with a predicted mean and log scale.
    """
    grid = pass_grid(group.spec.pattern, *symbols.shape[2:], device=symbols.device)[None, None]
    bits = torch.zeros_like(symbols)
    for step in range(group.spec.passes):
        seen = (grid < step).float()
        mean, log_scale = group(base, codes * seen, seen)
        bits = bits + (grid == step) * price(symbols, mean, log_scale)
    return bits


def map_bits(group: GroupContext, levels: Tensor, quality: Tensor, config: CodecConfig) -> Tensor:
    """Bits of importance maps, [B], of levels [B, 1, H, W] at a quality 0..1 of the same shape."""
    low, high = config.lowest_level - config.level_centre, config.highest_level - config.level_centre
    values = levels - config.level_centre
    price = partial(logistic_bits, low=low, high=high)
    base = group.base(quality, values[:, :0])
    return symbol_bits(group, base, values, values, price=price).sum((1, 2, 3))
