"""What targets cost: how close files come to them, and the time beside an encoding of the same quality."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from model.errors import TargetError
from model.options import EncodeOptions, Target
from model.protocol import PictureCodec
from model.types import Pixels
from training.measure.metrics import psnr

TARGETS = (
    *(Target("target_bpp", rate) for rate in (0.1, 0.25, 0.5, 1.0, 2.0)),
    *(Target("target_psnr", quality) for quality in (28.0, 32.0, 36.0, 40.0)),
)


@dataclass(frozen=True, kw_only=True)
class TargetUse:
    """One target over the pictures that can reach it.

    Attributes:
        target: what was asked for.
        pictures: how many reached it.
        size: mean size of the files, in bytes.
        farthest: of sizes, the smallest share that a file has, 0 to 1; of a PSNR, how far it is passed, in dB.
        psnr: mean PSNR, in dB.
        seconds: mean time of an encoding.
        ratio: mean of each picture's time beside an encoding at the quality that was found.
        longest: the largest of these ratios.
    """

    target: Target
    pictures: int
    size: float
    farthest: float
    psnr: float
    seconds: float
    ratio: float
    longest: float


def measure_targets(
    codec: PictureCodec,
    arrays: Sequence[Pixels],
    *,
    targets: Sequence[Target] = TARGETS,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[TargetUse, ...]:
    """Code pictures to targets, each beside an encoding at the quality that was found; no files without loss."""
    return tuple(use for target in targets if (use := _measure(codec, arrays, target, clock)) is not None)


def _measure(
    codec: PictureCodec, arrays: Sequence[Pixels], target: Target, clock: Callable[[], float]
) -> TargetUse | None:
    sizes, misses, reached, times, ratios = [], [], [], [], []
    asked = EncodeOptions(lossless=False, **{str(target.name): target.value})  # type: ignore[arg-type]
    for array in arrays:
        try:
            file, seconds = _timed(codec, array, asked, clock)
        except TargetError:
            continue
        info = codec.read(file).info()
        _, once = _timed(codec, array, EncodeOptions(lossless=False, quality=info.quality), clock)
        sizes.append(len(file))
        reached.append(psnr(array, codec.decode(file)))
        misses.append(info.bpp / target.value if target.name == "target_bpp" else reached[-1] - target.value)
        times.append(seconds)
        ratios.append(seconds / once)
    if not sizes:
        return None
    return TargetUse(
        target=target,
        pictures=len(sizes),
        size=statistics.fmean(sizes),
        farthest=min(misses) if target.name == "target_bpp" else max(misses),
        psnr=statistics.fmean(reached),
        seconds=statistics.fmean(times),
        ratio=statistics.fmean(ratios),
        longest=max(ratios),
    )


def _timed(
    codec: PictureCodec, array: Pixels, options: EncodeOptions, clock: Callable[[], float]
) -> tuple[bytes, float]:
    started = clock()
    file = codec.encode(array, options)
    return file, clock() - started
