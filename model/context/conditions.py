"""What conditions transforms and context models beside the picture itself: quality and tune."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from model.container.format import QUALITY_STEPS
from model.context.integer import ACTIVATION_ONE


@dataclass(frozen=True, eq=False, kw_only=True)
class Conditions:
    """What conditions a batch of tiles beside their maps.

    Attributes:
        quality: 0..QUALITY_STEPS at the map's resolution, int64 [B, 1, rows, columns].
        tunes: an index of `TUNES` for each tile, int64 [B].
    """

    quality: Tensor
    tunes: Tensor

    @classmethod
    def of(cls, quality: Tensor, tune: int) -> "Conditions":
        """Of a tile with its quality, [1, 1, rows, columns]."""
        return cls(quality=quality, tunes=torch.full((len(quality),), tune, device=quality.device))

    @classmethod
    def cat(cls, each: Sequence["Conditions"]) -> "Conditions":
        """Of tiles of one size, of any pictures."""
        return cls(
            quality=torch.cat([own.quality for own in each]), tunes=torch.cat([own.tunes for own in each])
        )

    def activations(self, count: int) -> Tensor:
        """The first `count` of the planes quality and tune, as the integer models see them, [B, count, h, w]."""
        step = QUALITY_STEPS // ACTIVATION_ONE
        quality = (self.quality + step // 2) // step
        tune = (self.tunes * ACTIVATION_ONE).view(-1, 1, 1, 1).expand_as(quality)
        return torch.cat([quality, tune], 1)[:, :count]

    def planes(self, *, varied: bool) -> Tensor:
        """Quality 0..1 and tune as the transforms see them, float32 [B, 2, rows, columns].

        [B, 2, 1, 1] where the picture has no quality plane: `varied` says whether it has.
        """
        quality = (self.quality if varied else self.quality[:, :, :1, :1]).float() / QUALITY_STEPS
        return torch.cat([quality, self.tunes.float().view(-1, 1, 1, 1).expand_as(quality)], 1)
