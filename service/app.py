"""The app: `create_app(settings)` puts the parts together. Nothing happens at import."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial

from fastapi import Depends, FastAPI
from fastapi.routing import APIRoute
from starlette.middleware.cors import CORSMiddleware

from service.api import openapi, problems
from service.api.auth import Authentication, RateLimit
from service.api.body import BodyLimit
from service.api.browsers import AllowedHosts, AllowedOrigins, SecurityHeaders, cors_options, hosts_of
from service.api.codec_routes import codec_routes
from service.api.connections import CUTS, Connections
from service.api.file_routes import file_routes
from service.api.guard import Check, Guard
from service.api.query import check_parameters
from service.api.requests import RequestContext, UnforeseenErrors, account_refusal
from service.api.status_routes import status_routes
from service.jobs.engine import Engine, Load
from service.jobs.models import load_codecs
from service.keys import KeyRing
from service.observe.lag import watch_event_loop
from service.observe.metrics import Metrics
from service.observe.telemetry import Telemetry
from service.settings import Settings
from service.version import version
from service.web.pages import page_routes

logger = logging.getLogger("cwic.app")

_DESCRIPTION = """\
Compresses pictures with a learned, content-weighted codec. POST a picture to `/compress` and get a smaller
file; POST that file to `/decompress` and get the picture.

Bodies are raw bytes or a multipart form with the field `file`; what they are is told by the bytes, not by the
content type. Errors are RFC 9457 problems (`application/problem+json`). Every answer has an `X-Request-ID`,
the client's own where it is well formed.
"""


def _log_failure(error: Exception) -> None:
    logger.critical("The service cannot serve: %s", error)


def create_app(
    settings: Settings,
    *,
    load: Load = load_codecs,
    on_failure: Callable[[Exception], None] = _log_failure,
    connections: Connections | None = None,
    telemetry: Telemetry | None = None,
) -> FastAPI:
    """The service as an ASGI app; independent of any other in the same process.

    Args:
        settings: see `service.settings`.
        load: makes the codecs, on a thread, the default one first.
        on_failure: told, on the event loop, why the models could not be loaded, or that a worker has died;
            the app stays up but never gets ready, so its owner should end it.
        connections: what the server's connections share; a new one by default, kept as `app.state.connections`.
        telemetry: what is sent of traces and metrics while the app runs; nothing by default.

    Raises KeysError where the file of API keys cannot be used.
    """
    keys = _keys(settings)
    metrics = Metrics()
    telemetry = telemetry or Telemetry()
    if connections is None:
        connections = Connections(settings)
    connections.on_refusal = partial(account_refusal, metrics, telemetry.tracing)
    connections.on_cut = metrics.connection_refused
    metrics.watch_connections(count=connections.__len__, body_bytes=lambda: connections.bytes)
    engine = Engine(settings, metrics=metrics, load=load)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        if not keys and not settings.on_loopback:
            logger.warning(
                "Open to all on %s: CWIC_API_KEYS_FILE or CWIC_API_KEYS asks for keys", settings.host
            )
        telemetry.start(metrics.registry)
        engine.start(on_failure=on_failure)
        lag = asyncio.create_task(watch_event_loop(metrics.event_loop_lag))
        try:
            yield
        finally:
            lag.cancel()
            await engine.stop()
            await asyncio.to_thread(telemetry.stop)

    app = FastAPI(
        title="cwic",
        version=version("cwic"),
        description=_DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,  # its page loads Swagger UI from a CDN; `service.web.pages` has one that needs no network
        redoc_url=None,
        redirect_slashes=False,
        dependencies=[Depends(check_parameters)],
        generate_unique_id_function=lambda route: route.name,
        # FastAPI's own would come beside ours and know nothing of stages, nor of what never reaches the app.
        telemetry={
            "tracing": False,
            "metrics": False,
            "logs": False,
            "operation_spans": False,
            "auto_configure": False,
        },
    )
    app.state.connections, app.state.engine = connections, engine
    _add_middleware(app, settings, keys=keys, metrics=metrics, telemetry=telemetry)
    problems.install(app, on_rejection=metrics.rejection)
    _add_routes(app, engine)
    openapi.install(app)
    return app


def _add_middleware(
    app: FastAPI, settings: Settings, *, keys: KeyRing, metrics: Metrics, telemetry: Telemetry
) -> None:
    """Put what every request goes through around the app, from the innermost to the outermost."""
    app.add_middleware(BodyLimit, max_bytes=settings.max_body_bytes, min_rate=settings.min_body_rate)
    app.add_middleware(Guard, checks=_checks(settings, keys), on_rejection=metrics.rejection)
    app.add_middleware(UnforeseenErrors)
    if settings.cors_origins:  # outside of all refusals, so that the page can read them
        app.add_middleware(CORSMiddleware, **cors_options(settings.cors_origins))
    app.add_middleware(RequestContext, metrics=metrics, tracing=telemetry.tracing)
    app.add_middleware(SecurityHeaders, cross_origin=bool(settings.cors_origins))


def _add_routes(app: FastAPI, engine: Engine) -> None:
    """Add all endpoints, and let the metrics of those that do work begin at zero."""
    work = codec_routes(engine), file_routes(engine)
    for router in work:
        app.include_router(router)
    app.include_router(status_routes(engine))
    app.include_router(page_routes())
    engine.metrics.expect(
        work=[route.path for router in work for route in router.routes if isinstance(route, APIRoute)],
        rejections=problems.rejections(),
        cuts=CUTS,
    )


def _keys(settings: Settings) -> KeyRing:
    text = settings.api_keys.get_secret_value() if settings.api_keys else None
    return KeyRing(text=text, path=settings.api_keys_file)


def _checks(settings: Settings, keys: KeyRing) -> list[Check]:
    checks: list[Check] = [AllowedHosts(hosts_of(settings)), AllowedOrigins(settings.cors_origins or ())]
    if keys:
        checks.append(Authentication(keys))
    if settings.rate_limit:
        checks.append(RateLimit(settings.rate_limit))
    return checks
