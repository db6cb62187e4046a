"""Pictures to files that reach a target: a quality is searched for with few encodings, guided by a sample.

    a sample of the picture, coded at a quality or two   -> the curve
    the picture, coded at a quality of this curve        -> how far the curve is off
    the picture, coded at the corrected quality          -> as a rule the file

An effort of 2 or 3 is spent on what such a search has found without it: that tells the quality within few steps.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from model.encoding import Rival, nearly_lossless_file, patched_source
from model.errors import TargetError
from model.images.distortion import check_ssimulacra2
from model.loaded import LoadedModel
from model.lossless_files import lossless_file
from model.options import DEFAULT_QUALITY, SIZES, EncodeOptions, Target, TargetName
from model.quality_search import Goal, most_bytes
from model.rate_control import resolve_setting
from model.sample import expected_curve
from model.source import source_of
from model.steps import Work
from model.trials import Trial, Trials
from model.types import Pixels

_REFINED = 0.15  # dB by which refining raises the PSNR at a quality; sizes it hardly changes, in the mean
_WORDS: Mapping[TargetName, tuple[int, str]] = MappingProxyType(
    {
        "target_bytes": (0, "bytes"),
        "target_bpp": (4, "bits per pixel"),
        "target_psnr": (2, "dB"),
        "target_ssimulacra2": (1, "points"),
    }
)


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
    found = yield from _found(model, array, options.unrefined(), target)
    if isinstance(found, bytes):
        return found
    assert found.best is not None
    if options.effort == found.options.effort:
        return found.best.file
    return (yield from _refined(found, options))


def _found(model: LoadedModel, array: Pixels, options: EncodeOptions, target: Target) -> Work[Trials | bytes]:
    """Trials of which one reaches the target; or a file that does, of which no quality is to be chosen."""
    pixels = array.shape[0] * array.shape[1]
    goal = Goal.of(target, pixels=pixels)
    source = yield from source_of(array, tile=options.tile)
    if goal.at_most and options.lossless is None:
        fitting = yield from lossless_file(array, options, limit=most_bytes(target, pixels=pixels) + 1)
        if fitting is not None:
            return fitting
    tries = Trials(model, source, options, goal)
    yield from tries.search((yield from expected_curve(tries)))
    if not goal.at_most and options.lossless is None:
        smaller = yield from lossless_file(array, options, limit=len(tries.closest.file))
        if smaller is not None:
            return smaller
    if tries.best is None:
        yield from tries.ends()
    found: Trials | bytes = tries
    if options.lossless is None:
        found = yield from _better(tries)
    if isinstance(found, Trials) and found.best is None:
        raise _out_of_reach(target, (yield from tries.ends()), pixels=pixels)
    return found


def _better(tries: Trials) -> Work[Trials | bytes]:
    """What is better than the best of some trials, closer at a size, smaller at a quality; they where nothing is.

    A file that is nearly lossless, or trials with patches.
    """
    model, options, goal, best = tries.model, tries.options, tries.goal, tries.best
    assert options.target is not None
    rival = Rival(model, tries.source, options, tries.closest.file)
    height, width = tries.source.array.shape[:2]
    limit = most_bytes(options.target, pixels=height * width) + 1 if goal.at_most else len(rival.file)
    patched = yield from patched_source(rival, limit=limit)
    near = None
    if best is not None or goal.at_most:
        near = yield from nearly_lossless_file(rival, limit=limit)
    if patched is None:
        return near or tries
    own = Trials(model, patched, options, goal)
    yield from own.search((yield from expected_curve(own)))
    theirs = own.best
    if theirs is None and best is not None and goal.at_most and goal.will_do(own.closest.value):
        theirs = own.closest  # with patches the highest quality is smaller than the size asked for
    if theirs is None:
        return near or tries
    taken = own if own.best is not None else theirs.file
    other = near or (best.file if best is not None else None)
    if other is None:
        return taken
    is_better = len(theirs.file) < len(other)
    if goal.at_most:
        other_rival = Rival(model, tries.source, options, other)
        is_better = yield from other_rival.is_met_by(Rival(model, tries.source, options, theirs.file))
    return taken if is_better else near or tries


def _refined(found: Trials, options: EncodeOptions) -> Work[bytes]:
    """The file, at the effort of these options, of what was found at one that refines nothing."""
    assert found.best is not None
    assert found.curve is not None
    assert options.target is not None
    tries = Trials(found.model, found.source, options, found.goal)
    yield from tries.search(found.curve + (_REFINED if options.target.name == "target_psnr" else 0.0))
    if tries.best is None:
        return found.best.file
    if found.goal.at_most:
        return tries.best.file
    return min(tries.best.file, found.best.file, key=len)


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
