"""The context models in float, as they are trained. `model.context.integer` is what codes with them.

A group of channels is coded in a few passes over a grid; every pass is predicted from the passes before it,
from all earlier groups, and from side planes that both ends know (importance level, quality). The importance
map is a group of one channel on a grid of its own.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from model.config import CodecConfig
from model.context.passes import REACH, GroupSpec, group_specs

LINEAR_SCALE = 8  # codes are divided by this as inputs of the hidden layer
LOG_SCALE_LIMIT = 6.0


def code_features(codes: Tensor) -> Tensor:
    """Codes as the hidden layer sees them: linear and saturated, [B, C, H, W] to [B, 2C, H, W]."""
    return torch.cat([codes / LINEAR_SCALE, torch.tanh(codes / 2)], 1)


class GroupContext(nn.Module):
    """Predicts mean and scale of each code of a group, pass by pass."""

    def __init__(self, spec: GroupSpec) -> None:
        super().__init__()
        self.spec = spec
        size, width, before = spec.size, spec.width, sum(spec.previous)
        self.side = nn.Conv2d(spec.sides, width, 5, padding=REACH)
        self.previous = nn.Conv2d(2 * before, width, 3, padding=1) if before else None
        self.local = nn.Conv2d(2 * size, width, 5, padding=REACH)
        self.linear = nn.Conv2d(size + 1, size, 5, padding=REACH, bias=False)
        self.hidden = nn.Conv2d(width, width, 1)
        self.out = nn.Conv2d(width, 2 * size, 1)
        nn.init.zeros_(self.linear.weight)

    def base(self, side: Tensor, previous: Tensor) -> Tensor:
        """What all passes share: from the side planes [B, sides, H, W] and earlier groups [B, C, H, W]."""
        base: Tensor = self.side(side)
        if self.previous is not None:
            base = base + self.previous(code_features(previous))
        return base

    def forward(self, base: Tensor, known: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log scale of the codes, each [B, size, H, W]; right for the pass after those seen.

        Args:
            base: of `base`, [B, width, H, W].
            known: codes of earlier passes, zero elsewhere, [B, size, H, W].
            seen: 1 where a pass has been coded, [1, 1, H, W]; None of it in the first pass.
        """
        mean: Tensor | float = 0.0
        if bool(seen.any()):
            base = base + self.local(code_features(known))
            mean = self.linear(torch.cat([known, seen.expand(len(known), -1, -1, -1)], 1))
        offset, log_scale = self.out(torch.relu(self.hidden(torch.relu(base)))).split(self.spec.size, 1)
        return mean + offset, log_scale.clamp(-LOG_SCALE_LIMIT, LOG_SCALE_LIMIT)


class ContextModel(nn.Module):
    """The context models of the importance map and of all channel groups."""

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        map_spec, code_specs = group_specs(config)
        self.map = GroupContext(map_spec)
        self.codes = nn.ModuleList(GroupContext(spec) for spec in code_specs)

    def groups(self) -> Sequence[GroupContext]:
        """The code groups, typed."""
        return [group for group in self.codes if isinstance(group, GroupContext)]
