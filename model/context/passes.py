"""In which order the codes of a group are coded: the passes over its grid, and what each can be predicted from."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from types import MappingProxyType
from typing import NamedTuple

import torch
from torch import Tensor

from model.config import CodecConfig
from model.context.haar import DETAILS, FACTOR

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
        name: of the group's weights in a checkpoint.
        start: first channel.
        size: number of channels.
        previous: sizes of the groups on the same grid that are coded before.
        conditions: number of conditioning planes.
        largest_level: that the planes tell, from the centre of the levels.
        width: hidden width.
        pattern: pass of each position of a 4x4 tile.
        gain: how many times as large as codes its values are.
        previous_gain: the same of the groups before.
        refines: whether it refines the groups before: then they predict its means linearly too, and are seen
            within REACH instead of one place around.
    """

    name: str
    start: int
    size: int
    previous: tuple[int, ...]
    conditions: int
    largest_level: int
    width: int
    pattern: Pattern
    gain: int = 1
    previous_gain: int = 1
    refines: bool = False

    @property
    def near(self) -> int:
        """How far around a place the groups before are seen."""
        return REACH if self.refines else 1

    @property
    def passes(self) -> int:
        """How many passes the pattern has."""
        return passes_of(self.pattern)


def passes_of(pattern: Pattern) -> int:
    """How many passes a pattern has."""
    return max(map(max, pattern)) + 1


class Specs(NamedTuple):
    """All groups of a codec.

    Attributes:
        map: the importance map's.
        haar: averages and details of the first channel group, where it is coded through a Haar level.
        codes: the other channel groups, by their number.
    """

    map: GroupSpec
    haar: tuple[GroupSpec, GroupSpec] | None
    codes: Mapping[int, GroupSpec]

    def named(self) -> dict[str, GroupSpec]:
        """In the order of coding."""
        return {spec.name: spec for spec in (self.map, *(self.haar or ()), *self.codes.values())}


def specs_of(config: CodecConfig) -> Specs:
    """The groups of a codec; those of codes see the map beside the other conditions."""
    first, passes = config.groups[0], config.passes
    of_codes = partial(
        GroupSpec,
        conditions=1 + config.conditions,
        largest_level=max(
            config.level_centre - config.lowest_level, config.highest_level - config.level_centre
        ),
        width=config.context_width,
    )
    averages = of_codes(
        name="averages", start=0, size=first, previous=(), pattern=PATTERNS[passes[0]], gain=FACTOR
    )
    details = of_codes(
        name="details",
        start=0,
        size=DETAILS * first,
        previous=(first,),
        pattern=CHECKERBOARD,
        previous_gain=FACTOR,
        refines=True,
    )
    codes = {
        k: of_codes(
            name=f"codes.{k}",
            start=sum(config.groups[:k]),
            size=size,
            previous=config.groups[:k],
            pattern=PATTERNS[passes[k]],
        )
        for k, size in enumerate(config.groups)
        if k or not config.haar
    }
    of_map = GroupSpec(
        name="map",
        start=0,
        size=1,
        previous=(),
        conditions=config.conditions,
        largest_level=0,
        width=config.map_width,
        pattern=COARSE_TO_FINE,
    )
    return Specs(of_map, (averages, details) if config.haar else None, codes)


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
