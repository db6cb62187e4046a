"""One training run's settings: a YAML file, read once, checked, never changed."""

from collections.abc import Mapping
from dataclasses import field
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

import yaml
from pydantic import BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError, model_validator
from pydantic.dataclasses import dataclass
from pydantic_core import ErrorDetails

from model.config import CodecConfig, CwicConfig, config_of
from model.errors import CheckpointFormatError, ParameterError

T = TypeVar("T")

_RESERVED = ("state", "weights")  # files of a run, beside those that its stages give their names to
_OPTIMISERS = {"cwic": "soap", "cvpr2018": "adam"}  # of the profiles, where a stage names none
_LEARNING_RATES = {"soap": 1e-3, "adam": 3.5e-4}  # where a stage names none
_STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)


def _as_tuple(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, (list, tuple)) else (value,)


Whole = Annotated[int, Field(gt=0)]
Positive = Annotated[float, Field(gt=0)]
Weight = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Scale = Annotated[float, Field(gt=0, le=2)]
Several = Annotated[tuple[T, ...], BeforeValidator(_as_tuple)]
"""One value or a list of them."""


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class Stage:
    """One stage of a run. Each starts from the averaged weights of the one before, with a new optimiser.

    Attributes:
        name: of the stage; its weights are kept as `NAME.safetensors` in the run's folder.
        parts: what is trained; empty: everything. Profile `cwic` has `blocks` (the linear block transforms),
            `analysis` and `synthesis` (all else between pixels and codes, with the importance net in the one and
            the quantiser's gains in the other), `codes` and `map` (their context models); profile `cvpr2018` has
            `encoder`, `importance`, `decoder`, `codes` and `map`. `analysis` by itself has gradients of its own: see
            `CwicRecipe.loss`.
        steps: length in optimiser steps; None for no limit in steps.
        minutes: length in minutes of training, over all resumptions; None for no limit in time. A stage with neither
            has no end: it is trained until the command stops (`--minutes`, `--steps`, Ctrl-C), and again when it
            comes back, until `--finish` goes on to the stage after it. Such a stage has a constant learning rate.
        optimizer: `adam`, or `soap` for the kernels that are matrices [out, in k k] with sides of 16 and more, and
            Adam for the rest and for `blocks`. Where a stage names none: `soap` for `cwic`, and for `cvpr2018`
            `adam`, the paper's.
        learning_rate: of the optimiser, at its highest; several values follow each other in equal parts of the
            stage. Where a stage names none: 1e-3 for SOAP, 3.5e-4 for Adam.
        adam_learning_rate: of what Adam moves beside SOAP, for the first value of `learning_rate`; it falls with it.
        schedule: of each of those values: `cosine`, a fall at its end, or `constant`.
        final_learning_rate: `cosine`: where it ends, as a share.
        shares: learning rates of single parts, as shares of the two; 1 for those not named.
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
    parts: Several[str] = ()
    steps: Whole | None = None
    minutes: Positive | None = None
    optimizer: Literal["adam", "soap"] = "adam"
    learning_rate: Annotated[Several[Positive], Field(min_length=1)] = (3.5e-4,)
    adam_learning_rate: Positive = 2e-4
    schedule: Literal["constant", "cosine"] = "cosine"
    final_learning_rate: Share = 0.02
    shares: Mapping[str, Weight] = field(default_factory=dict)
    warmup_steps: Annotated[int, Field(ge=0)] = 200
    noise_share: Share = 0.0
    mask_mean: Several[Share] = ()
    rate_weight: Weight | None = None
    bit_weight: Weight = 0.02
    map_weight: Weight = 1.0

    @property
    def endless(self) -> bool:
        """Whether it has no length."""
        return self.steps is None and self.minutes is None

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if not self.name.isidentifier() or self.name in _RESERVED:
            raise ValueError(
                f"a stage's name is letters, digits and underscores and not of {_RESERVED}, got {self.name!r}"
            )
        parts_of_it = {
            "schedule: cosine": self.schedule == "cosine",
            "learning_rates that follow each other": len(self.learning_rate) > 1,
            "values of mask_mean that follow each other": len(self.mask_mean) > 1,
            "noise_share": self.noise_share > 0,
            "rate_weight": self.rate_weight is not None,
        }
        needing = [what for what, needs in parts_of_it.items() if needs]
        if self.endless and needing:
            raise ValueError(
                f"stage {self.name!r} needs a length (steps, minutes or both) for {', '.join(needing)}; "
                "a stage without an end says schedule: constant"
            )
        return self


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class TrainConfig:
    """What to train, on what, for how long.

    Attributes:
        train_files: glob patterns of pictures to train on (`**` crosses folders).
        val_files: glob patterns of pictures to watch while training; the first 12 files are.
        out: folder of the run: its state, its weights, its TensorBoard files.
        export_to: checkpoint to write when the last stage is done, without suffix; None for none.
        codec: `profile` (cwic) and the fields of its config (`model/config.py`) that differ from their defaults.
        init_from: weights to start from: a run's weights or an exported checkpoint, or several, whose average it is
            then: of runs that had one start and saw other crops it is better than each. Layers of other names or
            shapes start anew. Without any: a transform coder made of the training pictures.
        stages: see `Stage`; one after the other.
        patch: side of the crops, in pixels; a multiple of 16, and for `cwic` 192 or more for a codec to be used.
        scales: of the pictures' sides, at most 2: each picture is trained on at all of them that leave room for a
            crop, with a chance proportional to its area then; above 1, to that at the scale's inverse. Small scales
            show more detail in a crop; large ones are soft, as pictures of large cameras are.
        batch: crops in a step, of each process.
        plane_share: `cwic`: share of the crops whose quality varies over the crop.
        prefix_share: `cwic`: share of the crops that are coded as a file that was cut after some channel group.
        clip: largest norm of the gradient.
        ema: decay of the weights' moving average, which is what is exported.
        bfloat16: whether convolutions are computed in bfloat16; None measures at each start whether that is faster.
        seed: of weights, crops and qualities; 0 to 2^32 - 1.
        log_every: steps between scalars.
        save_every: minutes between saved states.
        val_every: minutes between validations.
    """

    train_files: Several[str]
    val_files: Several[str]
    out: str
    export_to: str | None = None
    codec: CodecConfig = field(default_factory=CwicConfig)
    init_from: Several[str] = ()
    stages: tuple[Stage, ...]
    patch: Annotated[int, Field(ge=16, multiple_of=16)] = 192
    scales: Annotated[Several[Scale], Field(min_length=1)] = (1.0,)
    batch: Whole = 8
    plane_share: Share = 0.35
    prefix_share: Share = 0.05
    clip: Positive = 1.0
    ema: Share = 0.999
    bfloat16: bool | None = None
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    log_every: Whole = 50
    save_every: Positive = 5.0
    val_every: Positive = 20.0

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        names = [stage.name for stage in self.stages]
        if not len(set(names)) == len(names) > 0:
            raise ValueError(f"a run has stages, each with a name of its own, got {names}")
        if 1.0 not in self.scales:
            raise ValueError(f"scales: 1 must be among them, got {self.scales}")
        least = self.codec.lowest_level / self.codec.levels
        for stage in self.stages:
            if min(stage.mask_mean, default=1) <= least:
                raise ValueError(
                    f"stage {stage.name!r}: a mask keeps {least:g} at least, mask_mean is {stage.mask_mean}"
                )
        return self


def read_config(path: Path, **overrides: Any) -> TrainConfig:
    """Read a YAML file; `overrides` that are not None replace its values.

    Raises:
        ParameterError: the file cannot be read, has unknown keys, or values out of range; names the file.
    """
    try:
        values = _mapping(yaml.safe_load(path.read_text(encoding="utf-8")), "the file")
        values |= {key: value for key, value in overrides.items() if value is not None}
        codec = _mapping(values.pop("codec", None) or {}, "codec")
        made = config_of(codec.pop("profile", "cwic"), **codec)
        stages = _stages(_as_tuple(values.pop("stages", None) or []), made.profile)
        return TypeAdapter(TrainConfig).validate_python({**values, "codec": made, "stages": stages})
    except ValidationError as exc:
        raise ParameterError(f"{path}: {'; '.join(map(_told, exc.errors()))}") from exc
    except (OSError, UnicodeError, yaml.YAMLError, TypeError, ParameterError, CheckpointFormatError) as exc:
        raise ParameterError(f"{path}: {exc}") from exc


def scheduled(values: tuple[float, ...], done: float) -> float:
    """The value of a schedule whose values follow each other in equal parts, at `done` of 0..1."""
    return values[min(int(done * len(values)), len(values) - 1)]


def _stages(stages: tuple[Any, ...], profile: str) -> list[dict[str, Any]]:
    """With what a stage does not name: the profile's, the optimiser's or that of the stage before."""
    made: list[dict[str, Any]] = []
    for stage in stages:
        before = _as_tuple(made[-1]["mask_mean"])[-1:] if made else ()
        values = {"optimizer": _OPTIMISERS[profile], "mask_mean": before, **_mapping(stage, "a stage")}
        if rate := _LEARNING_RATES.get(str(values["optimizer"])):
            values.setdefault("learning_rate", rate)
        made.append(values)
    return made


def _mapping(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ParameterError(f"{what}: expected keys and values, got {type(value).__name__}")
    return dict(value)


def _told(error: ErrorDetails) -> str:
    """One thing that is wrong, with the key and the value."""
    key = ".".join(map(str, error["loc"]))
    if error["type"] == "value_error":  # one of ours, which names both
        return str(error["ctx"]["error"])
    if error["type"] == "unexpected_keyword_argument":
        return f"unknown key: {key}"
    if error["type"] == "missing":
        return f"{key} is missing"
    return f"{key}: {error['msg']}, got {error['input']!r}"
