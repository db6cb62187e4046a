"""The paper's stages: a whole run, several processes, and kills."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from model.checkpoints import load_codec
from tests.conftest import picture
from tests.effort import PATIENCE
from tests.training.training_fakes import run_settings
from training.__main__ import main
from training.config import read_config
from training.data.pool import load_pool
from training.measure.metrics import psnr
from training.recipes.base import Outcome
from training.run.state import STATE, WEIGHTS, read_tensors
from training.run.trainer import Trainer, recipe_of
from training.run.validation import Validation

CODEC = {
    "profile": "cvpr2018",
    "channels": 16,
    "levels": 16,
    "groups": [1, 3, 12],
    "width": 16,
    "context_width": 8,
    "map_width": 8,
}
PIXELS = ["encoder", "importance", "decoder"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for index in range(6):
        Image.fromarray(picture(128, 144, seed=index)).save(tmp_path / f"train_{index}.png")
    Image.fromarray(picture(112, 96, seed=9)).save(tmp_path / "val.png")
    return tmp_path


def write_config(folder: Path, stages: list[dict[str, object]], **changes: object) -> Path:
    values = {
        **run_settings(folder),
        "codec": CODEC,
        "batch": 4,
        "ema": 0.95,
        "log_every": 5,
        "stages": stages,
        **changes,
    }
    path = folder / f"{Path(str(values['out'])).name}.yml"
    path.write_text(yaml.safe_dump(values))
    return path


def scalars(run: Path, tag: str) -> list[float]:
    events = EventAccumulator(str(run / "tensorboard"))
    events.Reload()
    return [event.value for event in events.Scalars(tag)]


def test_the_stages_of_the_paper_make_a_codec(folder: Path) -> None:
    config = write_config(
        folder,
        [
            {"name": "base", "parts": ["encoder", "decoder"], "steps": 200, "learning_rate": 3e-3},
            {
                "name": "masked",
                "parts": PIXELS,
                "steps": 300,
                "learning_rate": [3e-3, 3e-3, 1e-3],
                "shares": {"importance": 3},
                "mask_mean": [0.6, 0.4, 0.4],
                "warmup_steps": 20,
            },
            {
                "name": "context",
                "parts": ["codes", "map"],
                "steps": 100,
                "learning_rate": 1e-2,
                "warmup_steps": 5,
            },
            {"name": "joint", "steps": 10, "learning_rate": 1e-4},
        ],
        export_to=str(folder / "out" / "paper"),
    )
    assert main(["train", "--config", str(config), "--device", "cpu"]) == 0

    run = folder / "run"
    stages, losses = scalars(run, "train/stage"), scalars(run, "train/loss")
    base = [loss for stage, loss in zip(stages, losses, strict=True) if stage == 0]
    assert np.mean(base[-8:]) < 0.85 * np.mean(base[:4])
    bits = [
        a + b for a, b in zip(scalars(run, "train/bpp/codes"), scalars(run, "train/bpp/map"), strict=True)
    ]
    assert np.mean(bits[-6:]) < 0.8 * np.mean(bits[:3])
    kept = scalars(run, "train/mask_mean")
    assert kept[0] == 1
    assert np.mean(kept[stages.index(2) - 4 : stages.index(2)]) == pytest.approx(0.4, abs=0.06)
    assert scalars(run, "val_all/bpp_raw")[-1] < scalars(run, "val_all/bpp_raw")[0]
    assert {path.stem for path in run.glob("*.safetensors")} >= {"base", "masked", "context", "joint"}

    codec = load_codec("paper", model_dir=folder / "out", device="cpu")
    unseen = picture(120, 200, seed=77)
    file = codec.encode(unseen)
    assert codec.read(file).info().profile == "cvpr2018"
    assert codec.kept_codes(file) / unseen[..., 0].size < 0.15  # of 16 / 64; the mask keeps 0.4 of them
    flat = np.broadcast_to(unseen.mean((0, 1), keepdims=True), unseen.shape).astype(np.uint8)
    assert psnr(unseen, codec.decode(file)) > psnr(unseen, flat) + 0.8
    card = json.loads((folder / "out" / "paper.json").read_text())
    assert [stage["name"] for stage in card["training"]["settings"]["stages"]] == [
        "base",
        "masked",
        "context",
        "joint",
    ]


def test_a_finished_run_is_not_trained_further(folder: Path) -> None:
    config = write_config(folder, [{"name": "base", "parts": ["encoder", "decoder"], "steps": 2}])
    for _ in range(2):
        assert main(["train", "--config", str(config), "--device", "cpu"]) == 0
    _, progress = read_tensors(folder / "run" / STATE)
    assert (progress.stage, progress.step) == (1, 2)


def test_a_run_of_no_minutes_leaves_its_start_to_go_on_from(folder: Path) -> None:
    config = write_config(folder, [{"name": "base", "parts": ["encoder", "decoder"], "steps": 2}])
    assert main(["train", "--config", str(config), "--device", "cpu", "--minutes", "0"]) == 0
    assert read_tensors(folder / "run" / STATE)[1].step == 0
    assert read_tensors(folder / "run" / WEIGHTS)[0]


def test_a_resumed_run_keeps_the_weight_of_the_rate_that_it_has_found(folder: Path) -> None:
    stages: list[dict[str, object]] = [{"name": "masked", "parts": PIXELS, "steps": 10_000, "mask_mean": 0.2}]
    config = write_config(folder, stages, log_every=1)
    for _ in range(2):
        assert main(["train", "--config", str(config), "--device", "cpu", "--steps", "4"]) == 0
    gamma = scalars(folder / "run", "train/gamma")
    assert scalars(folder / "run", "train/bfloat16") == [0.0] * len(gamma)
    _, progress = read_tensors(folder / "run" / STATE)
    assert len(gamma) == progress.step == 8
    assert gamma == sorted(gamma)  # the mask keeps far more than a fifth: gamma rises, and never starts again
    assert progress.memory["gamma"] > gamma[-1] > gamma[0] == 2.0


@pytest.mark.parametrize(("optimizer", "noise"), [("adam", 0.02), ("soap", 0.15)])
def test_two_processes_train_as_one_with_the_double_batch(folder: Path, optimizer: str, noise: float) -> None:
    common: dict[str, object] = {"optimizer": optimizer, "learning_rate": 1e-4}
    stages: list[dict[str, object]] = [
        {"name": "masked", "parts": PIXELS, "steps": 6, "mask_mean": 0.5, **common},
        {"name": "context", "parts": ["codes", "map"], "steps": 4, **common},
    ]
    both = write_config(folder, stages, out=str(folder / "both"), batch=2)
    one = write_config(folder, stages, out=str(folder / "one"), batch=4)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    subprocess.run(  # noqa: S603  # ourselves
        [*torchrun, "-m", "training", "train", "--config", str(both), "--device", "cpu"],
        check=True,
        capture_output=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=PATIENCE,
    )
    assert main(["train", "--config", str(one), "--device", "cpu"]) == 0
    ours, progress = read_tensors(folder / "both" / WEIGHTS)
    theirs, _ = read_tensors(folder / "one" / WEIGHTS)
    start = Trainer(
        read_config(write_config(folder, stages, out=str(folder / "new"))),
        load_pool([str(folder / "train_*.png")], patch=64),
        Validation(()),
        device=torch.device("cpu"),
    ).network.state_dict()
    assert progress.step == 10
    for name, value in ours.items():
        moved = float((theirs[name] - start[name]).abs().max())
        # Adam divides by the size of a gradient: where one is all noise, so is the step. SOAP finds such ones.
        assert float((value - theirs[name]).abs().mean()) <= noise * moved + 1e-7, name


def test_a_kill_at_any_moment_leaves_a_state_to_go_on_from(folder: Path) -> None:
    stages: list[dict[str, object]] = [{"name": "base", "parts": ["encoder", "decoder"], "steps": 100_000}]
    config = write_config(folder, stages, save_every=1e-6)
    state = folder / "run" / STATE
    command = [sys.executable, "-m", "training", "train", "--config", str(config), "--device", "cpu"]
    for count in range(2):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # noqa: S603  # as above
        before = state.stat().st_mtime_ns if count else 0
        deadline = time.monotonic() + PATIENCE
        while not state.exists() or state.stat().st_mtime_ns == before:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
        time.sleep(0.1 * count)
        process.send_signal(signal.SIGKILL)
        process.wait()
        _, progress = read_tensors(state)
        assert progress.step > 0
    first = progress.step
    assert main(["train", "--config", str(config), "--device", "cpu", "--minutes", "1e-9"]) == 0
    assert read_tensors(state)[1].step > first


def step_of(folder: Path, stage: dict[str, object]) -> tuple[Trainer, torch.Tensor]:
    """A trainer in a stage, and a batch for it."""
    config = read_config(write_config(folder, [{"name": "masked", "steps": 9, **stage}]))
    pool = load_pool(config.train_files, patch=64)
    trainer = Trainer(config, pool, Validation(()), device=torch.device("cpu"))
    x = pool.crops(2, 64, generator=torch.Generator().manual_seed(0)).float() / 255
    return trainer, x


def loss_of(trainer: Trainer, x: torch.Tensor, *, done: float) -> Outcome:
    return trainer.recipe.loss(
        trainer.network, x, torch.empty(2, 0), stage=trainer.stage, done=done, team=trainer.team
    )


@pytest.mark.parametrize("steps", [1, 20_000])
def test_gamma_goes_on_from_the_stage_before_within_its_bounds(folder: Path, steps: int) -> None:
    trainer, x = step_of(folder, {"parts": PIXELS, "mask_mean": 0.1})
    memory = trainer.progress.memory
    memory["gamma"] = 5.0
    memory["importance"] = 0.9
    excess = trainer.recipe._excess  # type: ignore[attr-defined]  # the profile's own
    for _ in range(steps):
        excess(torch.tensor([0.9]), memory["gamma"], 0.1, trainer.team)
    assert memory["gamma"] == pytest.approx(5.1 if steps == 1 else 1000)
    assert float(loss_of(trainer, x, done=0.0).scalars["gamma"]) == pytest.approx(5.1 if steps == 1 else 1000)


def test_a_stage_that_names_a_rate_weight_begins_with_it(folder: Path) -> None:
    trainer, x = step_of(folder, {"parts": PIXELS, "mask_mean": 0.1, "rate_weight": 3})
    trainer.progress.memory["gamma"] = 5.0
    assert float(loss_of(trainer, x, done=0.0).scalars["gamma"]) == 3
    assert 2.9 < float(loss_of(trainer, x, done=0.1).scalars["gamma"]) < 3.1


def test_importance_that_is_not_finite_is_not_remembered(folder: Path) -> None:
    trainer, x = step_of(folder, {"parts": PIXELS, "mask_mean": 0.5})
    loss_of(trainer, x, done=0.0)
    before = dict(trainer.progress.memory)
    assert not torch.isfinite(loss_of(trainer, x * float("nan"), done=0.0).loss)
    assert trainer.progress.memory == before


def test_without_a_mask_the_importance_branch_is_not_trained(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trainer, _ = step_of(folder, {})
    assert trainer.recipe.trained(trainer.stage) == ("encoder", "decoder", "codes", "map")
    nothing = write_config(folder, [{"name": "a", "steps": 1, "parts": ["importance"]}])
    assert main(["train", "--config", str(nothing), "--device", "cpu"]) == 2
    assert "a: nothing to train without a mask_mean" in capsys.readouterr().err


def test_the_start_of_the_paper_s_layers_is_a_working_transform_coder(folder: Path) -> None:
    codec = {"profile": "cvpr2018", "width": 96, "context_width": 8, "map_width": 8}
    config = read_config(write_config(folder, [{"name": "base", "steps": 1}], codec=codec))
    pool = load_pool(config.train_files, patch=64)
    network = recipe_of(config).network(pool)
    x = pool.crops(8, 64, generator=torch.Generator().manual_seed(1)).float() / 255
    with torch.no_grad():
        x_hat = network(2 * x - 1, masked=False, priced=False).x_hat / 2 + 0.5
    mse = float((x_hat.clamp(0, 1) - x).square().mean())
    assert -10 * np.log10(mse) > 27


@pytest.mark.parametrize("lowest_level", [0, 1])
def test_the_rate_costs_only_above_the_threshold(folder: Path, lowest_level: int) -> None:
    codec = CODEC | {"lowest_level": lowest_level}
    stages: list[dict[str, object]] = [{"name": "masked", "parts": PIXELS, "steps": 1, "mask_mean": 0.5}]

    def rate_loss(bias: float) -> float:
        config = read_config(write_config(folder, stages, codec=codec))
        pool = load_pool(config.train_files, patch=64)
        trainer = Trainer(config, pool, Validation(()), device=torch.device("cpu"))
        for name, parameter in trainer.network.named_parameters():
            if "importance.2" in name:
                parameter.data.fill_(bias if name.endswith("bias") else 0.0)
        x = pool.crops(2, 64, generator=torch.Generator().manual_seed(0)).float() / 255
        outcomes: list[Outcome] = []
        for weight in (0.0, 1.0):
            stage = read_config(
                write_config(folder, [{**stages[0], "rate_weight": weight}], codec=codec)
            ).stages[0]
            outcomes.append(
                recipe_of(config).loss(
                    trainer.network, x, torch.empty(2, 0), stage=stage, done=0.0, team=trainer.team
                )
            )
        return float((outcomes[1].loss - outcomes[0].loss).detach())

    assert rate_loss(-2.0) == 0
    importance = 1 / (1 + np.exp(-2.0))
    threshold = 0.5 - (lowest_level - 0.5) / 16
    assert rate_loss(2.0) == pytest.approx(
        2 * (importance - threshold), rel=1e-4
    )  # far above: the ramp's end
