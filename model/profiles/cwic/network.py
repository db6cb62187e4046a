"""The default profile as one differentiable network: what training optimises and export takes apart."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from model.config import TUNES, CwicConfig
from model.context import haar
from model.context.network import Coding, ContextModel, rows_at, straight_through
from model.context.quantise import rdo_quantise
from model.context.rates import logistic_bits, map_bits
from model.entropy.tables import FRACTIONS
from model.profiles.base import level_plane
from model.profiles.cwic.transforms import CwicTransforms, at_codes, distortion_weight

# From values, predicted means and log scales, each [B, N, size], and bits that a squared error of 1 is worth, to
# codes and what they cost.
Choice = Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]

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
    limits: Tensor

    def __init__(self, config: CwicConfig) -> None:
        super().__init__()
        self.config = config
        self.transforms = CwicTransforms(config)
        self.context = ContextModel(config)
        self.register_buffer("kept", torch.tensor(config.kept, dtype=torch.float32), persistent=False)
        within = [config.level_within(groups) for groups in range(len(config.groups) + 1)]
        self.register_buffer("limits", torch.tensor(within, dtype=torch.float32), persistent=False)

    def forward(
        self,
        x: Tensor,
        conditions: Tensor,
        *,
        noise: bool = False,
        groups: Tensor | None = None,
        alone: bool = False,
    ) -> CwicOutput:
        """Code pictures as the codec would, with gradients.

        Args:
            x: RGB, 0..1, float32 [B, 3, H, W], H and W multiples of 16.
            conditions: quality 0..1 and tune, [B, 2, H/16, W/16].
            noise: estimate the rate with uniform noise for rounding (Balle et al. 2017), for the start of
                a training from scratch; it overestimates the cost of zeros at low rates.
            groups: of how many channel groups each picture has residuals, [B]; in the later ones they are zero
                and cost nothing, as in a file that was cut. None: of all.
            alone: the gradients are for the analysis alone: see `as_trained`.
        """
        config, transforms = self.config, self.transforms
        fine = at_codes(conditions)
        y, importance = transforms.analysis(x - 0.5, fine)
        with torch.autocast(x.device.type, enabled=False):
            gain = transforms.gain(fine)
            soft_levels = 1 + importance * (config.levels - 1)
            levels = straight_through(soft_levels.round(), soft_levels)
            fine_levels = at_codes(levels)
            mask = self.mask(fine_levels)
            context = torch.cat([level_plane(levels, config), conditions], 1).detach()
            weight = distortion_weight(config, transforms.log_gain)[fine[:, 1, 0, 0].long()].detach()
            level_bits = map_bits(self.context.map, levels.detach(), conditions, config)
            first = x.new_ones(len(x), 1, 1)
            later = range(1, len(config.groups))
            there = [
                first,
                *(first if groups is None else (groups > k).to(first.dtype).view(-1, 1, 1) for k in later),
            ]
            # What an error of a latent is worth is known of the squared error only.
            drawn = (fine[:, 1, :1, :1] == TUNES.index("psnr")) & (config.rdo > 0)
            choices = [partial(as_trained, there=own, drawn=drawn, noise=noise, alone=alone) for own in there]
        codes, code_bits = self.code(y * gain, mask, context, weight, choices)
        shown = (
            fine_levels
            if groups is None
            else fine_levels.minimum(self.limits[groups.long()].view(-1, 1, 1, 1))
        )
        x_hat = transforms.synthesis(codes / gain, level_plane(shown, config), fine)
        pixels = x.shape[2] * x.shape[3]
        return CwicOutput(x_hat, code_bits / pixels, level_bits / pixels, levels.detach())

    def mask(self, levels: Tensor) -> Tensor:
        """The mask of kept channels; its gradient is that of a ramp around the last kept channel."""
        channel = torch.arange(self.config.channels, device=levels.device).view(1, -1, 1, 1)
        low = (levels.detach().floor().long() - 1).clamp(0, self.config.levels - 2)
        slope = self.kept[low + 1] - self.kept[low]
        kept = self.kept[levels.detach().long() - 1]
        soft = kept + slope * (levels - levels.detach())
        ramp = ((soft - channel) / (kept / 4).clamp_min(_LEAST_RAMP) + 0.5).clamp(0, 1)
        return straight_through((channel < kept - 0.5).float(), ramp)

    def code(
        self, y: Tensor, mask: Tensor, context: Tensor, weight: Tensor, choices: Sequence[Choice]
    ) -> tuple[Tensor, Tensor]:
        """Quantise and price all groups pass by pass.

        Args:
            y: latents, [B, channels, h, w].
            mask: of the same shape.
            context: level, quality and tune at the map's resolution, [B, 3, h / 2, w / 2].
            weight: bits that a squared error of 1 is worth, [B, channels].
            choices: how each group's residuals are chosen.

        Returns:
            Codes [B, channels, h, w] and bits [B].
        """
        first = self.config.groups[0]
        done, bits = self._code_first(y[:, :first], context, weight[:, :first], choices[0])
        fine = at_codes(context)
        for k, group in self.context.groups().items():
            own = slice(group.spec.start, group.spec.start + group.spec.size)
            coding = partial(_coded, y[:, own], mask[:, own], weight[:, None, own], choices[k])
            codes, costs = group.walk(group.base(fine, done), coding)
            done = torch.cat([done, codes], 1)
            bits = bits + costs.sum((1, 2, 3))
        return done, bits

    def _code_first(
        self, y: Tensor, context: Tensor, weight: Tensor, choice: Choice
    ) -> tuple[Tensor, Tensor]:
        """The same of the first group, which is always there, through its Haar level."""
        model = self.context
        assert model.averages is not None
        assert model.details is not None
        averages, details = haar.split(y)

        def coding(values: Tensor, weight: Tensor) -> Coding:
            return partial(_coded, values, torch.ones_like(values), weight[:, None], choice)

        found, costs = model.averages.walk(
            model.averages.base(context, averages[:, :0]), coding(averages, weight)
        )
        bits = costs.sum((1, 2, 3))
        details, costs = model.details.walk(
            model.details.base(context, found), coding(details, weight.repeat(1, haar.DETAILS))
        )
        whole = haar.join(found.detach() * FRACTIONS, details.detach() * FRACTIONS)
        exact = haar.join_exactly(found, details)
        return straight_through(whole / FRACTIONS, exact), bits + costs.sum((1, 2, 3))


def as_trained(
    y: Tensor,
    mean: Tensor,
    log_scale: Tensor,
    weight: Tensor,
    *,
    there: Tensor,
    drawn: Tensor,
    noise: bool = False,
    alone: bool = False,
) -> tuple[Tensor, Tensor]:
    """A `Choice` with the gradients of no rounding; `there` [B, 1, 1]: 0 where there are no residuals.

    But where y is `drawn` to its code, bool [B, 1, 1], the price of its residual moves the predictions only: see
    `_drawn`. And where the analysis is trained `alone`, residuals stay there as they are chosen, and codes follow
    their means, as in `as_chosen`: right for y, but it tells nothing of where the mean of a code should be.
    """
    held = torch.where(drawn, mean.detach(), mean) if alone else mean
    residual = y - held
    whole = _nearest(residual, log_scale, weight)
    codes = straight_through(whole * there + mean, mean + residual * there)
    if noise:
        return codes, logistic_bits(residual + torch.rand_like(y) - 0.5, 0.0, log_scale) * there
    priced = torch.where(drawn, y.detach() - held, residual)
    bits = logistic_bits(straight_through(whole, priced), 0.0, log_scale)
    return codes, _drawn(bits, y, codes, torch.where(drawn, weight, 0)) * there


def as_chosen(y: Tensor, mean: Tensor, log_scale: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """A `Choice` with the gradients of what is coded: residuals stay, and codes follow their means.

    The gradient for `y` is that for the code which stands for it, without what the code itself costs.
    """
    whole = _nearest((y - mean).detach(), log_scale, weight)
    return whole + mean + (y - y.detach()), logistic_bits(whole, 0.0, log_scale)


def _drawn(bits: Tensor, y: Tensor, codes: Tensor, weight: Tensor) -> Tensor:
    """Bits whose gradient draws y to its code by what an error of it is worth.

    So y goes where a refinement of one picture would move it, to c - (dJ / dc) / curvature: see
    `model.profiles.cwic.refinement`. The price of a residual would draw it to the predicted mean instead, also where
    the residual stays what it is.
    """
    pull = weight * (y - codes.detach()).square()
    return bits + pull - pull.detach()


def _nearest(residual: Tensor, log_scale: Tensor, weight: Tensor) -> Tensor:
    return rdo_quantise(residual, lambda values: logistic_bits(values, 0.0, log_scale), weight)


def _coded(
    y: Tensor, mask: Tensor, weight: Tensor, choice: Choice, at: Tensor, mean: Tensor, log_scale: Tensor
) -> tuple[Tensor, Tensor]:
    """Codes, 0 where masked, and their bits: the predicted mean plus a whole residual."""
    codes, bits = choice(rows_at(y, at), mean, log_scale, weight)
    kept = rows_at(mask, at)
    return codes * kept, bits * kept
