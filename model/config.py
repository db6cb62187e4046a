"""What makes one codec differ from another: one frozen object, validated and stored in the checkpoint."""

import json
from dataclasses import asdict, dataclass, fields

from model.errors import CheckpointFormatError

BLOCK = 8  # pixels between two codes, in each direction
CELL = 16  # pixels between two levels of the importance map; pictures are padded to a multiple of it
MAX_GROUPS = 32  # of channels; what the container has section types for


def padded_size(height: int, width: int) -> tuple[int, int]:
    """The size that is coded: whole cells of the importance map."""
    return -(-height // CELL) * CELL, -(-width // CELL) * CELL


@dataclass(frozen=True, kw_only=True)
class CodecConfig:
    """The architecture and the range of one codec.

    Attributes:
        profile: name of the method; `cwic` is the only one so far.
        channels: codes at each location, ordered by importance.
        levels: of the importance map; level l keeps the first l * channels / levels codes.
        groups: how many channels are coded together; their sum is `channels`.
        stem_width: width of the layers at 1/4 resolution.
        trunk_width: width of the layers at 1/8 resolution.
        blocks: residual blocks in the trunk of each transform.
        code_limit: codes are integers of at most this magnitude.
        context_width: hidden width of the codes' context model.
        map_width: hidden width of the importance map's context model.
        lambda_min: weight of the squared error (0..255 scale) against bits per pixel at the lowest quality.
        lambda_max: the same at the highest quality.
        rdo: weight of the squared error when the encoder chooses between a code and the next one towards
            zero, relative to an orthonormal transform's; 0 rounds to the nearest.
    """

    profile: str = "cwic"
    channels: int = 64
    levels: int = 16
    groups: tuple[int, ...] = (4, 12, 16, 32)
    stem_width: int = 64
    trunk_width: int = 144
    blocks: int = 3
    code_limit: int = 255
    context_width: int = 80
    map_width: int = 32
    lambda_min: float = 0.0005
    lambda_max: float = 0.045
    rdo: float = 2.0

    def __post_init__(self) -> None:
        """Refuse what cannot work, with the numbers."""
        integers = (self.channels, self.levels, self.code_limit, self.blocks, *self.groups, *self._widths)
        reals = (self.lambda_min, self.lambda_max, self.rdo)
        if not all(type(n) is int and n > 0 for n in integers) or not all(0 <= float(n) < 1e6 for n in reals):
            raise CheckpointFormatError(f"sizes are whole and above 0, weights are numbers: {self}")
        if self.profile != "cwic":
            raise CheckpointFormatError(f"unknown profile {self.profile!r}")
        if sum(self.groups) != self.channels or min(self.groups, default=0) < 1:
            raise CheckpointFormatError(f"groups {self.groups} do not add up to {self.channels} channels")
        if self.channels > 192 or self.levels < 2 or self.channels % self.levels:
            raise CheckpointFormatError(
                f"{self.levels} levels do not divide {self.channels} channels (of 192)"
            )
        if not self.levels - self.level_centre <= self.code_limit <= 2047 or len(self.groups) > MAX_GROUPS:
            raise CheckpointFormatError(
                f"code_limit {self.code_limit} or {len(self.groups)} groups: out of range"
            )
        if not 0 < self.lambda_min < self.lambda_max:
            raise CheckpointFormatError(f"lambda range {self.lambda_min}..{self.lambda_max} is empty")

    @property
    def _widths(self) -> tuple[int, ...]:
        return self.stem_width, self.trunk_width, self.context_width, self.map_width

    @property
    def level_centre(self) -> int:
        """The level that networks see as zero."""
        return self.levels // 2

    @property
    def step(self) -> int:
        """Channels that one level adds."""
        return self.channels // self.levels

    def to_json(self) -> str:
        """The config as one line of JSON."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "CodecConfig":
        """Read what `to_json` wrote; raises CheckpointFormatError."""
        try:
            values = json.loads(text)
            values["groups"] = tuple(values["groups"])
            known = {field.name for field in fields(cls)}
            if set(values) != known:
                raise CheckpointFormatError(f"config fields differ: {sorted(set(values) ^ known)}")
            return cls(**values)
        except (ValueError, TypeError, KeyError) as exc:
            raise CheckpointFormatError(f"config cannot be read: {exc}") from exc
