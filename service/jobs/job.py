"""One job: an operation's work on its way through the pipeline, and those who wait for it."""

import logging
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import suppress
from contextvars import copy_context
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from model.steps import Step
from service.jobs.admission import Ticket
from service.jobs.operations import Operation
from service.observe.timing import Timing

T = TypeVar("T")

logger = logging.getLogger("cwic.jobs")


@dataclass(frozen=True)
class Result(Generic[T]):
    """What a job has come to."""

    value: T


@dataclass(frozen=True)
class Failure:
    """Why a job has come to nothing."""

    error: BaseException


class Job(Generic[T]):
    """An operation that has been taken on.

    Only the pipeline changes its state, under the pipeline's lock, but for `advance` and `results`, which belong to
    the thread that is at it.

    Attributes:
        ticket: its place.
        timing: of its stages.
        future: its result; resolved when the last thread has let go of it.
        busy: how many threads are at it.
        missing: how many steps are not done yet.
        results: of the steps, by their places.
        outcome: how it has ended; None until then.
        cpu_seconds: of the threads that have been at it.
    """

    def __init__(self, operation: Operation[T], *, ticket: Ticket, timing: Timing) -> None:
        self.ticket = ticket
        self.timing = timing
        self.future: Future[T] = Future()
        self.future.set_running_or_notify_cancel()  # only the pipeline ends a job
        self.busy = 0
        self.missing = 0
        self.results: list[Any] = []
        self.outcome: Result[T] | Failure | None = None
        self.cpu_seconds = 0.0
        self._work = operation.work(timing)
        self._begun = False
        self._context = copy_context()  # carries the request's id into the log

    def advance(self) -> Sequence[Step[Any]] | Result[T] | Failure:
        """Do host work up to the next steps, of which there may be none, or to the end."""
        results, self.results = self.results, []
        try:
            return self._context.run(self._work.send, results if self._begun else None)  # type: ignore[arg-type]
        except StopIteration as end:
            return Result(end.value)
        except Exception as exc:  # noqa: BLE001 - whatever it is, it goes to the one who waits for this job
            return Failure(exc)
        finally:
            self._begun = True

    def log(self, error: BaseException) -> None:
        """Write an error that nobody has foreseen into the log, under the request's id."""
        self._context.run(lambda: logger.error("Unforeseen error in %s", self.timing.op, exc_info=error))

    def end(self) -> None:
        """Let go of everything and tell those who wait; once, after the last thread has let go."""
        assert self.outcome is not None, "ended without an outcome"
        # ValueError: a thread is in it still, which happens only where another thread has died.
        with suppress(ValueError):
            self._work.close()
        self.results = []
        if isinstance(self.outcome, Result):
            self.future.set_result(self.outcome.value)
        else:
            self.future.set_exception(self.outcome.error)
