"""What training minimises: bits per pixel plus lambda times the squared error, over all qualities at once."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from model.config import CELL
from model.network import Network

_LOSS_SCALE = 0.05  # brings the loss to the order of 1


class Objective(NamedTuple):
    """The loss, and what it is made of as means over the batch; all scalars."""

    loss: Tensor
    code_bpp: Tensor
    map_bpp: Tensor
    mse: Tensor
    level: Tensor


def random_quality(batch: int, cells: int, *, plane_share: float, generator: torch.Generator) -> Tensor:
    """Quality planes, float32 [batch, 1, cells, cells] in 0..1: constant, or two-by-two corners for a share of them.

    Half of the varied planes have sharp borders and half are interpolated, so that a region of interest needs
    no second model.
    """
    constant = torch.rand(batch, 1, 1, 1, generator=generator).expand(-1, 1, cells, cells)
    corners = torch.rand(batch, 1, 2, 2, generator=generator)
    sharp = functional.interpolate(corners, size=(cells, cells), mode="nearest")
    smooth = functional.interpolate(corners, size=(cells, cells), mode="bilinear")
    draw = torch.rand(batch, 1, 1, 1, generator=generator)
    varied = torch.where(draw < plane_share / 2, sharp, smooth)
    return torch.where(draw < plane_share, varied, constant)


def rate_distortion(network: Network, x: Tensor, quality: Tensor, *, noise: bool) -> Objective:
    """The objective of a batch.

    Each sample is divided by the square root of its lambda, so that low and high rates weigh alike.

    Args:
        network: the codec.
        x: RGB, 0..1, float32 [B, 3, H, W].
        quality: [B, 1, H/16, W/16].
        noise: see `Network.forward`.
    """
    output = network(x, quality, noise=noise)
    error = (output.x_hat - x).square().mean(1, keepdim=True) * 255**2  # [B, 1, H, W]
    weight = network.lambda_(quality)
    distortion = (functional.avg_pool2d(error, CELL) * weight).mean((1, 2, 3))
    total = output.code_bpp + output.map_bpp + distortion
    loss = (total / weight.mean((1, 2, 3)).sqrt()).mean() * _LOSS_SCALE
    return Objective(loss, output.code_bpp.mean(), output.map_bpp.mean(), error.mean(), output.levels.mean())
