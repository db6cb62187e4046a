"""Bounds for tests that no machine's speed can change: a patience that only ends hangs, and work counted in calls."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

PATIENCE = 20.0  # seconds; what must happen takes far less on any machine, and what never happens ends here


def wait_until(condition: Callable[[], bool], *, pause: float = 0.005) -> None:
    """Return as soon as the condition holds; raises AssertionError where it never does.

    `pause` is the time between two looks, in seconds: longer where looking is work for somebody else.
    """
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"not so after {PATIENCE:g} s"
        time.sleep(pause)


@dataclass
class Calls:
    """Functions called so far, Python's and C's."""

    count: int = 0


@contextmanager
def counted_calls() -> Iterator[Calls]:
    """Count the function calls of this thread inside the block: how much it did, whatever the machine."""
    calls = Calls()

    def count(_: FrameType, event: str, __: Any) -> None:
        calls.count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        yield calls
    finally:
        sys.setprofile(before)
