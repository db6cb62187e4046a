"""How long each stage of a request took: for `Server-Timing`, for the log and for the metrics."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import Histogram


class Timing:
    """The stages of one request, in the order in which they first ended; a stage that comes again adds up.

    Where several threads are at one request, their times add up too. The event loop may read while threads write,
    which a copy of the entries makes safe.
    """

    def __init__(self, op: str) -> None:
        self.op = op
        self._seconds: dict[str, float] = {}

    @contextmanager
    def measure(self, stage: str) -> Iterator[None]:
        """Time what runs inside, without the stages that are measured in there; a stage that fails counts too."""
        before, started = sum(self._seconds.values()), time.perf_counter()
        try:
            yield
        finally:
            inner = sum(self._seconds.values()) - before
            self.add(stage, time.perf_counter() - started - inner)

    def add(self, stage: str, seconds: float) -> None:
        """Record a stage that was timed elsewhere."""
        self._seconds[stage] = self._seconds.get(stage, 0.0) + seconds

    def observe(self, histogram: Histogram) -> None:
        """Enter every stage, once, into a histogram with the labels operation and stage."""
        for stage, seconds in self._seconds.copy().items():
            histogram.labels(self.op, stage).observe(seconds)

    @property
    def milliseconds(self) -> dict[str, float]:
        """Every stage so far, in milliseconds."""
        return {stage: round(1000 * seconds, 1) for stage, seconds in self._seconds.copy().items()}

    @property
    def header(self) -> str:
        """The value of `Server-Timing`."""
        return ", ".join(f"{stage};dur={duration}" for stage, duration in self.milliseconds.items())
