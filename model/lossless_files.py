"""Pictures to files that keep their samples, or samples close to them."""

from model.container import lossless
from model.container.format import LOSSLESS_TILE, Header, extensions_of, pack
from model.options import EncodeOptions
from model.steps import Work
from model.types import Pixels


def lossless_file(
    array: Pixels, options: EncodeOptions, *, limit: int | None, tolerance: int = 0
) -> Work[bytes | None]:
    """The file of a picture as it is, with what alpha hides; None, and early, where it has `limit` bytes or more.

    `tolerance` is how far its colours may be off from those of the picture that the file is for: see `Header`.
    """
    height, width, channels = array.shape
    header = Header(
        width=width,
        height=height,
        profile="lossless",
        tile=LOSSLESS_TILE,
        alpha=channels == 4,
        grey=is_grey(array),
        tolerance=tolerance,
    )
    payloads, left = [], limit
    for index in range(header.grid.count):
        yield ()
        part = array[header.grid.box(index).slices(header.grid.bounds, 1)]
        payload = lossless.pack(part) if left is None else lossless.pack_below(part, limit=left)
        if payload is None:
            return None
        payloads.append(payload)
        left = None if left is None else left - len(payload)
    file = pack(header, payloads, extensions_of(options.metadata))
    return file if limit is None or len(file) < limit else None


def is_grey(array: Pixels) -> bool:
    """Whether the three colour channels of a picture, [H, W, 3 or 4], are equal."""
    return bool((array[..., 0] == array[..., 1]).all() and (array[..., 0] == array[..., 2]).all())
