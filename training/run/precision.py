"""Whether the network runs in bfloat16: by measuring, where the configuration does not say."""

import copy
from collections.abc import Callable
from typing import NamedTuple

import torch

from training.config import Stage, TrainConfig
from training.data.pool import PicturePool
from training.recipes.base import AnyNetwork, Recipe
from training.team import Team

Clock = Callable[[], float]

_ROUNDS = 3
_DONE = 0.5  # share of the stage that is measured as behind


class Timing(NamedTuple):
    """Seconds of one step in each precision."""

    float32: float
    bfloat16: float

    @property
    def faster(self) -> bool:
        """Whether bfloat16 is the faster one."""
        return self.bfloat16 < self.float32

    def __str__(self) -> str:
        first, other = ("bfloat16", "float32") if self.faster else ("float32", "bfloat16")
        return f"{first} ({getattr(self, first):.3g} s a step, {getattr(self, other):.3g} in {other})"


class Precision(NamedTuple):
    """Whether convolutions are computed in bfloat16, forwards and backwards, and that in words."""

    bfloat16: bool
    told: str


def measured(step: Callable[[bool], object], *, clock: Clock) -> Timing:
    """Time a step that is told whether it is one in bfloat16: the best of three each, in turns, after one each.

    Where a precision does not fit into the memory, it takes for ever.
    """
    seconds = {False: float("inf"), True: float("inf")}
    for turn in range(1 + _ROUNDS):
        for bfloat16 in seconds:
            started = clock()
            try:
                step(bfloat16)
            except torch.OutOfMemoryError:
                continue
            spent = clock() - started
            if turn:
                seconds[bfloat16] = min(seconds[bfloat16], spent)
    return Timing(float32=seconds[False], bfloat16=seconds[True])


def choose_precision(
    config: TrainConfig,
    network: AnyNetwork,
    recipe: Recipe,
    pool: PicturePool,
    *,
    stage: Stage,
    device: torch.device,
    team: Team,
    clock: Clock,
) -> Precision:
    """What the configuration says, or what is faster here by the leader's clock, for the whole team.

    Args:
        config: of the run.
        network: that is trained; a copy of it is measured, without torch.compile.
        recipe: for measuring only: what it carries from step to step changes.
        pool: of pictures to measure with.
        stage: that the run is in.
        device: of the network.
        team: that trains it.
        clock: seconds, from any start.
    """
    if config.bfloat16 is not None:
        return Precision(config.bfloat16, "bfloat16" if config.bfloat16 else "float32")
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        timing = measured(_training_step(config, network, recipe, pool, stage, device), clock=clock)
    return Precision(bool(team.agreed(timing.faster, device)), str(timing))


def _training_step(
    config: TrainConfig,
    network: AnyNetwork,
    recipe: Recipe,
    pool: PicturePool,
    stage: Stage,
    device: torch.device,
) -> Callable[[bool], None]:
    """Loss and gradients of a batch, for a copy of the network."""
    own = copy.deepcopy(network)
    for name, parameter in own.named_parameters():
        parameter.requires_grad_(recipe.part_of(name) in recipe.trained(stage))
    generator = torch.Generator().manual_seed(config.seed)
    crops = pool.crops(config.batch, config.patch, generator=generator).float() / 255
    drawn = recipe.draw(config.batch, config.patch, generator).to(device)

    def step(bfloat16: bool) -> None:
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=bfloat16):
            outcome = recipe.loss(own, crops, drawn, stage=stage, done=_DONE, team=Team())
        outcome.loss.backward()  # type: ignore[no-untyped-call]  # torch's own
        own.zero_grad()
        _wait_for(device)

    return step


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
