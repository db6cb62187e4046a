"""The codings of one picture at several qualities, by which a target is searched for.

What the analysis finds whatever the quality is kept, so that coding the picture again costs little more than its
context models; and its codes are, so that what it looks like costs no more than the synthesis.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from model.container.format import QUALITY_STEPS, UNLIMITED, quality_at, unpack
from model.decoder import decode_picture
from model.encoder import coded_file
from model.entropy.tables import Floats
from model.images.distortion import psnr, ssimulacra2
from model.loaded import LoadedModel
from model.options import SIZES, DecodeOptions, EncodeOptions
from model.quality_search import Goal, Search
from model.source import Source
from model.steps import Work
from model.tile_cache import TileCache

_EQUAL = 120.0  # stands for the infinite PSNR of equal pictures

Part = slice | tuple[NDArray[np.intp], ...]  # of an array's rows and columns


class Trial(NamedTuple):
    """A file, and its value on the axis of a goal."""

    file: bytes
    value: float


class Trials:
    """The codings of one picture, or of a sample of it, on the way to a goal.

    Attributes:
        made: by their positions on the quality axis.
        curve: the value to expect at each position, once there was a search.
    """

    def __init__(
        self,
        model: LoadedModel,
        source: Source,
        options: EncodeOptions,
        goal: Goal,
        *,
        measured: Part = slice(None),
    ) -> None:
        """Take a picture, the goal that its options ask for, and the part of its pixels over which a PSNR is."""
        assert options.target is not None
        self.model = model
        self.source = source
        self.options = options
        self.goal = goal
        self.made: dict[int, Trial] = {}
        self.curve: Floats | None = None
        self._name = options.target.name
        self._measured = measured
        self._features: dict[int, tuple[Tensor, ...]] = {}

    def at(self, position: int) -> Work[Trial]:
        """The file at a position on the quality axis."""
        cache = TileCache(self._features)
        options = self.options.at_quality(quality_at(position))
        file = yield from coded_file(self.model, self.source, options, cache=cache)
        value = math.log(len(file))
        if self._name not in SIZES:
            container = unpack(file, limits=UNLIMITED)
            decoded = yield from decode_picture(self.model, container, DecodeOptions(), known=cache.tiles)
            yield ()
            pictures = self.source.array[..., :3], decoded[..., :3]
            if self._name == "target_ssimulacra2":
                value = ssimulacra2(*pictures)
            else:
                value = min(psnr(*(each[self._measured] for each in pictures)), _EQUAL)
        self.made[position] = Trial(file, value)
        return self.made[position]

    def search(self, curve: Floats) -> Work[None]:
        """Try positions until the goal is reached or cannot be, starting from what is expected at each."""
        search = Search(self.goal, curve)
        while (position := search.next()) is not None:
            search.add(position, (yield from self.at(position)).value)
        self.curve = search.estimates()

    def ends(self) -> Work[tuple[Trial, Trial]]:
        """At the lowest and the highest quality."""
        for position in {0, QUALITY_STEPS} - self.made.keys():
            yield from self.at(position)
        return self.made[0], self.made[QUALITY_STEPS]

    @property
    def best(self) -> Trial | None:
        """The trial to take; None where the target is beyond what the qualities reach."""
        if not self.goal.at_most:
            return min(self._fitting, key=lambda trial: len(trial.file), default=None)
        top = self.made.get(QUALITY_STEPS)
        if top is not None and top.value < self.goal.low:
            return None
        return max(self._fitting, key=lambda trial: trial.value, default=None)

    @property
    def closest(self) -> Trial:
        """The best one, or what comes closest where there is none, of a search that has ended.

        That is the largest one within a size, or else an end of the axis.
        """
        if (best := self.best) is not None:
            return best
        if self.goal.at_most and self._fitting:
            return max(self._fitting, key=lambda trial: trial.value)
        return self.made[0 if self.goal.at_most else QUALITY_STEPS]

    @property
    def _fitting(self) -> list[Trial]:
        return [trial for trial in self.made.values() if self.goal.will_do(trial.value)]
