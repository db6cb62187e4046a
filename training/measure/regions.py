"""What a region of interest brings: how much better a part of a picture is in a file of the same size."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from model.options import EncodeOptions
from model.protocol import PictureCodec
from model.types import Pixels, Roi
from training.measure.metrics import psnr_of_mse
from training.measure.prefixes import largest_file


@dataclass(frozen=True, kw_only=True)
class RegionUse:
    """A region of half the width and half the height in the middle of each picture; means over the pictures.

    Attributes:
        weight: of the region's errors.
        bpp: of the files; without the region they have as much.
        inside: how many dB of PSNR the region gains.
        least: what it gains in the picture in which that is least.
        outside: how many dB the rest gains; below 0 where it loses.
    """

    weight: float
    bpp: float
    inside: float
    least: float
    outside: float


def measure_regions(
    codec: PictureCodec, arrays: Sequence[Pixels], *, quality: float, weights: Sequence[float]
) -> tuple[RegionUse, ...]:
    """Code pictures at a quality, and with the region into files that are no larger; a row for each weight."""
    files = [codec.encode(array, _with(quality=quality)) for array in arrays]
    bpp = statistics.fmean(codec.read(file).info().bpp for file in files)
    rows = []
    for weight in weights:
        gains = [_gains(codec, file, array, weight) for file, array in zip(files, arrays, strict=True)]
        inside, outside = zip(*gains, strict=True)
        rows.append(
            RegionUse(
                weight=weight,
                bpp=bpp,
                inside=statistics.fmean(inside),
                least=min(inside),
                outside=statistics.fmean(outside),
            )
        )
    return tuple(rows)


def _with(*, quality: float | None = None, roi: Sequence[Roi] = ()) -> EncodeOptions:
    return EncodeOptions(quality=quality, roi=roi, lossless=False)


def _gains(codec: PictureCodec, file: bytes, array: Pixels, weight: float) -> tuple[float, float]:
    """What the region and the rest gain, in dB."""
    height, width = array.shape[:2]
    roi = Roi(width // 4, height // 4, width // 2, height // 2, weight)
    same = largest_file(codec, array, len(file), options=_with(roi=[roi]))
    before, after = (psnr_of_parts(array, codec.decode(each), roi) for each in (file, same))
    return after[0] - before[0], after[1] - before[1]


def psnr_of_parts(array: Pixels, decoded: Pixels, roi: Roi) -> tuple[float, float]:
    """PSNR inside of a rectangle and outside of it, in dB."""
    errors = np.square(array.astype(np.float64) - decoded).mean(2)
    left, top, right, bottom = roi.edges
    inside = np.zeros(errors.shape, np.bool_)
    inside[top:bottom, left:right] = True
    return psnr_of_mse(float(errors[inside].mean())), psnr_of_mse(float(errors[~inside].mean()))
