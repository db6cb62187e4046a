"""training.commands.throughput: measurements in turns, and the plain loop that ours is measured beside."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from torch import Tensor, nn

from model.errors import BrokenImageError, ParameterError
from tests.training.training_fakes import noise, write_png
from training.__main__ import main
from training.commands.throughput import FileCrops, PlainLoop, Throughput, compare, to_json, to_text


@dataclass
class World:
    """A clock that only steps move, and who moved it."""

    now: float = 0.0
    steps: list[str] = field(default_factory=list)

    def clock(self) -> float:
        return self.now


@dataclass
class Timed:
    """A loop whose steps take a fixed time, the first one longer."""

    world: World
    name: str
    seconds: float
    pixels_per_step: int = 1_000_000

    def step(self) -> None:
        first = self.name not in self.world.steps
        self.world.steps.append(self.name)
        self.world.now += 100 if first else self.seconds


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Three noisy pictures of different sizes and modes."""
    Image.fromarray(noise(40, 50)[:, :, 0]).save(tmp_path / "grey.png")
    return [
        write_png(tmp_path / "a.png", noise(48, 64, seed=1)),
        write_png(tmp_path / "b.png", noise(64, 33, seed=2)),
        tmp_path / "grey.png",
    ]


def tiny_network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 3, 3, padding=1))


def squared_error(network: nn.Module, x: Tensor) -> Tensor:
    error: Tensor = (network(x) - x).square().mean()
    return error


def test_measurements_alternate_after_a_first_step_that_does_not_count() -> None:
    world = World()
    result = compare(Timed(world, "a", 0.5), Timed(world, "b", 2.0), seconds=1.0, rounds=2, clock=world.clock)
    assert world.steps == ["a", "b", *["a", "a", "b"] * 2]
    assert result == Throughput(ours=(2.0, 2.0), plain=(0.5, 0.5))
    assert result.ratio == 4


def test_a_step_longer_than_the_measurement_is_measured_whole() -> None:
    world = World()
    slow = Timed(world, "a", 10.0, pixels_per_step=5_000_000)
    assert compare(slow, Timed(world, "b", 1.0), seconds=0.1, rounds=1, clock=world.clock).ours == (0.5,)


def test_no_rounds_are_refused() -> None:
    world = World()
    with pytest.raises(ParameterError, match="rounds is at least 1, got 0"):
        compare(Timed(world, "a", 1), Timed(world, "b", 1), seconds=1, rounds=0)


def test_one_slow_measurement_does_not_move_the_ratio() -> None:
    assert Throughput(ours=(6.0, 0.1, 6.0), plain=(2.0, 2.0, 9.0)).ratio == 3


def test_the_table_and_the_json_tell_medians_ranges_and_ratio() -> None:
    throughput = Throughput(ours=(6.0, 5.0, 7.0), plain=(2.0, 1.0, 4.0))
    assert "| this trainer | 6 | 5 | 7 |" in to_text(throughput)
    assert "Ratio of the medians 3.00; 3 measurements of each" in to_text(throughput)
    facts = json.loads(to_json(throughput))
    assert (facts["ours"], facts["plain"], facts["ratio"]) == ([6, 5, 7], [2, 1, 4], 3)


def test_a_crop_is_a_piece_of_its_picture_as_a_contiguous_float_tensor(files: list[Path]) -> None:
    crops = FileCrops(files[:1], patch=16)
    crop = crops[0]
    assert crop.shape == (3, 16, 16)
    assert crop.dtype == torch.float32
    assert crop.is_contiguous()
    pixels = np.round(crop.numpy().transpose(1, 2, 0) * 255).astype(np.uint8)
    with Image.open(files[0]) as image:
        windows = np.lib.stride_tricks.sliding_window_view(np.asarray(image), (16, 16, 3))[:, :, 0]
    assert any((windows == flipped).all(axis=(2, 3, 4)).any() for flipped in (pixels, pixels[:, ::-1]))


def test_every_file_is_opened_for_every_crop(files: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    loop = PlainLoop(files, tiny_network(), loss=squared_error, batch=3, patch=16)
    opened: list[Path] = []
    really = Image.open

    def open_and_tell(path: Path) -> Any:
        opened.append(path)
        return really(path)

    monkeypatch.setattr(Image, "open", open_and_tell)
    for _ in range(4):
        loop.step()
    assert sorted(opened) == sorted(files * 4)


def test_batches_are_full_and_of_the_form_the_loss_expects(files: list[Path]) -> None:
    seen: list[Tensor] = []

    def loss(network: nn.Module, x: Tensor) -> Tensor:
        seen.append(x)
        return squared_error(network, x)

    loop = PlainLoop(files, tiny_network(), loss=loss, batch=7, patch=16)  # more than there are files
    for _ in range(3):
        loop.step()
    assert [x.shape for x in seen] == [(7, 3, 16, 16)] * 3
    assert all(x.dtype == torch.float32 and x.is_contiguous() for x in seen)
    assert 0 <= min(float(x.min()) for x in seen) < max(float(x.max()) for x in seen) <= 1
    assert loop.pixels_per_step == 7 * 16 * 16


def test_the_plain_loop_trains_a_copy_in_the_plain_memory_format(tmp_path: Path) -> None:
    flat = write_png(tmp_path / "flat.png", np.full((32, 32, 3), 200, np.uint8))
    network = tiny_network().to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # absent from the stubs
    before = [parameter.clone() for parameter in network.parameters()]
    losses: list[float] = []

    def loss(trained: nn.Module, x: Tensor) -> Tensor:
        value = squared_error(trained, x)
        losses.append(float(value.detach()))
        return value

    loop = PlainLoop([flat], network, loss=loss, batch=2, patch=16, learning_rate=1e-2)
    for _ in range(30):
        loop.step()
    assert losses[-1] < 0.1 * losses[0]
    assert all(parameter.is_contiguous() for parameter in loop.network.parameters())
    assert all(torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))


def test_pictures_smaller_than_a_crop_are_left_out(files: list[Path]) -> None:
    assert [file.name for file in FileCrops(files, patch=40).files] == ["a.png", "grey.png"]
    with pytest.raises(ParameterError, match="none of 3 pictures has sides of at least 49 pixels"):
        FileCrops(files, patch=49)


def test_a_file_that_is_no_picture_is_named(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(BrokenImageError, match=r"text\.png"):
        FileCrops([tmp_path / "text.png"], patch=8)


@pytest.mark.parametrize(("batch", "patch"), [(0, 16), (1, 0)])
def test_sizes_below_one_are_refused(files: list[Path], batch: int, patch: int) -> None:
    with pytest.raises(ParameterError, match="at least 1"):
        PlainLoop(files, tiny_network(), loss=squared_error, batch=batch, patch=patch)


def test_two_real_loops_can_be_compared(files: list[Path]) -> None:
    ours, plain = (
        PlainLoop(files, tiny_network(), loss=squared_error, batch=2, patch=patch) for patch in (32, 16)
    )
    result = compare(ours, plain, seconds=0.01, rounds=2)
    assert len(result.ours) == len(result.plain) == 2
    assert min(result.ours + result.plain) > 0


def test_the_command_measures_the_first_stage_without_the_pictures_that_training_leaves_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for index in range(20):
        write_png(tmp_path / f"{index}.png", noise(64, 64, seed=index))
    (tmp_path / "broken.png").write_bytes(b"no picture")
    write_png(tmp_path / "small.png", noise(64, 20))
    config = {
        "train_files": str(tmp_path / "*.png"),
        "val_files": str(tmp_path / "0.png"),
        "out": str(tmp_path / "run"),
        "codec": {
            "channels": 4,
            "kept": [2, 4],
            "groups": [2, 2],
            "passes": [5, 2],
            "stem_width": 4,
            "trunk_width": 4,
            "blocks": 1,
        },
        "patch": 64,
        "batch": 1,
        "stages": [{"name": "first", "steps": 1, "parts": ["synthesis"]}],
    }
    path = tmp_path / "run.yml"
    path.write_text(yaml.safe_dump(config))
    options = ["--seconds", "0.001", "--rounds", "1", "--device", "cpu", "--json", str(tmp_path / "out.json")]
    assert main(["throughput", "--config", str(path), *options]) == 0
    assert f"Stage first of {path}" in capsys.readouterr().out
    assert len(json.loads((tmp_path / "out.json").read_text())["plain"]) == 1
    assert not (tmp_path / "run").exists()
