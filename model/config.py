"""What makes one codec differ from another: one frozen object, validated and stored in the checkpoint."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from model.errors import CheckpointFormatError

BLOCK = 8  # pixels between two codes, in each direction
LEVEL_SCALE = 8  # networks see importance levels from their centre, divided by this
MAX_GROUPS = 32  # of channels; what the container has section types for


@dataclass(frozen=True, kw_only=True)
class CodecConfig:
    """The part of a config that all profiles share; each profile is a subclass.

    Attributes:
        channels: codes at each location, ordered by importance.
        levels: of the importance map; level l keeps the first l * channels / levels codes.
        groups: how many channels are coded together; their sum is `channels`.
        context_width: hidden width of the codes' context model.
        map_width: hidden width of the importance map's context model.
    """

    profile: ClassVar[str]
    cell: ClassVar[
        int
    ]  # pixels between two levels of the importance map; pictures are padded to a multiple of it
    fixed_rate: ClassVar[bool]  # one rate for each checkpoint: there is no quality to choose

    channels: int = 64
    levels: int = 16
    groups: tuple[int, ...]
    context_width: int
    map_width: int

    def __post_init__(self) -> None:
        """Refuse what cannot work, with the numbers."""
        if not all(type(n) is int and n > 0 for n in self._sizes()):
            raise CheckpointFormatError(f"sizes are whole and above 0: {self}")
        if sum(self.groups) != self.channels or len(self.groups) > MAX_GROUPS:
            raise CheckpointFormatError(
                f"groups {self.groups} do not add up to {self.channels} channels, or are more than {MAX_GROUPS}"
            )
        if self.channels > 192 or self.levels < 2 or self.channels % self.levels:
            raise CheckpointFormatError(
                f"{self.levels} levels do not divide {self.channels} channels (of 192)"
            )

    def _sizes(self) -> tuple[int, ...]:
        return self.channels, self.levels, self.context_width, self.map_width, *self.groups

    @property
    def lowest_level(self) -> int:
        """Of the importance map: 1, or 0 where a place may be empty."""
        return 1

    @property
    def highest_level(self) -> int:
        """Of the importance map."""
        return self.lowest_level + self.levels - 1

    @property
    def alphabet(self) -> tuple[int, int]:
        """The smallest and the largest symbol that a code is written as."""
        raise NotImplementedError

    def codes_of(self, symbols: NDArray[np.int32]) -> NDArray[np.int32]:
        """Symbols as the codes that networks see; 0 stands for a masked one."""
        return symbols

    @property
    def input_limit(self) -> int:
        """The largest magnitude of what context models see: codes, and levels from their centre."""
        raise NotImplementedError

    @property
    def level_centre(self) -> int:
        """The level that networks see as zero."""
        return self.levels // 2

    @property
    def step(self) -> int:
        """Channels that one level adds."""
        return self.channels // self.levels

    def padded_size(self, height: int, width: int) -> tuple[int, int]:
        """The size that is coded: whole cells of the importance map."""
        return -(-height // self.cell) * self.cell, -(-width // self.cell) * self.cell

    def to_json(self) -> str:
        """The config as one line of JSON."""
        return json.dumps({"profile": self.profile, **asdict(self)}, sort_keys=True)

    @staticmethod
    def from_json(text: str) -> "CodecConfig":
        """Read what `to_json` wrote; raises CheckpointFormatError."""
        try:
            values = json.loads(text)
            return config_of(values.pop("profile"), complete=True, **values)
        except (ValueError, TypeError, KeyError, AttributeError) as exc:
            raise CheckpointFormatError(f"config cannot be read: {exc}") from exc


@dataclass(frozen=True, kw_only=True)
class CwicConfig(CodecConfig):
    """The default profile: codes of several levels, all rates from one checkpoint.

    Attributes:
        stem_width: width of the layers at 1/4 resolution.
        trunk_width: width of the layers at 1/8 resolution.
        blocks: residual blocks in the trunk of each transform.
        code_limit: codes are integers of at most this magnitude.
        lambda_min: weight of the squared error (0..255 scale) against bits per pixel at the lowest quality.
        lambda_max: the same at the highest quality.
        rdo: weight of the squared error when the encoder chooses between a code and the next one towards
            zero, relative to an orthonormal transform's; 0 rounds to the nearest.
    """

    profile: ClassVar[str] = "cwic"
    cell: ClassVar[int] = 16
    fixed_rate: ClassVar[bool] = False

    groups: tuple[int, ...] = (4, 12, 16, 32)
    context_width: int = 80
    map_width: int = 32
    stem_width: int = 64
    trunk_width: int = 144
    blocks: int = 3
    code_limit: int = 255
    lambda_min: float = 0.0005
    lambda_max: float = 0.045
    rdo: float = 2.0

    def __post_init__(self) -> None:
        """Refuse what cannot work, with the numbers."""
        super().__post_init__()
        if not self.levels - self.level_centre <= self.code_limit <= 2047:
            raise CheckpointFormatError(f"code_limit {self.code_limit}: out of range")
        reals = (self.lambda_min, self.lambda_max, self.rdo)
        if not all(0 <= float(n) < 1e6 for n in reals) or not 0 < self.lambda_min < self.lambda_max:
            raise CheckpointFormatError(
                f"weights are out of range: lambda {reals[0]}..{reals[1]}, rdo {reals[2]}"
            )

    def _sizes(self) -> tuple[int, ...]:
        return *super()._sizes(), self.stem_width, self.trunk_width, self.blocks, self.code_limit

    @property
    def alphabet(self) -> tuple[int, int]:
        """All codes."""
        return -self.code_limit, self.code_limit

    @property
    def input_limit(self) -> int:
        """Codes are at least as large as levels from their centre."""
        return self.code_limit


@dataclass(frozen=True, kw_only=True)
class Cvpr2018Config(CodecConfig):
    """The paper's codec: binary codes, a map as fine as the codes, one rate for each checkpoint.

    Attributes:
        lowest_level: 0 for the paper's mask, (n / L) Q, which leaves places empty; 1 for the mask of the authors'
            released models, (n / L) (Q + 1).
        width: 128 for the paper's networks; all layers scale with it.
    """

    profile: ClassVar[str] = "cvpr2018"
    cell: ClassVar[int] = BLOCK
    fixed_rate: ClassVar[bool] = True

    groups: tuple[int, ...] = (1, 1, 2, 4, 8, 16, 32)
    context_width: int = 64
    map_width: int = 48
    lowest_level: int = 1
    width: int = 128

    def __post_init__(self) -> None:
        """Refuse what cannot work, with the numbers."""
        super().__post_init__()
        if type(self.lowest_level) is not int or self.lowest_level not in (0, 1) or self.width % 8:
            raise CheckpointFormatError(
                f"lowest_level {self.lowest_level} is not 0 or 1, or width {self.width} is no multiple of 8"
            )

    def _sizes(self) -> tuple[int, ...]:
        return *super()._sizes(), self.width

    @property
    def alphabet(self) -> tuple[int, int]:
        """One bit."""
        return 0, 1

    def codes_of(self, symbols: NDArray[np.int32]) -> NDArray[np.int32]:
        """-1 and 1."""
        return 2 * symbols - 1

    @property
    def input_limit(self) -> int:
        """Levels from their centre are larger than codes."""
        return self.levels - self.level_centre


PROFILES: Mapping[str, type[CodecConfig]] = MappingProxyType(
    {config.profile: config for config in (CwicConfig, Cvpr2018Config)}
)
"""By the names that checkpoints and files carry."""


def config_of(profile: str, *, complete: bool = False, **values: Any) -> CodecConfig:
    """The config of a profile from the values of its fields; defaults for the others unless `complete`.

    Raises:
        CheckpointFormatError: an unknown profile, unknown or missing fields, values out of range.
    """
    if profile not in PROFILES:
        raise CheckpointFormatError(f"unknown profile {profile!r}, known are {', '.join(PROFILES)}")
    kind = PROFILES[profile]
    known = {field.name for field in fields(kind)}
    wrong = set(values) ^ known if complete else set(values) - known
    if wrong:
        raise CheckpointFormatError(f"config fields differ: {sorted(wrong)}")
    if "groups" in values:
        values["groups"] = tuple(values["groups"])
    return kind(**values)
