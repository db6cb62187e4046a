"""Turn a run's float weights into a checkpoint: integers, calibrated tables, model card."""

import argparse
import json
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from model.checkpoints import load_codec, save_checkpoint
from model.codec import Codec
from model.entropy import SymbolTables
from model.errors import CheckpointFormatError
from model.freeze import freeze, logistic_tables
from model.network import Network
from model.types import Pixels
from training.calibrate import fit_tables
from training.config import TrainConfig, read_config
from training.metrics import psnr
from training.pictures import load_pictures
from training.state import WEIGHTS, read_tensors

_CALIBRATION_PIXELS = 30_000_000
_CALIBRATION_SIDE = 1024
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
    weights = args.weights or Path(config.out) / WEIGHTS
    network = Network(config.codec)
    tensors, progress = read_tensors(weights)
    try:
        network.load_state_dict(tensors)
    except RuntimeError as exc:
        raise CheckpointFormatError(f"{weights} does not fit the codec of {args.config}: {exc}") from exc
    map_tables, code_tables = fitted_tables(network, config)
    card = {
        "training": {
            "data": sorted(Path(pattern).name for pattern in config.train_files),
            "settings": _settings(config),
            "steps": progress.step,
            "minutes": round(progress.seconds / 60, 1),
            "note": args.note,
        },
        "licence": "Apache-2.0",
    }
    args.to.parent.mkdir(parents=True, exist_ok=True)
    tensors = freeze(network, map_tables=map_tables, code_tables=code_tables)
    info = save_checkpoint(tensors, config.codec, args.to, card=card)
    codec = load_codec(args.to.name, model_dir=args.to.parent)
    curve = _curve(codec, [p.array for p in load_pictures(config.val_files).pictures])
    save_checkpoint(tensors, config.codec, args.to, card={**card, "validation_curve": curve})
    sys.stdout.write(json.dumps({**asdict(info), "validation_curve": curve}, indent=2) + "\n")
    return 0


def fitted_tables(network: Network, config: TrainConfig) -> tuple[SymbolTables, SymbolTables]:
    """Probability tables for the importance map and for the codes, fitted to training pictures."""
    prior = logistic_tables()
    tensors = freeze(network, map_tables=prior, code_tables=prior)
    with tempfile.TemporaryDirectory() as folder:
        save_checkpoint(tensors, config.codec, Path(folder) / "prior", card={})
        codec = load_codec("prior", model_dir=Path(folder))
    return fit_tables(codec, _calibration_pictures(config))


def _calibration_pictures(config: TrainConfig) -> list[tuple[Pixels, float]]:
    """Training pictures in random order with random qualities."""
    generator = np.random.default_rng(config.seed)
    pictures = load_pictures(config.train_files).pictures
    chosen: list[tuple[Pixels, float]] = []
    pixels = 0
    for index in generator.permutation(len(pictures)):
        array = pictures[index].array[:_CALIBRATION_SIDE, :_CALIBRATION_SIDE]
        chosen.append((array, float(generator.uniform(1, 100))))
        pixels += array.shape[0] * array.shape[1]
        if pixels > _CALIBRATION_PIXELS:
            break
    return chosen


def _curve(codec: Codec, pictures: list[Pixels]) -> list[dict[str, float]]:
    """Mean bits per pixel of whole files, and mean PSNR, at some qualities."""
    curve = []
    for quality in _CURVE_QUALITIES:
        files = [codec.encode(picture, quality=quality) for picture in pictures]
        bpp = np.mean([codec.inspect(file).bpp for file in files])
        decibels = np.mean([psnr(p, codec.decode(f)) for p, f in zip(pictures, files, strict=True)])
        curve.append({"quality": quality, "bpp": round(float(bpp), 4), "psnr": round(float(decibels), 3)})
    return curve


def _settings(config: TrainConfig) -> dict[str, Any]:
    """The settings that shape the result; paths are this machine's business."""
    private = {"train_files", "val_files", "out", "codec", "init_from"}
    return {key: value for key, value in asdict(config).items() if key not in private}
