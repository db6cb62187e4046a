"""Around every request: its id, clock, access line and metrics, and the answer to the unforeseen."""

import logging
import re
import time
import uuid
from urllib.parse import quote

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api import problems
from service.api.auth import key_of
from service.api.connections import Refusal
from service.observe import logs
from service.observe.answered import OTHER, UNMATCHED, Answered
from service.observe.metrics import METHODS, Metrics
from service.observe.timing import Timing
from service.observe.tracing import Span, Tracing

REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
QUIET = frozenset({"/livez", "/readyz", "/healthz", "/metrics"})

logger = logging.getLogger("cwic.access")


class RequestContext:
    """Gives every request an id and a start time, and accounts for it once it has ended.

    Sets on `request.state`: `request_id` (the client's where it is well formed) and `started` (of
    `time.monotonic`). Reads from it: `timing`, `key`.
    """

    def __init__(self, app: ASGIApp, *, metrics: Metrics, tracing: Tracing | None = None) -> None:
        self._app = app
        self._metrics = metrics
        self._tracing = tracing or Tracing()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        with self._tracing.request(headers) as span:
            await self._handle(scope, receive, send, headers, span)

    async def _handle(
        self, scope: Scope, receive: Receive, send: Send, sent_headers: Headers, span: Span
    ) -> None:
        method = scope["method"]
        if method == "HEAD":  # whatever answers GET answers it, and the server leaves the body out
            scope = {**scope, "method": "GET"}
        request = Request(scope, receive)
        sent = sent_headers.get("X-Request-ID", "")
        request.state.request_id = sent if REQUEST_ID.fullmatch(sent) else uuid.uuid4().hex
        request.state.started = started = time.monotonic()
        token = logs.request_id.set(request.state.request_id)
        status, size, received = 0, 0, 0
        handed: float | None = None  # when the answer was; how long the client takes for it is its own affair

        async def count() -> Message:
            nonlocal received
            message = await receive()
            if message["type"] == "http.request":
                received += len(message.get("body", b""))
            return message

        async def reply(message: Message) -> None:
            nonlocal status, size, handed
            if message["type"] == "http.response.start":
                status = message["status"]
                self._add_headers(request, MutableHeaders(scope=message), span)
            elif message["type"] == "http.response.body":
                size += 0 if method == "HEAD" else len(message.get("body", b""))
                handed = time.monotonic()
            await send(message)

        try:
            with self._metrics.in_progress.track_inprogress():
                await self._app(scope, count, reply)
        finally:
            seconds = (handed or time.monotonic()) - started
            self._account(
                request, span, method=method, status=status, size=size, received=received, seconds=seconds
            )
            logs.request_id.reset(token)

    def _add_headers(self, request: Request, headers: MutableHeaders, span: Span) -> None:
        headers["X-Request-ID"] = request.state.request_id
        if span.response is not None:
            headers["traceresponse"] = span.response
        if (timing := _timing(request)) and timing.header:
            headers["Server-Timing"] = timing.header

    def _account(
        self,
        request: Request,
        span: Span,
        *,
        method: str,
        status: int,
        size: int,
        received: int,
        seconds: float,
    ) -> None:
        timing = _timing(request)
        if timing:
            timing.observe(self._metrics.stages)
        key = key_of(request)
        _account(
            self._metrics,
            span,
            Answered(
                method=method if method in METHODS else OTHER,
                path=request.scope["path"],
                route=getattr(request.scope.get("route"), "path", UNMATCHED),
                status=status or problems.CLIENT_GONE.status,  # cancelled before it was answered
                received=received,
                size=size,
                seconds=seconds,
                client=request.client.host if request.client else "",
                request_id=request.state.request_id,
                key=key.name if key else None,
                timing=timing,
            ),
        )


def account_refusal(metrics: Metrics, tracing: Tracing, refusal: Refusal) -> None:
    """Count, trace and log a request that was answered before the app saw it, like any other one."""
    if refusal.error.kind.rejection:
        metrics.rejection(refusal.error.kind.slug)
    token = logs.request_id.set(refusal.request_id)
    answered = Answered(
        method=OTHER,
        path=refusal.path,
        route=UNMATCHED,
        status=refusal.error.kind.status,
        received=0,
        size=refusal.size,
        seconds=refusal.seconds,
        client=refusal.client,
        request_id=refusal.request_id,
    )
    with tracing.request(Headers(), ago=refusal.seconds) as span:
        _account(metrics, span, answered)
    logs.request_id.reset(token)


def _account(metrics: Metrics, span: Span, answered: Answered) -> None:
    route = answered.route
    metrics.requests.labels(answered.method, route, answered.status).inc()
    metrics.duration.labels(answered.method, route).observe(answered.seconds)
    metrics.received.labels(route).inc(answered.received)
    metrics.sent.labels(route).inc(answered.size)
    span.end(answered)
    fields = {
        "status": answered.status,
        "route": route,
        "duration_ms": round(1000 * answered.seconds, 1),
        "bytes_in": answered.received,
        "bytes_out": answered.size,
        "client": answered.client,
        **({"key": answered.key} if answered.key else {}),
        "stages_ms": answered.stages,
    }
    level = logging.DEBUG if route in QUIET else logging.INFO
    # quoted: a path is the client's word, and a line break in it would forge a log line
    logger.log(level, "%s %s", answered.method, quote(answered.shown_path), extra={logs.FIELDS: fields})


class UnforeseenErrors:
    """Answers what nobody has caught, once its cause is in the log, with a problem that tells nothing of it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def reply(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, receive, reply)
        except Exception:
            logger.exception("Unforeseen error")
            if started:
                raise  # too late for an answer: the server closes the connection
            await problems.respond(Request(scope), problems.internal())(scope, receive, send)


def _timing(request: Request) -> Timing | None:
    timing = getattr(request.state, "timing", None)
    assert timing is None or isinstance(timing, Timing)
    return timing
