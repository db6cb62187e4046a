"""The endpoints that tell how the service is: probes, models, metrics. They never wait for the worker."""

import time

from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.responses import JSONResponse, Response

from service.api import openapi, problems
from service.api.problems import ProblemError
from service.api.schemas import Health, ModelFacts, ModelList, Status
from service.jobs.engine import Engine
from service.version import version

_SCRAPE: openapi.Schema = {
    "description": "Prometheus' text format.",
    "content": {openapi.TEXT: {"schema": {"type": "string"}}},
}


def status_routes(engine: Engine) -> APIRouter:
    """The routes, bound to an engine."""
    router = APIRouter(tags=["status"])
    started = time.monotonic()

    @router.get(
        "/models", summary="The models that are loaded", responses=openapi.answers(problems.NOT_READY)
    )
    async def models() -> ModelList:
        loaded = engine.models
        return ModelList(
            models=[ModelFacts.of(each.info, default=each is loaded.default) for each in loaded.codecs]
        )

    @router.get(
        "/livez",
        summary="Whether the worker shows signs of life; if not, restart the service",
        responses=openapi.answers(problems.NOT_ALIVE),
    )
    async def livez() -> Status:
        engine.check_alive()
        return Status()

    @router.get(
        "/readyz",
        summary="Whether the models are loaded and proven; if not, send no work",
        responses=openapi.answers(problems.NOT_READY, problems.NOT_ALIVE),
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
        except ProblemError as exc:
            live, ready, reason = False, False, exc.detail
        try:
            names = [codec.info.name for codec in engine.models.codecs]
        except ProblemError as exc:
            ready, reason = False, reason or exc.detail
        health = Health(
            status="ok" if ready else "unavailable",
            live=live,
            ready=ready,
            reason=reason,
            version=version("cwic"),
            uptime_seconds=round(time.monotonic() - started, 1),
            queue_depth=engine.gate.depth,
            queue_size=engine.gate.size,
            heartbeat_age_seconds=round(engine.worker.heartbeat_age, 1),
            models=names,
        )
        return JSONResponse(health.model_dump(), status_code=200 if ready else 503)

    @router.get(
        "/metrics", summary="For Prometheus", response_class=Response, responses=openapi.answers(ok=_SCRAPE)
    )
    async def metrics() -> Response:
        return Response(
            generate_latest(engine.metrics.registry), headers={"Content-Type": CONTENT_TYPE_LATEST}
        )

    return router
