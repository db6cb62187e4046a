"""CompressAI's scale hyperprior, from arrays to bytes and back: the speed that ours is compared with.

Ballé, Minnen, Singh, Hwang, Johnston: "Variational image compression with a scale hyperprior", ICLR 2018, as
implemented in the PyPI package `compressai`. The weights are random: they decide what is coded, and for
timing that does.
"""

import importlib
import importlib.util
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from model.checkpoints import resolve_device
from model.errors import ParameterError
from model.types import Pixels

NAME = "bmshj2018-hyperprior"
INSTALL = "pip install --no-deps compressai==1.2.8 scipy"

_WIDTH, _LATENT = 128, 192  # quality 5 in compressai.zoo
_STRIDE = 64  # pictures are padded to a multiple of it


@dataclass(frozen=True)
class Coded:
    """A picture as the hyperprior codes it.

    Attributes:
        strings: entropy-coded latents and hyperlatents, as `compress` returns them.
        shape: of the hyperlatents.
        size: height and width of the picture.
    """

    strings: list[list[bytes]]
    shape: tuple[int, int]
    size: tuple[int, int]


class Hyperprior:
    """The network at quality 5, ready to code."""

    def __init__(self, *, device: str = "cpu") -> None:
        """Build it with seeded random weights; raises ParameterError without CompressAI."""
        with torch.random.fork_rng():
            torch.manual_seed(0)
            network: Any = _network_class()(_WIDTH, _LATENT)
        network.eval()
        network.update(force=True)  # the tables of the entropy coder
        self._device = resolve_device(device)
        self._network = network.to(self._device)

    def compress(self, array: Pixels) -> Coded:
        """The strings of an [H, W, 3] picture."""
        height, width = array.shape[:2]
        with torch.inference_mode():
            x = torch.from_numpy(array).to(self._device).permute(2, 0, 1).unsqueeze(0) / 255  # [1, 3, H, W]
            x = functional.pad(x, (0, -width % _STRIDE, 0, -height % _STRIDE), mode="replicate")
            out = self._network.compress(x)
        return Coded(out["strings"], tuple(out["shape"]), (height, width))

    def decompress(self, coded: Coded) -> Pixels:
        """The picture, [H, W, 3]."""
        height, width = coded.size
        with torch.inference_mode():
            x_hat = self._network.decompress(coded.strings, coded.shape)["x_hat"][0, :, :height, :width]
            pixels = (x_hat * 255).round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0)
        return np.ascontiguousarray(pixels.cpu().numpy())


def _network_class() -> type[Any]:
    """`ScaleHyperprior`, from its own module.

    CompressAI's `__init__` modules import data sets, point clouds and a registry, and with them torchvision,
    torch-geometric, pandas and more: hundreds of megabytes that the hyperprior never calls. Empty packages stand
    in for the three that would, and only what the hyperprior itself imports is run.
    """
    if "compressai" not in sys.modules:
        spec = importlib.util.find_spec("compressai")
        if spec is None or not spec.submodule_search_locations:
            raise ParameterError(f"the benchmark compares with CompressAI: {INSTALL}")
        root = Path(spec.submodule_search_locations[0])
        _stand_in(
            "compressai", root, available_entropy_coders=lambda: ["ans"], get_entropy_coder=lambda: "ans"
        )
        _stand_in("compressai.models", root / "models")
        _stand_in("compressai.registry", root / "registry", register_model=_keep, register_module=_keep)
    try:
        module = importlib.import_module("compressai.models.google")
    except ImportError as error:
        raise ParameterError(f"CompressAI cannot be imported ({error}): {INSTALL}") from error
    found: type[Any] = module.ScaleHyperprior
    return found


def _stand_in(name: str, folder: Path, **attributes: object) -> None:
    module = ModuleType(name)
    module.__path__ = [str(folder)]
    for key, value in attributes.items():
        setattr(module, key, value)
    sys.modules[name] = module


def _keep(_name: str) -> Any:
    """Stands in for the registry's decorators, which only note a class under a name."""
    return lambda cls: cls
