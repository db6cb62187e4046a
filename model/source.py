"""A picture that is about to be coded, with what does not depend on the quality."""

from dataclasses import dataclass

from model.container import lossless
from model.hidden import without_hidden
from model.lossless_files import is_grey
from model.steps import Work
from model.tiling import TileGrid
from model.types import Pixels


@dataclass(frozen=True, eq=False, kw_only=True)
class Source:
    """What is coded of a picture.

    Attributes:
        array: what its files are to show, uint8 [H, W, 3] or [H, W, 4], without what alpha hides.
        coded: what the network codes for it, of that shape: the same but below patches.
        grey: whether its three colour channels are equal.
        alpha: the payloads of its alpha channel, one for each tile; none where it has no alpha.
        patches: the payloads of its patches, likewise.
    """

    array: Pixels
    coded: Pixels
    grey: bool
    alpha: tuple[bytes, ...] = ()
    patches: tuple[bytes, ...] = ()

    @property
    def fixed(self) -> int:
        """Bytes of what is the same at all qualities."""
        return sum(map(len, (*self.alpha, *self.patches)))


def source_of(array: Pixels, *, tile: int) -> Work[Source]:
    """A picture, uint8 [H, W, 3] or [H, W, 4], with its alpha coded, in tiles of that side."""
    alpha = []
    if array.shape[2] == 4:
        grid = TileGrid(array.shape[1], array.shape[0], tile)
        for index in range(grid.count):
            yield ()
            alpha.append(lossless.pack(array[grid.box(index).slices(grid.bounds, 1)][..., 3:]))
    seen = yield from without_hidden(array, tile=tile)
    return Source(array=seen, coded=seen, grey=is_grey(seen), alpha=tuple(alpha))
