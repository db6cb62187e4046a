"""What tests of several packages share: a small real codec, and pictures to code."""

from pathlib import Path

import numpy as np
import pytest
import torch

from model.checkpoints import load_codec, save_checkpoint
from model.codec import Codec
from model.config import CwicConfig
from model.freeze import freeze, logistic_tables
from model.network import Network
from model.types import Pixels

TINY = CwicConfig(
    channels=16,
    levels=4,
    groups=(4, 12),
    stem_width=8,
    trunk_width=12,
    blocks=1,
    context_width=8,
    map_width=8,
)


@pytest.fixture(scope="session")
def tiny_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the checkpoint `tiny`: seeded, narrow, untrained, but a working transform coder."""
    folder = tmp_path_factory.mktemp("checkpoints")
    torch.manual_seed(0)
    tables = logistic_tables()
    save_checkpoint(
        freeze(Network(TINY), map_tables=tables, code_tables=tables), TINY, folder / "tiny", card={}
    )
    return folder


@pytest.fixture(scope="session")
def tiny_codec(tiny_dir: Path) -> Codec:
    """The codec of `tiny_dir`, on the CPU."""
    return load_codec("tiny", model_dir=tiny_dir, device="cpu")


def picture(height: int, width: int, *, channels: int = 3, seed: int = 0) -> Pixels:
    """A smooth random picture with some noise, uint8 [height, width, channels]."""
    generator = np.random.default_rng(seed)
    coarse = generator.uniform(0, 255, (height // 16 + 2, width // 16 + 2, channels))
    rows, columns = (
        np.linspace(0, coarse.shape[0] - 1.01, height),
        np.linspace(0, coarse.shape[1] - 1.01, width),
    )
    i, j = rows.astype(int), columns.astype(int)
    u, v = (rows - i)[:, None, None], (columns - j)[None, :, None]
    top = coarse[i][:, j] * (1 - v) + coarse[i][:, j + 1] * v
    bottom = coarse[i + 1][:, j] * (1 - v) + coarse[i + 1][:, j + 1] * v
    smooth = top * (1 - u) + bottom * u
    noisy: Pixels = np.clip(smooth + generator.normal(0, 4, smooth.shape), 0, 255).astype(np.uint8)
    return noisy
