"""The Karhunen-Loeve transform of 8x8 blocks that a training from scratch starts from."""

import torch
from torch import Tensor

from model.config import BLOCK
from training.data.pool import PicturePool

_PATCH = 128
_BATCHES = 64


def block_samples(pool: PicturePool, *, generator: torch.Generator) -> Tensor:
    """8x8 blocks of random crops, -0.5..0.5, float32 [N, 192] on the CPU, channels first."""
    patch = min(_PATCH, int(torch.minimum(pool.heights, pool.widths).min())) // BLOCK * BLOCK
    parts = []
    for _ in range(_BATCHES):
        crops = pool.crops(8, patch, generator=generator).cpu().float() / 255 - 0.5
        blocks = torch.nn.functional.unfold(crops, BLOCK, stride=BLOCK)
        parts.append(blocks.transpose(1, 2).reshape(-1, 3 * BLOCK * BLOCK))
    return torch.cat(parts)


def principal_components(samples: Tensor) -> Tensor:
    """An orthonormal basis of samples [N, D]: float32 [D, D], one in each row, largest second moment first."""
    moments = torch.zeros(samples.shape[1], samples.shape[1], dtype=torch.float64)
    for part in torch.split(samples, 1 << 14):
        moments += part.double().T @ part.double()
    _, vectors = torch.linalg.eigh(moments)  # ascending
    components: Tensor = vectors.T.flip(0).float()
    return components
