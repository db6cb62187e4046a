"""The profile `cvpr2018` as one differentiable network: what its stages train and export takes apart."""

from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from model.config import Cvpr2018Config
from model.context.network import ContextModel, rows_at, straight_through
from model.context.rates import bernoulli_bits, map_bits
from model.profiles.base import level_plane
from model.profiles.cvpr2018.operators import binarize, importance_mask, quantize_importance
from model.profiles.cvpr2018.transforms import Cvpr2018Transforms


class Cvpr2018Output(NamedTuple):
    """What the network makes of pictures.

    Attributes:
        x_hat: RGB, about -1..1, [B, 3, H, W]; None unless asked for.
        importance: p in (0, 1), [B, 1, H/8, W/8].
        mask: 1 where a code is kept, [B, n, H/8, W/8].
        code_bpp: bits per pixel of the codes, [B]; 0 unless asked for.
        map_bpp: of the importance map, [B]; 0 unless asked for.
        levels: the importance map, [B, 1, H/8, W/8].
    """

    x_hat: Tensor | None
    importance: Tensor
    mask: Tensor
    code_bpp: Tensor
    map_bpp: Tensor
    levels: Tensor


class Cvpr2018Network(nn.Module):
    """Encoder, binarizer, importance mask, context models, decoder."""

    def __init__(self, config: Cvpr2018Config) -> None:
        super().__init__()
        self.config = config
        self.transforms = Cvpr2018Transforms(config)
        self.context = ContextModel(config)

    def forward(self, x: Tensor, *, masked: bool, priced: bool, decoded: bool = True) -> Cvpr2018Output:
        """Code pictures as the codec would, with gradients.

        Args:
            x: RGB, -1..1, float32 [B, 3, H, W], H and W multiples of 8.
            masked: with the importance mask; otherwise every code is kept.
            priced: with the bits of codes and map.
            decoded: with the picture, which the context models alone do not need.
        """
        config = self.config
        e, p = self.transforms.encoder(x)
        with torch.autocast(x.device.type, enabled=False):
            bits = binarize(e)
            mask = (
                importance_mask(
                    p, channels=config.channels, levels=config.levels, lowest_level=config.lowest_level
                )
                if masked
                else torch.ones_like(bits)
            )
            codes = (2 * bits - 1) * mask
            lowest = config.lowest_level if masked else config.highest_level
            levels = quantize_importance(p, levels=config.levels) * masked + lowest
            code_bits = level_bits = x.new_zeros(len(x))
            if priced:
                code_bits = self._code_bits(bits, codes, mask, levels)
                # A map that costs much gets smoother.
                soft_levels = straight_through(levels, config.levels * p) if masked else levels
                level_bits = map_bits(self.context.map, soft_levels, torch.zeros_like(levels), config)
        pixels = x.shape[2] * x.shape[3]
        x_hat = self.transforms.decoder(codes) if decoded else None
        return Cvpr2018Output(x_hat, p, mask, code_bits / pixels, level_bits / pixels, levels)

    def _code_bits(self, bits: Tensor, codes: Tensor, mask: Tensor, levels: Tensor) -> Tensor:
        """[B]."""
        conditions = torch.cat([level_plane(levels, self.config), torch.zeros_like(levels)], 1)
        total = bits.new_zeros(len(bits))
        for group in self.context.groups().values():
            spec = group.spec
            own = slice(spec.start, spec.start + spec.size)
            coding = partial(_priced, bits[:, own], codes[:, own])
            _, costs = group.walk(group.base(conditions, codes[:, : spec.start]), coding)
            total = total + (costs * mask[:, own]).sum((1, 2, 3))
        return total


def _priced(
    bits: Tensor, codes: Tensor, at: Tensor, mean: Tensor, log_scale: Tensor
) -> tuple[Tensor, Tensor]:
    return rows_at(codes, at), bernoulli_bits(rows_at(bits, at), mean, log_scale)
