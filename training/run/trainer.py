"""A training run: its stages one after the other, resumable at any moment."""

import math
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import PARAM_LIST, AveragedModel, get_ema_multi_avg_fn
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from model.config import Cvpr2018Config, CwicConfig
from model.errors import CheckpointFormatError, CwicError, ParameterError
from training.config import Stage, TrainConfig
from training.data.pool import PicturePool
from training.measure.metrics import psnr_of_mse
from training.recipes.base import AnyNetwork, Outcome, Recipe, network_of
from training.recipes.cvpr2018 import Cvpr2018Recipe
from training.recipes.cwic import CwicRecipe
from training.run.interrupt import Interrupt
from training.run.optimisers import learning_rate, optimisers_of
from training.run.precision import Clock, choose_precision
from training.run.state import STATE, Progress, read_tensors, read_weights, restore, save_state, write_tensors
from training.run.validation import Validation
from training.team import Team

_MAX_SKIPPED_IN_A_ROW = 20
_SECONDS_BETWEEN_LINES = 30
_EMA_RAMP = 20  # steps over which the average starts to remember


class DivergedError(CwicError):
    """The loss stayed infinite or undefined."""


class Limit(NamedTuple):
    """Where a run stops short of its end.

    Attributes:
        seconds: of training in all, over all resumptions.
        step: the run's step, counted over all stages and resumptions.
    """

    seconds: float
    step: float

    def reached(self, progress: Progress) -> bool:
        """Whether a run that has come so far stops here."""
        return progress.seconds >= self.seconds or progress.step >= self.step


NO_LIMIT = Limit(seconds=math.inf, step=math.inf)


def recipe_of(config: TrainConfig, memory: dict[str, float] | None = None) -> Recipe:
    """The recipe of the config's profile; what it carries from step to step it keeps in `memory`."""
    if isinstance(config.codec, Cvpr2018Config):
        return Cvpr2018Recipe(config, config.codec, {} if memory is None else memory)
    assert isinstance(config.codec, CwicConfig)
    return CwicRecipe(config, config.codec)


class Trainer:
    """A run: network, average, optimiser, progress. Life cycle: construct (which resumes), `train`."""

    def __init__(
        self,
        config: TrainConfig,
        pool: PicturePool,
        validation: Validation,
        *,
        device: torch.device,
        team: Team | None = None,
        compiled: bool = False,
        finish: bool = False,
        clock: Clock = time.perf_counter,
    ) -> None:
        """Start the run, or go on where its folder says that it stopped.

        Args:
            config: of the run.
            pool: of pictures to train on.
            validation: pictures to watch.
            device: where the network is trained.
            team: of all processes; this one alone if None.
            compiled: whether the network goes through torch.compile.
            finish: whether stages that have no end are over, so that the run goes on after them.
            clock: seconds, from any start.

        Raises:
            CheckpointFormatError: the folder's state, or `init_from`, cannot be read or does not fit.
            ParameterError: the folder has another run's state, or none where another process has one.
        """
        self.config = config
        self.pool = pool
        self.validation = validation
        self.device = device
        self.team = team or Team()
        self.folder = Path(config.out)
        torch.manual_seed(config.seed)
        saved = self.folder / STATE
        tensors, self.progress = read_tensors(saved) if saved.exists() else ({}, Progress())
        self.recipe = recipe_of(config, self.progress.memory)
        self._claim(resumed=bool(tensors))
        self.network = network_of(config.codec) if tensors else initial_network(config, self.recipe, pool)
        self.network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # absent from the stubs
        self._average = AveragedModel(self.network, multi_avg_fn=_remembering(config.ema)).requires_grad_(
            False
        )
        self.ema = cast(AnyNetwork, self._average.module)
        self._compiled, self._finish, self._clock = compiled, finish, clock
        self._interrupt, self._whole, self._learning_rate = Interrupt(), True, 0.0
        self.precision = choose_precision(
            config,
            self.network,
            recipe_of(config, dict(self.progress.memory)),
            pool,
            stage=self.stage,
            device=device,
            team=self.team,
            clock=clock,
        )
        self._begin_stage()
        if tensors:
            restore(tensors, self.network, self.ema, self.optimisers)
        self.generator = torch.Generator().manual_seed(config.seed * 1_000_003 + self.progress.step)

    def _claim(self, *, resumed: bool) -> None:
        """Refuse a state that is not this run's: of another codec, past other stages, or not in all processes."""
        progress, codec = self.progress, self.config.codec.to_json()
        stages = [
            f"{stage.name}: {', '.join(self.recipe.trained(stage))}"
            + " by soap" * (stage.optimizer == "soap")
            for stage in self.config.stages
        ]
        begun = progress.stages[: progress.stage + 1]
        if resumed and (progress.codec != codec or begun != stages[: len(begun)]):
            raise ParameterError(
                f"{self.folder} has the state of another run, codec {progress.codec} and stages {begun}; "
                f"this one has {codec} and {stages}. Name another `out`, or remove it"
            )
        if self.team.agreed(progress.step, self.device) != progress.step:
            raise ParameterError(f"{self.folder} must be one folder for all processes, with one state")
        progress.codec, progress.stages = codec, stages

    @property
    def pixels_per_step(self) -> int:
        """Of all crops of a step, in all processes."""
        return self.config.batch * self.team.size * self.config.patch**2

    @property
    def finished(self) -> bool:
        """Whether all stages are done."""
        return self.progress.stage >= len(self.config.stages)

    @property
    def stage(self) -> Stage:
        """The stage that the run is in; the last one when it is finished."""
        return self.config.stages[min(self.progress.stage, len(self.config.stages) - 1)]

    def train(self, *, minutes: float | None = None, steps: int | None = None) -> None:
        """Train to the end of the last stage, or for some minutes or steps, saving as it goes.

        Raises:
            DivergedError: the loss stayed infinite or undefined.
            KeyboardInterrupt: SIGINT came; the first one waits for the end of the step, and the run is saved.
        """
        limit = Limit(
            seconds=math.inf if minutes is None else self.progress.seconds + 60 * minutes,
            step=math.inf if steps is None else self.progress.step + steps,
        )
        writer = SummaryWriter(self.folder / "tensorboard") if self.team.leads else None
        try:
            with self._interrupt.deferred():
                while not self.finished:
                    self._train_stage(limit, writer)
                    if limit.reached(self.progress):
                        break
        finally:
            if writer:
                writer.close()

    def done(self) -> float:
        """The share of the stage that is behind, 0 to 1; without a length 0, or 1 where the run is to finish."""
        stage, progress = self.stage, self.progress
        if stage.endless:
            return float(self._finish)
        by_step = progress.stage_step / stage.steps if stage.steps else 0.0
        by_time = progress.stage_seconds / (60 * stage.minutes) if stage.minutes else 0.0
        return min(1.0, max(by_step, by_time))

    def steps(self, limit: Limit = NO_LIMIT) -> Iterator[Outcome]:
        """Train to the end of the stage or to the limit; what each step gave."""
        skipped = 0
        while self.done() < 1 and not limit.reached(self.progress):
            if self.team.agreed(self._interrupt.pending, self.device):
                raise KeyboardInterrupt
            started = self._clock()
            outcome = self.step()
            skipped = 0 if outcome else skipped + 1
            self.progress.skipped += not outcome
            seconds = self.team.agreed(self._clock() - started, self.device)
            self.progress.seconds += seconds
            self.progress.stage_seconds += seconds
            if skipped > _MAX_SKIPPED_IN_A_ROW:
                raise DivergedError(f"no finite loss in {skipped} steps; lower the learning rate")
            if outcome:
                yield outcome

    def step(self) -> Outcome | None:
        """One optimiser step; None, and nothing changed, where the gradient is not finite."""
        config, stage, done, team = self.config, self.stage, self.done(), self.team
        self._learning_rate = learning_rate(stage, self.progress.stage_step, done)
        for group in self.optimisers.param_groups:
            group["lr"] = group["share"] * self._learning_rate
        own = team.own(config.batch)
        crops = self.pool.crops(config.batch * team.size, config.patch, generator=self.generator, part=own)
        drawn = self.recipe.draw(config.batch * team.size, config.patch, self.generator)[own].to(self.device)
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.precision.bfloat16):
            outcome = self.recipe.loss(
                self._wrapped, crops.float() / 255, drawn, stage=stage, done=done, team=team
            )
        self.optimisers.zero_grad()
        outcome.loss.backward()  # type: ignore[no-untyped-call]  # torch's own
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), config.clip)  # equal in all processes
        if not torch.isfinite(norm):
            return None
        self._whole = False
        self.optimisers.step()
        self.progress.step += 1
        self.progress.stage_step += 1
        self._average.update_parameters(self.network)
        self._whole = True
        return outcome

    def _train_stage(self, limit: Limit, writer: SummaryWriter | None) -> None:
        config, progress = self.config, self.progress
        saved = validated = progress.seconds
        try:
            with _bar(self.stage.name, shown=self.team.leads) as bar:
                for outcome in self.steps(limit):
                    bar.update(config.batch * self.team.size)
                    bar.set_postfix_str(self._state_of_affairs(), refresh=False)
                    if writer and progress.step % config.log_every == 0:
                        self._log(writer, outcome)
                    if progress.seconds - saved > 60 * config.save_every:
                        self._save()
                        saved = progress.seconds
                    if writer and progress.seconds - validated > 60 * config.val_every:
                        self._validate(writer)
                        validated = progress.seconds
        finally:
            if self._whole:  # half a step is not kept: the folder has the last whole one
                self._save()  # before the validation, which may take a while
        if writer:
            self._validate(writer)
        if self.done() >= 1:
            self._end_stage()

    def _begin_stage(self) -> None:
        self.optimisers = optimisers_of(self.network, self.recipe, self.stage)
        self._average.n_averaged.fill_(self.progress.stage_step)
        wrapped = self.team.wrap(self.network, self.device)
        self._wrapped: nn.Module = wrapped
        if self._compiled:
            self._wrapped.compile(dynamic=False)

    def _end_stage(self) -> None:
        """Keep the stage's weights, and go on from the averaged ones."""
        if self.team.leads:
            write_tensors(
                self.folder / f"{self.stage.name}.safetensors", dict(self.ema.state_dict()), self.progress
            )
        self.network.load_state_dict(self.ema.state_dict())
        self.progress.stage += 1
        self.progress.stage_step = 0
        self.progress.stage_seconds = 0.0
        self._begin_stage()
        self._save()

    def _save(self) -> None:
        if self.team.leads:
            save_state(self.folder, self.network, self.ema, self.optimisers, self.progress)

    def _validate(self, writer: SummaryWriter) -> None:
        self.validation.log(
            self.recipe, self.ema, writer, self.progress.step, stage=self.stage, device=self.device
        )

    def _log(self, writer: SummaryWriter, outcome: Outcome) -> None:
        scalars = {
            **{name: value for name, value in outcome.scalars.items() if name != "mse"},
            "loss": outcome.loss,
            "stage": self.progress.stage,
            "skipped": self.progress.skipped,
            "learning_rate": self._learning_rate,
            "bfloat16": self.precision.bfloat16,
            "megapixels_per_second": self._megapixels_per_second(),
        }
        if "mse" in outcome.scalars:
            scalars["psnr"] = psnr_of_mse(float(outcome.scalars["mse"].detach()))
        for name, value in scalars.items():
            writer.add_scalar(f"train/{name}", float(torch.as_tensor(value).detach()), self.progress.step)

    def _state_of_affairs(self) -> str:
        """For the progress bar."""
        speed, left = self._megapixels_per_second(), self._seconds_left()
        until = "no end" if left == math.inf else f"{tqdm.format_interval(left)} left in all"
        dtype = "bfloat16" if self.precision.bfloat16 else "float32"
        return (
            f"stage {self.progress.stage + 1}/{len(self.config.stages)}, {dtype}, {speed:.3g} MP/s, {until}"
        )

    def _megapixels_per_second(self) -> float:
        pixels = self.progress.stage_step * self.pixels_per_step
        return pixels / 1e6 / max(self.progress.stage_seconds, 1e-9)

    def _seconds_left(self) -> float:
        """Of training in all stages, by the speed of this one; infinite where a stage has no end."""
        if any(stage.endless for stage in self.config.stages[self.progress.stage :]) and not self._finish:
            return math.inf
        each = self.progress.stage_seconds / max(self.progress.stage_step, 1)
        total = self.progress.stage_seconds * (1 / max(self.done(), 1e-9) - 1)
        for stage in self.config.stages[self.progress.stage + 1 :]:
            lengths = [60 * stage.minutes] if stage.minutes else []
            lengths += [each * stage.steps] if stage.steps else []
            total += min(lengths, default=0.0)
        return total


def _bar(name: str, *, shown: bool) -> "tqdm[Any]":
    """A progress bar of crops; in a log file it writes a line now and then."""
    seldom = 0.1 if sys.stderr.isatty() else _SECONDS_BETWEEN_LINES
    return tqdm(desc=name, unit="crop", file=sys.stderr, mininterval=seldom, disable=not shown)


def initial_network(config: TrainConfig, recipe: Recipe, pool: PicturePool) -> AnyNetwork:
    """The network that a run starts from."""
    if not config.init_from:
        return recipe.network(pool)
    network = network_of(config.codec)
    own = network.state_dict()
    starts = [read_weights(Path(start)) for start in config.init_from]
    fitting = {
        name: torch.stack([start[name] for start in starts]).mean(0)
        for name, tensor in own.items()
        if all(name in start and start[name].shape == tensor.shape for start in starts)
    }
    if not fitting:
        raise CheckpointFormatError(f"{', '.join(config.init_from)} has no layer of the run's codec")
    fresh = sorted(set(own) - set(fitting))
    if fresh:
        sys.stderr.write(f"start anew: {', '.join(fresh)}\n")
    network.load_state_dict({**own, **fitting})
    return network


def _remembering(decay: float) -> Callable[[PARAM_LIST, PARAM_LIST, Tensor | int], None]:
    """An exponential average for AveragedModel that forgets its first steps: decay n / (n + 20) after n of them."""

    def update(averages: PARAM_LIST, values: PARAM_LIST, count: Tensor | int) -> None:
        steps = int(count) + 1
        now = min(decay, steps / (steps + _EMA_RAMP))
        get_ema_multi_avg_fn(now)(averages, values, count)  # type: ignore[no-untyped-call]  # torch's own

    return update
