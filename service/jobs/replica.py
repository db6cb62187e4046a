"""The app as one of several replicas that somebody else starts, watches and ends.

What `cwic-serve` does around the app happens here in its lifespan: log lines, room for uploads, and the start is
complete only once the models are loaded and proven, so that no work comes before.
"""

import asyncio
import http
import json
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.app import create_app
from service.jobs.models import load_codecs
from service.observe import logs
from service.settings import Settings
from service.uploads import reserve_upload_space

LOOK = 0.1  # seconds between two looks at whether the models are loaded


class ReplicaError(Exception):
    """This replica cannot serve; the message says why."""


class Replica:
    """An ASGI app whose startup lasts until it is ready, and that tells its health.

    Args:
        settings: see `service.settings`.
        load: makes the codecs; by default, from the checkpoints that the settings name.
    """

    def __init__(self, settings: Settings, *, load: Any = load_codecs) -> None:
        self._failure: Exception | None = None
        self._settings = settings
        self._app: ASGIApp = create_app(settings, load=load, on_failure=self._fail)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection, or the lifespan."""
        if scope["type"] != "lifespan":
            await self._app(scope, receive, send)
            return

        async def reply(message: Message) -> None:
            if message["type"] == "lifespan.startup.complete":
                await self._wait_until_ready()  # what it raises makes the startup fail
            await send(message)

        logs.configure(log_format=self._settings.log_format, level=self._settings.log_level)
        reserve_upload_space(self._settings.max_body_bytes)
        await self._app(scope, receive, reply)

    async def check_health(self) -> None:
        """Raise ReplicaError where this replica should be replaced."""
        await self._check("/livez")

    async def _wait_until_ready(self) -> None:
        while self._failure is None:
            try:
                await self._check("/readyz")
            except ReplicaError:
                await asyncio.sleep(LOOK)
            else:
                return
        raise ReplicaError(f"cannot serve: {self._failure}") from self._failure

    async def _check(self, path: str) -> None:
        if self._failure is not None:
            raise ReplicaError(f"cannot serve: {self._failure}") from self._failure
        status, body = await _get(self._app, path)
        if status != http.HTTPStatus.OK:
            raise ReplicaError(f"{path} says {status}: {json.loads(body).get('detail', '')}")

    def _fail(self, error: Exception) -> None:
        self._failure = error


async def _get(app: ASGIApp, path: str) -> tuple[int, bytes]:
    """Ask the app itself, without a connection; status and body."""
    status, body = 0, bytearray()
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"127.0.0.1")],
        "client": ("127.0.0.1", 0),
        "server": ("127.0.0.1", 80),  # the same as the host: an address that is always allowed
        "state": {},
    }

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]
        elif message["type"] == "http.response.body":
            body.extend(message.get("body", b""))

    await app(scope, receive, send)
    return status, bytes(body)
