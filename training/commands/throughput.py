"""`python -m training throughput --config FILE`: megapixels per second of training, beside those of a plain loop.

The plain loop is what most published code for this task has: a `torch.utils.data.Dataset` that opens and decodes a
whole picture file for each crop, float conversion on the CPU, a `DataLoader` in the training process, contiguous NCHW
tensors, float32 without autocast. Both train the same network on crops of the same size, in batches of the same
size, with the same threads, and take turns: whatever else the machine does hits both.
"""

import argparse
import copy
import json
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from model.checkpoints import resolve_device
from model.errors import BrokenImageError, ParameterError
from training.commands.arguments import check_file, writing
from training.config import read_config
from training.data.pictures import find_files
from training.data.pool import load_pool
from training.run.trainer import Trainer
from training.run.validation import Validation

ROUNDS = 5

Loss = Callable[[nn.Module, Tensor], Tensor]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument(
        "--config", type=Path, required=True, help="YAML file of a run; its first stage is measured"
    )
    parser.add_argument("--seconds", type=float, default=10.0, help="of each measurement (%(default)g)")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="measurements of each (%(default)s)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (%(default)s)")
    parser.add_argument("--json", type=Path, metavar="OUT", help="write every measurement")


def run(args: argparse.Namespace) -> int:
    """Measure, print, write; returns the exit status. The run's own folder is left alone."""
    device = resolve_device(args.device)
    if args.json:
        check_file(args.json)
    with tempfile.TemporaryDirectory() as folder:
        config = read_config(args.config, out=folder)
        pool = load_pool(
            config.train_files, patch=config.patch, scales=config.scales, device=device, progress=True
        )
        trainer = Trainer(config, pool, Validation(()), device=device)

        def loss(network: nn.Module, x: Tensor) -> Tensor:
            drawn = trainer.recipe.draw(len(x), config.patch, trainer.generator).to(x.device)
            return trainer.recipe.loss(
                network, x, drawn, stage=trainer.stage, done=0.5, team=trainer.team
            ).loss

        plain = PlainLoop(
            sorted({*find_files(config.train_files)} - {*pool.broken, *pool.small}),
            trainer.network,
            loss=loss,
            batch=config.batch,
            patch=config.patch,
            device=device,
        )
        found = compare(trainer, plain, seconds=args.seconds, rounds=args.rounds)
    sys.stdout.write(f"Stage {config.stages[0].name} of {args.config}:\n\n{to_text(found)}")
    if args.json:
        with writing(args.json):
            args.json.write_text(to_json(found))
    return 0


class Stepper(Protocol):
    """A training loop that can be driven step by step."""

    @property
    def pixels_per_step(self) -> int:
        """Pixels of all crops of a batch."""

    def step(self) -> object:
        """Fetch a batch and take one optimiser step; on a GPU it may return before the work is done."""


@dataclass(frozen=True)
class Throughput:
    """Megapixels per second, of each measurement in the order they were made; `ours[k]` just before `plain[k]`."""

    ours: tuple[float, ...]
    plain: tuple[float, ...]

    @property
    def ratio(self) -> float:
        """Our median over the plain loop's."""
        return statistics.median(self.ours) / statistics.median(self.plain)


def compare(
    ours: Stepper,
    plain: Stepper,
    *,
    seconds: float,
    rounds: int = ROUNDS,
    clock: Callable[[], float] = time.perf_counter,
) -> Throughput:
    """Measure both in turns, after a step of each that is not counted.

    Args:
        ours: our trainer.
        plain: the loop beside it.
        seconds: of one measurement; whole steps are counted, one at least.
        rounds: measurements of each.
        clock: seconds, from any start.

    Raises:
        ParameterError: `rounds` is below 1.
    """
    if rounds < 1:
        raise ParameterError(f"rounds is at least 1, got {rounds}")
    for stepper in (ours, plain):
        stepper.step()
    rates = [
        (_measure(ours, seconds=seconds, clock=clock), _measure(plain, seconds=seconds, clock=clock))
        for _ in range(rounds)
    ]
    return Throughput(ours=tuple(a for a, _ in rates), plain=tuple(b for _, b in rates))


def to_text(throughput: Throughput) -> str:
    """A Markdown table of medians and ranges, and the ratio."""
    load = f", load average {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    rows = (("this trainer", throughput.ours), ("plain loop", throughput.plain))
    return "\n".join(
        [
            "| megapixels per second of training | median | lowest | highest |",
            "|---|---|---|---|",
            *(f"| {name} | {statistics.median(r):.3g} | {min(r):.3g} | {max(r):.3g} |" for name, r in rows),
            "",
            f"Ratio of the medians {throughput.ratio:.2f}; {len(throughput.ours)} measurements of each, in turns, "
            f"{torch.get_num_threads()} threads, torch {torch.__version__}{load}.",
            "",
        ]
    )


def to_json(throughput: Throughput) -> str:
    """Every measurement in megapixels per second, the ratio of the medians, and threads and torch's version."""
    facts = asdict(throughput) | {
        "ratio": throughput.ratio,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
    return json.dumps(facts, indent=2) + "\n"


class PlainLoop:
    """The loop to compare with. It trains a copy of the network, so that the caller's stays as it is."""

    def __init__(
        self,
        files: Sequence[Path],
        network: nn.Module,
        *,
        loss: Loss,
        batch: int,
        patch: int,
        device: torch.device | str = "cpu",
        learning_rate: float = 1e-4,
    ) -> None:
        """Look at the sizes of the files; none is decoded yet.

        Args:
            files: pictures; those with a side below `patch` are left out.
            network: what is trained.
            loss: of the network and a batch, RGB 0 to 1, float32 [batch, 3, patch, patch].
            batch: crops in a step.
            patch: side of the crops, in pixels.
            device: where the network is trained.
            learning_rate: of Adam.

        Raises:
            ParameterError: `batch` or `patch` is below 1, or no picture holds a crop.
            BrokenImageError: a file is no picture.
        """
        if batch < 1 or patch < 1:
            raise ParameterError(f"batch and patch are at least 1, got {batch} and {patch}")
        self.network = copy.deepcopy(network).to(device, memory_format=torch.contiguous_format)  # type: ignore[call-overload]  # absent from the stubs
        self.pixels_per_step = batch * patch * patch
        self._device = torch.device(device)
        self._loss = loss
        self._optimizer = torch.optim.Adam(self.network.parameters(), lr=learning_rate)
        self._batches = _endless(FileCrops(files, patch=patch, least=batch), batch)

    def step(self) -> None:
        """Fetch a batch and take one optimiser step."""
        x = next(self._batches).to(self._device)
        loss = self._loss(self.network, x)
        self._optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch's own
        self._optimizer.step()


class FileCrops(Dataset[Tensor]):
    """One random crop of each picture file, which is opened and decoded for it every time."""

    def __init__(self, files: Sequence[Path], *, patch: int, least: int = 1) -> None:
        """Keep the files that hold a crop, in turns until there are `least`; raises as `PlainLoop`."""
        kept = [file for file in files if min(_size(file)) >= patch]
        if not kept:
            raise ParameterError(f"none of {len(files)} pictures has sides of at least {patch} pixels")
        self.files = kept * -(-least // len(kept))
        self.patch = patch
        self._random = random.Random(0)  # noqa: S311  # crops, not secrets

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Tensor:
        """RGB 0 to 1, float32 [3, patch, patch]."""
        with Image.open(self.files[index]) as image:
            rgb = image.convert("RGB")
        left = self._random.randint(0, rgb.width - self.patch)
        top = self._random.randint(0, rgb.height - self.patch)
        crop = rgb.crop((left, top, left + self.patch, top + self.patch))
        if self._random.random() < 0.5:
            crop = crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        return torch.from_numpy(np.array(crop)).permute(2, 0, 1).contiguous().float().div(255)


def _endless(crops: FileCrops, batch: int) -> Iterator[Tensor]:
    loader = DataLoader(crops, batch_size=batch, shuffle=True, num_workers=0, drop_last=True)
    while True:
        yield from loader


def _size(file: Path) -> tuple[int, int]:
    """Width and height, from the file's header."""
    try:
        with Image.open(file) as image:
            return image.size
    except OSError as error:
        raise BrokenImageError(f"{file}: {error}") from error


def _measure(stepper: Stepper, *, seconds: float, clock: Callable[[], float]) -> float:
    """Megapixels per second. Steps are not waited for one by one: a GPU may work while the next one is prepared."""
    _wait_for_device()
    started, steps = clock(), 0
    while steps == 0 or clock() - started < seconds:
        stepper.step()
        steps += 1
    _wait_for_device()
    return steps * stepper.pixels_per_step / (clock() - started) / 1e6


def _wait_for_device() -> None:
    """Until nothing is pending on a GPU, where this process uses one."""
    if torch.cuda.is_available() and torch.cuda.is_initialized():  # type: ignore[no-untyped-call]  # torch's own
        torch.cuda.synchronize()
