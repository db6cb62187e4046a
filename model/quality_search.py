"""The search along the quality axis for what a target asks."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from model.container.format import QUALITY_STEPS
from model.entropy.tables import Floats
from model.options import SIZES, Target

# Trials by the estimate; after them the interval is halved instead. A quality that has been reached by then nearly
# will do: in small files it does not rise everywhere, by some tenths of a decibel, and no position need have what is
# wanted.
_GUIDED = 4
_ENDLESS = 1 << 48  # bytes: larger than every file


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
        width = 0.15 if target.name == "target_psnr" else 1.0
        low = float(target.value)
        return cls(low=low, aim=low + 0.4 * width, high=low + width, at_most=False)

    def nearly(self, value: float) -> bool:
        """Whether a quality is passed by twice what it may be passed by at most."""
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

    A sample of the picture gives the shape of the curve, the trials where it lies: their differences from the
    sample's curve follow a line through them, weighed as differences of samples were seen to fall with the quality,
    by a factor of e from one end of the axis to the other. Every trial leaves a smaller interval, so that the
    search ends whatever the values are, at the latest where no position is left between two that were tried.
    """

    def __init__(self, goal: Goal, positions: Sequence[int], values: Sequence[float]) -> None:
        """Take what the sample has shown, at some positions in ascending order."""
        self.goal = goal
        axis = np.arange(QUALITY_STEPS + 1, dtype=np.float64)
        curve = np.polynomial.Polynomial.fit(positions, values, len(positions) - 1)
        self._axis, self._curve = axis, np.maximum.accumulate(curve(axis))
        self._weights = np.exp(-axis / QUALITY_STEPS)
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
        if len(self._trials) >= _GUIDED:
            if any(map(self.goal.nearly, self._trials.values())):
                return None
            return self._inside[len(self._inside) // 2]
        inside = slice(self._inside.start, self._inside.stop)
        return inside.start + int(np.abs(self._estimates()[inside] - self.goal.aim).argmin())

    def _estimates(self) -> Floats:
        """The value at each position."""
        if not self._trials:
            return self._curve
        tried = np.array(sorted(self._trials))
        found = np.array([self._trials[int(position)] for position in tried])
        differences = (found - self._curve[tried]) / self._weights[tried]
        estimates: Floats = self._curve + self._weights * _on_line(self._axis, tried, differences)
        return estimates


def _on_line(axis: Floats, places: NDArray[np.intp], values: Floats) -> Floats:
    """The broken line through some points, which goes on as it ends; level where there is one point."""
    line: Floats = np.interp(axis, places, values)
    if len(places) > 1:
        for end, before in ((0, 1), (-1, -2)):
            slope = (values[end] - values[before]) / (places[end] - places[before])
            beyond = axis < places[0] if end == 0 else axis > places[-1]
            line[beyond] += slope * (axis[beyond] - places[end])
    return line
