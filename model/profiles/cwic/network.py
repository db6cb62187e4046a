"""The default profile as one differentiable network: what training optimises and export takes apart."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.config import CwicConfig
from model.context.network import ContextModel, GroupContext
from model.context.passes import pass_grid
from model.context.rates import logistic_bits, map_bits
from model.profiles.base import level_plane
from model.profiles.cwic.transforms import CwicTransforms, distortion_weight
from model.profiles.layers import straight_through

_MASK_RAMP = 8.0  # channels over which the mask's gradient reaches


class CwicOutput(NamedTuple):
    """The picture [B, 3, H, W] (about 0..1), bits per pixel [B], and levels [B, 1, H/16, W/16]."""

    x_hat: Tensor
    code_bpp: Tensor
    map_bpp: Tensor
    levels: Tensor


class CwicNetwork(nn.Module):
    """Analysis, importance-masked quantisation, context models, synthesis."""

    def __init__(self, config: CwicConfig) -> None:
        super().__init__()
        self.config = config
        self.transforms = CwicTransforms(config)
        self.context = ContextModel(config)

    def forward(self, x: Tensor, quality: Tensor, *, noise: bool = False) -> CwicOutput:
        """Code pictures as the codec would, with gradients.

        Args:
            x: RGB, 0..1, float32 [B, 3, H, W], H and W multiples of 16.
            quality: 0..1, [B, 1, H/16, W/16].
            noise: estimate the rate with uniform noise for rounding (Balle et al. 2017), for the start of
                a training from scratch; it overestimates the cost of zeros at low rates.
        """
        config, transforms = self.config, self.transforms
        quality8 = functional.interpolate(quality, scale_factor=2, mode="nearest")
        y, importance = transforms.analysis(x - 0.5, quality8)
        with torch.autocast(x.device.type, enabled=False):
            gain = transforms.gain(quality8)
            soft_levels = 1 + importance * (config.levels - 1)
            levels = straight_through(soft_levels.round(), soft_levels)
            levels8 = functional.interpolate(levels, scale_factor=2, mode="nearest")
            mask = self._mask(levels8)
            side = torch.cat([level_plane(levels8, config), quality8], 1).detach()
            codes, code_bits = self._code(y * gain, mask, side, noise=noise)
            level_bits = map_bits(self.context.map, levels.detach(), quality, config)
        x_hat = transforms.synthesis(codes / gain, level_plane(levels8, config), quality8)
        pixels = x.shape[2] * x.shape[3]
        return CwicOutput(x_hat, code_bits / pixels, level_bits / pixels, levels.detach())

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
            weight = distortion_weight(self.config, self.transforms.log_gain)[channels, None, None].detach()
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


@torch.no_grad()
def rate_distortion_round(y: Tensor, mean: Tensor, log_scale: Tensor, weight: Tensor) -> Tensor:
    """The nearest integer, or the next one towards zero where that saves more bits than it costs."""
    nearest = y.round()
    smaller = nearest - nearest.sign()
    saved = logistic_bits(nearest, mean, log_scale) - logistic_bits(smaller, mean, log_scale)
    lost = weight * ((y - smaller) ** 2 - (y - nearest) ** 2)
    return torch.where(saved > lost, smaller, nearest)
