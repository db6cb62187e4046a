"""W3C trace context: the trace that a request belongs to, for its log lines and, with OpenTelemetry, its spans."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple, Self

from starlette.datastructures import Headers

from service.observe.answered import Answered

_TRACEPARENT = re.compile(
    r"(?P<version>(?!ff)[0-9a-f]{2})-(?P<trace>(?!0{32})[0-9a-f]{32})-(?P<span>(?!0{16})[0-9a-f]{16})"
    r"-(?P<flags>[0-9a-f]{2})(?P<rest>-.*)?"
)
_SAMPLED = 1  # bit of the flags


class TraceContext(NamedTuple):
    """One step of a trace.

    Attributes:
        trace_id: of the whole trace, 32 hexadecimal digits.
        span_id: of the step, 16 of them.
        sampled: whether the one who began it records it.
    """

    trace_id: str
    span_id: str
    sampled: bool

    @classmethod
    def of(cls, headers: Headers) -> Self | None:
        """The caller's step, by the header `traceparent`; None where there is none, or more than one, or a malformed
        one (https://www.w3.org/TR/trace-context/#traceparent-header)."""
        sent = headers.getlist("traceparent")
        found = _TRACEPARENT.fullmatch(sent[0]) if len(sent) == 1 else None
        # Later versions may have more fields.
        if found is None or (found["version"] == "00" and found["rest"]):
            return None
        return cls(found["trace"], found["span"], bool(int(found["flags"], 16) & _SAMPLED))

    @property
    def header(self) -> str:
        """The value of `traceparent`."""
        return f"00-{self.trace_id}-{self.span_id}-{int(self.sampled):02x}"


current: ContextVar[TraceContext | None] = ContextVar("trace_context", default=None)


class Span:
    """A request as a step of a trace; this one is recorded nowhere.

    Attributes:
        response: to be sent as the header `traceresponse`; None for none.
    """

    response: str | None = None

    def end(self, answered: Answered) -> None:
        """Record how it was answered; once."""


class Tracing:
    """Makes a span of every request; this one only notes which trace the caller says that it belongs to."""

    @contextmanager
    def request(self, headers: Headers, *, ago: float = 0.0) -> Iterator[Span]:  # noqa: ARG002 - for those that record
        """The span of a request that began `ago` seconds ago; inside, `current` tells its trace.

        The span has to be ended inside.
        """
        with inside(TraceContext.of(headers)):
            yield Span()


@contextmanager
def inside(context: TraceContext | None) -> Iterator[None]:
    """Let `current` be this for what runs inside."""
    token = current.set(context)
    try:
        yield
    finally:
        current.reset(token)
