"""A run's state on disk: safetensors, written so that a kill at any moment leaves the last good one."""

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from model.config import CodecConfig
from model.errors import CheckpointFormatError
from model.profiles.export import dequantise
from training.run.optimisers import Optimisers

STATE = "state.safetensors"
WEIGHTS = "weights.safetensors"


@dataclass
class Progress:
    """How far a run is.

    Attributes:
        stage: index of the stage that it is in; the number of stages when it is done.
        stage_step: optimiser steps done in this stage.
        stage_seconds: spent training in this stage, over all resumptions.
        step: optimiser steps done in all.
        seconds: spent training in all.
        skipped: steps whose loss or gradient was not finite.
        memory: what the recipe carries from step to step.
        codec: config of the codec, as JSON.
        stages: the run's stages, `NAME: PART, PART, ...`, with ` by soap` where that is the optimiser.
    """

    stage: int = 0
    stage_step: int = 0
    stage_seconds: float = 0.0
    step: int = 0
    seconds: float = 0.0
    skipped: int = 0
    memory: dict[str, float] = field(default_factory=dict)
    codec: str = ""
    stages: list[str] = field(default_factory=list)


def save_state(
    folder: Path, network: nn.Module, ema: nn.Module, optimisers: Optimisers, progress: Progress
) -> None:
    """Write the whole state, and the averaged weights beside it."""
    tensors = {f"network.{name}": value for name, value in network.state_dict().items()}
    tensors |= {f"ema.{name}": value for name, value in ema.state_dict().items()}
    for index, moments in optimisers.moments().items():
        tensors |= {f"optimizer.{index}.{name}": value for name, value in moments.items()}
    write_tensors(folder / STATE, tensors, progress)
    write_tensors(folder / WEIGHTS, dict(ema.state_dict()), progress)


def restore(tensors: dict[str, Tensor], network: nn.Module, ema: nn.Module, optimisers: Optimisers) -> None:
    """Continue from what `save_state` wrote; raises CheckpointFormatError where it does not fit."""
    try:
        for prefix, module in (("network.", network), ("ema.", ema)):
            module.load_state_dict(
                {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
            )
    except RuntimeError as exc:
        raise CheckpointFormatError(f"the run's state was written with another codec config: {exc}") from exc
    moments: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith("optimizer."):
            _, index, key = name.split(".")
            moments.setdefault(int(index), {})[key] = tensor
    optimisers.remember(moments)


def write_tensors(path: Path, tensors: dict[str, Tensor], progress: Progress) -> None:
    """Write, flush to the disk, rename."""
    whole = {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in tensors.items()
    }
    data = safetensors.torch.save(whole, metadata={"progress": json.dumps(asdict(progress))})
    partial = path.with_suffix(".part")
    path.parent.mkdir(parents=True, exist_ok=True)
    with partial.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def read_tensors(path: Path) -> tuple[dict[str, Tensor], Progress]:
    """A run's tensors by name, and how far it was; raises CheckpointFormatError naming the file."""
    tensors, metadata = _read(path)
    try:
        return tensors, Progress(**json.loads(metadata["progress"]))
    except (KeyError, ValueError, TypeError) as exc:
        raise CheckpointFormatError(f"{path} is no file of a run: {exc!r}") from exc


def read_weights(path: Path) -> dict[str, Tensor]:
    """A network's float weights by name, of a run's weights or of an exported checkpoint; raises as above."""
    tensors, metadata = _read(path)
    return dequantise(tensors, CodecConfig.from_json(metadata["config"])) if "config" in metadata else tensors


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        data = path.read_bytes()
        tensors = safetensors.torch.load(data)
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        return tensors, header.get("__metadata__", {})
    except (OSError, SafetensorError, ValueError) as exc:
        raise CheckpointFormatError(f"{path} cannot be read: {exc}") from exc
