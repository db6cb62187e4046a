"""The search along the quality axis for what a target asks."""

import math
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from model.container.format import QUALITY_STEPS
from model.entropy.tables import Floats
from model.options import SIZES, Target

_GUIDED = 5  # trials by the estimate; after them the interval is halved instead
_NEARLY = 2  # trials after which a quality that is passed by a little more than it may be will do; see `Goal.nearly`
_ENDLESS = 1 << 48  # bytes: larger than every file
_AXIS = np.arange(QUALITY_STEPS + 1, dtype=np.float64)
_SAMPLED = QUALITY_STEPS // 8  # positions to both sides of the first guess
# Of the slope between two trials, what lasts beyond them: part of it are the steps in which small files grow.
_LASTING = 0.8


@dataclass(frozen=True, kw_only=True)
class Goal:
    """What is searched for along the quality axis: a value, which rises with the quality, between two bounds.

    Attributes:
        low: the smallest value that will do.
        aim: the value to try for.
        high: the largest value that will do.
        at_most: whether what lies below `low` would do too, if there were nothing better; else, above `high`.
    """

    low: float
    aim: float
    high: float
    at_most: bool

    @classmethod
    def of(cls, target: Target, *, pixels: int) -> Self:
        """Of a target; sizes by their logarithms, in which they are closest to a line."""
        if target.name in SIZES:
            most = most_bytes(target, pixels=pixels)
            low, aim = math.log(max(1, math.ceil(0.97 * most))), math.log(max(1, 0.985 * most))
            return cls(low=low, aim=aim, high=math.log(max(1, most)), at_most=True)
        low = float(target.value)
        if target.name == "target_psnr":
            return cls(low=low, aim=low + 0.075, high=low + 0.15, at_most=False)
        return cls(low=low, aim=low + 0.4, high=low + 1, at_most=False)

    def nearly(self, value: float) -> bool:
        """Whether a quality is passed by twice what it may be passed by at most.

        A further trial would cost more time than that is worth in bytes; and in small files the quality does not rise
        everywhere, by some tenths of a decibel, so that no position need have what is wanted.
        """
        return not self.at_most and self.low <= value <= 2 * self.high - self.low

    def will_do(self, value: float) -> bool:
        """Whether a value is on the right side, however far."""
        return value <= self.high if self.at_most else value >= self.low


def most_bytes(target: Target, *, pixels: int) -> int:
    """The size that a file may have at most, for targets of sizes."""
    size = target.value if target.name == "target_bytes" else target.value * pixels / 8
    return math.floor(min(size, _ENDLESS))


class Search:
    """The search for a position on the quality axis whose value a goal takes, by trials that each cost an encoding.

    A curve says what to expect, the trials where it lies: their differences from it follow a line through them. Every
    trial leaves a smaller interval, so that the search ends whatever the values are, at the latest where no position
    is left between two that were tried.
    """

    def __init__(self, goal: Goal, curve: Floats) -> None:
        """Take what is expected at each position."""
        self.goal = goal
        self._curve: Floats = np.maximum.accumulate(curve)
        self._trials: dict[int, float] = {}
        self._inside = range(QUALITY_STEPS + 1)

    def add(self, position: int, value: float) -> None:
        """Enter what a trial has shown."""
        self._trials[position] = value
        if self.goal.low <= value <= self.goal.high:
            self._inside = range(0)
        elif value < self.goal.low:
            self._inside = range(position + 1, self._inside.stop)
        else:
            self._inside = range(self._inside.start, position)

    def next(self) -> int | None:
        """The position to try next; None where there is nothing more to be found."""
        if not self._inside:
            return None
        if len(self._trials) >= _NEARLY and any(map(self.goal.nearly, self._trials.values())):
            return None
        if len(self._trials) >= _GUIDED:
            return self._inside[len(self._inside) // 2]
        if (beyond := self._beyond_plateau()) is not None:
            return beyond
        inside = slice(self._inside.start, self._inside.stop)
        return self._inside.start + self._closest(inside)

    def _beyond_plateau(self) -> int | None:
        """Twice as far as the last trial went, where it changed nothing: small files grow by whole words."""
        trials = list(self._trials.items())[-2:]
        if len(trials) < 2 or trials[0][1] != trials[1][1]:
            return None
        (before, _), (last, _) = trials
        return min(max(last + 2 * (last - before), self._inside.start), self._inside.stop - 1)

    def sampled(self) -> list[int]:
        """Where to code a sample: for a size at two positions around the one to try next, for a quality there.

        The curve of sizes has another slope in each picture, that of qualities hardly.
        """
        guess = self._closest(slice(None))
        if not self.goal.at_most:
            return [guess]
        return sorted({max(guess - _SAMPLED, 0), min(guess + _SAMPLED, QUALITY_STEPS)})

    def _closest(self, part: slice) -> int:
        """The place, in a part of the axis, that is expected to come closest to the aim."""
        return int(np.abs(self.estimates()[part] - self.goal.aim).argmin())

    def estimates(self) -> Floats:
        """The value at each position."""
        if not self._trials:
            return self._curve
        tried = np.array(sorted(self._trials))
        found = np.array([self._trials[int(position)] for position in tried])
        estimates: Floats = self._curve + _on_line(tried, found - self._curve[tried])
        return estimates


def _on_line(places: NDArray[np.intp], values: Floats) -> Floats:
    """The broken line through some points, going on nearly as steep as it ends; level where there is one point."""
    line: Floats = np.interp(_AXIS, places, values)
    if len(places) > 1:
        for end, before in ((0, 1), (-1, -2)):
            slope = _LASTING * (values[end] - values[before]) / (places[end] - places[before])
            beyond = _AXIS < places[0] if end == 0 else _AXIS > places[-1]
            line[beyond] += slope * (_AXIS[beyond] - places[end])
    return line
