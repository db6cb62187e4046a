"""The one thread that everything CPU- or GPU-bound runs on, and its heartbeat.

One, because the libraries below use all cores or the whole device for one picture already, and because the
memory of one picture at a time is bounded.
"""

import queue
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import Future
from contextvars import copy_context
from functools import partial
from typing import Any, TypeVar

from service.api import problems
from service.api.problems import ProblemError

T = TypeVar("T")

BEAT = 1.0  # seconds between signs of life while there is nothing to do
SMOOTHING = 0.2  # weight of the newest job in the moving average


class Worker:
    """Runs jobs one after the other. A job that fails fails only its future.

    Life cycle: `start`, any number of `submit` from any thread, `stop`. A thread that ends, for whatever
    reason, fails all jobs that it has not finished, so that nobody waits for ever.
    """

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[tuple[Callable[[], None], Future[Any]] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._open = True
        self._beat = time.monotonic()
        self._thread = threading.Thread(target=self._main, name="cwic-worker", daemon=True)
        self._on_death: Callable[[], None] = lambda: None
        self.mean_seconds = 1.0

    def start(self, *, on_death: Callable[[], None] = lambda: None) -> None:
        """Start the thread; `on_death` is called on it if it ends without `stop`."""
        self._on_death = on_death
        self._beat = time.monotonic()
        self._thread.start()

    def stop(self, *, timeout: float) -> None:
        """Let the thread end after the jobs that it has; wait for that at most `timeout` seconds."""
        self._jobs.put(None)
        self._thread.join(timeout)

    @property
    def alive(self) -> bool:
        """Whether the thread runs and takes jobs."""
        return self._open and self._thread.is_alive()

    @property
    def heartbeat_age(self) -> float:
        """Seconds since the last sign of life; grows while one job runs."""
        return time.monotonic() - self._beat

    def submit(self, work: Callable[[], T]) -> Future[T]:
        """Queue a job; a future that is cancelled before its turn is not run.

        Raises ProblemError (503) once the thread has ended.
        """
        future: Future[T] = Future()
        # The context carries the request's id into the log. In a list, so that a job that was given up lets
        # go of its picture at once, not when its turn comes.
        pending: list[Callable[[], T]] = [partial(copy_context().run, work)]
        future.add_done_callback(lambda _: pending.clear())

        def job() -> None:
            if not future.set_running_or_notify_cancel():
                return
            started = time.monotonic()
            try:
                result = pending.pop()()
            except Exception as exc:  # noqa: BLE001 - whatever it is, it goes to the one who waits for this job
                traceback.clear_frames(
                    exc.__traceback__
                )  # or it keeps the pictures of the frames that failed
                future.set_exception(exc)
            else:
                future.set_result(result)
            self.mean_seconds += SMOOTHING * (time.monotonic() - started - self.mean_seconds)

        with self._lock:
            if not self._open:
                raise dead()
            self._jobs.put((job, future))
        return future

    def _main(self) -> None:
        current: Future[Any] | None = None
        stopped = False
        try:
            while True:
                self._beat = time.monotonic()
                try:
                    item = self._jobs.get(timeout=BEAT)
                except queue.Empty:
                    continue
                if item is None:
                    stopped = True
                    return
                job, current = item
                self._beat = time.monotonic()
                job()
                del item, job  # or the last picture stays in memory until the next one comes
                current = None
        finally:
            self._close(current)
            if not stopped:
                self._on_death()

    def _close(self, current: Future[Any] | None) -> None:
        with self._lock:
            self._open = False
        if current is not None and not current.done():
            current.set_exception(dead())
        while True:
            try:
                item = self._jobs.get_nowait()
            except queue.Empty:
                return
            if item is not None and item[1].set_running_or_notify_cancel():
                item[1].set_exception(dead())


def dead() -> ProblemError:
    """The answer to requests, and the reason to end the process, once the thread has ended."""
    return ProblemError(problems.NOT_ALIVE, "The worker has ended; the server must be restarted.")
