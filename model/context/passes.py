"""In which order the codes of a group are coded: the passes over its grid, and what each can be predicted from."""

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from model.config import CodecConfig

REACH = 2  # the 5x5 neighbourhood of a code
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
