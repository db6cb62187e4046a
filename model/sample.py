"""What a target can expect of a picture at each quality, from a sample of it that is coded at a quality or two.

The sample is a ninth of the picture's pixels, and less of a large picture: every third of strips of 32 rows, and of
those every third strip of 32 columns, put together. What it costs more at the seams hardly depends on the quality.
"""

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from model.container.format import QUALITY_STEPS, UNLIMITED, extensions_of, unpack
from model.entropy.tables import Floats
from model.options import PLANE_CELL, SIZES, Offsets, TargetName
from model.quality_search import Search
from model.source import source_of
from model.steps import Work, together
from model.trials import Part, Trials
from model.types import NO_METADATA, Pixels
from model.water_filling import expected_psnr, expected_rate

_STRIP = 32  # pixels: four codes in a row, of which two see no seam
_SEEN = 28  # of them, those over which a PSNR is
_AT_SEAMS = 0.15  # dB that it is lower by, for what a seam still changes there
_EVERY = 3
_SAMPLE = 2**19  # pixels at most, about
_SMALL = 2**16  # pixels: a sample of a smaller picture would cost as much as the picture
# Of a sample's bytes, at the lowest quality, and how much more at the highest: measured on photographs.
_WITHOUT_SEAMS = (0.6, 0.3)
_SSIMULACRA2 = (10.0, 140.0, -60.0)  # of photographs, by powers of the quality, 0 to 1: may be far off
_OVERHEAD = 40  # bytes of a file's header and directory, about


def expected_curve(tries: Trials) -> Work[Floats]:
    """The value at each position of the quality axis that trials of a picture can expect."""
    options, array = tries.options, tries.source.coded
    assert options.target is not None
    pixels = array.shape[0] * array.shape[1]
    fixed = tries.source.fixed + sum(len(contents) for _, contents in extensions_of(options.metadata))
    curve = _guess(options.target.name, array, fixed=fixed)
    if pixels <= _SMALL:
        return curve
    search = Search(tries.goal, curve)
    sample, plane, inner = _sample(array, options.plane)
    own = replace(options, plane=plane, metadata=NO_METADATA)
    source = yield from source_of(sample, tile=own.tile)
    positions = search.sampled()
    coded = Trials(tries.model, source, own, tries.goal, measured=inner)
    trials = yield from together([coded.at(position) for position in positions])
    if options.target.name in SIZES:
        area = pixels / (sample.shape[0] * sample.shape[1])
        for position, trial in zip(positions, trials, strict=True):
            times = area * (_WITHOUT_SEAMS[0] + _WITHOUT_SEAMS[1] * position / QUALITY_STEPS)
            search.add(position, math.log(_scaled(trial.file, times) + fixed))
    else:
        differs = curve - _guess(options.target.name, sample, fixed=0)
        lost = _AT_SEAMS if options.target.name == "target_psnr" else 0.0
        for position, trial in zip(positions, trials, strict=True):
            search.add(position, trial.value + differs[position] + lost)
    return search.estimates()


def _guess(name: TargetName, array: Pixels, *, fixed: int) -> Floats:
    """The curve before anything is coded; of a file so many bytes do not depend on the quality."""
    if name == "target_psnr":
        return expected_psnr(array)
    if name == "target_ssimulacra2":
        usual: Floats = np.polynomial.Polynomial(_SSIMULACRA2)(np.linspace(0, 1, QUALITY_STEPS + 1))
        return usual
    coded = array.shape[0] * array.shape[1] / 8 * np.exp(expected_rate(array))
    curve: Floats = np.log(fixed + _OVERHEAD + coded)
    return curve


def _scaled(file: bytes, area: float) -> float:
    """The size of the file of a picture that has so many times the pixels."""
    payloads = sum(map(len, unpack(file, limits=UNLIMITED).payloads))
    return len(file) - payloads + payloads * area


def _sample(array: Pixels, plane: Offsets | None) -> tuple[Pixels, Offsets | None, Part]:
    """Strips of a picture, RGB, put together; about the same of its quality plane; and what hardly sees a seam."""
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
    """Which of the places hardly see a seam; all where none would be left."""
    inside = np.flatnonzero(np.abs(2 * (places % _STRIP) + 1 - _STRIP) < _SEEN)
    return inside if len(inside) else np.arange(len(places))
