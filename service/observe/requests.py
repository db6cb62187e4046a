"""The outermost middleware: request id, clock, access line, metrics, and the answer to the unforeseen."""

import logging
import re
import time
import uuid
from collections.abc import Mapping
from urllib.parse import quote

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api import problems
from service.api.connections import Refusal
from service.observe import logs
from service.observe.metrics import METHODS, Metrics
from service.observe.timing import Stages

REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
OTHER = "other"  # method, of what is none of METHODS
UNMATCHED = "unmatched"  # route, of what has none
QUIET = frozenset({"/livez", "/readyz", "/healthz", "/metrics"})

logger = logging.getLogger("cwic.access")


class RequestContext:
    """Gives every request an id and a start time, and accounts for it once it has ended.

    Sets on `request.state`: `request_id` (the client's where it is well formed) and `started` (of
    `time.monotonic`). Reads from it: `stages`.
    """

    def __init__(self, app: ASGIApp, *, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        method = scope["method"]
        if method == "HEAD":  # whatever answers GET answers it, and the server leaves the body out
            scope = {**scope, "method": "GET"}
        request = Request(scope, receive)
        sent = Headers(scope=scope).get("X-Request-ID", "")
        request.state.request_id = sent if REQUEST_ID.fullmatch(sent) else uuid.uuid4().hex
        request.state.started = started = time.monotonic()
        token = logs.request_id.set(request.state.request_id)
        status, size = 0, 0

        async def reply(message: Message) -> None:
            nonlocal status, size
            if message["type"] == "http.response.start":
                status = message["status"]
                self._add_headers(request, MutableHeaders(scope=message))
            elif message["type"] == "http.response.body":
                size += 0 if method == "HEAD" else len(message.get("body", b""))
            await send(message)

        try:
            with self._metrics.in_progress.track_inprogress():
                try:
                    await self._app(scope, receive, reply)
                except Exception:
                    logger.exception("Unforeseen error")
                    if status:
                        raise  # too late for an answer: the server closes the connection
                    await problems.respond(request, problems.internal())(scope, receive, reply)
        finally:
            self._account(
                request, method=method, status=status, size=size, seconds=time.monotonic() - started
            )
            logs.request_id.reset(token)

    def _add_headers(self, request: Request, headers: MutableHeaders) -> None:
        headers["X-Request-ID"] = request.state.request_id
        headers["X-Content-Type-Options"] = "nosniff"
        if (stages := _stages(request)) and stages.header:
            headers["Server-Timing"] = stages.header

    def _account(self, request: Request, *, method: str, status: int, size: int, seconds: float) -> None:
        stages = _stages(request)
        _account(
            self._metrics,
            method=method if method in METHODS else OTHER,
            path=request.scope["path"],
            route=getattr(request.scope.get("route"), "path", UNMATCHED),
            status=status or problems.CLIENT_GONE.status,  # cancelled before it was answered
            size=size,
            seconds=seconds,
            client=request.client.host if request.client else "",
            stages=stages.milliseconds if stages else {},
        )


def account_refusal(metrics: Metrics, refusal: Refusal) -> None:
    """Count and log a request that was answered before the app saw it, like any other one."""
    if refusal.error.kind.rejection:
        metrics.rejection(refusal.error.kind.slug)
    token = logs.request_id.set(refusal.request_id)
    _account(
        metrics,
        method=OTHER,
        path=refusal.path,
        route=UNMATCHED,
        status=refusal.error.kind.status,
        size=refusal.size,
        seconds=refusal.seconds,
        client=refusal.client,
        stages={},
    )
    logs.request_id.reset(token)


def _account(
    metrics: Metrics,
    *,
    method: str,
    path: str,
    route: str,
    status: int,
    size: int,
    seconds: float,
    client: str,
    stages: Mapping[str, float],
) -> None:
    metrics.requests.labels(method, route, status).inc()
    metrics.duration.labels(method, route).observe(seconds)
    fields = {
        "status": status,
        "route": route,
        "duration_ms": round(1000 * seconds, 1),
        "bytes_out": size,
        "client": client,
        "stages_ms": stages,
    }
    level = logging.DEBUG if route in QUIET else logging.INFO
    # quoted: a path is the client's word, and a line break in it would forge a log line
    logger.log(level, "%s %s", method, quote(path), extra={logs.FIELDS: fields})


def _stages(request: Request) -> Stages | None:
    stages = getattr(request.state, "stages", None)
    assert stages is None or isinstance(stages, Stages)
    return stages
