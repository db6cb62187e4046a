"""One training run's settings: a YAML file, read once, checked, never changed."""

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml

from model.config import CELL, CodecConfig
from model.errors import CheckpointFormatError, ParameterError

PARTS = ("transforms", "codes", "map")


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """What to train, on what, for how long.

    Attributes:
        train_files: glob patterns of pictures to train on (`**` crosses folders).
        val_files: glob patterns of pictures to watch while training.
        out: folder of the run: its state, its TensorBoard files.
        codec: fields of `CodecConfig` that differ from their defaults.
        init_from: weights to start from: a run's `weights.safetensors` or an exported checkpoint; None starts
            from a Karhunen-Loeve transform of the training pictures. Layers of other names or shapes start anew.
        parts: what is trained, of `transforms`, `codes` (their context model) and `map` (its context model).
        patch: side of the crops, in pixels; a multiple of 16, and 192 or more for a codec to be used.
        batch: crops in a step.
        learning_rate: of Adam, at its highest.
        block_learning_rate: of the linear block transforms, as a share of `learning_rate`.
        final_learning_rate: at the end of the cosine, as a share of `learning_rate`.
        warmup_steps: steps over which the learning rate rises from zero.
        steps: length of the run; None for no limit in steps.
        minutes: length of the run in minutes of training, over all resumptions; None for no limit in time.
        noise_share: first part of the run, as a share, in which noise stands for rounding in the rate.
        plane_share: share of the crops whose quality varies over the crop.
        clip: largest norm of the gradient.
        ema: decay of the weights' moving average, which is what is exported.
        bfloat16: whether the convolutions run in bfloat16; None decides by the hardware.
        seed: of crops and qualities.
        log_every: steps between scalars.
        save_every: minutes between saved states.
        val_every: minutes between validations.
    """

    train_files: tuple[str, ...]
    val_files: tuple[str, ...]
    out: str
    codec: CodecConfig = field(default_factory=CodecConfig)
    init_from: str | None = None
    parts: tuple[str, ...] = PARTS
    patch: int = 192
    batch: int = 8
    learning_rate: float = 3.5e-4
    block_learning_rate: float = 0.25
    final_learning_rate: float = 0.02
    warmup_steps: int = 200
    steps: int | None = None
    minutes: float | None = None
    noise_share: float = 0.0
    plane_share: float = 0.35
    clip: float = 1.0
    ema: float = 0.999
    bfloat16: bool | None = None
    seed: int = 0
    log_every: int = 50
    save_every: float = 5.0
    val_every: float = 20.0

    def __post_init__(self) -> None:
        """Refuse what cannot work, with the numbers."""
        if self.steps is None and self.minutes is None:
            raise ParameterError("a run needs a length: steps, minutes or both")
        if self.patch < CELL or self.patch % CELL:
            raise ParameterError(f"patch is a multiple of {CELL}, got {self.patch}")
        if not self.parts or set(self.parts) - set(PARTS):
            raise ParameterError(f"parts are of {PARTS}, got {self.parts}")
        for name in ("batch", "learning_rate", "clip", "log_every", "save_every", "val_every"):
            if getattr(self, name) <= 0:
                raise ParameterError(f"{name} is above 0, got {getattr(self, name)}")
        for name in ("noise_share", "plane_share", "ema", "final_learning_rate", "block_learning_rate"):
            if not 0 <= getattr(self, name) <= 1:
                raise ParameterError(f"{name} is 0 to 1, got {getattr(self, name)}")


def read_config(path: Path, **overrides: Any) -> TrainConfig:
    """Read a YAML file; `overrides` that are not None replace its values.

    Raises:
        ParameterError: the file cannot be read, has unknown keys, or values out of range; names the file.
    """
    try:
        values = yaml.safe_load(path.read_text())
        if not isinstance(values, dict):
            raise ParameterError(f"expected keys and values, got {type(values).__name__}")
        values |= {key: value for key, value in overrides.items() if value is not None}
        unknown = set(values) - {known.name for known in fields(TrainConfig)}
        if unknown:
            raise ParameterError(f"unknown keys: {', '.join(sorted(unknown))}")
        codec = values.pop("codec", None) or {}
        if "groups" in codec:
            codec["groups"] = tuple(codec["groups"])
        for key in ("train_files", "val_files", "parts"):
            if key in values:
                values[key] = (values[key],) if isinstance(values[key], str) else tuple(values[key])
        return TrainConfig(codec=CodecConfig(**codec), **values)
    except (OSError, yaml.YAMLError, TypeError, ParameterError, CheckpointFormatError) as exc:
        raise ParameterError(f"{path}: {exc}") from exc
