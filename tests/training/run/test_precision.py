"""training.run.precision: what is faster by an injected clock, and that measuring leaves no trace."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
import yaml

from tests.conftest import picture
from tests.training.commands.test_train import CODEC
from tests.training.training_fakes import run_settings, write_png
from training.config import read_config
from training.data.pool import load_pool
from training.run.precision import Timing, choose_precision, measured
from training.run.trainer import Trainer
from training.run.validation import Validation
from training.team import Team


@dataclass
class World:
    """A clock that only steps move; the first of each precision takes long."""

    seconds: dict[bool, float]
    now: float = 0.0
    steps: list[bool] = field(default_factory=list)

    def step(self, bfloat16: bool) -> None:
        self.now += self.seconds[bfloat16] if bfloat16 in self.steps else 1000
        self.steps.append(bfloat16)

    def clock(self) -> float:
        return self.now


def alternating(*seconds: float) -> Callable[[], float]:
    """A clock by which steps take these seconds, one after the other, again and again."""
    calls, now = 0, 0.0

    def clock() -> float:
        nonlocal calls, now
        if calls % 2:
            now += seconds[calls // 2 % len(seconds)]
        calls += 1
        return now

    return clock


@pytest.mark.parametrize(("bfloat16", "faster"), [(0.5, True), (2.0, False), (1.0, False)])
def test_the_faster_one_is_found_after_a_step_of_each_that_does_not_count(
    bfloat16: float, faster: bool
) -> None:
    world = World({False: 1.0, True: bfloat16})
    timing = measured(world.step, clock=world.clock)
    assert timing == Timing(float32=1.0, bfloat16=bfloat16)
    assert timing.faster is faster
    assert world.steps == [False, True] * 4


def test_one_slow_step_decides_nothing() -> None:
    timing = measured(lambda _: None, clock=alternating(9, 9, 1.0, 7.0, 30.0, 0.5, 2.0, 8.0))
    assert timing == Timing(float32=1.0, bfloat16=0.5)


def test_what_does_not_fit_into_memory_is_not_chosen() -> None:
    world = World({False: 1.0, True: 2.0})

    def step(bfloat16: bool) -> None:
        if not bfloat16:
            raise torch.OutOfMemoryError("too much")
        world.step(bfloat16)

    assert measured(step, clock=world.clock).faster


def test_a_choice_is_told_with_both_times() -> None:
    assert str(Timing(float32=0.75, bfloat16=0.5)) == "bfloat16 (0.5 s a step, 0.75 in float32)"
    assert str(Timing(float32=0.5, bfloat16=0.75)) == "float32 (0.5 s a step, 0.75 in bfloat16)"


def trainer(folder: Path, clock: Callable[[], float], **changes: object) -> Trainer:
    write_png(folder / "train_0.png", picture(96, 112))
    stages = [{"name": "a", "steps": 9}]
    values = {
        **run_settings(folder),
        "codec": CODEC,
        "batch": 2,
        "stages": stages,
        "bfloat16": None,
        **changes,
    }
    (folder / "config.yml").write_text(yaml.safe_dump(values))
    config = read_config(folder / "config.yml")
    pool = load_pool(config.train_files, patch=64)
    return Trainer(config, pool, Validation(()), device=torch.device("cpu"), clock=clock)


@pytest.mark.parametrize(("bfloat16", "faster"), [(0.5, True), (2.0, False)])
def test_a_run_measures_and_says_what_it_found(tmp_path: Path, bfloat16: float, faster: bool) -> None:
    made = trainer(tmp_path, alternating(1.0, bfloat16)).precision
    assert made.bfloat16 is faster
    assert made.told.startswith("bfloat16 (0.5 s a step" if faster else "float32 (1 s a step")


def test_the_leader_decides_for_all(tmp_path: Path) -> None:
    class Led(Team):
        def agreed(self, value: float, device: torch.device) -> float:
            del device
            return float(not value)

    made = trainer(tmp_path, alternating(1.0, 0.5))
    precision = choose_precision(
        made.config,
        made.network,
        made.recipe,
        made.pool,
        stage=made.stage,
        device=made.device,
        team=Led(),
        clock=alternating(1.0, 0.5),
    )
    assert made.precision.bfloat16
    assert not precision.bfloat16


@pytest.mark.parametrize("bfloat16", [True, False])
def test_the_configuration_s_word_is_not_measured(tmp_path: Path, bfloat16: bool) -> None:
    def broken() -> float:
        raise AssertionError("nothing to time")

    made = trainer(tmp_path, broken, bfloat16=bfloat16).precision
    assert made.bfloat16 is bfloat16


@pytest.mark.parametrize("codec", [CODEC, {"profile": "cvpr2018", "width": 16}])
def test_measuring_changes_nothing_but_the_choice(tmp_path: Path, codec: dict[str, object]) -> None:
    mask = {"mask_mean": 0.5} if "profile" in codec else {"noise_share": 1.0}
    changes: dict[str, object] = {"codec": codec, "stages": [{"name": "a", "steps": 9, **mask}]}
    parameters: list[list[torch.Tensor]] = []
    for bfloat16 in (None, False):
        made = trainer(tmp_path, alternating(1.0, 2.0), bfloat16=bfloat16, **changes)
        drawn = torch.random.get_rng_state()
        assert all(parameter.grad is None for parameter in made.network.parameters())
        assert made.progress.memory == {}
        assert made.step()
        parameters.append([drawn, *made.network.parameters(), *made.ema.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*parameters, strict=True))
