"""Pipelines with their threads, as tests start, hold and watch them."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from service.jobs.job import Job
from service.jobs.pipeline import Observer, Pipeline
from tests.effort import PATIENCE
from tests.service.jobs.work import host, job


class Seen(Observer):
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.memory: list[str] = []
        self.over: list[Job[Any]] = []

    def batch(self, steps: int, pixels: int) -> None:
        """See `Observer`."""
        assert pixels == 4096 * steps
        self.batches.append(steps)

    def out_of_memory(self, action: str) -> None:
        """See `Observer`."""
        self.memory.append(action)

    def ended(self, job: Job[Any]) -> None:
        """See `Observer`."""
        self.over.append(job)


@contextmanager
def running(
    *, workers: int = 1, apart: bool = False, seen: Seen | None = None, **more: Any
) -> Iterator[Pipeline]:
    pipeline = Pipeline(workers=workers, apart=apart, observer=seen, **more)
    pipeline.start()
    try:
        yield pipeline
    finally:
        pipeline.stop(timeout=PATIENCE)
        assert not pipeline.alive


@contextmanager
def held(pipeline: Pipeline) -> Iterator[Callable[[], None]]:
    """The pipeline's only worker at a job that ends with the block, or when the given function is called."""
    release, begun = threading.Event(), threading.Event()

    def wait() -> None:
        begun.set()
        assert release.wait(PATIENCE)

    first = job(host(wait), priority=-1)
    pipeline.submit(first)
    assert begun.wait(PATIENCE)
    try:
        yield release.set
    finally:
        release.set()
    first.future.result(PATIENCE)


def submit_all(pipeline: Pipeline, *jobs: Job[Any]) -> None:
    for each in jobs:
        pipeline.submit(each)


def names(*jobs: Job[Any]) -> list[Any]:
    return [each.future.result(PATIENCE) for each in jobs]
