"""The latents and the importance map of one picture, improved by gradient: what the encoder's effort is spent on.

The analysis transform was trained for all pictures; for a given one there are better codes, and the decoder takes any
(Campos et al. 2019; Yang, Bamler and Mandt 2020, "Improving inference for neural image compression"). Those papers
soften the rounding. Here it stays hard: residuals are chosen as the encoder chooses them, with what each costs, and
the gradient tells what a code does to everything else, the pixels and the predictions of later codes:

    code c_i = predicted mean + chosen residual,   J = bits + lambda * distortion
    where c_i should be, as far as others see it:  c_i - (dJ / dc_i) / curvature

The squared error is nearly a sum over orthonormal channels, so that its curvature is known for each. The latents move
a part of the way there, a smaller one in each round, and the residuals are chosen anew. Of the tune `visual` the
distortion is the one that it was trained for, structure and all, whose curvature is known less well: its steps are
smaller.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from model.config import BLOCK, TUNES
from model.context.rates import map_bits
from model.profiles.base import level_plane
from model.profiles.cwic.distortion import distortion
from model.profiles.cwic.network import CwicNetwork, as_chosen
from model.profiles.cwic.transforms import at_codes, at_pixels, distortion_weight, error_weight, lambda_at
from model.tiling import Box
from model.types import Check, unchecked

# Chosen on held-out pictures, for each tune, by the bits at equal quality (training/results/ablations.md).
REFINED_RDO = 0.75  # of `CwicConfig.rdo`: what the means of others cost is in the gradient already
_LATENTS = {"psnr": 0.2, "visual": 0.12}  # of the way, in the first round
_LEVELS = {"psnr": 0.5, "visual": 0.25}  # of a level, in the first round
_BITS = 8.0  # that a level must gain to move as far


class Latents(NamedTuple):
    """What is coded of a window of pixels.

    Attributes:
        y: values whose nearest codes are written, float32 [1, channels, h, w].
        levels: the importance map, whose nearest integers are written, float32 [1, 1, h / 2, w / 2].
    """

    y: Tensor
    levels: Tensor

    def part(self, box: Box, window: Box, *, stride: int) -> "Latents":
        """Of a box of pixels in the window; `stride` is the map's."""
        (rows, columns), cells = box.slices(window, BLOCK), box.slices(window, stride)
        return Latents(self.y[..., rows, columns], self.levels[..., cells[0], cells[1]])


class View(NamedTuple):
    """A window of a picture, and the tile in it that is refined.

    Attributes:
        x: RGB, 0..1, float32 [1, 3, H, W].
        inside: 1 where a pixel belongs to the picture and not to what pads it, float32 [1, 1, H, W].
        conditions: quality and tune, float32 [1, 2, H / 16, W / 16].
        tile: of whole cells of the map.
        window: that all the above is of.
        grey: whether the decoder makes the three colours equal.
    """

    x: Tensor
    inside: Tensor
    conditions: Tensor
    tile: Box
    window: Box
    grey: bool


class Refinement:
    """Improves latents with one checkpoint's networks. Frozen after construction."""

    def __init__(self, network: CwicNetwork) -> None:
        """Take a network, in float32 but for the branches of its transforms, that has no gradients of its own."""
        self._network = network

    def improved(self, latents: Latents, view: View, *, pace: float, check: Check = unchecked) -> Latents:
        """The latents after one round, in which those of the tile move; what lies around stays.

        Args:
            latents: of the window.
            view: what they stand for.
            pace: of the first round's step: from 1 down towards 0.
            check: called between the context models, the synthesis and the gradient.
        """
        network, stride = self._network, self._network.config.map_stride
        tune = int(view.conditions[0, 1, 0, 0])
        own = latents.part(view.tile, view.window, stride=stride)
        y, levels = own.y.clone().requires_grad_(), own.levels.round().requires_grad_()
        with torch.enable_grad(), torch.autocast(y.device.type, enabled=False):
            mask = network.mask(at_codes(levels))
            codes, cost = self._cost(y, levels, mask, latents, view, tune=tune, check=check)
            check()
            to_y, to_levels = torch.autograd.grad(cost, [y, levels])
        with torch.no_grad():
            curvature = 2 * error_weight(network.transforms.log_gain[tune])[:, None, None]
            aim = codes - to_y / curvature
            moved = torch.where(mask > 0, own.y.lerp(aim, pace * _LATENTS[TUNES[tune]]), own.y)
            step = (to_levels / _BITS).clamp(-1, 1)
            levels = (own.levels - pace * _LEVELS[TUNES[tune]] * step).clamp(1, network.config.levels)
            return _with_tile(latents, Latents(moved, levels), view, stride=stride)

    def _cost(
        self,
        y: Tensor,
        levels: Tensor,
        mask: Tensor,
        latents: Latents,
        view: View,
        *,
        tune: int,
        check: Check,
    ) -> tuple[Tensor, Tensor]:
        """Codes of the tile, [1, channels, h, w], and bits: its own, and what the window's errors are worth."""
        network = self._network
        config, transforms, stride = network.config, network.transforms, network.config.map_stride
        cells = view.tile.slices(view.window, stride)
        conditions = view.conditions[..., cells[0], cells[1]]
        context = torch.cat([level_plane(levels, config), conditions], 1)
        weight = REFINED_RDO * distortion_weight(config, transforms.log_gain[tune])[None]
        codes, bits = network.code(y, mask, context, weight, [as_chosen] * len(config.groups))
        bits = bits + map_bits(network.context.map, levels, conditions, config)
        check()
        around = latents.levels.round()
        shown = Latents(latents.y * network.mask(at_codes(around)), around)
        shown = _with_tile(shown, Latents(codes, levels), view, stride=stride)
        fine = at_codes(view.conditions)
        x_hat = transforms.synthesis(
            shown.y / transforms.gain(fine), level_plane(at_codes(shown.levels), config), fine
        )
        if view.grey:
            x_hat = x_hat.mean(1, keepdim=True).expand(-1, 3, -1, -1)
        lambdas = at_pixels(lambda_at(config, view.conditions[:, :1])) * view.inside
        visual = torch.tensor([TUNES[tune] == "visual"], device=y.device)
        worth = distortion(x_hat, view.x, lambdas, visual).sum() * lambdas.numel()
        return codes.detach(), bits.sum() + worth


def _with_tile(latents: Latents, tile: Latents, view: View, *, stride: int) -> Latents:
    """A window's latents with those of its tile in their place."""
    if view.tile == view.window:
        return tile
    whole = Latents(latents.y.clone(), latents.levels.clone())
    there = whole.part(view.tile, view.window, stride=stride)
    there.y.copy_(tile.y)
    there.levels.copy_(tile.levels)
    return whole
