"""The pixel path of a codec, whatever its profile: pictures to what is coded, and codes to pictures."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from model.config import LEVEL_SCALE, CodecConfig


def level_plane(levels: Tensor, config: CodecConfig) -> Tensor:
    """Levels as networks see them, about -1..1 where there are 16."""
    return (levels - config.level_centre) / LEVEL_SCALE


class Transforms(nn.Module):
    """Analysis and synthesis of one profile.

    Attributes:
        full_precision: names of the parameters that a checkpoint keeps in float32.
        analysis_margin: pixels around a place that can change what the analysis computes there, in whole cells.
        synthesis_margin: the same for the synthesis.
    """

    full_precision: ClassVar[frozenset[str]] = frozenset()
    analysis_margin: int
    synthesis_margin: int

    def features(self, x: Tensor) -> tuple[Tensor, ...]:
        """What the analysis finds whatever the conditions are: most of its work, to be done once for all of them.

        Args:
            x: RGB in -0.5..0.5, float32 [B, 3, H, W], H and W multiples of the profile's map stride.
        """
        raise NotImplementedError

    def analyse(self, features: Sequence[Tensor], conditions: Tensor) -> tuple[Tensor, Tensor]:
        """What the coder takes.

        Args:
            features: see `features`.
            conditions: quality 0..1 and tune 0 or 1, float32 [B, 2, H/stride, W/stride], or [B, 2, 1, 1] where
                they are constant.

        Returns:
            Values whose nearest integers are symbols, float32 [B, channels, H/8, W/8], and levels,
            int64 [B, 1, H/stride, W/stride].
        """
        raise NotImplementedError

    def synthesise(self, codes: Tensor, levels: Tensor, conditions: Tensor) -> Tensor:
        """The picture, RGB about 0..1, float32 [B, 3, H, W], of float codes; shapes as in `analyse`."""
        raise NotImplementedError

    def residual_weight(self, tune: int) -> Tensor | None:
        """Bits that a squared error of 1 in a residual is worth, [channels]; None where codes have no residuals."""
        del tune
        return None

    def run_in(self, dtype: torch.dtype) -> None:
        """Use another precision for the convolutions that may have it."""
        raise NotImplementedError
