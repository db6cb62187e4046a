"""Train a checkpoint: `python -m training train --config FILE`. Continues a run that was stopped.

Runs all stages of the file, one after the other, and exports the checkpoint that `export_to` names. On several GPUs
or machines: `torchrun --nproc-per-node N -m training train --config FILE`; `batch` is that of each process. A stage
without a length is trained for as long as the command runs; `--finish` goes on to the stages after it.
"""

import argparse
import sys
from pathlib import Path

from model.checkpoints import resolve_device
from model.errors import ParameterError
from training.commands.export import export
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
        type=float,
        help="stop after so many minutes of training (loading and validation come on top); run again to go on",
    )
    parser.add_argument("--steps", type=int, help="stop after so many steps; run again to go on")
    parser.add_argument(
        "--finish",
        action="store_true",
        help="end a stage that has no length, and train the stages after it to the end of the run",
    )
    parser.add_argument("--init-from", help="replaces the file's init_from")
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
    team, own_device = join(args.device)
    device = resolve_device(own_device)
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
    """What is left out of the training pictures, where a run goes on, and its precision."""
    for what, files in (("cannot be read", trainer.pool.broken), ("are too small", trainer.pool.small)):
        if files:
            some = ", ".join(map(str, files[:_NAMED])) + (", ..." if len(files) > _NAMED else "")
            sys.stderr.write(f"left out, as they {what}: {len(files)} pictures: {some}\n")
    if trainer.progress.step:
        where = "is finished" if trainer.finished else f"goes on in stage {trainer.stage.name}"
        sys.stderr.write(f"the run in {trainer.folder} {where}, after {trainer.progress.step} steps\n")
    sys.stderr.write(f"precision: {trainer.precision.told}\n")
    if trainer.done() == 0 and trainer.stage.endless and not trainer.finished:
        sys.stderr.write(f"stage {trainer.stage.name} has no end: it can be stopped, and ended by --finish\n")
