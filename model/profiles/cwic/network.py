"""The default profile as one differentiable network: what training optimises and export takes apart."""

from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from model.config import CwicConfig
from model.context import haar
from model.context.network import Coding, ContextModel, rows_at, straight_through
from model.context.quantise import rdo_quantise
from model.context.rates import logistic_bits, map_bits
from model.entropy.tables import FRACTIONS
from model.profiles.base import level_plane
from model.profiles.cwic.transforms import CwicTransforms, at_codes, distortion_weight

_LEAST_RAMP = 8.0  # channels over which the mask's gradient reaches, at least


class CwicOutput(NamedTuple):
    """The picture [B, 3, H, W] (about 0..1), bits per pixel [B], and levels [B, 1, H/16, W/16]."""

    x_hat: Tensor
    code_bpp: Tensor
    map_bpp: Tensor
    levels: Tensor


class CwicNetwork(nn.Module):
    """Analysis, importance-masked quantisation, context models, synthesis."""

    kept: Tensor

    def __init__(self, config: CwicConfig) -> None:
        super().__init__()
        self.config = config
        self.transforms = CwicTransforms(config)
        self.context = ContextModel(config)
        self.register_buffer("kept", torch.tensor(config.kept, dtype=torch.float32), persistent=False)

    def forward(
        self, x: Tensor, conditions: Tensor, *, noise: bool = False, groups: Tensor | None = None
    ) -> CwicOutput:
        """Code pictures as the codec would, with gradients.

        Args:
            x: RGB, 0..1, float32 [B, 3, H, W], H and W multiples of 16.
            conditions: quality 0..1 and tune, [B, 2, H/16, W/16].
            noise: estimate the rate with uniform noise for rounding (Balle et al. 2017), for the start of
                a training from scratch; it overestimates the cost of zeros at low rates.
            groups: of how many channel groups each picture has residuals, [B]; in the later ones they are zero
                and cost nothing, as in a file that was cut. None: of all.
        """
        config, transforms = self.config, self.transforms
        fine = at_codes(conditions)
        y, importance = transforms.analysis(x - 0.5, fine)
        with torch.autocast(x.device.type, enabled=False):
            gain = transforms.gain(fine)
            soft_levels = 1 + importance * (config.levels - 1)
            levels = straight_through(soft_levels.round(), soft_levels)
            fine_levels = at_codes(levels)
            mask = self._mask(fine_levels)
            context = torch.cat([level_plane(levels, config), conditions], 1).detach()
            weight = distortion_weight(config, transforms.log_gain)[fine[:, 1, 0, 0].long()].detach()
            level_bits = map_bits(self.context.map, levels.detach(), conditions, config)
        codes, code_bits = self._code(y * gain, mask, context, weight, noise=noise, groups=groups)
        x_hat = transforms.synthesis(codes / gain, level_plane(fine_levels, config), fine)
        pixels = x.shape[2] * x.shape[3]
        return CwicOutput(x_hat, code_bits / pixels, level_bits / pixels, levels.detach())

    def _mask(self, levels: Tensor) -> Tensor:
        """The mask of kept channels; its gradient is that of a ramp around the last kept channel."""
        channel = torch.arange(self.config.channels, device=levels.device).view(1, -1, 1, 1)
        low = (levels.detach().floor().long() - 1).clamp(0, self.config.levels - 2)
        slope = self.kept[low + 1] - self.kept[low]
        kept = self.kept[levels.detach().long() - 1]
        soft = kept + slope * (levels - levels.detach())
        ramp = ((soft - channel) / (kept / 4).clamp_min(_LEAST_RAMP) + 0.5).clamp(0, 1)
        return straight_through((channel < kept - 0.5).float(), ramp)

    def _code(
        self,
        y: Tensor,
        mask: Tensor,
        context: Tensor,
        weight: Tensor,
        *,
        noise: bool,
        groups: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        """Quantise and price all groups pass by pass.

        Args:
            y: latents, [B, channels, h, w].
            mask: of the same shape.
            context: level, quality and tune at the map's resolution, [B, 3, h / 2, w / 2].
            weight: bits that a squared error of 1 is worth, [B, channels].
            noise: see `forward`.
            groups: see `forward`.

        Returns:
            Codes [B, channels, h, w] and bits [B].
        """
        first = self.config.groups[0]
        done, bits = self._code_first(y[:, :first], context, weight[:, :first], noise=noise)
        fine = at_codes(context)
        for k, group in self.context.groups().items():
            own = slice(group.spec.start, group.spec.start + group.spec.size)
            there = y.new_ones(len(y)) if groups is None else (groups > k).to(y.dtype)
            coding = partial(_coded, y[:, own], mask[:, own], weight[:, None, own], there, noise=noise)
            codes, costs = group.walk(group.base(fine, done), coding)
            done = torch.cat([done, codes], 1)
            bits = bits + costs.sum((1, 2, 3))
        return done, bits

    def _code_first(
        self, y: Tensor, context: Tensor, weight: Tensor, *, noise: bool
    ) -> tuple[Tensor, Tensor]:
        """The same of the first group, which is always there, through its Haar level."""
        model, there = self.context, y.new_ones(len(y))
        assert model.averages is not None
        assert model.details is not None
        averages, details = haar.split(y)

        def coding(values: Tensor, weight: Tensor) -> Coding:
            return partial(_coded, values, torch.ones_like(values), weight[:, None], there, noise=noise)

        found, costs = model.averages.walk(
            model.averages.base(context, averages[:, :0]), coding(averages, weight)
        )
        bits = costs.sum((1, 2, 3))
        details, costs = model.details.walk(
            model.details.base(context, found), coding(details, weight.repeat(1, haar.DETAILS))
        )
        whole = haar.join(found.detach() * FRACTIONS, details.detach() * FRACTIONS)
        return straight_through(whole / FRACTIONS, y), bits + costs.sum((1, 2, 3))


def _coded(
    y: Tensor,
    mask: Tensor,
    weight: Tensor,
    there: Tensor,
    at: Tensor,
    mean: Tensor,
    log_scale: Tensor,
    *,
    noise: bool,
) -> tuple[Tensor, Tensor]:
    """Codes, 0 where masked, and their bits: the predicted mean plus a whole residual, 0 where it is not there."""
    here, kept, there = rows_at(y, at), rows_at(mask, at), there.view(-1, 1, 1)
    residual = here - mean
    whole = rdo_quantise(residual, lambda values: logistic_bits(values, 0.0, log_scale), weight)
    priced = residual + torch.rand_like(here) - 0.5 if noise else straight_through(whole, residual)
    codes = straight_through(whole * there + mean, mean + (here - mean) * there)
    return codes * kept, logistic_bits(priced, 0.0, log_scale) * kept * there
