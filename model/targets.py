"""Pictures to files that reach a target: a quality is searched for with few encodings, guided by a sample.

    a sample of the picture, coded at a quality or two   -> the curve
    the picture, coded at a quality of this curve        -> how far the curve is off
    the picture, coded at the corrected quality          -> as a rule the file

What the analysis finds whatever the quality is kept, so that coding the picture again costs little more than its
context models; and its codes are, so that what it looks like costs no more than the synthesis. The sample is a ninth
of the picture's pixels, and less of a large picture: every third of strips of 32 rows, and of those every third strip
of 32 columns, put together. What it costs more at the seams hardly depends on the quality.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from model.container.format import QUALITY_STEPS, UNLIMITED, extensions_of, quality_at, unpack
from model.decoder import decode_picture
from model.encoder import coded_file
from model.encoding import Rival, nearly_lossless_file, patched_source
from model.entropy.tables import Floats
from model.errors import TargetError
from model.images.distortion import check_ssimulacra2, psnr, ssimulacra2
from model.loaded import LoadedModel
from model.lossless_files import lossless_file
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
from model.quality_search import Goal, Search, most_bytes, usual_curve
from model.rate_control import resolve_setting
from model.source import Source, source_of
from model.steps import Work, together
from model.tile_cache import TileCache
from model.types import NO_METADATA, Pixels

_STRIP = 32  # pixels: four codes in a row, of which two see no seam
_EVERY = 3
_SAMPLE = 2**19  # pixels at most, about
_SMALL = 2**16  # pixels: a sample of a smaller picture would cost as much as the picture
# Of a sample's bytes, at the lowest quality, and how much more at the highest: measured on photographs.
_WITHOUT_SEAMS = (0.6, 0.3)
_OVERHEAD = 40  # bytes of a file's header and directory, about
_EQUAL = 120.0  # stands for the infinite PSNR of equal pictures
_WORDS: Mapping[TargetName, tuple[int, str]] = MappingProxyType(
    {
        "target_bytes": (0, "bytes"),
        "target_bpp": (4, "bits per pixel"),
        "target_psnr": (2, "dB"),
        "target_ssimulacra2": (1, "points"),
    }
)


Part = slice | tuple[NDArray[np.intp], ...]  # of an array's rows and columns


class Trial(NamedTuple):
    """A file, and its value on the axis of a goal."""

    file: bytes
    value: float


class Trials:
    """The codings of one picture, or of a sample of it, at several qualities."""

    def __init__(
        self, model: LoadedModel, source: Source, options: EncodeOptions, *, measured: Part = slice(None)
    ) -> None:
        """Take a picture, and the part of its pixels over which a PSNR is."""
        assert options.target is not None
        self.source = source
        self.model = model
        self._options = options
        self._name = options.target.name
        self._measured = measured
        self._features: dict[int, tuple[Tensor, ...]] = {}

    def at(self, position: int) -> Work[Trial]:
        """The file at a position on the quality axis."""
        cache = TileCache(self._features)
        options = self._options.at_quality(quality_at(position))
        file = yield from coded_file(self.model, self.source, options, cache=cache)
        if self._name in SIZES:
            return Trial(file, math.log(len(file)))
        container = unpack(file, limits=UNLIMITED)
        decoded = yield from decode_picture(self.model, container, DecodeOptions(), known=cache.tiles)
        yield ()
        pictures = self.source.array[..., :3], decoded[..., :3]
        if self._name == "target_ssimulacra2":
            return Trial(file, ssimulacra2(*pictures))
        return Trial(file, min(psnr(*(each[self._measured] for each in pictures)), _EQUAL))


def encode_to_target(model: LoadedModel, array: Pixels, options: EncodeOptions) -> Work[bytes]:
    """A file of a picture, uint8 [H, W, 3] or [H, W, 4], that reaches the target of the options.

    One without loss, where the options permit it and it is within the size, or smaller than what reaches a quality;
    or one nearly without loss or with patches, see `nearly_lossless_file` and `patched_source`.

    Raises:
        TargetError: no quality reaches the target, and no file without loss, or nearly, may be taken.
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
        fitting = yield from lossless_file(array, options, limit=most_bytes(target, pixels=pixels) + 1)
        if fitting is not None:
            return fitting
    tries = Trials(model, source, options)
    trials = yield from _search(model, tries, options, goal)
    best = _best(trials, goal)
    if not goal.at_most and options.lossless is None:
        coded = best or trials[QUALITY_STEPS]
        smaller = yield from lossless_file(array, options, limit=len(coded.file))
        if smaller is not None:
            return smaller
    if best is None:
        yield from _try_ends(tries, trials)
        best = _best(trials, goal)
    if options.lossless is None:
        better = yield from _better(tries, options, goal, trials)
        if better is not None:
            return better
    if best is None:
        raise _out_of_reach(target, (trials[0], trials[QUALITY_STEPS]), pixels=pixels)
    return best.file


def _search(model: LoadedModel, tries: Trials, options: EncodeOptions, goal: Goal) -> Work[dict[int, Trial]]:
    """The trials that were made, by their positions on the quality axis."""
    assert options.target is not None
    array = tries.source.coded
    pixels = array.shape[0] * array.shape[1]
    extensions = extensions_of(options.metadata)
    fixed = tries.source.fixed + sum(len(contents) for _, contents in extensions)
    curve = usual_curve(options.target.name, pixels=pixels, fixed=fixed + _OVERHEAD)
    if pixels > _SMALL:
        curve = yield from _sampled_curve(model, array, options, Search(goal, curve), fixed=fixed)
    search = Search(goal, curve)
    trials: dict[int, Trial] = {}
    while (position := search.next()) is not None:
        trials[position] = yield from tries.at(position)
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


def _try_ends(tries: Trials, trials: dict[int, Trial]) -> Work[None]:
    """Enter the lowest and the highest quality."""
    for position in {0, QUALITY_STEPS} - trials.keys():
        trials[position] = yield from tries.at(position)


def _better(
    tries: Trials, options: EncodeOptions, goal: Goal, trials: Mapping[int, Trial]
) -> Work[bytes | None]:
    """A file that is better than the best of the trials, closer at a size, smaller at a quality; None for none.

    One that is nearly lossless, or with patches.
    """
    assert options.target is not None
    best = _best(trials, goal)
    model, source = tries.model, tries.source
    rival = Rival(model, source, options, (best or _closest(trials, goal)).file)
    height, width = source.array.shape[:2]
    limit = most_bytes(options.target, pixels=height * width) + 1 if goal.at_most else len(rival.file)
    patched = yield from patched_source(rival, limit=limit)
    near = None
    if best is not None or goal.at_most:
        near = yield from nearly_lossless_file(rival, limit=limit)
    if patched is None:
        return near
    with_patches = _best((yield from _search(model, Trials(model, patched, options), options, goal)), goal)
    other = near or (best.file if best is not None else None)
    if with_patches is None or other is None:
        return near if with_patches is None else with_patches.file
    is_better = len(with_patches.file) < len(other)
    if goal.at_most:
        other_rival = Rival(model, source, options, other)
        is_better = yield from other_rival.is_met_by(Rival(model, source, options, with_patches.file))
    return with_patches.file if is_better else near


def _closest(trials: Mapping[int, Trial], goal: Goal) -> Trial:
    """What comes closest to a target that no trial has: the largest one within a size, or else an end of the axis."""
    if not goal.at_most:
        return trials[QUALITY_STEPS]
    fitting = [trial for trial in trials.values() if goal.will_do(trial.value)]
    return max(fitting, key=lambda trial: trial.value, default=trials[0])


def _sampled_curve(
    model: LoadedModel, array: Pixels, options: EncodeOptions, search: Search, *, fixed: int
) -> Work[Floats]:
    """What to expect at each position, by coding a sample of the picture."""
    assert options.target is not None
    sample, plane, inner = _sample(array, options.plane)
    effort = min(options.effort, DEFAULT_EFFORT)  # more would move the curve, but hardly change its shape
    own = replace(options, plane=plane, metadata=NO_METADATA, effort=effort)
    tries = Trials(model, (yield from source_of(sample, tile=own.tile)), own, measured=inner)
    positions = search.sampled()
    trials = yield from together([tries.at(position) for position in positions])
    area = array.shape[0] * array.shape[1] / (sample.shape[0] * sample.shape[1])
    for position, trial in zip(positions, trials, strict=True):
        value = trial.value
        if options.target.name in SIZES:
            times = area * (_WITHOUT_SEAMS[0] + _WITHOUT_SEAMS[1] * position / QUALITY_STEPS)
            value = math.log(_scaled(trial.file, times) + fixed)
        search.add(position, value)
    return search.estimates()


def _scaled(file: bytes, area: float) -> float:
    """The size of the file of a picture that has so many times the pixels."""
    payloads = sum(map(len, unpack(file, limits=UNLIMITED).payloads))
    return len(file) - payloads + payloads * area


def _sample(array: Pixels, plane: Offsets | None) -> tuple[Pixels, Offsets | None, Part]:
    """Strips of a picture, RGB, put together; about the same of its quality plane; and what of them sees no seam."""
    height, width = array.shape[:2]
    every = max(_EVERY, math.ceil(math.sqrt(height * width / _SAMPLE)))
    rows, columns = (_strips(side, every=every) for side in (height, width))
    sample = np.ascontiguousarray(array[np.ix_(rows, columns)][..., :3])
    if plane is not None:
        plane = plane[np.ix_(rows[::PLANE_CELL] // PLANE_CELL, columns[::PLANE_CELL] // PLANE_CELL)]
    return sample, plane, np.ix_(*map(_inside, (rows, columns)))


def _strips(side: int, *, every: int) -> NDArray[np.intp]:
    """The places of a side that lie in every so many-th strip, or in the first where there are fewer."""
    strips = np.arange(side) // _STRIP
    return np.flatnonzero(strips % every == min(every // 2, strips[-1]))


def _inside(places: NDArray[np.intp]) -> NDArray[np.intp]:
    """Which of the places see no seam; all where none would be left."""
    inside = np.flatnonzero(np.abs(places % _STRIP - _STRIP // 2) < _STRIP // 4)
    return inside if len(inside) else np.arange(len(places))


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
