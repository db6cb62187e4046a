"""uvicorn, set up as this service needs it, in production and in tests."""

import resource

import uvicorn
from fastapi import FastAPI

from service.api.connections import Connections
from service.api.protocol import bound_to

KEEP_ALIVE = 5  # seconds that an idle connection stays
BACKLOG = 256  # connections that wait to be accepted and are accepted in one go: fewer than reserved files


def server_config(app: FastAPI) -> uvicorn.Config:
    """The server's configuration for an app of `service.app`."""
    connections = app.state.connections
    assert isinstance(connections, Connections)
    settings = connections.settings
    return uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http=bound_to(connections),
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,  # the protocol reads them, because it counts by client
        server_header=False,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=settings.shutdown_timeout,
    )


def raise_file_limit() -> int:
    """Let the process open as many files as the system permits, and return how many those are."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard
