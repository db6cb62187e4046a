"""Whole pictures watched while a network trains: rate, distortion, reconstructions and importance maps."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.utils.tensorboard import SummaryWriter

from model.types import Pixels
from training.config import Stage
from training.data.pictures import Pictures, load_pictures
from training.measure.metrics import psnr_of_mse
from training.recipes.base import AnyNetwork, Probe, Recipe

_UNIT = 16  # a multiple of every profile's cell
_WATCHED = 12  # pictures
_MAX_SIDE = 1024
_FLAT_SIDE = 768


@dataclass(frozen=True)
class Validation:
    """Pictures to watch, uint8 [H, W, 3] with sides that are multiples of 16.

    The last is flat and dark, and larger than any training crop: a codec whose decoder leans on the borders of
    its crops fails there first. `broken` and `small` are files that were left out.
    """

    pictures: tuple[Pixels, ...]
    broken: tuple[Path, ...] = ()
    small: tuple[Path, ...] = ()

    @torch.no_grad()
    def log(
        self,
        recipe: Recipe,
        network: AnyNetwork,
        writer: SummaryWriter,
        step: int,
        *,
        stage: Stage,
        device: torch.device,
    ) -> None:
        """Measure and write scalars and pictures; estimated rates, real ones need an export."""
        for label in recipe.labels:
            probes = [
                self._probe(recipe, network, picture, label, stage, device) for picture in self.pictures
            ]
            *seen, flat = [probe.scalars for probe in probes]
            scalars = {name: float(np.mean([each[name] for each in seen])) for name in seen[0]}
            scalars["psnr"] = float(np.mean([psnr_of_mse(each["mse"]) for each in seen]))
            scalars["flat_mse"] = flat["mse"]
            for name, value in scalars.items():
                writer.add_scalar(f"val_{label}/{name}", value, step)
            for name, image in probes[0].images.items():
                writer.add_image(f"val_{label}/{name}", image.float().cpu().clamp(0, 1).numpy(), step)
            line = ", ".join(f"{name} {value:.4g}" for name, value in scalars.items())
            sys.stderr.write(f"\nstep {step}, {stage.name}, {label}: {line}\n")

    @staticmethod
    def _probe(
        recipe: Recipe, network: AnyNetwork, picture: Pixels, label: str, stage: Stage, device: torch.device
    ) -> Probe:
        x = torch.from_numpy(picture.copy()).to(device).permute(2, 0, 1)[None].float() / 255
        return recipe.probe(network, x, label, stage=stage)


def validation_pictures(patterns: Sequence[str], *, at_most: int) -> Pictures:
    """The pictures of the first so many files of some glob patterns, without those that are smaller than a cell.

    Raises:
        ParameterError: a pattern matches nothing, or no picture can be used.
        BrokenImageError: more than 5 % of these files cannot be read; names the first.
    """
    return load_pictures(patterns, min_side=_UNIT, at_most=at_most)


def load_validation(patterns: Sequence[str]) -> Validation:
    """`validation_pictures`, cut to whole cells, and what of them was left out; raises as that."""
    found = validation_pictures(patterns, at_most=_WATCHED)
    flat = np.full((_FLAT_SIDE, _FLAT_SIDE, 3), 12, np.uint8)
    pictures = (*(_cut(picture.array) for picture in found.pictures), flat)
    return Validation(pictures, broken=found.broken, small=found.small)


def _cut(array: Pixels) -> Pixels:
    height, width = (min(side, _MAX_SIDE) // _UNIT * _UNIT for side in array.shape[:2])
    return array[:height, :width]
