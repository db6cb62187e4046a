"""One training run's settings: a YAML file, read once, checked, never changed."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import TypeAdapter, ValidationError

from model.config import CodecConfig, CwicConfig, config_of
from model.errors import CheckpointFormatError, ParameterError

T = TypeVar("T")

_RESERVED = ("state", "weights")  # files of a run, beside those that its stages give their names to


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One stage of a run. Each starts from the averaged weights of the one before, with a new optimiser.

    Attributes:
        name: of the stage; its weights are kept as `NAME.safetensors` in the run's folder.
        parts: what is trained; empty: everything. Profile `cwic` has `blocks` (the linear block transforms),
            `branches` (all else between pixels and codes), `codes` and `map` (their context models); profile
            `cvpr2018` has `encoder`, `importance`, `decoder`, `codes` and `map`.
        steps: length in optimiser steps; None for no limit in steps.
        minutes: length in minutes of training, over all resumptions; None for no limit in time.
        learning_rate: of Adam, at its highest; several values follow each other in equal parts of the stage.
        final_learning_rate: at the end of the cosine that ends each of those parts, as a share; 1 for no cosine.
        shares: learning rates of single parts, as shares of `learning_rate`; 1 for those not named.
        warmup_steps: steps over which the learning rate rises from zero.
        noise_share: `cwic`: first part of the stage, as a share, in which noise stands for rounding in the rate.
        mask_mean: `cvpr2018`: share of the codes that the importance mask is to keep (the paper's rate threshold r,
            0..1); several values follow each other in equal parts of the stage. Where a stage names none, that of
            the stage before holds; before the first one that does, there is no importance map.
        rate_weight: `cvpr2018`: the paper's gamma, as the stage begins: weight of the importance above the
            threshold, against the summed squared error of samples in -1..1. It grows while the threshold is
            exceeded and falls while it is not. None: as the stage before left it, 2 in the first; 0: no such term.
        bit_weight: `cvpr2018`: weight of an estimated bit against the same; counts where a context model is trained.
        map_weight: `cvpr2018`: weight of a bit of the importance map, as a multiple of that of other bits.
    """

    name: str
    parts: tuple[str, ...] = ()
    steps: int | None = None
    minutes: float | None = None
    learning_rate: tuple[float, ...] = (3.5e-4,)
    final_learning_rate: float = 0.02
    shares: Mapping[str, float] = field(default_factory=dict)
    warmup_steps: int = 200
    noise_share: float = 0.0
    mask_mean: tuple[float, ...] = ()
    rate_weight: float | None = None
    bit_weight: float = 0.02
    map_weight: float = 1.0

    def __post_init__(self) -> None:
        """Refuse what cannot work, with the numbers."""
        name = self.name
        _require(
            self.steps is not None or self.minutes is not None,
            f"stage {name!r} needs a length: steps, minutes or both",
        )
        _require(
            name.isidentifier() and name not in _RESERVED,
            f"a stage's name is letters, digits and underscores and not of {_RESERVED}, got {name!r}",
        )
        for key in ("steps", "minutes"):
            value = getattr(self, key)
            _require(value is None or value > 0, f"{key} is above 0, got {value}")
        _require(
            min(self.learning_rate, default=0) > 0, f"learning_rate is above 0, got {self.learning_rate}"
        )
        shares = ("noise_share", "final_learning_rate")
        for key, value in [
            *((n, getattr(self, n)) for n in shares),
            *(("mask_mean", m) for m in self.mask_mean),
        ]:
            _require(0 <= value <= 1, f"{key} is 0 to 1, got {value}")
        for key in ("rate_weight", "bit_weight", "map_weight", "warmup_steps"):
            value = getattr(self, key)
            _require(value is None or value >= 0, f"{key} is not negative, got {value}")
        _require(
            min(self.shares.values(), default=1) >= 0, f"shares are not negative, got {dict(self.shares)}"
        )


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """What to train, on what, for how long.

    Attributes:
        train_files: glob patterns of pictures to train on (`**` crosses folders).
        val_files: glob patterns of pictures to watch while training.
        out: folder of the run: its state, its weights, its TensorBoard files.
        export_to: checkpoint to write when the last stage is done, without suffix; None for none.
        codec: `profile` (cwic) and the fields of its config (`model/config.py`) that differ from their defaults.
        init_from: weights to start from: a run's weights or an exported checkpoint; None starts from a transform
            coder made of the training pictures. Layers of other names or shapes start anew.
        stages: see `Stage`; one after the other.
        patch: side of the crops, in pixels; a multiple of 16, and for `cwic` 192 or more for a codec to be used.
        batch: crops in a step, of each process.
        plane_share: `cwic`: share of the crops whose quality varies over the crop.
        prefix_share: `cwic`: share of the crops that are coded as a file that was cut after some channel group.
        clip: largest norm of the gradient.
        ema: decay of the weights' moving average, which is what is exported.
        bfloat16: whether the convolutions run in bfloat16; None decides by the hardware.
        seed: of weights, crops and qualities.
        log_every: steps between scalars.
        save_every: minutes between saved states.
        val_every: minutes between validations.
    """

    train_files: tuple[str, ...]
    val_files: tuple[str, ...]
    out: str
    export_to: str | None = None
    codec: CodecConfig = field(default_factory=CwicConfig)
    init_from: str | None = None
    stages: tuple[Stage, ...]
    patch: int = 192
    batch: int = 8
    plane_share: float = 0.35
    prefix_share: float = 0.1
    clip: float = 1.0
    ema: float = 0.999
    bfloat16: bool | None = None
    seed: int = 0
    log_every: int = 50
    save_every: float = 5.0
    val_every: float = 20.0

    def __post_init__(self) -> None:
        """Refuse what cannot work, with the numbers."""
        names = [stage.name for stage in self.stages]
        _require(
            len(set(names)) == len(names) > 0, f"a run has stages, each with a name of its own, got {names}"
        )
        _require(self.patch >= 16 and not self.patch % 16, f"patch is a multiple of 16, got {self.patch}")
        for key in ("batch", "clip", "log_every", "save_every", "val_every"):
            _require(getattr(self, key) > 0, f"{key} is above 0, got {getattr(self, key)}")
        for key in ("plane_share", "prefix_share", "ema"):
            _require(0 <= getattr(self, key) <= 1, f"{key} is 0 to 1, got {getattr(self, key)}")
        least = self.codec.lowest_level / self.codec.levels
        for stage in self.stages:
            _require(
                min(stage.mask_mean, default=1) > least,
                f"stage {stage.name!r}: a mask keeps {least:g} at least, mask_mean is {stage.mask_mean}",
            )


def read_config(path: Path, **overrides: Any) -> TrainConfig:
    """Read a YAML file; `overrides` that are not None replace its values.

    Raises:
        ParameterError: the file cannot be read, has unknown keys, or values out of range; names the file.
    """
    try:
        values = _mapping(yaml.safe_load(path.read_text(encoding="utf-8")), "the file")
        values |= {key: value for key, value in overrides.items() if value is not None}
        codec = _mapping(values.pop("codec", None) or {}, "codec")
        stages = values.pop("stages", None) or ()
        made = _stages([_known(Stage, _mapping(stage, "a stage")) for stage in stages])
        known = _known(TrainConfig, values)
        return _made(
            TrainConfig, known | {"codec": config_of(codec.pop("profile", "cwic"), **codec), "stages": made}
        )
    except (OSError, UnicodeError, yaml.YAMLError, TypeError, ParameterError, CheckpointFormatError) as exc:
        raise ParameterError(f"{path}: {exc}") from exc


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise ParameterError(message)


def scheduled(values: tuple[float, ...], done: float) -> float:
    """The value of a schedule whose values follow each other in equal parts, at `done` of 0..1."""
    return values[min(int(done * len(values)), len(values) - 1)]


def _stages(stages: list[dict[str, Any]]) -> tuple[Stage, ...]:
    made: list[Stage] = []
    for values in stages:
        before = made[-1].mask_mean[-1:] if made else ()
        made.append(_made(Stage, {"mask_mean": before, **values}))
    return tuple(made)


def _made(kind: type[T], values: dict[str, Any]) -> T:
    """A dataclass of values that are converted to its types; raises ParameterError naming the key."""
    try:
        return TypeAdapter(kind).validate_python(values)
    except ValidationError as exc:
        first = exc.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise ParameterError(f"{key}: {first['msg']}, got {first['input']!r}") from exc


def _mapping(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ParameterError(f"{what}: expected keys and values, got {type(value).__name__}")
    return dict(value)


def _known(kind: type[Stage | TrainConfig], values: dict[str, Any]) -> dict[str, Any]:
    """The values of a dataclass, with single values where it takes several; raises ParameterError."""
    known = {each.name: str(each.type) for each in fields(kind)}
    unknown = set(values) - set(known)
    if unknown:
        raise ParameterError(f"unknown keys: {', '.join(sorted(unknown))}")
    several = {key for key in values if known[key].startswith("tuple")}
    return {key: _as_tuple(value) if key in several else value for key, value in values.items()}


def _as_tuple(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, list) else (value,)
