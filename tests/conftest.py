"""What tests of several packages share: small real codecs, and pictures to code."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings

from model.checkpoints import available, load_codec, save_checkpoint
from model.codec import Codec
from model.config import CodecConfig, Cvpr2018Config, CwicConfig
from model.profiles.cvpr2018.network import Cvpr2018Network
from model.profiles.cwic.network import CwicNetwork
from model.profiles.export import logistic_tables, quantise
from model.types import Pixels

# Hypothesis by itself fails a test for one example of 200 ms, or for a slow draw.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")

TINY = CwicConfig(
    channels=16,
    kept=(4, 7, 11, 16),
    groups=(4, 8, 4),
    passes=(5, 2, 1),
    stem_width=8,
    trunk_width=12,
    blocks=1,
    context_width=8,
    map_width=8,
)
TINY_2018 = Cvpr2018Config(channels=16, levels=4, groups=(1, 3, 12), context_width=8, map_width=8, width=16)
TINY_2018_EMPTY = replace(TINY_2018, lowest_level=0)
TINIES: dict[str, CodecConfig] = {
    "tiny": TINY,
    "tiny-2018": TINY_2018,
    "tiny-2018-empty": TINY_2018_EMPTY,
}


def default_network(config: CwicConfig) -> CwicNetwork:
    """Seeded random weights, but maps that use several levels, most of them high."""
    torch.manual_seed(0)
    network = CwicNetwork(config)
    last = network.transforms.analysis.importance[-1]
    assert isinstance(last, torch.nn.Conv2d)
    assert last.bias is not None
    last.weight.data *= 10
    last.bias.data.fill_(-15.0)
    return network


def paper_network(config: Cvpr2018Config) -> Cvpr2018Network:
    """Seeded random weights, but maps that use all levels and pictures that use all brightnesses."""
    torch.manual_seed(1)
    network = Cvpr2018Network(config)
    last = network.transforms.encoder.importance[-1]
    assert isinstance(last, torch.nn.Conv2d)
    assert last.bias is not None
    last.weight.data *= 40
    last.bias.data -= 4.5
    colours = network.transforms.decoder.layers[-1].weight
    assert isinstance(colours, torch.Tensor)
    colours.data *= 8
    return network


def save_network(network: CwicNetwork | Cvpr2018Network, folder: Path, name: str) -> Path:
    """Write a network as a checkpoint with the tables that it assumes; the folder."""
    map_tables, code_tables = logistic_tables(), logistic_tables(binary=isinstance(network, Cvpr2018Network))
    tensors = quantise(network, map_tables=map_tables, code_tables=code_tables)
    save_checkpoint(tensors, network.config, folder / name, card={})
    return folder


@pytest.fixture(scope="session")
def tiny_dirs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """For each of TINIES a folder with its checkpoint: seeded, narrow and untrained. `tiny` codes pictures well."""
    networks: dict[str, CwicNetwork | Cvpr2018Network] = {
        "tiny": default_network(TINY),
        "tiny-2018": paper_network(TINY_2018),
        "tiny-2018-empty": paper_network(TINY_2018_EMPTY),
    }
    assert {name: network.config for name, network in networks.items()} == TINIES
    return {
        name: save_network(network, tmp_path_factory.mktemp("checkpoints"), name)
        for name, network in networks.items()
    }


@pytest.fixture(scope="session")
def tiny_dir(tiny_dirs: dict[str, Path]) -> Path:
    """The folder of `tiny`."""
    return tiny_dirs["tiny"]


@pytest.fixture(scope="session")
def tiny_codec(tiny_dir: Path) -> Codec:
    """The codec of `tiny_dir`, on the CPU."""
    return load_codec("tiny", model_dir=tiny_dir, device="cpu")


@pytest.fixture(scope="session")
def tiny_2018_dir(tiny_dirs: dict[str, Path]) -> Path:
    """The folder of `tiny-2018`."""
    return tiny_dirs["tiny-2018"]


@pytest.fixture(scope="session")
def tiny_2018_codec(tiny_2018_dir: Path) -> Codec:
    """The codec of `tiny_2018_dir`, on the CPU."""
    return load_codec("tiny-2018", model_dir=tiny_2018_dir, device="cpu")


@pytest.fixture(scope="session", params=TINIES)
def any_dir(request: pytest.FixtureRequest, tiny_dirs: dict[str, Path]) -> Path:
    """The folder of each of TINIES in turn."""
    return tiny_dirs[request.param]


@pytest.fixture(scope="session")
def any_codec(any_dir: Path) -> Codec:
    """The codec of `any_dir`, on the CPU."""
    return load_codec(*available(any_dir), model_dir=any_dir, device="cpu")


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
