"""Spans and metrics through OpenTelemetry: what is in them, and that a receiver gets them."""

import gzip
import http.server
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from model.types import Pixels
from service.app import create_app
from service.observe.telemetry import Telemetry, telemetry_of
from service.settings import Settings
from tests.effort import PATIENCE, wait_until
from tests.service.fakes import FakeCodec, png
from tests.service.raw import connect, last_answer
from tests.service.server import metric, running

REASON = "the extra is missing: pip install 'cwic[otel]'"
pytest.importorskip("opentelemetry.sdk", reason=REASON)
pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason=REASON)

from opentelemetry import trace  # noqa: E402 - only where it is there
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (  # noqa: E402
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest  # noqa: E402
from opentelemetry.sdk.trace.export import SimpleSpanProcessor  # noqa: E402
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter  # noqa: E402

from service.observe import otel  # noqa: E402
from service.observe.otel import OtelTelemetry  # noqa: E402
from service.observe.otel_metrics import converted  # noqa: E402

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
STAGES = {"read", "inspect", "queue", "decode", "pack"}


@contextmanager
def traced(telemetry: Telemetry, *codecs: FakeCodec) -> Iterator[httpx.Client]:
    """A client of a ready service that tells what it does."""
    settings = Settings(workers=1)
    app = create_app(settings, load=lambda _: codecs or (FakeCodec(),), telemetry=telemetry)
    with running(app) as client:
        wait_until(lambda: client.get("/readyz").is_success)
        yield client


@pytest.fixture
def exporter() -> Any:
    return InMemorySpanExporter()


@pytest.fixture
def telemetry(exporter: Any) -> Telemetry:
    return OtelTelemetry(processor=SimpleSpanProcessor(exporter))


def spans(exporter: Any, name: str) -> list[Any]:
    """The spans of that name; at least one, once it has come."""
    wait_until(lambda: any(each.name == name for each in exporter.get_finished_spans()))
    return [each for each in exporter.get_finished_spans() if each.name == name]


def test_a_request_is_a_server_span_with_its_stages_inside_it(exporter: Any, telemetry: Telemetry) -> None:
    with traced(telemetry) as client:
        answer = client.post("/compress", content=png(), headers={"X-Request-ID": "r1"})
        [server] = spans(exporter, "POST /compress")
    assert server.kind is trace.SpanKind.SERVER
    assert server.parent is None
    values = server.attributes
    assert values["http.route"] == values["url.path"] == "/compress"
    assert values["http.request.method"] == "POST"
    assert values["http.response.status_code"] == 200
    assert values["http.response.body.size"] == len(answer.content)
    assert values["cwic.request_id"] == "r1"
    assert server.status.is_unset
    assert server.resource.attributes["service.name"] == "cwic"
    children = [
        each
        for each in exporter.get_finished_spans()
        if each.parent and each.parent.span_id == server.context.span_id
    ]
    assert {each.name for each in children} == STAGES
    slack = 5_000_000  # nanoseconds: two clocks are read one after the other
    for each in children:
        assert each.context.trace_id == server.context.trace_id
        assert each.attributes["cwic.op"] == "compress"
        assert server.start_time - slack <= each.start_time <= each.end_time <= server.end_time + slack
    begun = {each.name: each.start_time for each in reversed(children)}
    order = sorted(begun, key=lambda name: begun[name])
    assert order.index("read") < order.index("inspect") < order.index("decode")


def test_a_stage_lasts_as_long_as_it_took(exporter: Any, telemetry: Telemetry) -> None:
    released = threading.Event()

    def wait(array: Pixels) -> None:
        if array.shape[0] == 16:  # not the warm-up's picture
            threading.Timer(0.3, released.set).start()
            released.wait()

    with traced(telemetry, FakeCodec(on_encode=wait)) as client:
        assert client.post("/compress", content=png()).is_success
        spans(exporter, "POST /compress")
    assert sum(each.end_time - each.start_time for each in spans(exporter, "pack")) >= 0.29e9


def test_the_callers_trace_goes_on_in_the_threads_and_is_told_in_the_answer(
    exporter: Any, telemetry: Telemetry
) -> None:
    seen: list[Any] = []

    def look(array: Pixels) -> None:
        if array.shape[0] == 16:
            seen.append(trace.get_current_span().get_span_context())

    with traced(telemetry, FakeCodec(on_encode=look)) as client:
        headers = {"traceparent": f"00-{TRACE}-{SPAN}-01"}
        answer = client.post("/compress", content=png(), headers=headers)
        [server] = spans(exporter, "POST /compress")
    assert trace.format_trace_id(server.context.trace_id) == TRACE
    assert trace.format_span_id(server.parent.span_id) == SPAN
    assert server.parent.is_remote
    [inside] = seen
    assert inside == server.context
    own = trace.format_span_id(server.context.span_id)
    assert answer.headers["traceresponse"] == f"00-{TRACE}-{own}-01"


def test_a_trace_that_its_caller_does_not_record_is_not_recorded(exporter: Any, telemetry: Telemetry) -> None:
    with traced(telemetry) as client:
        for flags in ("00", "01"):
            client.get("/models", headers={"traceparent": f"00-{TRACE}-{SPAN}-{flags}"})
        assert len(spans(exporter, "GET /models")) == 1


def test_errors_of_ours_mark_the_span_and_those_of_clients_do_not(
    exporter: Any, telemetry: Telemetry
) -> None:
    def fail(array: Pixels) -> None:
        if array.shape[0] == 16:
            raise RuntimeError

    with traced(telemetry, FakeCodec(on_encode=fail)) as client:
        client.post("/compress", content=png())
        client.get("/nowhere/at/all")
        [broken] = spans(exporter, "POST /compress")
        [lost] = spans(exporter, "GET")
    assert broken.attributes["http.response.status_code"] == 500
    assert broken.attributes["error.type"] == "500"
    assert broken.status.status_code is trace.StatusCode.ERROR
    assert lost.attributes["http.response.status_code"] == 404
    assert lost.status.is_unset
    assert "http.route" not in lost.attributes


def test_what_is_refused_before_the_app_sees_it_is_a_span_too(exporter: Any, telemetry: Telemetry) -> None:
    with traced(telemetry) as client, connect(client) as connection:
        connection.sendall(b"no HTTP at all\r\n\r\n")
        assert last_answer(connection).status == 400
        [span] = spans(exporter, "HTTP")
    assert span.attributes["http.request.method"] == "_OTHER"
    assert span.attributes["http.response.status_code"] == 400
    assert span.start_time <= span.end_time


def test_metrics_are_the_registrys_own_histograms_among_them() -> None:
    registry = CollectorRegistry()
    Counter("a", "Things.", ("kind",), registry=registry).labels("x").inc(3)
    Gauge("b", "Now.", registry=registry).set(-1.5)
    histogram = Histogram("c_seconds", "Times.", ("op",), buckets=(1, 10), registry=registry)
    for value in (0.5, 0.6, 5, 50):
        histogram.labels("y").observe(value)
    counter, gauge, times = converted(registry.collect(), since=1, now=2)
    [point] = counter.data.data_points
    assert counter.data.is_monotonic
    assert (counter.name, point.attributes, point.value) == ("a", {"kind": "x"}, 3)
    assert point.start_time_unix_nano > 2  # the counter's own
    [point] = gauge.data.data_points
    assert (gauge.name, point.value, point.time_unix_nano) == ("b", -1.5, 2)
    [point] = times.data.data_points
    assert point.attributes == {"op": "y"}
    assert list(point.explicit_bounds) == [1, 10]
    assert point.bucket_counts == [2, 1, 1]
    assert (point.count, point.sum) == (4, 56.1)


class Receiver(http.server.BaseHTTPRequestHandler):
    """Takes what is exported."""

    got: defaultdict[str, list[bytes]]

    def do_POST(self) -> None:
        data = self.rfile.read(int(self.headers["Content-Length"]))
        self.got[self.path].append(
            gzip.decompress(data) if self.headers["Content-Encoding"] == "gzip" else data
        )
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@contextmanager
def receiving() -> Iterator[tuple[str, dict[str, list[bytes]]]]:
    """An OTLP receiver: its address, and the bodies that it got by path."""
    got: defaultdict[str, list[bytes]] = defaultdict(list)
    handler = type("BoundReceiver", (Receiver,), {"got": got})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", got
        finally:
            server.shutdown()
            thread.join()


def test_a_receiver_gets_traces_and_metrics_by_the_standard_variables(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with receiving() as (address, got):
        environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": address, "OTEL_METRIC_EXPORT_INTERVAL": "100"}
        environ["OTEL_SERVICE_NAME"] = "pictures"
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        with traced(telemetry_of(environ)) as client:
            assert client.post("/compress", content=png()).is_success
            wait_until(lambda: bool(got["/v1/metrics"]))
            scraped = metric(client, 'cwic_http_requests_total{method="POST",route="/compress",status="200"}')
    assert set(got) == {"/v1/traces", "/v1/metrics"}
    traces = [ExportTraceServiceRequest.FromString(each) for each in got["/v1/traces"]]
    sent = [
        span.name
        for each in traces
        for of in each.resource_spans
        for scope in of.scope_spans
        for span in scope.spans
    ]
    assert sent.count("POST /compress") == 1
    assert set(sent) >= STAGES
    [resource] = ExportMetricsServiceRequest.FromString(got["/v1/metrics"][-1]).resource_metrics
    assert {each.key: each.value.string_value for each in resource.resource.attributes}[
        "service.name"
    ] == "pictures"
    metrics = {each.name: each for scope in resource.scope_metrics for each in scope.metrics}
    requests = {
        tuple(sorted((each.key, each.value.string_value) for each in point.attributes)): point.as_double
        for point in metrics["cwic_http_requests"].sum.data_points
    }
    assert requests[(("method", "POST"), ("route", "/compress"), ("status", "200"))] == scraped == 1
    assert metrics["cwic_http_request_duration_seconds"].histogram.data_points
    assert metrics["cwic_queue_depth"].gauge.data_points


def test_a_receiver_that_never_answers_does_not_hold_up_the_end(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(otel, "LAST_WORDS", 0.2)
    released = threading.Event()

    class Silent(InMemorySpanExporter):  # type: ignore[misc] # OpenTelemetry's classes are not seen by mypy
        def shutdown(self) -> None:
            assert released.wait(PATIENCE)

    telemetry = OtelTelemetry(processor=SimpleSpanProcessor(Silent()))
    telemetry.stop()
    assert not released.is_set()
    assert "traces could not be sent within 0.2 s" in caplog.text
    released.set()
