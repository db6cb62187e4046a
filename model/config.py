"""What makes one codec differ from another: one frozen object, validated and stored in the checkpoint."""

import json
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from itertools import pairwise
from types import MappingProxyType
from typing import Any, ClassVar, Literal

from model.errors import CheckpointFormatError

BLOCK = 8  # pixels between two codes, in each direction
LEVEL_SCALE = 8  # networks see importance levels from their centre, divided by this
MAX_GROUPS = 32  # of channels; what the container has room for
MAX_CHANNELS = 192  # of an 8x8 block of three colours
Tune = Literal["psnr", "visual"]
TUNES: tuple[Tune, ...] = ("psnr", "visual")  # what a file may be made for; the index is what networks see


@dataclass(frozen=True, kw_only=True)
class CodecConfig:
    """The part of a config that all profiles share; each profile is a subclass.

    Attributes:
        channels: codes at each location, ordered by importance.
        groups: how many channels are coded together; their sum is `channels`.
        context_width: hidden width of the codes' context model.
        map_width: hidden width of the importance map's context model.
    """

    profile: ClassVar[str]
    map_stride: ClassVar[int]  # pixels between two levels of the map; pictures are padded to a multiple of it
    fixed_rate: ClassVar[bool]  # one rate for each checkpoint: there is no quality to choose
    conditions: ClassVar[int]  # planes beside the map that condition the context models
    haar: ClassVar[bool]  # the first channel group, which every level keeps, is coded through a Haar level

    channels: int
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
        if len(self.passes) != len(self.groups) or not set(self.passes) <= {1, 2, 5}:
            raise CheckpointFormatError(f"passes {self.passes} of groups {self.groups}: each is 1, 2 or 5")
        kept = self.kept
        rising = all(a < b for a, b in pairwise(kept))
        if not (2 <= len(kept) <= 255 and rising and kept[-1] <= self.channels <= MAX_CHANNELS):
            raise CheckpointFormatError(
                f"levels keep {kept} of {self.channels} channels (at most {MAX_CHANNELS}): not rising, or too many"
            )
        if self.haar and kept[0] < self.groups[0]:
            raise CheckpointFormatError(
                f"the lowest level keeps {kept[0]} of the first {self.groups[0]} channels"
            )

    def _sizes(self) -> tuple[int, ...]:
        return self.channels, self.context_width, self.map_width, *self.groups

    @property
    def kept(self) -> tuple[int, ...]:
        """How many leading channels each level of the importance map keeps, from the lowest level up."""
        raise NotImplementedError

    @property
    def passes(self) -> tuple[int, ...]:
        """In how many passes each group is coded: 5 from coarse to fine, 2 as a checkerboard, or 1.

        Of a first group that is coded through a Haar level its averages; the details take a checkerboard.
        """
        return (5, *(2 for _ in self.groups[1:]))

    @property
    def tunes(self) -> tuple[str, ...]:
        """Of `TUNES`, what the checkpoint was trained for, the default first; empty where there is no choice."""
        return ()

    @property
    def levels(self) -> int:
        """Of the importance map."""
        return len(self.kept)

    @property
    def lowest_level(self) -> int:
        """Of the importance map: 1, or 0 where a place may be empty."""
        return 1

    @property
    def highest_level(self) -> int:
        """Of the importance map."""
        return self.lowest_level + self.levels - 1

    def level_within(self, groups: int) -> int:
        """The highest level that keeps no channel beyond the first groups; the lowest where all do."""
        return self.lowest_level + max(bisect_right(self.kept, sum(self.groups[:groups])) - 1, 0)

    @property
    def level_centre(self) -> int:
        """The level that networks see as zero."""
        return self.levels // 2

    @property
    def alphabet(self) -> tuple[int, int]:
        """The smallest and the largest symbol that a code is written as."""
        raise NotImplementedError

    def codes_of(self, symbols: Any) -> Any:
        """Arrays of symbols as the codes that networks see, where codes are not centred; 0 is a masked one."""
        return symbols

    def padded_size(self, height: int, width: int) -> tuple[int, int]:
        """The size that is coded: whole cells of the importance map."""
        return -(-height // self.map_stride) * self.map_stride, -(-width // self.map_stride) * self.map_stride

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
        kept: see `CodecConfig`; grows geometrically, so that a level costs about the same share everywhere.
        passes: see `CodecConfig`; the last groups, which are mostly zero, have one.
        tunes: of `TUNES`, what the checkpoint was trained for; the first is its default.
        stem_width: width of the layers at 1/4 resolution.
        trunk_width: width of the layers at 1/8 resolution.
        blocks: residual blocks in the trunk of each transform.
        code_limit: symbols are integers of at most this magnitude.
        lambda_min: weight of the squared error (0..255 scale) against bits per pixel at the lowest quality.
        lambda_max: the same at the highest quality.
        rdo: weight of the squared error when the encoder chooses between a residual and the next one towards
            zero, relative to an orthonormal transform's; 0 rounds to the nearest.
    """

    profile: ClassVar[str] = "cwic"
    map_stride: ClassVar[int] = 16
    fixed_rate: ClassVar[bool] = False
    conditions: ClassVar[int] = 2  # quality, tune
    haar: ClassVar[bool] = True

    channels: int = 192
    kept: tuple[int, ...] = (4, 8, 12, 16, 20, 24, 28, 32, 40, 48, 56, 64, 80, 96, 128, 192)
    groups: tuple[int, ...] = (4, 12, 16, 32, 64, 64)
    passes: tuple[int, ...] = (5, 2, 2, 2, 1, 1)
    tunes: tuple[str, ...] = TUNES
    context_width: int = 80
    map_width: int = 48
    stem_width: int = 64
    trunk_width: int = 192
    blocks: int = 6
    code_limit: int = 1023
    lambda_min: float = 0.0005
    lambda_max: float = 0.5
    rdo: float = 1.3

    def __post_init__(self) -> None:
        """Refuse what cannot work, with the numbers."""
        super().__post_init__()
        if not 1 <= self.code_limit <= 1023:  # in steps of 1/32 a code then fits 16 bits
            raise CheckpointFormatError(f"code_limit {self.code_limit}: not of 1..1023")
        if not self.tunes or len(set(self.tunes)) < len(self.tunes) or not set(self.tunes) <= set(TUNES):
            raise CheckpointFormatError(f"tunes {self.tunes}: not of {TUNES}, each once")
        reals = (self.lambda_min, self.lambda_max, self.rdo)
        if not all(0 <= float(n) < 1e6 for n in reals) or not 0 < self.lambda_min < self.lambda_max:
            raise CheckpointFormatError(
                f"weights are out of range: lambda {reals[0]}..{reals[1]}, rdo {reals[2]}"
            )

    def _sizes(self) -> tuple[int, ...]:
        widths = self.stem_width, self.trunk_width, self.blocks, self.code_limit
        return *super()._sizes(), *self.kept, *widths

    @property
    def alphabet(self) -> tuple[int, int]:
        """All symbols."""
        return -self.code_limit, self.code_limit


@dataclass(frozen=True, kw_only=True)
class Cvpr2018Config(CodecConfig):
    """The paper's codec: binary codes, a map as fine as the codes, one rate for each checkpoint.

    Attributes:
        levels: of the importance map; level l keeps the first l * channels / levels codes.
        lowest_level: 0 for the paper's mask, (n / L) Q, which leaves places empty; 1 for the mask of the authors'
            released models, (n / L) (Q + 1).
        width: 128 for the paper's networks; all layers scale with it.
    """

    profile: ClassVar[str] = "cvpr2018"
    map_stride: ClassVar[int] = BLOCK
    fixed_rate: ClassVar[bool] = True
    conditions: ClassVar[int] = 1  # always zero: there is one quality
    haar: ClassVar[bool] = False

    channels: int = 64
    levels: int = 16
    groups: tuple[int, ...] = (1, 1, 2, 4, 8, 16, 32)
    context_width: int = 64
    map_width: int = 48
    lowest_level: int = 1
    width: int = 128

    def __post_init__(self) -> None:
        """Refuse what cannot work, with the numbers."""
        if type(self.lowest_level) is not int or self.lowest_level not in (0, 1) or self.width % 8:
            raise CheckpointFormatError(
                f"lowest_level {self.lowest_level} is not 0 or 1, or width {self.width} is no multiple of 8"
            )
        if type(self.levels) is not int or self.levels < 2 or self.channels % self.levels:
            raise CheckpointFormatError(f"{self.levels} levels do not divide {self.channels} channels")
        super().__post_init__()

    def _sizes(self) -> tuple[int, ...]:
        return *super()._sizes(), self.levels, self.width

    @property
    def step(self) -> int:
        """Channels that one level adds."""
        return self.channels // self.levels

    @property
    def kept(self) -> tuple[int, ...]:
        """Whole steps."""
        if not self.lowest_level:
            return tuple(self.step * level for level in range(self.levels))
        return tuple(self.step * (level + 1) for level in range(self.levels))

    @property
    def alphabet(self) -> tuple[int, int]:
        """One bit."""
        return 0, 1

    def codes_of(self, symbols: Any) -> Any:
        """-1 and 1."""
        return 2 * symbols - 1


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
    made: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
    return kind(**made)
