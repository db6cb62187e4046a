"""Bits of integers under the float context models: what training pays, and what the coder then comes close to."""

import math

import torch
from torch import Tensor
from torch.nn import functional

from model.config import CodecConfig
from model.context.network import GroupContext, rows_at

_SCALE_MIN = 0.04
_LIKELIHOOD_MIN = 1e-6


def scale_of(log_scale: Tensor) -> Tensor:
    """The logistic's scale of a context model's second output."""
    return torch.exp(log_scale - 1) + _SCALE_MIN


def logistic_bits(
    values: Tensor,
    mean: Tensor | float,
    log_scale: Tensor,
    *,
    low: float = -math.inf,
    high: float = math.inf,
) -> Tensor:
    """Bits of integers under a discretised logistic whose tails belong to the ends of the alphabet.

    The mean is kept within the alphabet, as the coder keeps it.
    """
    scale = scale_of(log_scale)
    distance = values - torch.as_tensor(mean, dtype=values.dtype, device=values.device).clamp(low, high)
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


def map_bits(group: GroupContext, levels: Tensor, conditions: Tensor, config: CodecConfig) -> Tensor:
    """Bits of importance maps, [B], of levels [B, 1, H, W] under conditioning planes [B, N, H, W]."""
    low, high = config.lowest_level - config.level_centre, config.highest_level - config.level_centre
    values = levels - config.level_centre

    def coding(at: Tensor, mean: Tensor, log_scale: Tensor) -> tuple[Tensor, Tensor]:
        here = rows_at(values, at)
        return here, logistic_bits(here, mean, log_scale, low=low, high=high)

    _, bits = group.walk(group.base(conditions, values[:, :0]), coding)
    return bits.sum((1, 2, 3))
