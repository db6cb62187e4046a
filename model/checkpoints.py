"""Checkpoint files to codecs.

A checkpoint NAME is two files in a folder of checkpoints, or in a folder there: `NAME.safetensors`, the tensors of
`model.profiles.export.quantise` with the config in its metadata, and `NAME.json`, the card: the weights' SHA-256, a
golden vector, and where the checkpoint comes from. The first 8 hexadecimal digits of the SHA-256 are the model id
that files carry.
"""

import base64
import binascii
import hashlib
import json
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from model.codec import Codec
from model.config import CodecConfig
from model.container.format import unpack
from model.errors import (
    CheckpointFormatError,
    CheckpointNotFoundError,
    CwicError,
    DeviceError,
    ParameterError,
    SelfTestError,
)
from model.options import EncodeOptions
from model.profiles.layers import ResidualBlock
from model.types import PRECISIONS, Limits, ModelInfo, Pixels

DEFAULT_MODEL_DIR = Path(__file__).parent / "weights"
DEFAULT_MODEL = "cwic"
_GOLDEN_SHAPE = (96, 80, 3)
_GOLDEN_QUALITY = 60.0
_PROBE_WIDTH, _PROBE_ROUNDS = 144, 5
_CLEARLY = 1.2  # times as fast: what is close stays in float32, start after start


def available(model_dir: Path = DEFAULT_MODEL_DIR) -> tuple[str, ...]:
    """The names of the checkpoints in a folder and in the folders there, the default first."""
    names = sorted({path.stem for path in _files(model_dir)})
    return tuple(sorted(names, key=lambda name: name != DEFAULT_MODEL))


def model_id(name: str, *, model_dir: Path = DEFAULT_MODEL_DIR) -> str:
    """The model id that a checkpoint's card gives it; nothing is loaded.

    Raises CheckpointNotFoundError, CheckpointFormatError, as `load_codec`.
    """
    path = _weights_path(name, model_dir).with_suffix(".json")
    return _id_of(str(_parse_card(_read(path, name, model_dir), path)["sha256"]))


def load_codec(
    name: str = DEFAULT_MODEL,
    *,
    model_dir: Path = DEFAULT_MODEL_DIR,
    device: str = "auto",
    dtype: str = "auto",
    limits: Limits | None = None,
) -> Codec:
    """Load a checkpoint onto a device and prove with its golden vector that files decode there as they should.

    Args:
        name: checkpoint name.
        model_dir: folder that holds it.
        device: `auto` (CUDA where there is one), `cpu`, `cuda` or `cuda:N`.
        dtype: of the pixel path: `auto`, `float32` or `bfloat16`.
        limits: largest pictures; the defaults of `Limits` if None.

    Raises:
        CheckpointNotFoundError: no such checkpoint.
        CheckpointFormatError: files that are damaged or do not belong together.
        DeviceError: no such device here, or one that cannot take the weights.
        ParameterError: no name of a device or dtype.
        SelfTestError: the golden vector decodes to other codes here.
    """
    weights_path = _weights_path(name, model_dir)
    card_path = weights_path.with_suffix(".json")
    data, card_text = (_read(path, name, model_dir) for path in (weights_path, card_path))
    sha256 = hashlib.sha256(data).hexdigest()
    card = _parse_card(card_text, card_path)
    if card["sha256"] != sha256:
        raise CheckpointFormatError(f"{weights_path} has SHA-256 {sha256}, its card says {card['sha256']}")
    chosen = resolve_device(device)
    codec = _build(data, weights_path, name, sha256, chosen, resolve_dtype(dtype, chosen), limits or Limits())
    _self_test(codec, card)
    return codec


def save_checkpoint(
    tensors: dict[str, Tensor], config: CodecConfig, path: Path, *, card: dict[str, Any]
) -> ModelInfo:
    """Write a checkpoint's two files; `path` has no suffix, `card` says where the weights come from."""
    weights_path = path.with_name(f"{path.name}.safetensors")
    data = safetensors.torch.save(tensors, metadata={"config": config.to_json()})
    sha256 = hashlib.sha256(data).hexdigest()
    codec = _build(data, weights_path, path.name, sha256, torch.device("cpu"), torch.float32, Limits())
    quality = None if config.fixed_rate else _GOLDEN_QUALITY
    golden = codec.encode(golden_picture(), EncodeOptions(quality=quality, lossless=False))
    levels, codes = codec.decode_codes(golden)
    full = {
        "name": path.name,
        "sha256": sha256,
        "golden": base64.b64encode(golden).decode(),
        "golden_codes_sha256": _digest(levels, codes),
        "config": json.loads(config.to_json()),
        **card,
    }
    weights_path.write_bytes(data)
    path.with_name(f"{path.name}.json").write_text(json.dumps(full, indent=2, allow_nan=False) + "\n")
    return codec.info


def golden_picture() -> Pixels:
    """A synthetic picture with edges, a gradient and texture, uint8; for self-tests and warming up."""
    y, x, channel = np.meshgrid(*(np.arange(n) for n in _GOLDEN_SHAPE), indexing="ij")
    texture = (x * x * 7 + y * y * 13 + x * y * 3 + channel * 50) % 97
    edges = 80 * ((x // 24 + y // 32) % 2)
    picture: Pixels = (texture * (x > 40) // 2 + edges + y // 2 + 10 * channel).astype(np.uint8)
    return picture


def resolve_device(device: str) -> torch.device:
    """The torch device of a setting; raises DeviceError where it is not here, ParameterError for no device's name."""
    if device == "auto":
        return torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
    kind, _, index = device.partition(":")
    number = int(index) if index.isdecimal() else 0
    if device == "cpu":
        return torch.device("cpu")
    if kind != "cuda" or (index and not index.isdecimal()):
        raise ParameterError(f"device is auto, cpu, cuda or cuda:N, got {device!r}")
    if number >= torch.cuda.device_count():
        found = torch.cuda.device_count()
        raise DeviceError(
            f"device {device!r} was asked for; PyTorch {torch.__version__} finds {found} CUDA devices here"
        )
    return torch.device("cuda", number)


def resolve_dtype(dtype: str, device: torch.device) -> torch.dtype:
    """The pixel path's precision; `auto` is bfloat16 on a GPU, and on a CPU that is measured to be faster with it."""
    if dtype == "auto":
        return torch.bfloat16 if device.type == "cuda" or _bfloat16_pays() else torch.float32
    if dtype not in PRECISIONS:
        raise ParameterError(f"dtype is one of {', '.join(PRECISIONS)}, got {dtype!r}")
    return torch.float32 if dtype == "float32" else torch.bfloat16


@cache
def _bfloat16_pays(clock: Callable[[], float] = time.perf_counter) -> bool:
    """Whether this CPU is clearly faster in bfloat16, by a block of the transforms' size; some 30 ms, once.

    What a processor says of itself does not tell: AMX is several times as fast, AVX-512 with bfloat16 up to twice,
    and AVX2 slower.
    """
    with torch.device("meta"):  # or its random weights would move the caller's random state
        block = ResidualBlock(_PROBE_WIDTH)
    block.to_empty(device="cpu").requires_grad_(False)
    for parameter in block.parameters():
        parameter.zero_()
    best = {}
    for dtype in (torch.float32, torch.bfloat16):
        layers = block.to(dtype).to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # absent from the stubs
        x = torch.zeros(1, _PROBE_WIDTH, 64, 64, dtype=dtype).to(memory_format=torch.channels_last)
        spent = []
        for _ in range(_PROBE_ROUNDS):
            started = clock()
            layers(x)
            spent.append(clock() - started)
        best[dtype] = min(spent)
    return best[torch.float32] > _CLEARLY * best[torch.bfloat16]


def _files(model_dir: Path) -> list[Path]:
    found = [*model_dir.glob("*.safetensors"), *sorted(model_dir.glob("*/*.safetensors"))]
    return [path for path in found if path.with_suffix(".json").exists()]  # others are weights of a run


def _weights_path(name: str, model_dir: Path) -> Path:
    return next((path for path in _files(model_dir) if path.stem == name), model_dir / f"{name}.safetensors")


def _read(path: Path, name: str, model_dir: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as exc:
        known = ", ".join(available(model_dir)) or "none"
        raise CheckpointNotFoundError(
            f"checkpoint {name!r} cannot be read from {model_dir} (there: {known}): {exc}"
        ) from exc


def _id_of(sha256: str) -> str:
    return sha256[:8]


def _build(
    data: bytes,
    path: Path,
    name: str,
    sha256: str,
    device: torch.device,
    dtype: torch.dtype,
    limits: Limits,
) -> Codec:
    try:
        length = int.from_bytes(data[:8], "little")
        metadata = json.loads(data[8 : 8 + length])["__metadata__"]
        config = CodecConfig.from_json(metadata["config"])
        tensors = safetensors.torch.load(data)
        info = ModelInfo(
            name=name,
            profile=config.profile,
            model_id=_id_of(sha256),
            sha256=sha256,
            parameters=sum(
                t.numel() for n, t in tensors.items() if not n.startswith(("tables.", "saturation"))
            ),
            size=len(data),
            device=str(device),
            dtype=str(dtype).removeprefix("torch."),
            fixed_rate=config.fixed_rate,
            tunes=config.tunes,
        )
        return Codec(config, tensors, info, limits=limits)
    except (torch.OutOfMemoryError, torch.AcceleratorError) as exc:
        raise DeviceError(f"device {device} cannot take {path}: {exc}") from exc
    except (SafetensorError, ValueError, KeyError, TypeError, RuntimeError, AssertionError) as exc:
        raise CheckpointFormatError(f"{path} is not a checkpoint of this program: {exc}") from exc


def _parse_card(text: bytes, path: Path) -> dict[str, Any]:
    try:
        card = json.loads(text)
        base64.b64decode(card["golden"], validate=True)
        if not isinstance(card["sha256"], str) or not isinstance(card["golden_codes_sha256"], str):
            raise TypeError("digests are text")
    except (ValueError, KeyError, TypeError, binascii.Error) as exc:
        raise CheckpointFormatError(f"{path} is not a model card: {exc!r}") from exc
    return dict(card)


def _self_test(codec: Codec, card: dict[str, Any]) -> None:
    try:
        found = _digest(*codec.decode_codes(unpack(base64.b64decode(card["golden"]), limits=Limits())))
    except CwicError as exc:
        raise SelfTestError(f"the golden vector of {codec.info.name} does not decode here: {exc}") from exc
    if found != card["golden_codes_sha256"]:
        raise SelfTestError(f"the golden vector of {codec.info.name} decodes to other codes here")


def _digest(levels: Tensor, codes: Tensor) -> str:
    digest = hashlib.sha256()
    for tensor in (levels, codes):
        digest.update(tensor.to(torch.int32).numpy().astype("<i4").tobytes())
    return digest.hexdigest()
