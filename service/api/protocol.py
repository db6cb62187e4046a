"""One connection: uvicorn's protocol for HTTP/1.1, and what it lacks against clients that are slow, rude or gone.

    waiting for a header ──► body ──► answer ──► waiting for the next header, or closed
             │                │         │
             └──── a fault ───┴─────────┴──► deaf: drop what comes, answer, linger, close

A fault in a body is told to the app, which reads the body and answers; a fault in a header is answered here, after
the answers to earlier requests. Either way nothing that arrives later is parsed.
"""

import asyncio
import uuid
from functools import partial
from typing import Any
from urllib.parse import unquote

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from service.api import problems
from service.api.addresses import Origin
from service.api.connections import BODY, NOT_TAKEN, Body, Connections, Refusal
from service.api.ending import Ending
from service.api.framing import Framing
from service.api.problems import ProblemError
from service.api.taking import Taking

PIECE = 2**16  # bytes of an answer that are handed to the transport at a time, once it has room
MAX_PIPELINE = 16  # requests sent ahead while an earlier one is answered
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"  # not 102, which Python's http.client takes for the answer itself


class GuardedProtocol(HttpToolsProtocol):
    """A connection with bounds on time, bytes and company; `bound_to` makes the class for one server."""

    shared: Connections

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._framing = Framing()
        self._taking: Taking
        self._ending: Ending
        self._peer: Origin
        self._bodies: dict[RequestResponseCycle, Body] = {}  # of requests that have not ended
        self._running: RequestResponseCycle | None = None  # being answered
        self._body: Body | None = None  # of the message that is being received, once its header is complete
        self._parts: list[bytes] = []  # of the body, in the current block of data
        self._arrived = 0  # bytes of the body, these among them
        self._in_header = False
        self._completed = 0  # headers, in the current block of data
        self._since = 0.0  # when the wait for the header began
        self._timer: asyncio.TimerHandle | None = None  # of that wait
        self._deaf = False
        self._late: ProblemError | None = None  # to be answered after the running request
        self._closing = False  # the running answer is the last one
        self._at_end = False  # the client sends no more

    # The connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn has it
        super().connection_made(transport)
        minimum = self.shared.settings.min_body_rate
        self._taking = Taking(
            transport, self.loop, minimum=minimum, on_cut=lambda: self.shared.on_cut(NOT_TAKEN)
        )
        self._ending = Ending(transport, self.loop, self._taking)
        self._peer = Origin(*(self.client or ("", 0)), self.scheme or "http")
        self._await_header()
        if error := self.shared.add(self, self._peer.host):
            self._refuse(error)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._unset_keepalive_if_required()
        self._stop_waiting()
        self._ending.stop()
        self._taking.stop()
        self.shared.remove(self)
        for cycle, _ in self.pipeline:  # their apps were never called
            self._end(cycle)
        self.pipeline.clear()

    def eof_received(self) -> bool:  # type: ignore[override] # uvicorn closes always
        """Stay for the answer where the client only says that its request was the last one.

        A client that has left altogether looks the same, so a go-ahead is sent, which clients skip: where nobody
        is, the peer's system answers it with a reset. HTTP/1.0 knows no interim answers.
        """
        cycle = self._running
        if cycle is None or (self._body is not None and not self._deaf):
            return False
        if not self._at_end:
            self._at_end = True
            if cycle.scope["http_version"] == "1.1" and not cycle.response_started:
                self.transport.write(CONTINUE)
            self._ending.look_for_peer()
        return True

    def timeout_keep_alive_handler(self) -> None:
        self._ending.close()

    def displace(self) -> None:
        """Close now, in favour of a newer connection."""
        if self._in_header and not self._deaf:
            detail = "A newer connection got the place of this one, which had no complete request."
            self._write(ProblemError(problems.TOO_MANY_CONNECTIONS, detail, headers={"Retry-After": "1"}))
        self._deaf = True
        self._stop_waiting()
        self.transport.close()
        if self.transport.get_write_buffer_size():
            self.transport.abort()  # its client takes nothing, and the place is needed now

    # What arrives

    def data_received(self, data: bytes) -> None:
        if self._deaf:
            self._ending.drop(len(data))
            return
        self._unset_keepalive_if_required()
        self._completed = 0
        between = self._body is None
        try:
            self._parse(data)
            self._pass_on()
        except ProblemError as exc:
            self._parts.clear()
            self._refuse(exc)
            return
        if self._timer is None and (self._in_header or (between and not self._completed)):
            self._await_header()

    def _parse(self, data: bytes) -> None:
        """Parse a block; raises ProblemError for what is wrong with it."""
        body = self._body
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as exc:
            # To what we do not speak: the request is answered as it is.
            self._parse(data[exc.args[0] :])
            return
        except httptools.HttpParserError as exc:
            if isinstance(cause := exc.__context__, ProblemError):
                raise cause from None
            if isinstance(cause, AssertionError):
                raise
            raise ProblemError(problems.BAD_REQUEST, f"Not to be read as HTTP: {exc or cause}.") from exc
        if self._body is not None and self._body is body:
            self._framing.body_block(len(data), received=self._arrived)
        elif body is None and not self._completed:
            self._framing.header_block(len(data))

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._framing.begin()
        self._in_header = True

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        self._framing.part(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._body is None:  # else it is a trailer
            super().on_header(name, value)
            self._framing.part(len(name) + len(value))

    def on_headers_complete(self) -> None:
        names = [name for name, _ in self.headers]
        framed = names.count(b"content-length") + names.count(b"transfer-encoding")
        if framed > 1:
            raise ProblemError(problems.BAD_REQUEST, "It is not clear where the body ends.")
        if framed and self.parser.should_upgrade():  # the parser takes the body for the other protocol
            raise ProblemError(problems.BAD_REQUEST, "A request to upgrade the connection has no body here.")
        if len(self.pipeline) >= MAX_PIPELINE:
            raise ProblemError(problems.BAD_REQUEST, f"More than {MAX_PIPELINE} requests sent ahead.")
        origin = self.shared.proxies.origin(self._peer, self.headers)
        if self.client is not None:
            self.scope["client"] = (origin.host, origin.port)
        self.scope["scheme"] = origin.scheme
        body = self.shared.begin(self._peer.host, origin)
        self.scope["state"][BODY] = body
        before = self.cycle
        try:
            super().on_headers_complete()
        finally:
            if self.cycle is before:  # an address that cannot be taken apart
                self.shared.end(self._peer.host, body)
        body.give_up = self._give_up_answer
        self._bodies[self.cycle] = self._body = body
        self._arrived = 0
        self._in_header = False
        self._completed += 1
        self._stop_waiting()
        self.shared.waits(self, waiting=False)

    def on_chunk_header(self) -> None:
        """Called by the parser at the start of each chunk."""
        self._framing.chunk(self._arrived)

    def on_body(self, body: bytes) -> None:
        # as little as possible: a block of data may hold thousands of chunks
        self._parts.append(body)
        self._arrived += len(body)

    def _pass_on(self) -> None:
        """Hand the body's bytes to the request; raises ProblemError (429) where there is no room for them."""
        if self._parts:
            assert self._body is not None
            data = b"".join(self._parts)
            self._parts.clear()
            self._body.take(len(data))
            super().on_body(data)

    def on_message_complete(self) -> None:
        self._pass_on()
        super().on_message_complete()
        self._body = None

    # What is answered

    def pause_writing(self) -> None:
        super().pause_writing()
        self._taking.wait()

    def resume_writing(self) -> None:
        self._taking.rest()
        super().resume_writing()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, partial(self._call, cycle, app))

    async def _call(self, cycle: RequestResponseCycle, app: Any, scope: Any, receive: Any, send: Any) -> None:
        """Call the app, and see to it that its answer arrives even where not all of the request has."""

        def notice() -> None:  # at once, or uvicorn uses what is closed already
            cycle.disconnected = cycle.disconnected or self.transport.is_closing()

        async def reading() -> Any:
            notice()
            return await receive()

        async def answering(message: Any) -> None:
            notice()
            if message["type"] != "http.response.start":
                await self._send_body(cycle, message, send)
                return
            if cycle.more_body:
                cycle.keep_alive = False
            await send(message)

        try:
            await app(scope, reading, answering)
        except asyncio.CancelledError:  # the time is up in which the process was to end
            if not cycle.response_started:
                raise
            cycle.disconnected = True  # an answer that nobody has taken is no fault for the log
            self.transport.abort()
        finally:
            self._end(cycle)

    async def _send_body(self, cycle: RequestResponseCycle, message: Any, send: Any) -> None:
        """Hand bytes of an answer to the transport as it has room for them; until then they are the request's."""
        content, more = message.get("body", b""), message.get("more_body", False)
        self._bodies[cycle].answer(len(content))
        for start in range(0, max(1, len(content)), PIECE):
            await self.flow.drain()
            cycle.disconnected = cycle.disconnected or self.transport.is_closing()
            if cycle.disconnected:
                return
            piece = content[start : start + PIECE]  # a copy: what the transport holds must not keep the whole
            if last := not more and start + PIECE >= len(content):
                self._closing = not cycle.keep_alive
                # or uvicorn closes at once, and what still comes resets the connection
                cycle.keep_alive = True
            await send({**message, "body": piece, "more_body": not last})
            if not last:
                await asyncio.sleep(0)  # a client that takes all at once leaves time for the others

    def _give_up_answer(self) -> None:
        self.shared.on_cut(NOT_TAKEN)
        self.transport.abort()

    def on_response_complete(self) -> None:
        cycle, self._running = self._running, None
        assert cycle is not None
        if not self._closing and (self.pipeline or not (self._late or self._at_end)):
            super().on_response_complete()
            if self._running is None:
                self.shared.waits(self, waiting=True)
            return
        self.server_state.total_requests += 1
        if self._late and not self._closing:
            self._answer(self._late)
        elif cycle.more_body or self._deaf or self._in_header or self.flow.read_paused:
            self._linger()
        else:
            self._ending.close()

    def _refuse(self, error: ProblemError) -> None:
        """Take nothing more from this connection, and have the client told why, in its turn."""
        self._deaf = True
        self._stop_waiting()
        self.shared.on_cut(error.kind.slug)
        if self._body is not None:
            self._body.refusal = error
            self.cycle.message_event.set()
        elif self._running is not None:
            self._late = error
        else:
            self._answer(error)

    def _answer(self, error: ProblemError) -> None:
        self._write(error)
        self._linger()

    def _write(self, error: ProblemError) -> None:
        """Answer without the app."""
        url = self.url if self._in_header else b""
        path = unquote(url.partition(b"?")[0].decode("latin-1")) or "*"
        request_id = uuid.uuid4().hex
        response = problems.respond_to(error, instance=path, request_id=request_id)
        fields = [
            *self.server_state.default_headers,
            *response.raw_headers,
            (b"x-request-id", request_id.encode()),
            (b"x-content-type-options", b"nosniff"),
            (b"connection", b"close"),
        ]
        head = b"".join(b"%b: %b\r\n" % field for field in fields)
        content = bytes(response.body)
        self.transport.write(STATUS_LINE[error.kind.status] + head + b"\r\n" + content)
        self.shared.on_refusal(
            Refusal(
                error,
                path=path,
                client=self._peer.host,
                request_id=request_id,
                size=len(content),
                seconds=self.loop.time() - self._since,
            )
        )

    def _linger(self) -> None:
        self._deaf = True
        self._stop_waiting()
        if self._at_end:
            self._ending.close()
            return
        self.shared.waits(self, waiting=True)
        if not self.transport.is_closing():
            self._ending.linger()
            self.flow.resume_reading()

    def _end(self, cycle: RequestResponseCycle) -> None:
        """Let go of all that a request has held."""
        cycle.body = bytearray()
        if body := self._bodies.pop(cycle, None):
            self.shared.end(self._peer.host, body)

    # The wait for a header

    def _await_header(self) -> None:
        self._since = self.loop.time()
        self._timer = self.loop.call_later(self.shared.settings.header_timeout, self._header_is_late)

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _header_is_late(self) -> None:
        self._timer = None
        limit = self.shared.settings.header_timeout
        if self._in_header and self.flow.read_paused:  # it is not the client who lets us wait
            self._await_header()
        elif self._in_header:
            detail = f"The header has not arrived within {limit:g} s (CWIC_HEADER_TIMEOUT)."
            self._refuse(ProblemError(problems.HEADER_TIMEOUT, detail, limit=limit))
        elif self._running is None:  # nothing that could be answered has come
            self.shared.on_cut(problems.HEADER_TIMEOUT.slug)
            self._ending.close()


def bound_to(connections: Connections) -> type[GuardedProtocol]:
    """The protocol of a server whose connections share this."""

    class BoundProtocol(GuardedProtocol):
        shared = connections

    return BoundProtocol
