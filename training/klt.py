"""The Karhunen-Loeve transform of 8x8 blocks that a training from scratch starts from."""

import torch
from torch import Tensor

from model.config import BLOCK
from training.data import PicturePool

_PATCH = 128
_BATCHES = 64


def block_basis(pool: PicturePool, channels: int, *, generator: torch.Generator) -> Tensor:
    """The principal components of training blocks, largest variance first: [channels, 3, 8, 8], orthonormal."""
    patch = min(_PATCH, int(torch.minimum(pool.heights, pool.widths).min())) // BLOCK * BLOCK
    size = 3 * BLOCK * BLOCK
    moments = torch.zeros(size, size, dtype=torch.float64)
    for _ in range(_BATCHES):
        crops = pool.crops(8, patch, generator=generator).double().cpu() / 255 - 0.5
        blocks = torch.nn.functional.unfold(crops, BLOCK, stride=BLOCK).transpose(1, 2).reshape(-1, size)
        moments += blocks.T @ blocks
    _, vectors = torch.linalg.eigh(moments)  # ascending
    basis: Tensor = vectors.T.flip(0)[:channels].reshape(channels, 3, BLOCK, BLOCK).float()
    return basis
