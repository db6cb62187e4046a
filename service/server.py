"""The HTTP server: uvicorn, set up as this service needs it, and ended in steps."""

import resource
import signal
import threading
from collections.abc import Callable
from types import FrameType

import uvicorn
from fastapi import FastAPI

from service.api.connections import Connections
from service.api.protocol import bound_to
from service.jobs.engine import Engine

_ANSWERING = 5  # seconds to send the answers of the requests that were ended
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
        timeout_graceful_shutdown=settings.shutdown_timeout + _ANSWERING,
    )


def raise_file_limit() -> int:
    """Let the process open as many files as the system permits, and return how many those are."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


class Server(uvicorn.Server):
    """Uvicorn, ended in steps.

        SIGTERM                         `/readyz` says 503; work is still taken
        after `drain_delay`             no new connections; what is in work is done
        after `shutdown_timeout` more   what is left is ended with a problem (503)

    Ctrl-C leaves the first step out; a second signal ends everything at once.
    """

    def __init__(self, app: FastAPI) -> None:
        super().__init__(server_config(app))
        connections, engine = app.state.connections, app.state.engine
        assert isinstance(connections, Connections)
        assert isinstance(engine, Engine)
        self._settings = connections.settings
        self._engine = engine
        self._ending = False

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """See `uvicorn.Server`."""
        if self._ending:
            self.should_exit = self.force_exit = True
            return
        delay = self._settings.drain_delay if sig == signal.SIGTERM else 0
        self._ending = True
        self._engine.drain()
        _later(delay, lambda: super(Server, self).handle_exit(sig, frame))
        _later(delay + self._settings.shutdown_timeout, self._engine.end_all)


def _later(seconds: float, action: Callable[[], None]) -> None:
    if not seconds:
        action()
        return
    timer = threading.Timer(seconds, action)
    timer.daemon = True
    timer.start()
