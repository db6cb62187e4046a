"""`python -m training train`: what is refused before the training, and what is told of it."""

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch.utils.tensorboard import SummaryWriter

from model.errors import BrokenImageError, ParameterError
from tests.conftest import picture
from tests.training.commands.test_train import folder, run, write_config
from training.commands import export, train
from training.config import read_config
from training.data.pool import load_pool
from training.run.state import STATE
from training.run.trainer import Trainer
from training.run.validation import Validation, load_validation, validation_pictures

__all__ = ["folder"]  # a fixture


@pytest.mark.parametrize(
    ("option", "value"),
    [("--minutes", value) for value in ("-1", "inf", "nan", "x")]
    + [("--steps", value) for value in ("-1", "1.5", "inf")],
)
def test_a_length_that_is_none_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str, value: str
) -> None:
    with pytest.raises(SystemExit, match="2"):
        run(train, "--config", str(tmp_path / "config.yml"), option, value)
    assert f"argument {option}: " in capsys.readouterr().err


@pytest.mark.parametrize("key", ["out", "export_to"])
def test_an_output_that_cannot_be_written_is_found_before_the_training(folder: Path, key: str) -> None:
    below = folder / "val.png" / "below"
    changes: dict[str, object] = {key: str(below)}
    with pytest.raises(ParameterError, match=rf"{below}\S* cannot be written"):
        run(train, "--config", str(write_config(folder, stage=None, **changes)), "--device", "cpu")
    assert not (folder / "run" / STATE).exists()


def test_a_checkpoint_that_cannot_be_written_is_found_before_the_export(folder: Path) -> None:
    below = folder / "val.png" / "below"
    with pytest.raises(ParameterError, match="cannot be written"):
        run(export, "--config", str(write_config(folder)), "--to", str(below))


def test_broken_validation_pictures_are_refused_before_the_training(folder: Path) -> None:
    (folder / "val.png").write_bytes(b"no picture")
    with pytest.raises(BrokenImageError, match=r"1 of 1 pictures cannot be read .*val\.png"):
        run(train, "--config", str(write_config(folder)), "--device", "cpu")
    assert not (folder / "run" / STATE).exists()


def test_validation_watches_the_first_pictures_and_export_judges_by_more(folder: Path) -> None:
    for index in range(14):
        Image.fromarray(picture(40 if index else 12, 40, seed=index)).save(folder / f"seen_{index:02}.png")
    patterns = [str(folder / "seen_*.png")]
    validation = load_validation(patterns)
    assert [path.name for path in validation.small] == ["seen_00.png"]
    assert len(validation.pictures) == 11 + 1
    judged = validation_pictures(patterns, at_most=14).pictures
    assert [each.path.name for each in judged] == [f"seen_{index:02}.png" for index in range(1, 14)]


def test_validation_pictures_that_are_left_out_are_named(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.fromarray(picture(12, 40)).save(folder / "low.png")
    config = write_config(folder, val_files=[str(folder / "val.png"), str(folder / "low.png")])
    assert run(train, "--config", str(config), "--device", "cpu", "--steps", "0") == 0
    told = capsys.readouterr().err
    assert f"left out of the validation, as they are too small: 1 pictures: {folder / 'low.png'}\n" in told


def test_the_learning_rate_in_tensorboard_is_the_stage_s(folder: Path) -> None:
    stage = {"learning_rate": 1e-3, "warmup_steps": 0, "schedule": "constant", "optimizer": "adam"}
    shares = {"shares": dict.fromkeys(("blocks", "analysis", "synthesis", "codes", "map"), 0.25)}
    config = read_config(write_config(folder, stage={**stage, **shares}, log_every=1))
    pool = load_pool(config.train_files, patch=64)
    trainer = Trainer(config, pool, Validation(()), device=torch.device("cpu"))
    written: dict[str, float] = {}

    class Writer(SummaryWriter):
        def __init__(self) -> None:
            pass

        def add_scalar(self, tag: str, scalar_value: float, *_: Any, **__: Any) -> None:
            written[tag] = scalar_value

    outcome = trainer.step()
    assert outcome
    trainer._log(Writer(), outcome)
    assert written["train/learning_rate"] == pytest.approx(1e-3)
