"""The HTTP server's end: not ready first, then no new connections, then the last answers."""

import signal
import threading
from collections.abc import Callable
from types import FrameType

import uvicorn
from starlette.types import ASGIApp

from service.jobs.engine import Engine
from service.settings import Settings

_ANSWERING = 5  # seconds to send the answers of the requests that were ended


class Server(uvicorn.Server):
    """Uvicorn, ended in steps.

        SIGTERM                         `/readyz` says 503; work is still taken
        after `drain_delay`             no new connections; what is in work is done
        after `shutdown_timeout` more   what is left is ended with a problem (503)

    Ctrl-C leaves the first step out; a second signal ends everything at once.
    """

    def __init__(self, app: ASGIApp, settings: Settings, engine: Engine) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                host=settings.host,
                port=settings.port,
                lifespan="on",
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=settings.shutdown_timeout + _ANSWERING,
            )
        )
        self._settings = settings
        self._engine = engine
        self._ending = False

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """See `uvicorn.Server`."""
        delay = self._settings.drain_delay if sig == signal.SIGTERM and not self._ending else 0
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
