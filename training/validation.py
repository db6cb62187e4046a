"""Whole pictures watched while a network trains: rate, distortion, reconstructions and importance maps."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from model.config import CELL
from model.network import Network
from model.types import Pixels
from training.metrics import psnr_of_mse
from training.pictures import load_pictures

QUALITIES = (0.1, 0.4, 0.7, 1.0)
_MAX_PICTURES = 12
_MAX_SIDE = 1024
_FLAT_SIDE = 768


@dataclass(frozen=True)
class Validation:
    """Pictures to watch, uint8 [H, W, 3] with sides that are multiples of 16.

    The last is flat and dark, and larger than any training crop: a codec whose decoder leans on the borders of
    its crops fails there first.
    """

    pictures: tuple[Pixels, ...]

    @torch.no_grad()
    def log(self, network: Network, writer: SummaryWriter, step: int, *, device: torch.device) -> None:
        """Measure and write scalars and pictures; estimated rates, real ones need an export."""
        for quality in QUALITIES:
            results = [self._measure(network, picture, quality, device) for picture in self.pictures]
            bpp = float(np.mean([r[0] for r in results[:-1]]))
            psnr = float(np.mean([psnr_of_mse(r[1]) for r in results[:-1]]))
            scalars = {"bpp": bpp, "psnr": psnr, "flat_mse": results[-1][1]}
            for name, value in scalars.items():
                writer.add_scalar(f"val_q{quality}/{name}", value, step)
            for name, image in (("x_hat", results[0][2]), ("levels", results[0][3])):
                writer.add_image(f"val_q{quality}/{name}", image.float().cpu().clamp(0, 1).numpy(), step)
            sys.stderr.write(
                f"\nstep {step} q {quality}: {bpp:.4f} bpp, {psnr:.3f} dB, flat mse {results[-1][1]:.2f}\n"
            )

    @staticmethod
    def _measure(
        network: Network, picture: Pixels, quality: float, device: torch.device
    ) -> tuple[float, float, Tensor, Tensor]:
        x = torch.from_numpy(picture.copy()).to(device).permute(2, 0, 1)[None].float() / 255
        plane = torch.full((1, 1, x.shape[2] // CELL, x.shape[3] // CELL), quality, device=device)
        output = network(x, plane)
        mse = ((output.x_hat.clamp(0, 1) * 255).round() - x * 255).square().mean()
        levels = output.levels[0] / network.config.levels
        return float(output.code_bpp + output.map_bpp), float(mse), output.x_hat[0], levels


def load_validation(patterns: Sequence[str]) -> Validation:
    """The first pictures of some glob patterns, cut to whole cells; raises as `load_pictures`."""
    found = load_pictures(patterns, min_side=CELL).pictures[:_MAX_PICTURES]
    flat = np.full((_FLAT_SIDE, _FLAT_SIDE, 3), 12, np.uint8)
    return Validation((*(_cut(picture.array) for picture in found), flat))


def _cut(array: Pixels) -> Pixels:
    height, width = (min(side, _MAX_SIDE) // CELL * CELL for side in array.shape[:2])
    return array[:height, :width]
