"""Train the default codec: `python -m training train --config FILE`. Continues a run that was stopped."""

import argparse
import copy
import math
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from model.checkpoints import resolve_device, resolve_dtype
from model.config import CELL
from model.errors import CwicError
from model.freeze import thaw
from model.network import Network
from training.config import TrainConfig, read_config
from training.data import PicturePool, load_pool
from training.klt import block_basis
from training.metrics import psnr_of_mse
from training.objective import Objective, random_quality, rate_distortion
from training.state import Progress, load_state, read_tensors, save_state
from training.validation import Validation, load_validation

_MAX_SKIPPED_IN_A_ROW = 20
_EMA_RAMP = 20  # steps over which the average starts to remember


class DivergedError(CwicError):
    """The loss stayed infinite or undefined."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument(
        "--config", type=Path, required=True, help="YAML file; see training/config.py for the keys"
    )
    parser.add_argument("--minutes", type=float, help="replaces the file's minutes")
    parser.add_argument("--steps", type=int, help="replaces the file's steps")
    parser.add_argument("--init-from", help="replaces the file's init_from")
    parser.add_argument("--out", help="replaces the file's out")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (%(default)s)")
    parser.add_argument("--compile", action="store_true", help="torch.compile the network (pays on a GPU)")


def run(args: argparse.Namespace) -> int:
    """Train as the configuration says; returns the exit status."""
    config = read_config(
        args.config, minutes=args.minutes, steps=args.steps, init_from=args.init_from, out=args.out
    )
    device = resolve_device(args.device)
    pool = load_pool(config.train_files, patch=config.patch, device=device, progress=True)
    if pool.broken or pool.small:
        sys.stderr.write(f"left out: {len(pool.broken)} broken, {len(pool.small)} too small\n")
    Trainer(config, pool, load_validation(config.val_files), device=device, compiled=args.compile).train()
    return 0


class Trainer:
    """A run: network, average, optimiser, progress."""

    def __init__(
        self,
        config: TrainConfig,
        pool: PicturePool,
        validation: Validation,
        *,
        device: torch.device,
        compiled: bool = False,
    ) -> None:
        self.config = config
        self.pool = pool
        self.validation = validation
        self.device = device
        self.folder = Path(config.out)
        torch.manual_seed(config.seed)
        self.network = initial_network(config, pool).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # absent from the stubs
        self.ema = copy.deepcopy(self.network).requires_grad_(False)
        self.optimizer = _optimizer(self.network, config)
        self.progress = load_state(self.folder, self.network, self.ema, self.optimizer) or Progress()
        self.generator = torch.Generator().manual_seed(config.seed * 1_000_003 + self.progress.step)
        dtype = resolve_dtype("auto", device)
        self.bfloat16 = dtype == torch.bfloat16 if config.bfloat16 is None else config.bfloat16
        self.objective = torch.compile(rate_distortion, dynamic=False) if compiled else rate_distortion

    def train(self) -> None:
        """Train until the run's length is reached, saving as it goes.

        Raises:
            DivergedError: the loss stayed infinite or undefined.
        """
        config, writer = self.config, SummaryWriter(self.folder / "tensorboard")
        saved = validated = self.progress.seconds
        try:
            for objective in self._steps():
                if self.progress.step % config.log_every == 0:
                    self._log(writer, objective)
                if self.progress.seconds - saved > 60 * config.save_every:
                    save_state(self.folder, self.network, self.ema, self.optimizer, self.progress)
                    saved = self.progress.seconds
                if self.progress.seconds - validated > 60 * config.val_every:
                    self.validation.log(self.ema, writer, self.progress.step, device=self.device)
                    validated = self.progress.seconds
            self.validation.log(self.ema, writer, self.progress.step, device=self.device)
        finally:
            save_state(self.folder, self.network, self.ema, self.optimizer, self.progress)
            writer.close()

    def done(self) -> float:
        """The share of the run that is behind, 0 to 1."""
        config, progress = self.config, self.progress
        by_step = progress.step / config.steps if config.steps else 0.0
        by_time = progress.seconds / (60 * config.minutes) if config.minutes else 0.0
        return min(1.0, max(by_step, by_time))

    def _steps(self) -> Iterator[Objective]:
        skipped = 0
        with tqdm(desc="training", unit="px", unit_scale=True, file=sys.stderr) as bar:
            while self.done() < 1:
                started = time.monotonic()
                objective = self._step()
                finite = objective is not None
                skipped = 0 if finite else skipped + 1
                self.progress.skipped += not finite
                self.progress.seconds += time.monotonic() - started
                if skipped > _MAX_SKIPPED_IN_A_ROW:
                    raise DivergedError(f"no finite loss in {skipped} steps; lower the learning rate")
                bar.update(self.config.batch * self.config.patch**2)
                if objective is not None:
                    yield objective
                    bar.set_postfix_str(f"step {self.progress.step} of run {self.done():.1%}", refresh=False)

    def _step(self) -> Objective | None:
        """One optimiser step; None, and nothing changed, where loss or gradient is not finite."""
        config = self.config
        done = self.done()
        for group in self.optimizer.param_groups:
            group["lr"] = group["share"] * config.learning_rate * _schedule(config, self.progress.step, done)
        x = self.pool.crops(config.batch, config.patch, generator=self.generator).float() / 255
        quality = random_quality(
            config.batch, config.patch // CELL, plane_share=config.plane_share, generator=self.generator
        ).to(self.device)
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.bfloat16):
            objective: Objective = self.objective(self.network, x, quality, noise=done < config.noise_share)
        self.optimizer.zero_grad()
        objective.loss.backward()  # type: ignore[no-untyped-call]  # torch's own
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), config.clip)
        if not torch.isfinite(objective.loss + norm):
            return None
        self.optimizer.step()
        self.progress.step += 1
        decay = min(config.ema, self.progress.step / (self.progress.step + _EMA_RAMP))
        _average(self.ema, self.network, decay)
        return objective

    def _log(self, writer: SummaryWriter, objective: Objective) -> None:
        step = self.progress.step
        scalars = {
            "loss": objective.loss,
            "bpp/codes": objective.code_bpp,
            "bpp/map": objective.map_bpp,
            "psnr": psnr_of_mse(float(objective.mse.detach())),
            "level": objective.level,
            "skipped": self.progress.skipped,
            "learning_rate": self.optimizer.param_groups[0]["lr"],
        }
        for name, value in scalars.items():
            writer.add_scalar(f"train/{name}", float(torch.as_tensor(value).detach()), step)


def initial_network(config: TrainConfig, pool: PicturePool) -> Network:
    """The network that a run starts from."""
    network = Network(config.codec)
    if config.init_from is None:
        basis = block_basis(pool, config.codec.channels, generator=torch.Generator().manual_seed(config.seed))
        network.analysis.blocks.weight.data = basis.clone()
        network.synthesis.blocks.weight.data = basis.clone()
        return network
    tensors, _ = read_tensors(Path(config.init_from))
    if "saturation" in tensors:  # an exported checkpoint
        tensors = thaw(tensors, config.codec)
    own = network.state_dict()
    fitting = {n: t for n, t in tensors.items() if n in own and own[n].shape == t.shape}
    fresh = sorted(set(own) - set(fitting))
    if fresh:
        sys.stderr.write(f"start anew: {', '.join(fresh)}\n")
    network.load_state_dict({**own, **fitting})
    return network


def _optimizer(network: Network, config: TrainConfig) -> torch.optim.Adam:
    """Adam over the parts that are trained; the block transforms move more slowly."""
    parts: dict[str, list[nn.Parameter]] = {"blocks": [], "rest": []}
    for name, parameter in network.named_parameters():
        part = (
            "map"
            if name.startswith("context.map.")
            else "codes"
            if name.startswith("context.")
            else "transforms"
        )
        parameter.requires_grad_(part in config.parts)
        if parameter.requires_grad:
            parts["blocks" if ".blocks." in name else "rest"].append(parameter)
    shares = {"rest": 1.0, "blocks": config.block_learning_rate}
    groups = [{"params": parts[name], "share": share} for name, share in shares.items() if parts[name]]
    return torch.optim.Adam(groups, lr=config.learning_rate)


def _schedule(config: TrainConfig, step: int, done: float) -> float:
    """The learning rate as a share of the highest: a linear rise, then a cosine."""
    cosine = 0.5 * (1 + math.cos(math.pi * done))
    floor = config.final_learning_rate
    return min(1.0, (step + 1) / max(config.warmup_steps, 1)) * (floor + (1 - floor) * cosine)


@torch.no_grad()
def _average(average: nn.Module, network: nn.Module, decay: float) -> None:
    ours: list[Tensor] = [parameter.data for parameter in average.parameters()]
    theirs: list[Tensor] = [parameter.data for parameter in network.parameters()]
    torch._foreach_lerp_(ours, theirs, 1 - decay)
