"""The whole codec as one differentiable network: what training optimises and export takes apart."""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.config import CodecConfig
from model.context import ContextModel, GroupContext, pass_grid
from model.layers import straight_through
from model.transforms import Analysis, Synthesis, distortion_weight, lambda_at, level_plane, quantiser_gain

_MASK_RAMP = 8.0  # channels over which the mask's gradient reaches
_SCALE_MIN = 0.04
_LIKELIHOOD_MIN = 1e-6


class NetworkOutput(NamedTuple):
    """The picture [B, 3, H, W] (about 0..1), bits per pixel [B], and levels [B, 1, H/16, W/16]."""

    x_hat: Tensor
    code_bpp: Tensor
    map_bpp: Tensor
    levels: Tensor


class Network(nn.Module):
    """Analysis, importance-masked quantisation, context models, synthesis."""

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        self.config = config
        self.analysis = Analysis(config)
        self.synthesis = Synthesis(config)
        self.context = ContextModel(config)
        self.log_gain = nn.Parameter(torch.zeros(config.channels))

    def gain(self, quality: Tensor) -> Tensor:
        """See `quantiser_gain`."""
        return quantiser_gain(self.config, quality, self.log_gain)

    def lambda_(self, quality: Tensor) -> Tensor:
        """Weight of the squared error (0..255 scale) against bits per pixel."""
        return lambda_at(self.config, quality)

    def forward(self, x: Tensor, quality: Tensor, *, noise: bool = False) -> NetworkOutput:
        """Code pictures as the codec would, with gradients.

        Args:
            x: RGB, 0..1, float32 [B, 3, H, W], H and W multiples of 16.
            quality: 0..1, [B, 1, H/16, W/16].
            noise: estimate the rate with uniform noise for rounding (Balle et al. 2017), for the start of
                a training from scratch; it overestimates the cost of zeros at low rates.
        """
        config = self.config
        quality8 = functional.interpolate(quality, scale_factor=2, mode="nearest")
        y, importance = self.analysis(x - 0.5, quality8)
        with torch.autocast(x.device.type, enabled=False):
            gain = self.gain(quality8)
            soft_levels = 1 + importance * (config.levels - 1)
            levels = straight_through(soft_levels.round(), soft_levels)
            levels8 = functional.interpolate(levels, scale_factor=2, mode="nearest")
            mask = self._mask(levels8)
            side = torch.cat([level_plane(levels8, config), quality8], 1).detach()
            codes, code_bits = self._code(y * gain, mask, side, noise=noise)
            map_bits = self._map_bits(levels.detach(), quality)
        x_hat = self.synthesis(codes / gain, level_plane(levels8, config), quality8)
        pixels = x.shape[2] * x.shape[3]
        return NetworkOutput(x_hat, code_bits / pixels, map_bits / pixels, levels.detach())

    def _mask(self, levels: Tensor) -> Tensor:
        """The mask of kept channels; its gradient is that of a ramp around the last kept channel."""
        channel = torch.arange(self.config.channels, device=levels.device).view(1, -1, 1, 1)
        kept = levels * self.config.step
        ramp = ((kept - channel) / _MASK_RAMP + 0.5).clamp(0, 1)
        return straight_through((channel < kept - 0.5).float(), ramp)

    def _code(self, y: Tensor, mask: Tensor, side: Tensor, *, noise: bool) -> tuple[Tensor, Tensor]:
        """Quantise and price all groups pass by pass: codes [B, channels, h, w], bits [B]."""
        done = y[:, :0]
        bits = y.new_zeros(len(y))
        for group in self.context.groups():
            spec = group.spec
            channels = slice(spec.start, spec.start + spec.size)
            weight = distortion_weight(self.config, self.log_gain)[channels, None, None].detach()
            codes, group_bits = self._code_group(
                group, y[:, channels], mask[:, channels], side, done, weight, noise=noise
            )
            done = torch.cat([done, codes], 1)
            bits = bits + group_bits
        return done, bits

    def _code_group(
        self,
        group: GroupContext,
        y: Tensor,
        mask: Tensor,
        side: Tensor,
        done: Tensor,
        weight: Tensor,
        *,
        noise: bool,
    ) -> tuple[Tensor, Tensor]:
        grid = pass_grid(group.spec.pattern, *y.shape[2:], device=y.device)[None, None]
        base = group.base(side, done)
        codes = torch.zeros_like(y)
        bits = torch.zeros_like(y)
        for step in range(group.spec.passes):
            mean, log_scale = group(base, codes, (grid < step).float())
            now = (grid == step).float()
            quantised = straight_through(rate_distortion_round(y, mean, log_scale, weight), y)
            priced = y + torch.rand_like(y) - 0.5 if noise else quantised
            bits = bits + now * logistic_bits(priced, mean, log_scale)
            codes = codes + now * mask * quantised
        return codes, (bits * mask).sum((1, 2, 3))

    def _map_bits(self, levels: Tensor, quality: Tensor) -> Tensor:
        """Bits of the importance map, [B]."""
        group = self.context.map
        low = 1 - self.config.level_centre
        values = levels - self.config.level_centre
        grid = pass_grid(group.spec.pattern, *levels.shape[2:], device=levels.device)[None, None]
        base = group.base(quality, values[:, :0])
        bits = torch.zeros_like(values)
        for step in range(group.spec.passes):
            seen = (grid < step).float()
            mean, log_scale = group(base, values * seen, seen)
            bits = bits + (grid == step) * logistic_bits(
                values, mean, log_scale, low=low, high=low + self.config.levels - 1
            )
        return bits.sum((1, 2, 3))


def scale_of(log_scale: Tensor) -> Tensor:
    """The logistic's scale of a context model's second output."""
    return torch.exp(log_scale - 1) + _SCALE_MIN


def logistic_bits(
    values: Tensor, mean: Tensor, log_scale: Tensor, *, low: float = -math.inf, high: float = math.inf
) -> Tensor:
    """Bits of integers under a discretised logistic whose tails belong to the ends of the alphabet."""
    scale = scale_of(log_scale)
    distance = values - mean
    sign = torch.where(distance > 0, -1.0, 1.0)  # work in the lower tail, where float32 is exact
    upper = torch.sigmoid((distance + 0.5) * sign / scale)
    lower = torch.sigmoid((distance - 0.5) * sign / scale)
    upper = torch.where(values >= high, (1 + sign) / 2, upper)
    lower = torch.where(values <= low, (1 - sign) / 2, lower)
    return -torch.log2((upper - lower).abs().clamp_min(_LIKELIHOOD_MIN))


@torch.no_grad()
def rate_distortion_round(y: Tensor, mean: Tensor, log_scale: Tensor, weight: Tensor) -> Tensor:
    """The nearest integer, or the next one towards zero where that saves more bits than it costs."""
    nearest = y.round()
    smaller = nearest - nearest.sign()
    saved = logistic_bits(nearest, mean, log_scale) - logistic_bits(smaller, mean, log_scale)
    lost = weight * ((y - smaller) ** 2 - (y - nearest) ** 2)
    return torch.where(saved > lost, smaller, nearest)
