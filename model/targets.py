"""Pictures to files that reach a target: a quality is searched for with few encodings, guided by a sample.

    a sample of the picture, coded at three qualities at once -> the shape of the curve
    the picture, coded at a quality of this curve             -> how far the curve is off
    the picture, coded at the corrected quality               -> as a rule the file

The sample is a ninth of the picture's pixels, and less of a large picture: every third of strips of 32 rows, and of
those every third strip of 32 columns, put together. What it costs more at the seams hardly depends on the quality.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.container.format import QUALITY_STEPS, UNLIMITED, extensions_of, unpack
from model.decoder import decode_picture
from model.encoder import Source, coded_file, is_grey, lossless_file, source_of
from model.errors import TargetError
from model.images.distortion import check_ssimulacra2, psnr, ssimulacra2
from model.loaded import LoadedModel
from model.options import (
    DEFAULT_EFFORT,
    DEFAULT_QUALITY,
    PLANE_CELL,
    SIZES,
    DecodeOptions,
    EncodeOptions,
    Offsets,
    Target,
    TargetName,
)
from model.quality_search import Goal, Search, most_bytes
from model.rate_control import resolve_setting
from model.steps import Work, together
from model.types import NO_METADATA, Pixels

_STRIP = 32  # pixels: four codes in a row, of which two see no seam
_EVERY = 3
_SAMPLE = 2**19  # pixels at most, about
_SAMPLED = (QUALITY_STEPS // 8, QUALITY_STEPS // 2, QUALITY_STEPS - QUALITY_STEPS // 8)
_SMALL = 2**14  # pixels: of a smaller picture the sample is all of it
_EQUAL = 120.0  # stands for the infinite PSNR of equal pictures
_WORDS: Mapping[TargetName, tuple[int, str]] = MappingProxyType(
    {
        "target_bytes": (0, "bytes"),
        "target_bpp": (4, "bits per pixel"),
        "target_psnr": (2, "dB"),
        "target_ssimulacra2": (1, "points"),
    }
)


class Trial(NamedTuple):
    """A file, and its value on the axis of a goal."""

    file: bytes
    value: float


def encode_to_target(model: LoadedModel, array: Pixels, options: EncodeOptions) -> Work[bytes]:
    """A file of a picture, uint8 [H, W, 3] or [H, W, 4], that reaches the target of the options.

    One without loss, where the options permit it and it is within the size, or smaller than what reaches a quality.

    Raises:
        TargetError: no quality reaches the target, and no file without loss may be taken.
        ParameterError: see `resolve_setting`; or SSIMULACRA2 cannot be measured here.
    """
    target = options.target
    assert target is not None, "options without a target"
    if target.name == "target_ssimulacra2":
        check_ssimulacra2()
    height, width = array.shape[:2]
    resolve_setting(options.at_quality(DEFAULT_QUALITY), model.config, height=height, width=width)
    pixels = height * width
    goal = Goal.of(target, pixels=pixels)
    source = yield from source_of(array, tile=options.tile)
    if goal.at_most and options.lossless is None:
        fitting = yield from lossless_file(source, options, limit=most_bytes(target, pixels=pixels) + 1)
        if fitting is not None:
            return fitting
    trials = yield from _search(model, source, options, goal)
    best = _best(trials, goal)
    if not goal.at_most and options.lossless is None:
        coded = best or trials[QUALITY_STEPS]
        smaller = yield from lossless_file(source, options, limit=len(coded.file))
        if smaller is not None:
            return smaller
    if best is None:
        for position in {0, QUALITY_STEPS} - trials.keys():
            trials[position] = yield from _trial(model, source, options, position)
        best = _best(trials, goal)
    if best is None:
        raise _out_of_reach(target, (trials[0], trials[QUALITY_STEPS]), pixels=pixels)
    return best.file


def _search(model: LoadedModel, source: Source, options: EncodeOptions, goal: Goal) -> Work[dict[int, Trial]]:
    """The trials that were made, by their positions on the quality axis."""
    search = Search(goal, _SAMPLED, (yield from _sample_values(model, source, options)))
    trials: dict[int, Trial] = {}
    while (position := search.next()) is not None:
        trials[position] = yield from _trial(model, source, options, position)
        search.add(position, trials[position].value)
    return trials


def _best(trials: Mapping[int, Trial], goal: Goal) -> Trial | None:
    """The trial to take; None where the target is beyond what the qualities reach."""
    fitting = [trial for trial in trials.values() if goal.will_do(trial.value)]
    if not goal.at_most:
        return min(fitting, key=lambda trial: len(trial.file), default=None)
    top = trials.get(QUALITY_STEPS)
    if top is not None and top.value < goal.low:
        return None
    return max(fitting, key=lambda trial: trial.value, default=None)


def _trial(model: LoadedModel, source: Source, options: EncodeOptions, position: int) -> Work[Trial]:
    """The file at a position on the quality axis."""
    assert options.target is not None
    name, quality = options.target.name, 1 + 99 * position / QUALITY_STEPS
    file = yield from coded_file(model, source, options.at_quality(quality))
    if name in SIZES:
        return Trial(file, math.log(len(file)))
    decoded = yield from decode_picture(model, unpack(file, limits=UNLIMITED), DecodeOptions())
    yield ()
    measure = psnr if name == "target_psnr" else ssimulacra2
    return Trial(file, min(measure(source.array[..., :3], decoded[..., :3]), _EQUAL))


def _sample_values(model: LoadedModel, source: Source, options: EncodeOptions) -> Work[list[float]]:
    """About the values of files of the picture, at the positions of `_SAMPLED`."""
    assert options.target is not None
    sample, plane = _sample(source.array, options.plane)
    effort = min(options.effort, DEFAULT_EFFORT)  # more would move the curve, but hardly change its shape
    own = replace(options, plane=plane, metadata=NO_METADATA, effort=effort)
    part = Source(sample, is_grey(sample))
    trials = yield from together([_trial(model, part, own, position) for position in _SAMPLED])
    if options.target.name not in SIZES:
        return [trial.value for trial in trials]
    area = source.array.shape[0] * source.array.shape[1] / (sample.shape[0] * sample.shape[1])
    extensions = extensions_of(options.metadata)
    same = sum(map(len, (*source.alpha, *(contents for _, contents in extensions))))
    return [math.log(_scaled(trial.file, area) + same) for trial in trials]


def _scaled(file: bytes, area: float) -> float:
    """The size of the file of a picture that has so many times the pixels."""
    payloads = sum(map(len, unpack(file, limits=UNLIMITED).payloads))
    return len(file) - payloads + payloads * area


def _sample(array: Pixels, plane: Offsets | None) -> tuple[Pixels, Offsets | None]:
    """Strips of a picture, RGB, put together, and of its quality plane about the same."""
    height, width = array.shape[:2]
    every = max(_EVERY, math.ceil(math.sqrt(height * width / _SAMPLE)))
    small = height * width <= _SMALL
    rows, columns = (np.arange(side) if small else _strips(side, every=every) for side in (height, width))
    sample = np.ascontiguousarray(array[np.ix_(rows, columns)][..., :3])
    if plane is not None:
        plane = plane[np.ix_(rows[::PLANE_CELL] // PLANE_CELL, columns[::PLANE_CELL] // PLANE_CELL)]
    return sample, plane


def _strips(side: int, *, every: int) -> NDArray[np.intp]:
    """The places of a side that lie in every so many-th strip, or in the first where there are fewer."""
    strips = np.arange(side) // _STRIP
    return np.flatnonzero(strips % every == min(every // 2, strips[-1]))


def _out_of_reach(target: Target, ends: Sequence[Trial], *, pixels: int) -> TargetError:
    """What to raise where neither the lowest nor the highest quality, nor what lies between, reaches the target."""
    digits, unit = _WORDS[target.name]
    values = [trial.value for trial in ends]
    if target.name in SIZES:
        values = [len(trial.file) * (1 if target.name == "target_bytes" else 8 / pixels) for trial in ends]
    lowest, highest = sorted(values)
    return TargetError(
        f"{target.name} {target.value} is out of reach: files of this picture have {lowest:.{digits}f} to "
        f"{highest:.{digits}f} {unit}, from quality 1 to 100",
        lowest=lowest,
        highest=highest,
    )
