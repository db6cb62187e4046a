"""The part of the service that lives as long as the app: models, admission and pipeline. It knows no HTTP."""

import asyncio
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import Any, Literal, NamedTuple, TypeVar

from model.cpus import usable_cpus
from model.errors import CwicError
from model.protocol import PictureCodec
from service.jobs import models
from service.jobs.admission import Admission, Ticket
from service.jobs.compare import Compare
from service.jobs.errors import (
    AbandonedError,
    DeadError,
    DeadlineError,
    DrainedError,
    JobError,
    NotReadyError,
    OutOfMemoryError,
    StalledError,
)
from service.jobs.job import Failure, Job, Result
from service.jobs.memory import cuda_memory, give_back, is_out_of_memory
from service.jobs.models import Models
from service.jobs.operations import OPS, Operation
from service.jobs.pipeline import Observer, Pipeline
from service.observe.metrics import Metrics
from service.observe.timing import Timing
from service.settings import Settings

T = TypeVar("T")

logger = logging.getLogger("cwic.engine")

Load = Callable[[Settings], Sequence[PictureCodec]]

_FRONT_THREADS = 2  # for headers, which never wait for pictures


class Progress(NamedTuple):
    """How far a job is.

    Attributes:
        state: whether a worker has begun.
        ahead: how many jobs are begun before it.
        seconds_left: until it is done, by the speed measured so far.
        done: share of its work, 0 to 1.
    """

    state: Literal["waiting", "working"]
    ahead: int
    seconds_left: float
    done: float


class Engine(Observer):
    """Does operations.

    Life cycle: `start` (returns at once; the models load on a thread), any number of `perform` and `look`, `drain`
    where the end is near, `stop`.
    """

    def __init__(self, settings: Settings, *, metrics: Metrics, load: Load) -> None:
        self.settings = settings
        self.metrics = metrics
        self.workers = settings.workers or usable_cpus()
        self.admission = Admission(
            max_requests=settings.queue_size,
            max_pixels=settings.queue_max_pixels,
            max_seconds=settings.request_timeout,
            workers=self.workers,
        )
        self._load = load
        self._front = ThreadPoolExecutor(_FRONT_THREADS, thread_name_prefix="cwic-front")
        self._models: Models | None = None
        self._pipeline: Pipeline | None = None
        self._loading: asyncio.Task[None] | None = None
        self._begun = time.monotonic()
        self.draining = False
        self._tickets: dict[str, Ticket] = {}
        self._looks: dict[int, float] = {}  # when each of the threads for headers began what it is at
        self._loop: asyncio.AbstractEventLoop
        self._over: asyncio.Future[None]  # once the jobs that are left are ended
        metrics.watch(
            queue_depth=lambda: self.admission.depth,
            queue_size=self.admission.max_requests,
            queue_pixels=lambda: self.admission.pixels,
            queue_max_pixels=self.admission.max_pixels,
            oldest_wait=lambda: self.admission.oldest_wait,
            oldest_work=lambda: self.admission.oldest_work,
            heartbeat_age=lambda: self.heartbeat_age,
        )

    def start(self, *, on_failure: Callable[[Exception], None]) -> None:
        """Start loading the models.

        `on_failure` is told, on the event loop, why that failed, or that a worker has died.
        """
        self._begun = time.monotonic()
        self._loop = asyncio.get_running_loop()
        self._over = self._loop.create_future()
        self._loading = asyncio.create_task(self._start(on_failure))

    async def stop(self) -> None:
        """Let the threads end; a job that nobody waits for any more is not waited for long."""
        if self._loading is not None:
            self._loading.cancel()
        self._front.shutdown(wait=False, cancel_futures=True)
        if self._pipeline is not None:
            await asyncio.to_thread(self._pipeline.stop, timeout=1.0)

    def drain(self) -> None:
        """Be not ready from now on; work that comes nevertheless is done."""
        self.draining = True

    def end_all(self) -> None:
        """End the jobs that are left, each with DrainedError; may be called from any thread."""
        self._loop.call_soon_threadsafe(self._over.cancel)
        if self._pipeline is not None:
            self._pipeline.abandon_all(DrainedError())

    @property
    def models(self) -> Models:
        """The loaded models; raises NotReadyError before they are proven."""
        if self._models is None:
            raise NotReadyError
        return self._models

    @property
    def heartbeat_age(self) -> float:
        """Seconds since the last sign of life of the worker that has given none for longest.

        Of the threads for headers too, while they are at one.
        """
        now = time.monotonic()
        looks = max((now - begun for begun in tuple(self._looks.values())), default=0.0)
        return max(looks, now - self._begun if self._pipeline is None else self._pipeline.heartbeat_age)

    def check_alive(self) -> None:
        """Raise DeadError or StalledError where nothing runs, or a worker has ended or shows no sign of life."""
        if self._loading is None or (self._pipeline is not None and not self._pipeline.alive):
            raise DeadError
        age, limit = self.heartbeat_age, self.settings.stall_timeout
        if age > limit:
            raise StalledError(age=age, limit=limit)

    def check_working(self) -> None:
        """Raise DeadError, StalledError or NotReadyError where work would not be done now."""
        self.check_alive()
        _ = self.models

    def check_ready(self) -> None:
        """The same, and DrainedError where no more work should be sent."""
        self.check_working()
        if self.draining:
            raise DrainedError

    def progress(self, name: str) -> Progress | None:
        """How far the job of that name is; None where there is none, or it has ended."""
        ticket = self._tickets.get(name)
        if ticket is None:
            return None
        ahead, left = self.admission.ahead_of(ticket)
        done = min(0.99, ticket.spent / ticket.seconds) if ticket.seconds else 0.0
        return Progress("working" if ticket.started else "waiting", ahead, round(left, 1), round(done, 3))

    async def look(self, work: Callable[[], T]) -> T:
        """Do what takes milliseconds, on a thread that never waits for pictures; raises OutOfMemoryError."""
        try:
            return await self._loop.run_in_executor(self._front, copy_context().run, self._looked, work)
        except Exception as exc:
            if not is_out_of_memory(exc):
                raise
        give_back()
        self.out_of_memory("refused")
        raise OutOfMemoryError

    def _looked(self, work: Callable[[], T]) -> T:
        """The result of some work; while it lasts its beginning is the last sign of life of this thread."""
        thread = threading.get_ident()
        self._looks[thread] = time.monotonic()
        try:
            return work()
        finally:
            del self._looks[thread]

    async def unless_over(self, work: Coroutine[Any, Any, T]) -> T:
        """Wait for what a request needs before its job; raises DrainedError once the last jobs have been ended."""
        task = asyncio.create_task(work)
        try:
            both: set[asyncio.Future[Any]] = {task, self._over}
            await asyncio.wait(both, return_when=FIRST_COMPLETED)
            if not task.done():
                raise DrainedError
            return task.result()
        finally:
            task.cancel()

    async def perform(
        self,
        operation: Operation[T],
        *,
        client: str,
        name: str,
        timing: Timing,
        deadline: float,
        gone: Callable[[], Awaitable[None]],
    ) -> T:
        """Take an operation on and have it done.

        Args:
            operation: what is to be done; what it raises is raised here.
            client: who has asked for it; see `Admission.admit`.
            name: of the job, for `progress`.
            timing: of its stages.
            deadline: when it must be done, of `time.monotonic`.
            gone: returns once nobody waits for the result any more.

        Raises JobError.
        """
        self.check_working()
        assert self._pipeline is not None
        ticket = self.admission.admit(
            operation.kind,
            client=client,
            pixels=operation.held_pixels,
            work=operation.work_pixels,
            tiles=operation.tiles,
            deadline=deadline,
        )
        self._tickets[name] = ticket
        try:
            try:
                job = Job(operation, ticket=ticket, timing=timing)
                self._pipeline.submit(job)
            except BaseException:
                self.admission.release(ticket, finished=False)
                raise
            result = await self._wait(job, deadline, gone)
        finally:
            if self._tickets.get(name) is ticket:  # the name is the client's, who may use it twice
                del self._tickets[name]
        self.metrics.performed(operation.op, model=operation.codec.info.name, pixels=operation.pixels)
        return result

    async def _wait(self, job: Job[T], deadline: float, gone: Callable[[], Awaitable[None]]) -> T:
        assert self._pipeline is not None
        future = asyncio.wrap_future(job.future)
        left = asyncio.ensure_future(gone())
        awaited: set[asyncio.Future[Any]] = {future, left, self._over}
        reason: JobError = AbandonedError()
        try:
            await asyncio.wait(
                awaited, timeout=max(0, deadline - time.monotonic()), return_when=FIRST_COMPLETED
            )
            if future.done():
                return future.result()
            if self._over.done():
                reason = DrainedError()
            elif not left.done():
                reason = DeadlineError(self.settings.request_timeout)
            raise reason
        finally:
            left.cancel()
            if not future.done():
                self._pipeline.abandon(job, reason)
                future.cancel()

    def batch(self, steps: int, pixels: int) -> None:
        """See `Observer`."""
        self.metrics.batch_steps.observe(steps)
        self.metrics.batch_pixels.observe(pixels)

    def out_of_memory(self, action: str) -> None:
        """See `Observer`."""
        logger.warning("Out of memory: %s", action)
        self.metrics.out_of_memory.labels(action).inc()

    def ended(self, job: Job[Any]) -> None:
        """See `Observer`."""
        self.admission.release(job.ticket, finished=isinstance(job.outcome, Result))
        if isinstance(job.outcome, Failure) and isinstance(job.outcome.error, AbandonedError | DeadlineError):
            self.metrics.abandoned.inc(job.cpu_seconds)

    async def _start(self, on_failure: Callable[[Exception], None]) -> None:
        try:
            loaded = await asyncio.to_thread(self._load_and_prove)
        except CwicError as exc:
            on_failure(exc)
            return
        except Exception as exc:
            logger.exception("The models could not be loaded")
            on_failure(exc)
            return
        infos = [codec.info for codec in loaded.codecs]
        apart = infos[0].device != "cpu"
        if apart:
            self.admission.workers = 1  # the device does one batch after the other
        pipeline = Pipeline(
            workers=self.workers,
            apart=apart,
            max_batch_pixels=self.settings.max_batch_pixels,
            observer=self,
        )

        def on_death() -> None:
            self._loop.call_soon_threadsafe(on_failure, DeadError())

        pipeline.start(on_death=on_death)
        self._pipeline, self._models = pipeline, loaded
        self.metrics.models_loaded(infos, ops=(*OPS, Compare.op))
        if infos[0].device.startswith("cuda"):
            self.metrics.watch_cuda(partial(cuda_memory, infos[0].device))
        served = ", ".join(f"{info.name} ({info.model_id}) on {info.device}" for info in infos)
        seconds = time.monotonic() - self._begun
        logger.info("Ready after %.1f s with %s; %d workers", seconds, served, self.workers)

    def _load_and_prove(self) -> Models:
        codecs = self._load(self.settings)
        for codec in codecs:
            models.prove(codec)
        return Models(codecs)
