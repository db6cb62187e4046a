import argparse
import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from model.checkpoints import load_codec
from model.errors import ParameterError
from tests.conftest import picture
from training import export, train
from training.config import TrainConfig, read_config
from training.data import load_pool
from training.klt import block_basis
from training.objective import random_quality
from training.state import STATE, WEIGHTS, read_tensors
from training.train import DivergedError, Trainer
from training.validation import load_validation

CODEC = {
    "channels": 16,
    "levels": 4,
    "groups": [4, 12],
    "stem_width": 8,
    "trunk_width": 12,
    "blocks": 1,
    "context_width": 8,
    "map_width": 8,
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for index in range(4):
        Image.fromarray(picture(96, 112, seed=index)).save(tmp_path / f"train_{index}.png")
    Image.fromarray(picture(80, 80, seed=9)).save(tmp_path / "val.png")
    return tmp_path


def write_config(folder: Path, **changes: object) -> Path:
    values = {
        "train_files": [str(folder / "train_*.png")],
        "val_files": str(folder / "val.png"),
        "out": str(folder / "run"),
        "codec": CODEC,
        "patch": 64,
        "batch": 2,
        "learning_rate": 1e-3,
        "warmup_steps": 2,
        "log_every": 2,
        "bfloat16": False,
        **changes,
    }
    path = folder / "config.yml"
    path.write_text(yaml.safe_dump({key: value for key, value in values.items() if value is not None}))
    return path


def run(module: object, *argv: str) -> int:
    parser = argparse.ArgumentParser()
    module.add_arguments(parser)  # type: ignore[attr-defined]  # both commands have the same two functions
    return int(module.run(parser.parse_args(argv)))  # type: ignore[attr-defined]  # as above


def test_a_run_trains_resumes_and_exports_a_working_codec(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = write_config(folder, steps=6)
    assert run(train, "--config", str(config), "--device", "cpu", "--steps", "3") == 0
    first, progress = read_tensors(folder / "run" / STATE)
    assert progress.step == 3
    assert run(train, "--config", str(config), "--device", "cpu") == 0
    second, progress = read_tensors(folder / "run" / STATE)
    assert (progress.step, progress.skipped) == (6, 0)
    assert not torch.equal(first["network.analysis.head.weight"], second["network.analysis.head.weight"])
    assert list((folder / "run" / "tensorboard").iterdir())
    capsys.readouterr()

    out = folder / "export" / "mine"
    assert run(export, "--config", str(config), "--to", str(out), "--note", "a test") == 0
    card = json.loads(out.with_suffix(".json").read_text())
    assert card["training"]["steps"] == 6
    assert card["training"]["note"] == "a test"
    assert card["training"]["data"] == ["train_*.png"]
    assert [point["bpp"] for point in card["validation_curve"]] == sorted(
        point["bpp"] for point in card["validation_curve"]
    )
    assert str(folder) not in out.with_suffix(".json").read_text()
    codec = load_codec("mine", model_dir=out.parent, device="cpu")
    array = picture(64, 80)
    assert codec.decode(codec.encode(array)).shape == array.shape


def test_training_lowers_the_loss(folder: Path) -> None:
    config = read_config(write_config(folder, steps=60, learning_rate=3e-3, noise_share=0.2))
    pool = load_pool(config.train_files, patch=64)
    trainer = Trainer(config, pool, load_validation(config.val_files), device=torch.device("cpu"))
    losses = [float(objective.loss.detach()) for objective in trainer._steps()]
    assert len(losses) == 60
    assert np.mean(losses[-15:]) < 0.9 * np.mean(losses[:15])


def test_a_run_that_diverges_says_so_and_keeps_its_last_good_state(folder: Path) -> None:
    config = read_config(write_config(folder, steps=100))
    pool = load_pool(config.train_files, patch=64)
    trainer = Trainer(config, pool, load_validation(config.val_files), device=torch.device("cpu"))
    trainer.network.log_gain.data.fill_(float("nan"))
    with pytest.raises(DivergedError, match="no finite loss in 21 steps"):
        trainer.train()
    assert trainer.progress.step == 0
    assert trainer.progress.skipped == 21


def test_only_the_named_parts_move(folder: Path) -> None:
    config = read_config(write_config(folder, steps=2, parts=["map"]))
    pool = load_pool(config.train_files, patch=64)
    trainer = Trainer(config, pool, load_validation(config.val_files), device=torch.device("cpu"))
    before = {name: value.clone() for name, value in trainer.network.state_dict().items()}
    trainer.train()
    for name, value in trainer.network.state_dict().items():
        assert torch.equal(value, before[name]) != name.startswith("context.map.") or "linear" in name, name


def test_a_run_starts_from_the_layers_that_fit(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(train, "--config", str(write_config(folder, steps=1)), "--device", "cpu")
    weights = folder / "run" / WEIGHTS
    wider = {**CODEC, "map_width": 12}
    config = read_config(
        write_config(folder, steps=1, init_from=str(weights), codec=wider, out=str(folder / "b"))
    )
    capsys.readouterr()
    network = train.initial_network(config, load_pool(config.train_files, patch=64))
    assert "start anew: context.map." in capsys.readouterr().err
    assert torch.equal(network.analysis.head.weight, read_tensors(weights)[0]["analysis.head.weight"])


def test_a_block_basis_is_orthonormal_and_starts_with_the_mean(folder: Path) -> None:
    pool = load_pool([str(folder / "train_*.png")], patch=64)
    basis = block_basis(pool, 16, generator=torch.Generator().manual_seed(0)).reshape(16, -1)
    assert torch.allclose(basis @ basis.T, torch.eye(16), atol=1e-4)
    assert basis[0].std() < basis[5].std() + 0.1


def test_quality_planes_are_constant_or_in_quarters() -> None:
    planes = random_quality(400, 12, plane_share=0.5, generator=torch.Generator().manual_seed(0))
    assert planes.shape == (400, 1, 12, 12)
    assert 0 <= float(planes.min())
    assert float(planes.max()) <= 1
    varied = (planes.amax((1, 2, 3)) - planes.amin((1, 2, 3)) > 1e-6).float().mean()
    assert 0.4 < float(varied) < 0.6
    flat = random_quality(9, 12, plane_share=0.0, generator=torch.Generator())
    assert torch.equal(flat, flat[:, :, :1, :1].expand_as(flat))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": None}, "steps, minutes or both"),
        ({"patch": 100}, "multiple of 16"),
        ({"parts": ["nothing"]}, "parts are of"),
        ({"batch": 0}, "batch is above 0, got 0"),
        ({"ema": 1.5}, "ema is 0 to 1"),
        ({"learning": 1}, "unknown keys: learning"),
        ({"codec": {"channels": 9}}, "do not add up"),
    ],
)
def test_bad_settings_are_refused_by_name(folder: Path, changes: dict[str, object], message: str) -> None:
    path = write_config(folder, **{"steps": 5, **changes})
    with pytest.raises(ParameterError, match=message) as caught:
        read_config(path)
    assert str(path) in str(caught.value)


def test_the_shipped_configuration_is_valid() -> None:
    path = Path(train.__file__).parent / "configs" / "cwic.yml"
    assert isinstance(read_config(path), TrainConfig)
