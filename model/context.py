"""The context models in float, as they are trained. `model.integer` is what codes with them.

A group of channels is coded in a few passes over a grid; every pass is predicted from the passes before it,
from all earlier groups, and from side planes that both ends know (importance level, quality). The importance
map is a group of one channel on a grid of its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor, nn

from model.config import CodecConfig

REACH = 2  # the 5x5 neighbourhood of a code
LINEAR_SCALE = 8  # codes are divided by this as inputs of the hidden layer
LOG_SCALE_LIMIT = 6.0

# Pass of each position, by (row % 4, column % 4).
COARSE_TO_FINE = ((0, 4, 2, 4), (4, 3, 4, 3), (2, 4, 1, 4), (4, 3, 4, 3))
CHECKERBOARD = ((0, 1, 0, 1), (1, 0, 1, 0), (0, 1, 0, 1), (1, 0, 1, 0))
Pattern = tuple[tuple[int, ...], ...]
Tap = tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class GroupSpec:
    """Which channels are coded together, and how.

    Attributes:
        start: first channel.
        size: number of channels.
        previous: sizes of the groups on the same grid that are coded before.
        sides: number of side planes.
        width: hidden width.
        pattern: pass of each position of a 4x4 tile.
    """

    start: int
    size: int
    previous: tuple[int, ...]
    sides: int
    width: int
    pattern: Pattern

    @property
    def passes(self) -> int:
        """How many passes the pattern has."""
        return max(max(row) for row in self.pattern) + 1


def group_specs(config: CodecConfig) -> tuple[GroupSpec, tuple[GroupSpec, ...]]:
    """The importance map's group and the codes' groups."""
    starts = [sum(config.groups[:k]) for k in range(len(config.groups))]
    codes = tuple(
        GroupSpec(
            start=start,
            size=size,
            previous=config.groups[:k],
            sides=2,
            width=config.context_width,
            pattern=CHECKERBOARD if k else COARSE_TO_FINE,
        )
        for k, (start, size) in enumerate(zip(starts, config.groups, strict=True))
    )
    width = config.map_width
    return GroupSpec(start=0, size=1, previous=(), sides=1, width=width, pattern=COARSE_TO_FINE), codes


@lru_cache
def seen_taps(pattern: Pattern, step: int) -> tuple[Tap, ...]:
    """Offsets (rows, columns) within REACH at which a position of pass `step` can find an earlier pass."""
    offsets = range(-REACH, REACH + 1)
    here = [(i, j) for i in range(4) for j in range(4) if pattern[i][j] == step]
    return tuple(
        (dy, dx)
        for dy in offsets
        for dx in offsets
        if any(pattern[(i + dy) % 4][(j + dx) % 4] < step for i, j in here)
    )


def pass_grid(pattern: Pattern, height: int, width: int, *, device: torch.device) -> Tensor:
    """The pass of every position of a grid, int64 [height, width]."""
    tile = torch.tensor(pattern, device=device)
    return tile.repeat(-(-height // 4), -(-width // 4))[:height, :width]


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
