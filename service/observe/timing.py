"""How long each stage of a request took: for `Server-Timing`, for the log and for the metrics."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import Histogram


class Stages:
    """The stages of one request, in the order in which they ended.

    The event loop and the worker write to it one after the other; a request that was given up is read while
    the worker may still be writing, which a copy of the entries makes safe.
    """

    def __init__(self, op: str, histogram: Histogram) -> None:
        self._op = op
        self._histogram = histogram
        self._seconds: dict[str, float] = {}

    @contextmanager
    def measure(self, stage: str) -> Iterator[None]:
        """Time what runs inside; a stage that fails counts too."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.add(stage, time.perf_counter() - started)

    def add(self, stage: str, seconds: float) -> None:
        """Record a stage that was timed elsewhere."""
        self._seconds[stage] = self._seconds.get(stage, 0.0) + seconds
        self._histogram.labels(self._op, stage).observe(seconds)

    @property
    def milliseconds(self) -> dict[str, float]:
        """Every stage so far, in milliseconds."""
        return {stage: round(1000 * seconds, 1) for stage, seconds in self._seconds.copy().items()}

    @property
    def header(self) -> str:
        """The value of `Server-Timing`."""
        return ", ".join(f"{stage};dur={duration}" for stage, duration in self.milliseconds.items())
