"""training.config: what a file may say, what is filled in, and what is refused by name."""

from pathlib import Path

import pytest

from model.errors import ParameterError
from tests.training.commands.test_train import CODEC, run, write_config
from training.commands import train
from training.config import Stage, read_config
from training.run.optimisers import learning_rate
from training.run.trainer import recipe_of


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stages": []}, "a run has stages"),
        ({"stages": [{"name": "a", "steps": 1}] * 2}, "each with a name of its own"),
        ({"stages": [{"name": "a"}]}, "steps, minutes or both"),
        ({"stages": [{"name": "a", "minutes": 0}]}, "minutes: .* greater than 0, got 0"),
        ({"stages": [{"name": "a", "steps": -1}]}, "steps: .* greater than 0, got -1"),
        ({"stages": [{"name": "a", "steps": 1, "learning_rate": "fast"}]}, "learning_rate.0: .*, got 'fast'"),
        ({"stages": [{"name": "a", "steps": 1.5}]}, "steps: .*, got 1.5"),
        ({"stages": [{"name": 1, "steps": 1}]}, "name: .*, got 1"),
        ({"stages": [{"name": "a", "steps": 1, "shares": [0.1]}]}, "shares: "),
        ({"stages": [{"name": "a", "steps": 1, "mask_mean": 0.25}]}, "a mask keeps 0.25 at least"),
        ({"stages": 3}, "int"),
        ({"stages": [{"name": "a b", "steps": 1}]}, "letters, digits and underscores"),
        ({"stages": [{"name": "weights", "steps": 1}]}, "not of .'state', 'weights'."),
        ({"stages": [{"steps": 1}]}, "name"),
        ({"stages": ["a"]}, "expected keys and values, got str"),
        ({"stages": [{"name": "a", "steps": 1, "learning": 1}]}, r"unknown key: stages\.0\.learning"),
        (
            {"stages": [{"name": "a", "steps": 1, "learning_rate": [1e-3, 0]}]},
            "learning_rate.1: .* than 0, got 0",
        ),
        ({"stages": [{"name": "a", "steps": 1, "learning_rate": []}]}, "learning_rate: .*at least 1"),
        ({"stages": [{"name": "a", "steps": 1, "mask_mean": [0.5, 2]}]}, "mask_mean.1: .* equal to 1, got 2"),
        ({"stages": [{"name": "a", "steps": 1, "shares": {"map": -1}}]}, "shares.map: .* equal to 0, got -1"),
        ({"stages": [{"name": "a", "steps": 1, "rate_weight": -1}]}, "rate_weight: .* equal to 0, got -1"),
        (
            {"stages": [{"name": "a", "steps": 1, "optimizer": "sgd"}]},
            "optimizer: .*'adam' or 'soap', got 'sgd'",
        ),
        ({"stages": [{"name": "a", "steps": 1, "schedule": "linear"}]}, "schedule: .*, got 'linear'"),
        ({"stages": [{"name": "a", "steps": 1, "adam_learning_rate": 0}]}, "adam_learning_rate: .*, got 0"),
        ({"stages": [{"name": "a", "minutes": float("inf")}]}, "minutes: .* finite number, got inf"),
        (
            {"stages": [{"name": "a", "noise_share": 0.1}]},
            "schedule: cosine, noise_share; .*schedule: constant",
        ),
        (
            {"stages": [{"name": "a", "schedule": "constant", "learning_rate": [1, 0.1]}]},
            "'a' needs a length",
        ),
        ({"stages": [{"name": "a", "schedule": "constant", "rate_weight": 1}]}, r"both\) for rate_weight;"),
        ({"patch": 100}, "multiple of 16"),
        ({"batch": 0}, "batch: .* greater than 0, got 0"),
        ({"scales": [1, 2.5]}, "scales.1: .* less than or equal to 2, got 2.5"),
        ({"scales": []}, "scales: .* at least 1 item"),
        ({"scales": 0.5}, "scales: 1 must be among them, got"),
        ({"seed": -1}, "seed: .* equal to 0, got -1"),
        ({"seed": 2**32}, "seed: .* less than 4294967296, got 4294967296"),
        ({"ema": 1.5}, "ema: .* less than or equal to 1, got 1.5"),
        ({"learning": 1}, "unknown key: learning"),
        ({"learning": 1, "batch": 0}, "batch: .*; unknown key: learning"),
        ({"codec": {"channels": 9}}, "do not add up"),
        ({"codec": {"profile": "other"}}, "unknown profile 'other'"),
        ({"codec": {"profile": "cvpr2018", "trunk_width": 9}}, "trunk_width"),
    ],
)
def test_bad_settings_are_refused_by_name(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    path = write_config(tmp_path, stage=None, **changes)
    with pytest.raises(ParameterError, match=message) as caught:
        read_config(path)
    assert str(path) in str(caught.value)


def test_a_wrong_optimiser_is_all_that_is_told(tmp_path: Path) -> None:
    path = write_config(tmp_path, stages=[{"name": "a", "steps": 1, "optimizer": "sgd"}])
    with pytest.raises(ParameterError) as caught:
        read_config(path)
    assert "learning_rate" not in str(caught.value)


def test_a_file_that_is_no_text_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "binary.yml"
    path.write_bytes(b"out: \xff")
    with pytest.raises(ParameterError, match=r"binary\.yml"):
        read_config(path)


def test_numbers_that_yaml_takes_for_text_are_numbers(tmp_path: Path) -> None:
    path = write_config(tmp_path)
    path.write_text(path.read_text().replace("learning_rate: 0.001", "learning_rate: 1e-4"))
    assert "1e-4" in path.read_text()
    assert read_config(path).stages[0].learning_rate == (1e-4,)


@pytest.mark.parametrize("stage", [{"parts": ["encoder"]}, {"shares": {"encoder": 0.5}}])
def test_parts_of_another_profile_are_refused(tmp_path: Path, stage: dict[str, object]) -> None:
    path = write_config(tmp_path, stage=stage)
    with pytest.raises(ParameterError, match=r"joint: parts are of .*got \['encoder'\]"):
        run(train, "--config", str(path))


def test_a_stage_without_a_mask_mean_keeps_that_of_the_stage_before(tmp_path: Path) -> None:
    stages = [
        {"name": "a", "steps": 1},
        {"name": "b", "steps": 1, "mask_mean": [0.6, 0.4]},
        {"name": "c", "steps": 1},
    ]
    config = read_config(write_config(tmp_path, stages=stages))
    assert [stage.mask_mean for stage in config.stages] == [(), (0.6, 0.4), (0.4,)]


def test_learning_rates_follow_each_other_in_equal_parts() -> None:
    stage = Stage(name="a", steps=1, learning_rate=(1.0, 0.1), final_learning_rate=0.5, warmup_steps=4)
    late = 10**9
    rates = [learning_rate(stage, late, done) for done in (0, 0.25, 0.49999, 0.5, 0.75, 1)]
    assert rates == pytest.approx([1, 0.75, 0.5, 0.1, 0.075, 0.05], rel=1e-3)
    assert [learning_rate(stage, step, 0.0) for step in range(5)] == [0.25, 0.5, 0.75, 1, 1]


def test_a_constant_schedule_falls_nowhere_and_a_cosine_of_share_1_is_one() -> None:
    for constant in ({"schedule": "constant"}, {"final_learning_rate": 1.0}):
        stage = Stage(name="a", steps=1, learning_rate=(1.0, 0.1), warmup_steps=4, **constant)
        assert [learning_rate(stage, 99, done) for done in (0, 0.49, 0.5, 1)] == [1, 1, 0.1, 0.1]
        assert learning_rate(stage, 1, 0.0) == 0.5


@pytest.mark.parametrize(
    ("codec", "stage", "optimizer", "rate"),
    [
        (CODEC, {}, "soap", 1e-3),
        (CODEC, {"optimizer": "adam"}, "adam", 3.5e-4),
        (CODEC, {"learning_rate": 1e-2}, "soap", 1e-2),
        ({"profile": "cvpr2018"}, {}, "adam", 3.5e-4),
        ({"profile": "cvpr2018"}, {"optimizer": "soap"}, "soap", 1e-3),
    ],
)
def test_the_profile_chooses_the_optimiser_and_it_the_learning_rate(
    tmp_path: Path, codec: dict[str, object], stage: dict[str, object], optimizer: str, rate: float
) -> None:
    stages = [{"name": "a", "steps": 1, **stage}]
    made = read_config(write_config(tmp_path, codec=codec, stages=stages)).stages[0]
    assert (made.optimizer, made.learning_rate) == (optimizer, (rate,))


@pytest.mark.parametrize("name", ["cwic", "cvpr2018", "cvpr2018-tune"])
def test_the_shipped_configurations_are_valid(name: str) -> None:
    config = read_config(Path(train.__file__).parents[1] / "configs" / f"{name}.yml")
    assert config.codec.profile == name.partition("-")[0]
    recipe = recipe_of(config)
    assert {part for stage in config.stages for part in (*stage.parts, *stage.shares)} <= set(recipe.parts)
