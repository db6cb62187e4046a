"""What effort brings: bytes at equal quality beside the default effort, and the time that it takes."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from model.config import Tune
from model.options import DEFAULT_EFFORT, MAX_EFFORT, EncodeOptions
from model.protocol import PictureCodec
from model.types import Pixels
from training.measure.bd_rate import Curve, bd_rate
from training.measure.metrics import psnr, ssimulacra2

QUALITIES = (10.0, 30.0, 50.0, 75.0)


@dataclass(frozen=True, kw_only=True)
class EffortUse:
    """One effort over all pictures.

    Attributes:
        effort: 0 to 3.
        tune: of the files.
        bd_rate: difference in bytes from the default effort, in percent, at equal PSNR (SSIMULACRA2 for the tune
            `visual`); mean of each picture's own.
        worst: the largest of the pictures'.
        seconds: mean time of an encoding.
        ratio: mean of each encoding's time beside that of the default effort.
    """

    effort: int
    tune: Tune
    bd_rate: float
    worst: float
    seconds: float
    ratio: float


@dataclass(frozen=True)
class _Coded:
    """A picture at an effort: its curve, and the time of each of its files in seconds."""

    curve: Curve
    seconds: tuple[float, ...]


def measure_efforts(
    codec: PictureCodec,
    arrays: Sequence[Pixels],
    *,
    tune: Tune = "psnr",
    qualities: Sequence[float] = QUALITIES,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[EffortUse, ...]:
    """Code pictures at some qualities with every effort, one after the other for each picture."""
    efforts = range(MAX_EFFORT + 1)
    coded = [[_code(codec, array, effort, tune, qualities, clock) for effort in efforts] for array in arrays]
    return tuple(_use(effort, tune, coded) for effort in efforts)


def _use(effort: int, tune: Tune, coded: Sequence[Sequence[_Coded]]) -> EffortUse:
    rates: list[float] = []
    seconds: list[float] = []
    ratios: list[float] = []
    for own in coded:
        default, this = own[DEFAULT_EFFORT], own[effort]
        rates.append(bd_rate(this.curve, default.curve))
        seconds += this.seconds
        ratios += [a / b for a, b in zip(this.seconds, default.seconds, strict=True)]
    return EffortUse(
        effort=effort,
        tune=tune,
        bd_rate=statistics.fmean(rates),
        worst=max(rates),
        seconds=statistics.fmean(seconds),
        ratio=statistics.fmean(ratios),
    )


def _code(
    codec: PictureCodec,
    array: Pixels,
    effort: int,
    tune: Tune,
    qualities: Sequence[float],
    clock: Callable[[], float],
) -> _Coded:
    measure = ssimulacra2 if tune == "visual" else psnr
    rates, reached, times = [], [], []
    for quality in qualities:
        options = EncodeOptions(quality=quality, tune=tune, effort=effort, lossless=False)
        started = clock()
        file = codec.encode(array, options)
        times.append(clock() - started)
        rates.append(codec.read(file).info().bpp)
        reached.append(measure(array, codec.decode(file)))
    return _Coded(Curve.of(rates, reached), tuple(times))
