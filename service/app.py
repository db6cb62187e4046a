"""The app: `create_app(settings)` puts the parts together. Nothing happens at import."""

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial

from fastapi import FastAPI

from service.api import openapi, problems
from service.api.body import BodyLimit
from service.api.codec_routes import codec_routes
from service.api.connections import Connections
from service.api.status_routes import status_routes
from service.jobs.engine import Engine, Load
from service.jobs.models import load_codecs
from service.observe.metrics import Metrics
from service.observe.requests import RequestContext, account_refusal
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
) -> FastAPI:
    """The service as an ASGI app; independent of any other in the same process.

    Args:
        settings: see `service.settings`.
        load: makes the codecs, on the worker's thread, the default one first.
        on_failure: told, on the event loop, why the models could not be loaded, or that the worker has died;
            the app stays up but never gets ready, so its owner should end it.
        connections: what the server's connections share; a new one by default, kept as `app.state.connections`.
    """
    metrics = Metrics()
    if connections is None:
        connections = Connections(settings)
    connections.on_refusal = partial(account_refusal, metrics)
    connections.on_cut = metrics.connection_refused
    metrics.watch_connections(count=connections.__len__, body_bytes=lambda: connections.bytes)
    engine = Engine(settings, metrics=metrics, load=load)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        engine.start(on_failure=on_failure)
        try:
            yield
        finally:
            await engine.stop()

    app = FastAPI(
        title="cwic",
        version=version("cwic"),
        description=_DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,  # its page loads Swagger UI from a CDN; `service.web.pages` has one that needs no network
        redoc_url=None,
        redirect_slashes=False,
        generate_unique_id_function=lambda route: route.name,
    )
    app.state.connections = connections
    app.add_middleware(BodyLimit, max_bytes=settings.max_body_bytes, min_rate=settings.min_body_rate)
    app.add_middleware(RequestContext, metrics=metrics)  # added last: the outermost
    problems.install(app, on_rejection=metrics.rejection)
    app.include_router(codec_routes(engine))
    app.include_router(status_routes(engine))
    app.include_router(page_routes())
    openapi.install(app)
    return app
