"""Admission: how many requests may be in the service at once, counted before their bodies are read."""

import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

from service.api import problems
from service.api.problems import ProblemError


class Slot:
    """One admitted request's place; held until its work has really ended, answered or not."""

    def __init__(self) -> None:
        self.future: Future[Any] | None = None


class Gate:
    """Counts admitted requests and turns away those above its size."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._depth = 0
        self._lock = threading.Lock()  # released from the worker's thread too

    @property
    def depth(self) -> int:
        """Requests admitted and not finished."""
        return self._depth

    @contextmanager
    def admit(self, *, seconds_each: float) -> Iterator[Slot]:
        """Hold a place inside the block, and on until `slot.future` has ended where one was set.

        Args:
            seconds_each: what one request takes, for the advice when to come back.

        Raises ProblemError (429) where no place is free.
        """
        with self._lock:
            if self._depth >= self.size:
                # the first place is free after one request; by then half of the queue is a fair guess
                wait = max(1, round(self._depth * seconds_each / 2))
                raise ProblemError(
                    problems.QUEUE_FULL,
                    f"All {self.size} places are taken (CWIC_QUEUE_SIZE); try again in {wait} s.",
                    limit=self.size,
                    headers={"Retry-After": str(wait)},
                )
            self._depth += 1
        slot = Slot()
        try:
            yield slot
        finally:
            if slot.future is None:
                self._release()
            else:
                slot.future.add_done_callback(lambda _: self._release())

    def _release(self) -> None:
        with self._lock:
            self._depth -= 1
