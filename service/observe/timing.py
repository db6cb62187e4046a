"""How long each stage of a request took: for `Server-Timing`, for the log and for the metrics."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from prometheus_client import Histogram

_MOST_INTERVALS = 512  # a large picture has several for each of its tiles


class Interval(NamedTuple):
    """When a stage ran, once; in seconds of `time.perf_counter`."""

    stage: str
    began: float
    ended: float


class Timing:
    """The stages of one request, in the order in which they first ended; a stage that comes again adds up.

    Where several threads are at one request, their times add up too. The event loop may read while threads write,
    which a copy of the entries makes safe.

    Attributes:
        op: name of the operation.
        left_out: how many intervals there were beyond those that are kept.
    """

    def __init__(self, op: str) -> None:
        self.op = op
        self.left_out = 0
        self._seconds: dict[str, float] = {}
        self._intervals: list[Interval] = []

    @contextmanager
    def measure(self, stage: str) -> Iterator[None]:
        """Time what runs inside, without the stages that are measured in there; a stage that fails counts too."""
        before, started = sum(self._seconds.values()), time.perf_counter()
        try:
            yield
        finally:
            inner = sum(self._seconds.values()) - before
            ended = time.perf_counter()
            self._enter(Interval(stage, started, ended), ended - started - inner)

    def add(self, stage: str, seconds: float) -> None:
        """Record a stage that was timed elsewhere and has ended just now."""
        ended = time.perf_counter()
        self._enter(Interval(stage, ended - seconds, ended), seconds)

    def observe(self, histogram: Histogram) -> None:
        """Enter every stage, once, into a histogram with the labels operation and stage."""
        for stage, seconds in self._seconds.copy().items():
            histogram.labels(self.op, stage).observe(seconds)

    @property
    def intervals(self) -> tuple[Interval, ...]:
        """When each stage ran, in the order in which they ended; those that were measured inside others too."""
        return tuple(self._intervals)

    @property
    def milliseconds(self) -> dict[str, float]:
        """Every stage so far, in milliseconds."""
        return {stage: round(1000 * seconds, 1) for stage, seconds in self._seconds.copy().items()}

    @property
    def header(self) -> str:
        """The value of `Server-Timing`."""
        return ", ".join(f"{stage};dur={duration}" for stage, duration in self.milliseconds.items())

    def _enter(self, interval: Interval, seconds: float) -> None:
        self._seconds[interval.stage] = self._seconds.get(interval.stage, 0.0) + seconds
        if len(self._intervals) < _MOST_INTERVALS:
            self._intervals.append(interval)
        else:
            self.left_out += 1
