"""In which order the codes of a group are coded: the passes over its grid, and what each can be predicted from."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType

import torch
from torch import Tensor

from model.config import CodecConfig

REACH = 2  # the 5x5 neighbourhood of a code
Pattern = tuple[tuple[int, ...], ...]
Tap = tuple[int, int]
# Pass of each position, by (row % 4, column % 4).
COARSE_TO_FINE: Pattern = ((0, 4, 2, 4), (4, 3, 4, 3), (2, 4, 1, 4), (4, 3, 4, 3))
CHECKERBOARD: Pattern = ((0, 1, 0, 1), (1, 0, 1, 0), (0, 1, 0, 1), (1, 0, 1, 0))
AT_ONCE: Pattern = ((0, 0, 0, 0),) * 4
PATTERNS: Mapping[int, Pattern] = MappingProxyType({5: COARSE_TO_FINE, 2: CHECKERBOARD, 1: AT_ONCE})
"""By their number of passes."""


@dataclass(frozen=True, kw_only=True)
class GroupSpec:
    """Which channels are coded together, and how.

    Attributes:
        start: first channel.
        size: number of channels.
        previous: sizes of the groups on the same grid that are coded before.
        conditions: number of conditioning planes.
        width: hidden width.
        pattern: pass of each position of a 4x4 tile.
    """

    start: int
    size: int
    previous: tuple[int, ...]
    conditions: int
    width: int
    pattern: Pattern

    @property
    def passes(self) -> int:
        """How many passes the pattern has."""
        return passes_of(self.pattern)


def passes_of(pattern: Pattern) -> int:
    """How many passes a pattern has."""
    return max(map(max, pattern)) + 1


def group_specs(config: CodecConfig) -> tuple[GroupSpec, tuple[GroupSpec, ...]]:
    """The importance map's group and the codes' groups, which see the map beside the other conditions."""
    starts = [sum(config.groups[:k]) for k in range(len(config.groups))]
    codes = tuple(
        GroupSpec(
            start=start,
            size=size,
            previous=config.groups[:k],
            conditions=1 + config.conditions,
            width=config.context_width,
            pattern=PATTERNS[passes],
        )
        for k, (start, size, passes) in enumerate(zip(starts, config.groups, config.passes, strict=True))
    )
    return (
        GroupSpec(
            start=0,
            size=1,
            previous=(),
            conditions=config.conditions,
            width=config.map_width,
            pattern=COARSE_TO_FINE,
        ),
        codes,
    )


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
