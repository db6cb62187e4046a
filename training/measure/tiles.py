"""What tiles cost and what they give: bytes and quality beside one piece, time of a region beside the whole."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from model.options import DecodeOptions, EncodeOptions
from model.protocol import PictureCodec
from model.types import Pixels, Region
from training.measure.metrics import psnr

TILES = (256, 512, 1024, 2048)
_REGION = 256  # side of the square in the middle that is decoded alone


@dataclass(frozen=True, kw_only=True)
class TileUse:
    """One tile size over some pictures.

    Attributes:
        tile: side in pixels.
        size: of all files, in bytes.
        psnr: mean over the pictures, in dB.
        whole: median seconds of decoding a picture.
        region: median seconds of decoding the square in its middle.
    """

    tile: int
    size: int
    psnr: float
    whole: float
    region: float


def measure_tiles(
    codec: PictureCodec,
    arrays: Sequence[Pixels],
    *,
    quality: float,
    tiles: Sequence[int] = TILES,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[TileUse, ...]:
    """Code pictures at several tile sizes; the largest is one piece for pictures up to it."""
    rows = []
    for tile in tiles:
        options = EncodeOptions(quality=quality, tile=tile, lossless=False)
        sizes, errors, wholes, regions = [], [], [], []
        for array in arrays:
            file = codec.encode(array, options)
            middle = DecodeOptions(region=_middle(array))
            codec.decode(file, middle)  # shapes differ between pictures, and first calls allocate
            started = clock()
            decoded = codec.decode(file)
            between = clock()
            codec.decode(file, middle)
            regions.append(clock() - between)
            wholes.append(between - started)
            sizes.append(len(file))
            errors.append(psnr(array, decoded))
        rows.append(
            TileUse(
                tile=tile,
                size=sum(sizes),
                psnr=statistics.fmean(errors),
                whole=statistics.median(wholes),
                region=statistics.median(regions),
            )
        )
    return tuple(rows)


def _middle(array: Pixels) -> Region:
    height, width = (min(side, _REGION) for side in array.shape[:2])
    return Region((array.shape[1] - width) // 2, (array.shape[0] - height) // 2, width, height)
