"""Spans and metrics through OpenTelemetry. Imported only where they are asked for: see `service.observe.telemetry`.

The tracer belongs to the app: OpenTelemetry's global one is left alone, so that two apps in one process do not meet.
"""

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from prometheus_client import CollectorRegistry
from starlette.datastructures import Headers

from service.observe.answered import OTHER, UNMATCHED, Answered
from service.observe.otel_metrics import Pusher
from service.observe.telemetry import Asked, Telemetry
from service.observe.tracing import Span, TraceContext, Tracing, inside
from service.version import version

LAST_WORDS = 5.0  # seconds for what is left at the end: containers are killed ten after the last answer
_NAME = "cwic"

logger = logging.getLogger("cwic.telemetry")


class OtelTelemetry(Telemetry):
    """Sends spans and metrics."""

    def __init__(self, *, processor: SpanProcessor | None = None, pusher: Pusher | None = None) -> None:
        """Send spans through a processor and metrics through a pusher, each where there is one."""
        self._pusher = pusher
        self._provider = None
        if processor is not None:
            self._provider = TracerProvider(resource=resource(), shutdown_on_exit=False)
            self._provider.add_span_processor(processor)
        super().__init__(OtelTracing(self._provider) if self._provider else None)

    @classmethod
    def of(cls, asked: Asked) -> Self:
        """What is asked for, by OTLP over HTTP; where to is read from the environment by OpenTelemetry."""
        return cls(
            processor=BatchSpanProcessor(OTLPSpanExporter()) if asked.traces else None,
            pusher=Pusher(OTLPMetricExporter(), resource(), seconds=asked.interval)
            if asked.metrics
            else None,
        )

    def start(self, registry: CollectorRegistry) -> None:
        """See `Telemetry`."""
        if self._pusher is not None:
            self._pusher.start(registry)

    def stop(self) -> None:
        """See `Telemetry`. A receiver that does not answer is not waited for longer than `LAST_WORDS`."""
        end = time.monotonic() + LAST_WORDS
        ending = {}
        if self._provider is not None:
            ending["traces"] = self._provider.shutdown
        if self._pusher is not None:
            ending["metrics"] = self._pusher.stop
        threads = [threading.Thread(target=stop, name=name, daemon=True) for name, stop in ending.items()]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(max(0.0, end - time.monotonic()))
            if thread.is_alive():
                logger.warning("The last %s could not be sent within %g s", thread.name, LAST_WORDS)


class OtelTracing(Tracing):
    """One server span for each request, and one span inside it for each stage."""

    def __init__(self, provider: TracerProvider) -> None:
        self._tracer = provider.get_tracer(_NAME, version(_NAME))

    @contextmanager
    def request(self, headers: Headers, *, ago: float = 0.0) -> Iterator[Span]:
        """See `Tracing`. OpenTelemetry's own context is the span's too, also in the threads that work on it."""
        parent = _parent(headers)
        began = time.time_ns() - round(1e9 * ago)
        span = self._tracer.start_span(
            "request", context=parent, kind=trace.SpanKind.SERVER, start_time=began
        )
        found = span.get_span_context()
        own = TraceContext(
            trace.format_trace_id(found.trace_id),
            trace.format_span_id(found.span_id),
            found.trace_flags.sampled,
        )
        context = trace.set_span_in_context(span, parent)
        token = otel_context.attach(context)
        try:
            with inside(own):
                yield OtelSpan(self._tracer, span, context, response=own.header)
        finally:
            otel_context.detach(token)


class OtelSpan(Span):
    """A request's server span."""

    def __init__(
        self, tracer: trace.Tracer, span: trace.Span, context: otel_context.Context, *, response: str
    ) -> None:
        self.response = response
        self._tracer = tracer
        self._span = span
        self._context = context

    def end(self, answered: Answered) -> None:
        """See `Span`. Attributes are named by OpenTelemetry's semantic conventions for HTTP."""
        span, known = self._span, answered.route != UNMATCHED
        method = "HTTP" if answered.method == OTHER else answered.method
        span.update_name(f"{method} {answered.route}" if known else method)
        span.set_attributes(
            {
                "http.request.method": "_OTHER" if answered.method == OTHER else answered.method,
                "http.response.status_code": answered.status,
                "http.request.body.size": answered.received,
                "http.response.body.size": answered.size,
                "url.path": answered.shown_path,
                "client.address": answered.client,
                "cwic.request_id": answered.request_id,
                **({"http.route": answered.route} if known else {}),
            }
        )
        if answered.status >= 500:
            span.set_status(trace.StatusCode.ERROR)
            span.set_attribute("error.type", str(answered.status))
        if answered.timing is not None and span.is_recording():
            self._add_stages(answered)
        span.end()

    def _add_stages(self, answered: Answered) -> None:
        assert answered.timing is not None
        offset = time.time_ns() - time.perf_counter_ns()
        for stage, began, ended in answered.timing.intervals:
            child = self._tracer.start_span(
                stage,
                context=self._context,
                start_time=offset + round(1e9 * began),
                attributes={"cwic.op": answered.timing.op},
            )
            child.end(offset + round(1e9 * ended))
        self._span.set_attribute("cwic.op", answered.timing.op)
        if answered.timing.left_out:
            self._span.set_attribute("cwic.stages_left_out", answered.timing.left_out)


def resource() -> Resource:
    """What sends: `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES`, and what they leave open."""
    found = Resource.create()
    ours = {"service.version": version(_NAME)} if "service.version" not in found.attributes else {}
    if str(found.attributes["service.name"]).startswith("unknown_service"):  # nobody has named it
        ours["service.name"] = _NAME
    return found.merge(Resource(ours))


def _parent(headers: Headers) -> otel_context.Context:
    """The caller's span; an empty context where there is none, whatever this one's is."""
    caller = TraceContext.of(headers)
    if caller is None:
        return otel_context.Context()
    remote = trace.SpanContext(
        trace_id=int(caller.trace_id, 16),
        span_id=int(caller.span_id, 16),
        is_remote=True,
        trace_flags=trace.TraceFlags(int(caller.sampled)),
        trace_state=trace.TraceState.from_header(headers.getlist("tracestate")),
    )
    return trace.set_span_in_context(trace.NonRecordingSpan(remote), otel_context.Context())
