"""The server's memory over time, and whether it grows."""

import statistics
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

MB = 1e6
EVERY = 1.0  # seconds between two samples


class Sample(NamedTuple):
    """Resident memory at a time, in seconds from the start and in bytes."""

    at: float
    rss: int


class Growth(NamedTuple):
    """The medians of the memory behind the settling time and at the end, in bytes."""

    before: float
    after: float

    @property
    def megabytes(self) -> float:
        """By how much it has grown."""
        return (self.after - self.before) / MB


def resident(pid: int) -> int:
    """The resident memory of a process and its children, in bytes; 0 once it has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        children = [
            int(child)
            for task in Path(f"/proc/{pid}/task").iterdir()
            for child in (task / "children").read_text().split()
        ]
    except (FileNotFoundError, ProcessLookupError):
        return 0
    own = sum(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmRSS:"))
    return own + sum(resident(child) for child in children)


@contextmanager
def watched(pid: int | None) -> Iterator[list[Sample]]:
    """A list that gets a sample at the start, every second and at the end of the block; empty without a process."""
    samples: list[Sample] = []
    if pid is None:
        yield samples
        return
    start, stop = time.monotonic(), threading.Event()

    def look() -> None:
        samples.append(Sample(time.monotonic() - start, resident(pid)))

    def run() -> None:
        while not stop.wait(EVERY):
            look()

    look()
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield samples
    finally:
        stop.set()
        thread.join()
        look()


def growth(samples: Sequence[Sample], *, settled: float, window: float) -> Growth:
    """From the window that begins at the time `settled` to the last one, both of `window` seconds.

    Medians, because a single large picture lifts the memory for its own time only. Raises ValueError where the two
    windows overlap or have no samples.
    """
    end = samples[-1].at if samples else 0.0
    before = [each.rss for each in samples if settled <= each.at < settled + window]
    after = [each.rss for each in samples if each.at > end - window]
    if settled + window > end - window or not before or not after:
        raise ValueError(f"{end:.0f} s are too short for windows of {window:g} s from {settled:g} s on")
    return Growth(statistics.median(before), statistics.median(after))
