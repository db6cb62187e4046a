"""Turn a run's float weights into a checkpoint: integers, calibrated tables, model card."""

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from model.checkpoints import load_codec, save_checkpoint
from model.codec import Codec
from model.config import CwicConfig
from model.entropy.tables import SymbolTables
from model.errors import CheckpointFormatError
from model.options import EncodeOptions
from model.profiles.export import logistic_tables, quantise
from model.types import Pixels
from training.commands.arguments import check_file, writing
from training.config import TrainConfig, read_config
from training.data.pictures import decoded, find_files
from training.measure.metrics import psnr
from training.recipes.base import AnyNetwork, network_of
from training.run.calibrate import fit_tables
from training.run.state import WEIGHTS, read_tensors
from training.run.validation import validation_pictures

_CALIBRATION_PIXELS = 30_000_000  # over all qualities
_FIXED_RATE_PIXELS = 10_000_000
_SIDE = 1024  # pictures are cut to it
_JUDGED = 48  # pictures that the card's curve is of
_CURVE_QUALITIES = (1.0, 20.0, 40.0, 60.0, 80.0, 100.0)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument("--config", type=Path, required=True, help="the run's YAML file")
    parser.add_argument("--weights", type=Path, help=f"float weights (the run's {WEIGHTS})")
    parser.add_argument(
        "--to", type=Path, required=True, help="checkpoint to write, without suffix: model/weights/cwic"
    )
    parser.add_argument("--note", default="", help="where the weights come from, for the model card")


def run(args: argparse.Namespace) -> int:
    """Export; returns the exit status."""
    config = read_config(args.config)
    export(config, weights=args.weights or Path(config.out) / WEIGHTS, to=args.to, note=args.note)
    return 0


def export(config: TrainConfig, *, weights: Path, to: Path, note: str = "") -> None:
    """Write the checkpoint `to` (without suffix) of a run's float weights, and its card.

    Raises:
        CheckpointFormatError: the weights cannot be read or are of another codec.
        ParameterError: the checkpoint cannot be written.
    """
    check_checkpoint(to)
    network = network_of(config.codec)
    tensors, progress = read_tensors(weights)
    if progress.codec != config.codec.to_json():
        raise CheckpointFormatError(
            f"{weights} is of codec {progress.codec}, the run's is {config.codec.to_json()}"
        )
    try:
        network.load_state_dict(tensors)
    except RuntimeError as exc:
        raise CheckpointFormatError(f"{weights} does not fit the run's codec: {exc}") from exc
    map_tables, code_tables = fitted_tables(network, config)
    card = {
        "training": {
            "data": sorted(Path(pattern).name for pattern in config.train_files),
            "settings": _settings(config),
            "steps": progress.step,
            "minutes": round(progress.seconds / 60, 1),
            "note": note,
        },
        "licence": "Apache-2.0",
    }
    tensors = quantise(network, map_tables=map_tables, code_tables=code_tables)
    with writing(to):
        info = save_checkpoint(tensors, config.codec, to, card=card)
    codec = load_codec(to.name, model_dir=to.parent)
    pictures = validation_pictures(config.val_files, at_most=_JUDGED).pictures
    curve = _curve(codec, [picture.array[:_SIDE, :_SIDE] for picture in pictures])
    with writing(to):
        save_checkpoint(tensors, config.codec, to, card={**card, "validation_curve": curve})
    sys.stdout.write(json.dumps({**asdict(info), "validation_curve": curve}, indent=2) + "\n")


def check_checkpoint(to: Path) -> None:
    """Try whether a checkpoint's two files can be written; raises ParameterError."""
    for suffix in (".safetensors", ".json"):
        check_file(to.with_name(to.name + suffix))


def fitted_tables(network: AnyNetwork, config: TrainConfig) -> tuple[SymbolTables, SymbolTables]:
    """Probability tables for the importance map and for the codes, fitted to training pictures."""
    map_prior, code_prior = logistic_tables(), logistic_tables(binary=config.codec.alphabet == (0, 1))
    tensors = quantise(network, map_tables=map_prior, code_tables=code_prior)
    with tempfile.TemporaryDirectory() as folder:
        save_checkpoint(tensors, config.codec, Path(folder) / "prior", card={})
        codec = load_codec("prior", model_dir=Path(folder))
    return fit_tables(codec, _calibration_pictures(config))


def _calibration_pictures(config: TrainConfig) -> Iterator[tuple[Pixels, EncodeOptions]]:
    """Training pictures in random order with random qualities and tunes, where there are any to choose."""
    generator = np.random.default_rng(config.seed)
    files = find_files(config.train_files)
    left = _FIXED_RATE_PIXELS if config.codec.fixed_rate else _CALIBRATION_PIXELS
    for array in decoded(files[index] for index in generator.permutation(len(files))):
        part = array[:_SIDE, :_SIDE]
        if isinstance(config.codec, CwicConfig):
            quality, tune = float(generator.uniform(1, 100)), str(generator.choice(config.codec.tunes))
            yield part, EncodeOptions(quality=quality, tune="visual" if tune == "visual" else "psnr")
        else:
            yield part, EncodeOptions()
        left -= part.shape[0] * part.shape[1]
        if left < 0:
            return


def _curve(codec: Codec, pictures: list[Pixels]) -> list[dict[str, float | None]]:
    """Mean bits per pixel of whole files, and mean PSNR, at some qualities."""
    curve: list[dict[str, float | None]] = []
    for quality in (None,) if codec.info.fixed_rate else _CURVE_QUALITIES:
        options = EncodeOptions(quality=quality, lossless=False)
        files = [codec.encode(picture, options) for picture in pictures]
        bpp = np.mean([codec.read(file).info().bpp for file in files])
        decibels = np.mean([psnr(p, codec.decode(f)) for p, f in zip(pictures, files, strict=True)])
        curve.append({"quality": quality, "bpp": round(float(bpp), 4), "psnr": round(float(decibels), 3)})
    return curve


def _settings(config: TrainConfig) -> dict[str, Any]:
    """The settings that shape the result; paths are this machine's business."""
    private = {"train_files", "val_files", "out", "export_to", "codec", "init_from"}
    return {key: value for key, value in asdict(config).items() if key not in private}
