"""Train a checkpoint: `python -m training train --config FILE`. Continues a run that was stopped.

Runs all stages of the file, one after the other, and exports the checkpoint that `export_to` names. On several GPUs
or machines: `torchrun --nproc-per-node N -m training train --config FILE`; `batch` is that of each process. A stage
without a length is trained for as long as the command runs; `--finish` goes on to the stages after it.
"""

import argparse
import math
import sys
from pathlib import Path

from model.errors import ParameterError
from training.commands.arguments import check_folder
from training.commands.export import check_checkpoint, export
from training.config import read_config
from training.data.pool import load_pool
from training.run.state import WEIGHTS
from training.run.trainer import Trainer, recipe_of
from training.run.validation import load_validation
from training.team import join

_NAMED = 5  # files that a message names


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument(
        "--config", type=Path, required=True, help="YAML file; see training/config.py for the keys"
    )
    parser.add_argument(
        "--minutes",
        type=_minutes,
        help="stop after so many minutes of training (loading and validation come on top); run again to go on",
    )
    parser.add_argument("--steps", type=_steps, help="stop after so many steps; run again to go on")
    parser.add_argument(
        "--finish",
        action="store_true",
        help="end a stage that has no length, and train the stages after it to the end of the run",
    )
    parser.add_argument(
        "--init-from", nargs="+", metavar="FILE", help="replaces the file's init_from; several are averaged"
    )
    parser.add_argument("--out", help="replaces the file's out")
    parser.add_argument("--export-to", help="replaces the file's export_to")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (%(default)s)")
    parser.add_argument("--compile", action="store_true", help="torch.compile the network (pays on a GPU)")


def run(args: argparse.Namespace) -> int:
    """Train as the configuration says; returns the exit status."""
    config = read_config(args.config, init_from=args.init_from, out=args.out, export_to=args.export_to)
    recipe = recipe_of(config)
    for stage in config.stages:
        if unknown := {*stage.parts, *stage.shares} - set(recipe.parts):
            raise ParameterError(
                f"{args.config}: {stage.name}: parts are of {recipe.parts}, got {sorted(unknown)}"
            )
        if not recipe.trained(stage):
            raise ParameterError(f"{args.config}: {stage.name}: nothing to train without a mask_mean")
    validation = load_validation(config.val_files)
    team, device = join(args.device)
    if team.leads:
        check_folder(Path(config.out))
        if config.export_to:
            check_checkpoint(Path(config.export_to))
    pool = load_pool(
        config.train_files, patch=config.patch, scales=config.scales, device=device, progress=team.leads
    )
    trainer = Trainer(
        config, pool, validation, device=device, team=team, compiled=args.compile, finish=args.finish
    )
    if team.leads:
        _tell(trainer)
    trainer.train(minutes=args.minutes, steps=args.steps)
    team.leave()
    if team.leads and trainer.finished and config.export_to:
        export(config, weights=Path(config.out) / WEIGHTS, to=Path(config.export_to))
    return 0


def _tell(trainer: Trainer) -> None:
    """What is left out of the pictures to train on and to watch, where a run goes on, and its precision."""
    for where, pictures in (("", trainer.pool), (" of the validation", trainer.validation)):
        for what, files in (("cannot be read", pictures.broken), ("are too small", pictures.small)):
            if files:
                some = ", ".join(map(str, files[:_NAMED])) + (", ..." if len(files) > _NAMED else "")
                sys.stderr.write(f"left out{where}, as they {what}: {len(files)} pictures: {some}\n")
    if trainer.progress.step:
        where = "is finished" if trainer.finished else f"goes on in stage {trainer.stage.name}"
        sys.stderr.write(f"the run in {trainer.folder} {where}, after {trainer.progress.step} steps\n")
    sys.stderr.write(f"precision: {trainer.precision.told}\n")
    if trainer.done() == 0 and trainer.stage.endless and not trainer.finished:
        sys.stderr.write(f"stage {trainer.stage.name} has no end: it can be stopped, and ended by --finish\n")


def _minutes(text: str) -> float:
    value = float(text)
    if not (value >= 0 and math.isfinite(value)):
        raise argparse.ArgumentTypeError(f"at least 0 and finite, got {text}")
    return value


def _steps(text: str) -> int:
    """0 takes no step, and with --finish still ends a stage that has no length."""
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"at least 0, got {text}")
    return value
