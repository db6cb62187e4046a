"""The endpoints that tell how the service is: probes, models, metrics. They never wait for the workers."""

import asyncio
import time

from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.responses import JSONResponse, Response

from service.api import openapi, problems
from service.api.problems import ProblemError
from service.api.schemas import Health, Liveness, ModelFacts, ModelList, ProgressFacts, Status
from service.jobs.engine import Engine
from service.jobs.errors import JobError
from service.version import version

_SCRAPE: openapi.Schema = {
    "description": "Prometheus' text format.",
    "content": {openapi.TEXT: {"schema": {"type": "string"}}},
}


def status_routes(engine: Engine) -> APIRouter:
    """The routes, bound to an engine."""
    router = APIRouter(tags=["status"])
    started = time.monotonic()
    scraping = asyncio.Lock()

    @router.get(
        "/models", summary="The models that are loaded", responses=openapi.answers(problems.NOT_READY)
    )
    async def models() -> ModelList:
        loaded, max_effort = engine.models, engine.settings.max_effort
        return ModelList(
            models=[
                ModelFacts.of(each.info, default=each is loaded.default, max_effort=max_effort)
                for each in loaded.codecs
            ]
        )

    @router.get(
        "/livez",
        summary="Whether all workers show signs of life; if not, restart the service",
        responses=openapi.answers(problems.NOT_ALIVE),
    )
    async def livez() -> Liveness:
        engine.check_alive()
        return Liveness(oldest_work_seconds=round(engine.admission.oldest_work, 1))

    @router.get(
        "/readyz",
        summary="Whether the models are loaded and proven; if not, send no work",
        responses=openapi.answers(problems.NOT_READY, problems.DRAINING, problems.NOT_ALIVE),
    )
    async def readyz() -> Status:
        engine.check_ready()
        return Status()

    @router.get(
        "/healthz",
        summary="The state of the service in one look",
        response_model=Health,
        responses={503: {"model": Health, "description": "The same, where the service is not ready."}},
    )
    async def healthz() -> Response:
        live, ready, reason = True, True, None
        names: list[str] = []
        try:
            engine.check_alive()
        except JobError as exc:
            live, ready, reason = False, False, str(exc)
        try:
            names = [codec.info.name for codec in engine.models.codecs]
            engine.check_ready()
        except JobError as exc:
            ready, reason = False, reason or str(exc)
        health = Health(
            status="ok" if ready else "unavailable",
            live=live,
            ready=ready,
            reason=reason,
            version=version("cwic"),
            uptime_seconds=round(time.monotonic() - started, 1),
            draining=engine.draining,
            queue_depth=engine.admission.depth,
            queue_size=engine.admission.max_requests,
            queue_pixels=engine.admission.pixels,
            backlog_seconds=round(engine.admission.backlog, 1),
            oldest_work_seconds=round(engine.admission.oldest_work, 1),
            heartbeat_age_seconds=round(engine.heartbeat_age, 1),
            models=names,
        )
        return JSONResponse(health.model_dump(), status_code=200 if ready else 503)

    @router.get(
        "/progress/{request_id}",
        summary="How far a request is whose answer is still awaited, by the X-Request-ID that it was sent with",
        responses=openapi.answers(problems.UNKNOWN_REQUEST),
    )
    async def progress(request_id: str) -> ProgressFacts:
        found = engine.progress(request_id)
        if found is None:
            raise ProblemError(
                problems.UNKNOWN_REQUEST, "No request of this id is in work: not yet, or not any more."
            )
        return ProgressFacts(**found._asdict())

    @router.get(
        "/metrics", summary="For Prometheus", response_class=Response, responses=openapi.answers(ok=_SCRAPE)
    )
    async def metrics() -> Response:
        # Beside the event loop and one at a time: a scrape takes as long as seven other answers.
        async with scraping:
            text = await asyncio.to_thread(generate_latest, engine.metrics.registry)
        return Response(text, headers={"Content-Type": CONTENT_TYPE_LATEST})

    return router
