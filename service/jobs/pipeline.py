"""The threads that all work runs on: they take jobs forward, and run steps of several jobs in one batch.

A job's work is a generator (see `model.steps`). Its host work (reading a picture, packing a file) runs until it
yields steps, and goes on when all of them are done:

    submit ─▶ host work ─▶ steps ─▶ host work ─▶ steps ─▶ … ─▶ the job's future

On a CPU every thread does both; before another device one thread runs the steps and the others the host work, so
that the next batch comes together while the device works. What can be done waits in two heaps, the smallest priority
first: a large picture gives way to a small one between two tiles.
"""

import heapq
import itertools
import threading
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from model.errors import CwicError
from model.steps import Step
from service.jobs.errors import AbandonedError, DeadError, JobError, OutOfMemoryError
from service.jobs.job import Failure, Job, Result
from service.jobs.memory import give_back, is_out_of_memory, without_frames

BEAT = 1.0  # seconds between signs of life while there is nothing to do


class Waiting(NamedTuple):
    """What can be done for a job: its host work or, with a step, that.

    Attributes:
        priority: of the job.
        number: keeps the order of those of one priority.
        job: that it is done for.
        place: of the step's result.
        step: None for host work.
        key: of the step.
    """

    priority: float
    number: int
    job: Job[Any]
    place: int = 0
    step: Step[Any] | None = None
    key: Hashable = None


class Running(NamedTuple):
    """A step in a batch."""

    job: Job[Any]
    place: int
    step: Step[Any]


class Observer:
    """Is told what the pipeline does; this one does not listen."""

    def batch(self, steps: int, pixels: int) -> None:
        """Some steps have been run together."""

    def out_of_memory(self, action: str) -> None:
        """There was not enough memory; the batch was `halved`, or its job `refused`."""

    def ended(self, job: Job[Any]) -> None:
        """A job has ended, one way or another, and its threads have let go of it."""


class Pipeline:
    """Runs jobs. A job that fails fails only its own future, whatever batches its steps were in.

    Life cycle: `start`, any number of `submit` and `abandon` from any thread, `stop`. A thread that ends by itself
    ends the pipeline: every job fails, so that nobody waits for ever.
    """

    def __init__(
        self,
        *,
        workers: int,
        apart: bool = False,
        max_batch_pixels: int = 2**22,
        observer: Observer | None = None,
    ) -> None:
        """Take the number of threads that `start` will start.

        Args:
            workers: threads for host work.
            apart: whether one more, and only that one, runs the steps; else every worker does.
            max_batch_pixels: of the tiles of a batch, unless it is one tile.
            observer: told what happens.
        """
        self._changed = threading.Condition()  # guards all that follows, and the state of the jobs
        self._host_work: list[Waiting] = []
        self._step_work: list[Waiting] = []
        self._jobs: set[Job[Any]] = set()
        self._numbers = itertools.count()
        self._open = True
        self._stopping = False
        self._max_batch_pixels = max_batch_pixels
        self._observer = observer or Observer()
        self._on_death: Callable[[], None] = lambda: None
        kinds = [(True, not apart)] * workers + [(False, True)] * apart
        self._beats = [time.monotonic()] * len(kinds)
        self._threads = [
            threading.Thread(target=self._main, args=(index, *kind), name=f"cwic-worker-{index}", daemon=True)
            for index, kind in enumerate(kinds)
        ]

    def start(self, *, on_death: Callable[[], None] = lambda: None) -> None:
        """Start the threads; `on_death` is called on one of them if it ends without `stop`."""
        self._on_death = on_death
        self._beats = [time.monotonic()] * len(self._beats)
        for thread in self._threads:
            thread.start()

    def stop(self, *, timeout: float) -> None:
        """Let the threads end after what they are at; wait for that at most `timeout` seconds."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        end = time.monotonic() + timeout
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))

    @property
    def alive(self) -> bool:
        """Whether all threads run and take jobs."""
        return self._open and all(thread.is_alive() for thread in self._threads)

    @property
    def heartbeat_age(self) -> float:
        """Seconds since the last sign of life of the thread that has given none for longest."""
        return time.monotonic() - min(self._beats)

    def submit(self, job: Job[Any]) -> None:
        """Begin a job as soon as a thread is free; raises DeadError once the threads have ended."""
        with self._changed:
            if not self._open:
                raise DeadError
            self._jobs.add(job)
            self._push(job)

    def abandon(self, job: Job[Any], reason: JobError) -> None:
        """End a job for that reason: at once, or as soon as the threads that are at it let go."""
        with self._changed:
            self._settle(job, Failure(reason))
        self._end_if_over(job)

    def abandon_all(self, reason: JobError) -> None:
        """End all jobs for that reason."""
        with self._changed:
            jobs = tuple(self._jobs)
        for job in jobs:
            self.abandon(job, reason)

    def _main(self, index: int, host: bool, steps: bool) -> None:
        try:
            while not self._stopping and self._open:
                self._beats[index] = time.monotonic()
                self._do_next(host=host, steps=steps)
        finally:
            if not self._stopping:
                self._die()

    def _do_next(self, *, host: bool, steps: bool) -> None:
        """The most urgent thing that this thread may do, or a wait for one."""
        job: Job[Any] | None = None
        batch: list[Running] = []
        with self._changed:
            urgent_host = self._host_work[0] if host and self._host_work else None
            urgent_step = self._step_work[0] if steps and self._step_work else None
            if urgent_step is not None and (urgent_host is None or urgent_step < urgent_host):
                batch = self._take_batch()
            elif urgent_host is not None:
                job = heapq.heappop(self._host_work).job
                job.busy += 1
            elif not self._stopping:
                self._changed.wait(BEAT)
        if batch:
            self._run(batch)
        elif job is not None:
            self._advance(job)

    def _take_batch(self) -> list[Running]:
        """The most urgent step, and others that can run with it."""
        first = heapq.heappop(self._step_work)
        assert first.step is not None
        most = min(first.step.most, max(1, self._max_batch_pixels // first.step.box.pixels))
        taken = [first]
        if most > 1:
            same = (each for each in self._step_work if each.key == first.key)
            taken += heapq.nsmallest(most - 1, same)
            numbers = {each.number for each in taken}
            self._step_work = [each for each in self._step_work if each.number not in numbers]
            heapq.heapify(self._step_work)
        batch = [Running(each.job, each.place, each.step) for each in taken if each.step is not None]
        for each in batch:
            each.job.busy += 1
        return batch

    def _advance(self, job: Job[Any]) -> None:
        """Do a job's host work up to its next steps, or to its end."""
        if not job.ticket.started:
            job.ticket.started = True
            job.timing.add("queue", time.monotonic() - job.ticket.admitted)
        with self._spent([job]), job.timing.measure("pack"):
            found = job.advance()
        if isinstance(found, Failure):
            found = Failure(self._explained(found.error, job))
        with self._changed:
            job.busy -= 1
            if isinstance(found, Failure | Result):
                self._settle(job, found)
            elif job.outcome is None:
                self._queue(job, found)
        self._end_if_over(job)

    def _run(self, batch: list[Running]) -> None:
        """Run some steps of one key."""
        jobs = [each.job for each in batch]

        def check() -> None:
            if all(job.outcome is not None for job in jobs):
                raise AbandonedError

        started = time.perf_counter()
        with self._spent(jobs):
            self._attempt(batch, check)
        seconds = time.perf_counter() - started
        with self._changed:
            for job in dict.fromkeys(jobs):
                job.timing.add("inference", seconds)
            for job in jobs:
                job.busy -= 1
                job.missing -= 1
                if job.outcome is None and not job.missing:
                    self._push(job)
        for job in dict.fromkeys(jobs):
            self._end_if_over(job)

    def _attempt(self, part: list[Running], check: Callable[[], None]) -> None:
        """Run some steps; where that fails, each half by itself, down to the step that is at fault or too large."""
        error: Exception | None = None
        try:
            results = type(part[0].step).run([each.step for each in part], check)
        except Exception as exc:  # noqa: BLE001 - whatever it is, it goes to those who wait for these jobs
            error = exc
        if error is None:
            self._observer.batch(len(part), sum(each.step.box.pixels for each in part))
            for each, result in zip(part, results, strict=True):
                each.job.results[each.place] = result
        elif len(part) == 1 or isinstance(error, AbandonedError):
            failure = Failure(self._explained(error, part[0].job))
            with self._changed:
                for each in part:
                    self._settle(each.job, failure)
        else:
            if is_out_of_memory(without_frames(error)):
                give_back()
                self._observer.out_of_memory("halved")
            del error
            middle = len(part) // 2
            self._attempt(part[:middle], check)
            self._attempt(part[middle:], check)

    def _explained(self, error: BaseException, job: Job[Any]) -> BaseException:
        """What those who wait for a job are told, without the frames that failed: they hold the pictures in them."""
        if is_out_of_memory(error):
            without_frames(error)
            give_back()
            self._observer.out_of_memory("refused")
            return OutOfMemoryError()
        if not isinstance(error, CwicError | JobError):
            job.log(error)  # here, while it still tells where it comes from
        return without_frames(error)

    @contextmanager
    def _spent(self, jobs: Sequence[Job[Any]]) -> Iterator[None]:
        """Charge what this thread does inside to some jobs, in equal shares."""
        started, cpu = time.perf_counter(), time.thread_time()
        try:
            yield
        finally:
            seconds = (time.perf_counter() - started) / len(jobs)
            cpu_seconds = (time.thread_time() - cpu) / len(jobs)
            with self._changed:
                for job in jobs:
                    job.ticket.spent += seconds
                    job.cpu_seconds += cpu_seconds

    def _queue(self, job: Job[Any], steps: Sequence[Step[Any]]) -> None:
        """Let a job wait for its steps, or, where there are none, for its turn."""
        job.missing, job.results = len(steps), [None] * len(steps)
        for place, step in enumerate(steps):
            waiting = Waiting(job.ticket.priority, next(self._numbers), job, place, step, step.key)
            heapq.heappush(self._step_work, waiting)
        if steps:
            self._changed.notify_all()
        else:
            self._push(job)

    def _push(self, job: Job[Any]) -> None:
        heapq.heappush(self._host_work, Waiting(job.ticket.priority, next(self._numbers), job))
        self._changed.notify_all()

    def _settle(self, job: Job[Any], outcome: Result[Any] | Failure) -> None:
        """Decide how a job ends, where that is not decided yet; nothing more of it is begun."""
        if job.outcome is not None:
            return
        job.outcome = outcome
        for heap in (self._host_work, self._step_work):
            heap[:] = [each for each in heap if each.job is not job]
            heapq.heapify(heap)

    def _end_if_over(self, job: Job[Any]) -> None:
        """Tell those who wait for a job, once its end is decided and all threads have let go of it."""
        with self._changed:
            if job.outcome is None or job.busy or job not in self._jobs:
                return
            self._jobs.remove(job)
        self._observer.ended(job)
        job.end()

    def _die(self) -> None:
        with self._changed:
            first, self._open = self._open, False
            self._changed.notify_all()
            jobs = tuple(self._jobs)
            for job in jobs:
                self._settle(job, Failure(DeadError()))
                job.busy = 0  # whoever was at it is gone, or going
        for job in jobs:
            self._end_if_over(job)
        if first:
            self._on_death()
