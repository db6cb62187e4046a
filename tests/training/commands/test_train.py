import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from model.checkpoints import load_codec
from model.errors import CheckpointFormatError, ParameterError
from tests.conftest import picture
from tests.training.training_fakes import run_settings
from training.commands import export, train
from training.config import read_config
from training.data.pool import load_pool
from training.recipes.cwic import random_quality
from training.recipes.klt import block_samples, principal_components
from training.run.state import STATE, WEIGHTS, Progress, read_tensors, write_tensors
from training.run.trainer import DivergedError, Trainer, initial_network, recipe_of
from training.run.validation import Validation, load_validation
from training.team import Team

CODEC = {
    "channels": 16,
    "kept": [4, 8, 12, 16],
    "groups": [4, 12],
    "passes": [5, 1],
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


def write_config(folder: Path, *, stage: dict[str, object] | None = None, **changes: object) -> Path:
    """A config file with one stage of 5 steps, `stage` and `changes` applied."""
    values = {
        **run_settings(folder),
        "codec": CODEC,
        "batch": 2,
        "stages": [{"name": "joint", "steps": 5, "learning_rate": 1e-3, "warmup_steps": 2, **(stage or {})}],
        "log_every": 2,
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
    config = write_config(folder, stage={"steps": 6})
    assert run(train, "--config", str(config), "--device", "cpu", "--minutes", "1e-9") == 0
    first, progress = read_tensors(folder / "run" / STATE)
    assert 0 < progress.step < 6
    assert run(train, "--config", str(config), "--device", "cpu") == 0
    told = capsys.readouterr().err
    assert f"run in {folder / 'run'} goes on in stage joint, after {progress.step} steps" in told
    second, progress = read_tensors(folder / "run" / STATE)
    assert (progress.step, progress.skipped) == (6, 0)
    assert not torch.equal(
        first["network.transforms.analysis.head.1.weight"],
        second["network.transforms.analysis.head.1.weight"],
    )
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


@pytest.mark.parametrize("optimizer", ["adam", "soap"])
def test_training_lowers_the_loss(folder: Path, optimizer: str) -> None:
    rates: dict[str, object] = {"optimizer": optimizer, "learning_rate": 3e-3, "adam_learning_rate": 3e-3}
    config = read_config(write_config(folder, stage={"steps": 60, "noise_share": 0.2, **rates}))
    pool = load_pool(config.train_files, patch=64)
    trainer = Trainer(config, pool, load_validation(config.val_files), device=torch.device("cpu"))
    losses = [float(outcome.loss.detach()) for outcome in trainer.steps()]
    assert len(losses) == 60
    assert np.mean(losses[-15:]) < 0.9 * np.mean(losses[:15])


def test_a_run_that_diverges_says_so_and_keeps_its_last_good_state(folder: Path) -> None:
    config = read_config(write_config(folder, stage={"steps": 100}))
    pool = load_pool(config.train_files, patch=64)
    trainer = Trainer(config, pool, load_validation(config.val_files), device=torch.device("cpu"))
    parameter = next(trainer.network.transforms.parameters())
    parameter.register_hook(lambda gradient: gradient * float("nan"))  # type: ignore[no-untyped-call]  # torch's own
    with pytest.raises(DivergedError, match="no finite loss in 21 steps"):
        trainer.train()
    assert trainer.progress.step == 0
    assert trainer.progress.skipped == 21
    tensors, _ = read_tensors(folder / "run" / STATE)
    assert all(bool(tensor.isfinite().all()) for tensor in tensors.values())


def test_only_the_named_parts_move(folder: Path) -> None:
    config = read_config(write_config(folder, stage={"steps": 2, "parts": ["map"]}))
    pool = load_pool(config.train_files, patch=64)
    trainer = Trainer(config, pool, load_validation(config.val_files), device=torch.device("cpu"))
    before = {name: value.clone() for name, value in trainer.network.state_dict().items()}
    trainer.train()
    for name, value in trainer.network.state_dict().items():
        trained = name.startswith("context.map.")
        # Where there is one place for each quality plane, its linear input may see nothing to learn from.
        assert torch.equal(value, before[name]) != trained or name == "context.map.linear.weight", name


def test_a_run_starts_from_the_layers_that_fit(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(train, "--config", str(write_config(folder, stage={"steps": 1})), "--device", "cpu")
    weights = folder / "run" / WEIGHTS
    wider = {**CODEC, "map_width": 12}
    config = read_config(
        write_config(folder, stage={"steps": 1}, init_from=str(weights), codec=wider, out=str(folder / "b"))
    )
    capsys.readouterr()
    network = initial_network(config, recipe_of(config), load_pool(config.train_files, patch=64))
    assert "start anew: context.map." in capsys.readouterr().err
    name = "transforms.analysis.head.1.weight"
    assert torch.equal(network.state_dict()[name], read_tensors(weights)[0][name])


def test_a_run_starts_from_the_average_of_several(folder: Path) -> None:
    config = write_config(folder, stage={"steps": 1})
    starts: list[str] = []
    for name in "ab":
        out = folder / name
        run(train, "--config", str(config), "--out", str(out), "--steps", "0", "--device", "cpu")
        tensors, _ = read_tensors(out / WEIGHTS)
        tensors["transforms.log_gain"] += len(starts)
        write_tensors(out / WEIGHTS, tensors, Progress())
        starts.append(str(out / WEIGHTS))
    own = ("--out", str(folder / "c"), "--steps", "0", "--device", "cpu")
    assert run(train, "--config", str(config), "--init-from", *starts, *own) == 0
    first, average = (read_tensors(folder / name / WEIGHTS)[0] for name in "ac")
    assert set(average) == set(first)
    for name, tensor in first.items():
        assert torch.equal(average[name], tensor + 0.5 * (name == "transforms.log_gain")), name


def test_a_run_starts_from_a_checkpoint_with_other_groups(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = write_config(folder, stage={"steps": 1})
    run(train, "--config", str(config), "--device", "cpu")
    run(export, "--config", str(config), "--to", str(folder / "mine"))
    other = {**CODEC, "groups": [4, 4, 8], "passes": [5, 2, 1]}
    start = str(folder / "mine.safetensors")
    config = write_config(folder, init_from=start, codec=other, out=str(folder / "b"))
    capsys.readouterr()
    assert run(train, "--config", str(config), "--device", "cpu") == 0
    assert "start anew: context.codes.1" in capsys.readouterr().err


def test_weights_of_which_nothing_fits_are_refused(folder: Path) -> None:
    run(train, "--config", str(write_config(folder, stage={"steps": 1})), "--device", "cpu")
    path = write_config(folder, init_from=str(folder / "run" / STATE), out=str(folder / "b"))
    with pytest.raises(CheckpointFormatError, match="has no layer of the run's codec"):
        run(train, "--config", str(path), "--device", "cpu")


@pytest.mark.parametrize(
    "changes",
    [{"codec": {**CODEC, "kept": [4, 16]}}, {"stage": {"parts": ["map"]}}, {"stage": {"name": "other"}}],
)
def test_the_state_of_another_run_is_refused(folder: Path, changes: dict[str, Any]) -> None:
    run(train, "--config", str(write_config(folder)), "--device", "cpu", "--minutes", "1e-9")
    with pytest.raises(ParameterError, match="has the state of another run"):
        run(train, "--config", str(write_config(folder, **changes)), "--device", "cpu")


def test_the_state_of_another_optimiser_is_refused(folder: Path) -> None:
    run(train, "--config", str(write_config(folder)), "--device", "cpu", "--minutes", "1e-9")
    with pytest.raises(ParameterError, match=r"map by soap.*this one has .*map'"):
        run(train, "--config", str(write_config(folder, stage={"optimizer": "adam"})), "--device", "cpu")


def test_weights_of_another_codec_are_not_exported(folder: Path) -> None:
    run(train, "--config", str(write_config(folder, stage={"steps": 1})), "--device", "cpu")
    other = write_config(folder, codec={**CODEC, "kept": [4, 16]})
    with pytest.raises(CheckpointFormatError, match="is of codec"):
        run(export, "--config", str(other), "--to", str(folder / "mine"))


def test_a_file_of_a_run_that_is_not_its_weights_is_not_exported(folder: Path) -> None:
    config = write_config(folder, stage={"steps": 1})
    run(train, "--config", str(config), "--device", "cpu")
    weights = str(folder / "run" / STATE)
    with pytest.raises(CheckpointFormatError, match="does not fit the run's codec"):
        run(export, "--config", str(config), "--weights", weights, "--to", str(folder / "mine"))


def test_a_finished_run_can_be_given_one_more_stage(folder: Path) -> None:
    first: dict[str, object] = {"name": "a", "steps": 1}
    run(train, "--config", str(write_config(folder, stages=[first])), "--device", "cpu")
    second = {"name": "b", "steps": 2, "parts": ["map"]}
    run(train, "--config", str(write_config(folder, stages=[first, second])), "--device", "cpu")
    _, progress = read_tensors(folder / "run" / STATE)
    assert (progress.stage, progress.step) == (2, 3)


FOREVER = [
    {"name": "joint", "schedule": "constant", "warmup_steps": 0},
    {"name": "anneal", "steps": 2, "warmup_steps": 0},
]


def test_a_stage_without_a_length_goes_on_until_it_is_finished(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = write_config(folder, stages=FOREVER, export_to=str(folder / "end" / "mine"))
    command = ("--config", str(config), "--device", "cpu")
    for count in (3, 6):
        assert run(train, *command, "--steps", "3") == 0
        tensors, progress = read_tensors(folder / "run" / STATE)
        assert (progress.stage, progress.step) == (0, count)
    told = capsys.readouterr().err
    assert "precision: float32\n" in told
    assert "stage joint has no end" in told
    assert "stage 1/2, float32, " in told
    assert "MP/s, no end" in told
    assert not (folder / "end").exists()
    averages = {n: t for n, t in tensors.items() if n.startswith("ema.")}

    assert run(train, *command, "--finish", "--steps", "0") == 0
    ended, progress = read_tensors(folder / "run" / STATE)
    assert (progress.stage, progress.step) == (1, 6)
    assert all(torch.equal(ended[name.replace("ema.", "network.", 1)], averages[name]) for name in averages)
    for _ in range(2):  # to finish twice ends no stage that has a length
        assert run(train, *command, "--finish", "--steps", "1") == 0
    assert read_tensors(folder / "run" / STATE)[1].stage == 2
    assert {path.stem for path in (folder / "run").glob("*.safetensors")} == {
        "joint",
        "anneal",
        "state",
        "weights",
    }
    assert json.loads((folder / "end" / "mine.json").read_text())["training"]["steps"] == 8


def test_the_averaged_weights_are_exported_at_any_moment_and_annealed_apart(folder: Path) -> None:
    config = write_config(folder, stages=FOREVER)
    run(train, "--config", str(config), "--device", "cpu", "--steps", "2")
    weights, _ = read_tensors(folder / "run" / WEIGHTS)
    state, before = read_tensors(folder / "run" / STATE)
    assert all(torch.equal(weights[name], state[f"ema.{name}"]) for name in weights)
    run(export, "--config", str(config), "--to", str(folder / "now" / "mine"))
    assert load_codec("mine", model_dir=folder / "now").info.profile == "cwic"

    start = str(folder / "run" / WEIGHTS)
    apart = ("--init-from", start, "--out", str(folder / "apart"), "--finish")
    assert run(train, "--config", str(config), "--device", "cpu", *apart) == 0
    assert read_tensors(folder / "apart" / STATE)[1].step == 2
    first, _ = read_tensors(folder / "apart" / "joint.safetensors")
    assert all(torch.equal(first[name], weights[name]) for name in weights)
    assert read_tensors(folder / "run" / STATE)[1] == before


def test_the_average_forgets_its_first_steps(folder: Path) -> None:
    config = read_config(write_config(folder, ema=0.9))
    trainer = Trainer(
        config, load_pool(config.train_files, patch=64), Validation(()), device=torch.device("cpu")
    )
    name = "transforms.analysis.head.1.weight"
    expected = trainer.network.state_dict()[name].clone()
    for step, _ in enumerate(trainer.steps()):
        decay = 0.0 if step == 0 else (step + 1) / (step + 21)
        expected.lerp_(trainer.network.state_dict()[name], 1 - decay)
        assert torch.allclose(trainer.ema.state_dict()[name], expected, rtol=1e-5, atol=1e-8)
    trainer.progress.stage_step = 10**6
    trainer._begin_stage()
    before = trainer.ema.state_dict()[name].clone()
    assert trainer.step()
    expected = before.lerp(trainer.network.state_dict()[name], 0.1)
    assert torch.allclose(trainer.ema.state_dict()[name], expected, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("optimizer", ["adam", "soap"])
def test_a_resumed_run_takes_exactly_the_steps_of_one_that_went_on(folder: Path, optimizer: str) -> None:
    config = read_config(write_config(folder, stage={"steps": 50, "optimizer": optimizer}))
    pool = load_pool(config.train_files, patch=64)
    kept = Trainer(config, pool, load_validation(config.val_files), device=torch.device("cpu"))
    kept.train(steps=3)
    resumed = Trainer(config, pool, Validation(()), device=torch.device("cpu"))
    for trainer in (kept, resumed):
        trainer.generator = torch.Generator().manual_seed(7)
        for _ in range(3):
            assert trainer.step()
    for ours, theirs in ((kept.network, resumed.network), (kept.ema, resumed.ema)):
        assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))


def test_a_process_that_has_not_the_others_state_is_refused(folder: Path) -> None:
    class Apart(Team):
        def agreed(self, value: float, device: torch.device) -> float:
            del device
            return value + 1

    config = read_config(write_config(folder))
    pool = load_pool(config.train_files, patch=64)
    with pytest.raises(ParameterError, match="one folder for all processes"):
        Trainer(config, pool, Validation(()), device=torch.device("cpu"), team=Apart())


def test_pictures_that_are_left_out_are_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.fromarray(picture(40, 200)).save(folder / "train_low.png")
    assert run(train, "--config", str(write_config(folder)), "--device", "cpu", "--minutes", "1e-9") == 0
    assert f"are too small: 1 pictures: {folder / 'train_low.png'}\n" in capsys.readouterr().err


def test_a_block_basis_is_orthonormal_and_starts_with_the_mean(folder: Path) -> None:
    pool = load_pool([str(folder / "train_*.png")], patch=64)
    basis = principal_components(block_samples(pool, generator=torch.Generator().manual_seed(0)))[:16]
    assert torch.allclose(basis @ basis.T, torch.eye(16), atol=1e-4)
    mean, other = (each.reshape(3, 64).std(1).max() for each in basis[[0, 5]])  # within a colour
    assert mean < 0.2 * other


def test_quality_planes_are_constant_or_in_quarters() -> None:
    planes = random_quality(400, 12, plane_share=0.5, generator=torch.Generator().manual_seed(0))
    assert planes.shape == (400, 1, 12, 12)
    assert 0 <= float(planes.min())
    assert float(planes.max()) <= 1
    varied = (planes.amax((1, 2, 3)) - planes.amin((1, 2, 3)) > 1e-6).float().mean()
    assert 0.4 < float(varied) < 0.6
    flat = random_quality(9, 12, plane_share=0.0, generator=torch.Generator())
    assert torch.equal(flat, flat[:, :, :1, :1].expand_as(flat))
