"""From an HTTP request to a job on the worker and back: readiness, admission, deadline, disconnect."""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future
from typing import Any, NamedTuple, TypeVar

from starlette.requests import Request

from model.errors import CwicError
from model.protocol import PictureCodec
from model.types import Check
from service.api import problems
from service.api.body import read_body
from service.api.problems import ProblemError
from service.jobs import models
from service.jobs.gate import Gate
from service.jobs.models import Models
from service.jobs.worker import Worker, dead
from service.observe.metrics import Metrics
from service.observe.timing import Stages
from service.settings import Settings

T = TypeVar("T")

logger = logging.getLogger("cwic.engine")

Load = Callable[[Settings], Sequence[PictureCodec]]


class AbandonedError(Exception):
    """Ends a job whose result nobody waits for any more."""


class Job(NamedTuple):
    """What a request's work is given.

    Attributes:
        data: the request's body.
        stages: to time the work's stages with.
        check: to be called between the steps of long work; ends it once nobody waits for it any more.
    """

    data: bytes
    stages: Stages
    check: Check


class Engine:
    """The part of the service that lives as long as the app: worker, gate and models.

    Life cycle: `start` (returns at once; the models load on the worker), `run` per request, `stop`.
    """

    def __init__(self, settings: Settings, *, metrics: Metrics, load: Load) -> None:
        self.settings = settings
        self.metrics = metrics
        self.gate = Gate(settings.queue_size)
        self.worker = Worker()
        self._load = load
        self._models: Models | None = None
        self._loading: asyncio.Task[None] | None = None
        metrics.watch(
            queue_depth=lambda: self.gate.depth,
            queue_size=self.gate.size,
            heartbeat_age=lambda: self.worker.heartbeat_age,
        )

    def start(self, *, on_failure: Callable[[Exception], None]) -> None:
        """Start the worker and, on it, the loading of the models.

        `on_failure` is told, on the event loop, why that failed, or that the worker has died.
        """
        loop = asyncio.get_running_loop()

        def on_death() -> None:
            loop.call_soon_threadsafe(on_failure, dead())

        self.worker.start(on_death=on_death)
        self._loading = asyncio.create_task(self._load_models(on_failure))

    async def stop(self) -> None:
        """Let the worker end; a job that nobody waits for any more is not waited for long."""
        if self._loading is not None:
            self._loading.cancel()
        await asyncio.to_thread(self.worker.stop, timeout=1.0)

    @property
    def models(self) -> Models:
        """The loaded models; raises ProblemError (503) before they are proven."""
        if self._models is None:
            raise ProblemError(
                problems.NOT_READY, "The models are being loaded.", headers={"Retry-After": "5"}
            )
        return self._models

    def check_alive(self) -> None:
        """Raise ProblemError (503) where the worker has ended or shows no sign of life."""
        if not self.worker.alive:
            raise dead()
        age, limit = self.worker.heartbeat_age, self.settings.stall_timeout
        if age > limit:
            raise ProblemError(
                problems.NOT_ALIVE,
                f"No sign of life from the worker for {age:.0f} s (CWIC_STALL_TIMEOUT).",
                limit=limit,
                actual=round(age, 1),
            )

    def check_ready(self) -> None:
        """Raise ProblemError (503) where work would not be done now."""
        self.check_alive()
        _ = self.models

    async def run(self, request: Request, *, op: str, work: Callable[[Job], T]) -> T:
        """Admit a request, read its body and have `work` done on the worker.

        Args:
            request: its body has not been read yet.
            op: name of the operation, for the metrics.
            work: anything that takes time; what it raises is raised here.

        Raises ProblemError: 503 not ready, 429 no place, 408 or 504 deadline, 499 client gone.
        """
        self.check_ready()
        deadline: float = request.state.started + self.settings.request_timeout
        stages = request.state.stages = Stages(op, self.metrics.stages)
        with self.gate.admit(seconds_each=self.worker.mean_seconds) as slot:
            with stages.measure("read"):
                data = await self._read(request, deadline)
            queued = time.perf_counter()
            abandoned = threading.Event()

            def check() -> None:
                if abandoned.is_set():
                    raise AbandonedError

            def run() -> T:
                stages.add("queue", time.perf_counter() - queued)
                return work(Job(data, stages, check))

            slot.future = future = self.worker.submit(run)
            try:
                return await self._wait(request, future, deadline)
            finally:
                abandoned.set()

    async def _load_models(self, on_failure: Callable[[Exception], None]) -> None:
        started = time.monotonic()
        try:
            loaded = await asyncio.wrap_future(self.worker.submit(self._load_and_prove))
        except CwicError as exc:
            on_failure(exc)
        except Exception as exc:
            logger.exception("The models could not be loaded")
            on_failure(exc)
        else:
            self._models = loaded
            infos = [codec.info for codec in loaded.codecs]
            self.metrics.models_loaded(infos)
            served = ", ".join(f"{info.name} ({info.model_id}) on {info.device}" for info in infos)
            logger.info("Ready after %.1f s with %s", time.monotonic() - started, served)

    def _load_and_prove(self) -> Models:
        codecs = self._load(self.settings)
        for codec in codecs:
            models.prove(codec)
        return Models(codecs)

    async def _read(self, request: Request, deadline: float) -> bytes:
        try:
            async with asyncio.timeout(deadline - time.monotonic()):
                return await read_body(request)
        except TimeoutError as exc:
            raise ProblemError(problems.BODY_TIMEOUT, self._too_slow("to arrive")) from exc

    async def _wait(self, request: Request, future: Future[T], deadline: float) -> T:
        job = asyncio.wrap_future(future)
        gone = asyncio.create_task(_disconnected(request))
        both: set[asyncio.Future[Any]] = {job, gone}
        try:
            await asyncio.wait(both, timeout=max(0, deadline - time.monotonic()), return_when=FIRST_COMPLETED)
            if job.done():
                return job.result()
            if gone.done():
                raise ProblemError(problems.CLIENT_GONE, "The client left before its turn.")
            raise ProblemError(problems.TIMEOUT, self._too_slow("to be done"))
        finally:
            gone.cancel()
            job.cancel()  # and its future with it, unless it runs already: then it keeps its place till it ends

    def _too_slow(self, what: str) -> str:
        return f"It took more than {self.settings.request_timeout:g} s {what} (CWIC_REQUEST_TIMEOUT)."


async def _disconnected(request: Request) -> None:
    """Return once the client has left; to be awaited after the body has been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
