"""Tiles between pixels and payloads, and how they are kept where a picture is coded more than once."""

from dataclasses import dataclass, field
from typing import NamedTuple

from torch import Tensor

from model.tiling import TileGrid

_KEPT = 8 * 2**20  # pixels, of one tile of the largest size at least: about 30 bytes are kept for each


class Tile(NamedTuple):
    """A coded tile.

    Attributes:
        levels: int64 [1, 1, rows, columns].
        shown: what the synthesis sees of them: of a file that was cut, at most those whose channels are all there.
        quality: of that shape, too.
        codes: int16 [1, channels, h, w].
    """

    levels: Tensor
    shown: Tensor
    quality: Tensor
    codes: Tensor


@dataclass(frozen=True, eq=False)
class TileCache:
    """What need not be computed again of a picture's first tiles: of a large picture not all are kept.

    Attributes:
        features: of `Transforms.features`; the same for all codings of a picture; None where they are not kept.
        tiles: what the coding has made.
    """

    features: dict[int, tuple[Tensor, ...]] | None
    tiles: dict[int, Tile] = field(default_factory=dict)

    def has_room(self, grid: TileGrid, index: int, *, margin: int) -> bool:
        """Whether a tile is one of those that are kept; features are of so many pixels around it too."""
        return (index + 1) * (grid.tile + 2 * margin) ** 2 <= _KEPT
