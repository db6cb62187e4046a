"""Trace context: which headers are believed, and the log lines that carry their ids."""

import json
import logging

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import Headers

from model.types import Pixels
from service.observe import logs, tracing
from service.observe.tracing import TraceContext
from tests.service.api.test_requests import access_line
from tests.service.fakes import FakeCodec, png
from tests.service.server import serving

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SENT = f"00-{TRACE}-{SPAN}-01"


def context(*values: str) -> TraceContext | None:
    """What headers `traceparent` of these values say."""
    return TraceContext.of(Headers(raw=[(b"traceparent", each.encode("latin-1")) for each in values]))


@pytest.mark.parametrize(
    ("sent", "sampled"),
    [
        (SENT, True),
        (f"00-{TRACE}-{SPAN}-00", False),
        (f"00-{TRACE}-{SPAN}-ff", True),
        (f"cc-{TRACE}-{SPAN}-01", True),
        (f"cc-{TRACE}-{SPAN}-01-what-the-future-brings", True),
    ],
)
def test_a_well_formed_traceparent_names_trace_and_step(sent: str, sampled: bool) -> None:
    assert context(sent) == (TRACE, SPAN, sampled)


@pytest.mark.parametrize(
    "sent",
    [
        "",
        "00",
        SENT.upper(),
        f"ff-{TRACE}-{SPAN}-01",
        f"0-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE[1:]}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}0-01",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE}-{SPAN}-01-",
        f"00-{TRACE}-{SPAN}-01-more",
        f"cc-{TRACE}-{SPAN}-01.more",
        f" {SENT}",
        f"{SENT},{SENT}",
        f"00_{TRACE}_{SPAN}_01",
    ],
)
def test_a_malformed_traceparent_is_none(sent: str) -> None:
    assert context(sent) is None


def test_no_traceparent_or_two_of_them_are_none() -> None:
    assert context() is None
    assert context(SENT, SENT) is None


@given(trace=st.integers(1, 2**128 - 1), span=st.integers(1, 2**64 - 1), sampled=st.booleans())
def test_what_is_written_is_read(trace: int, span: int, sampled: bool) -> None:
    written = TraceContext(f"{trace:032x}", f"{span:016x}", sampled)
    assert context(written.header) == written


@pytest.mark.parametrize("formatter", [logs.JsonFormatter(), logs.ConsoleFormatter()])
def test_a_log_line_has_the_ids_of_its_trace(formatter: logging.Formatter) -> None:
    record = logging.LogRecord("cwic.access", logging.INFO, "", 0, "GET /", (), None)
    with tracing.inside(context(SENT)):
        inside = formatter.format(record)
    outside = formatter.format(record)
    if isinstance(formatter, logs.JsonFormatter):
        line = json.loads(inside)
        assert (line["trace_id"], line["span_id"]) == (TRACE, SPAN)
    else:
        assert f"trace_id={TRACE} span_id={SPAN}" in inside
    assert "trace_id" not in outside


class Ids(logging.Handler):
    """Keeps the trace id that each line is written with."""

    def __init__(self) -> None:
        super().__init__()
        self.of: dict[str, str | None] = {}

    def emit(self, record: logging.LogRecord) -> None:
        found = tracing.current.get()
        self.of[record.getMessage()] = found.trace_id if found else None


def test_lines_of_the_request_and_of_the_threads_that_work_on_it_have_the_callers_trace(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    worker = logging.getLogger("cwic.test")

    def work(_: Pixels) -> None:
        worker.info("at work")

    ids = Ids()
    with serving(FakeCodec(on_encode=work)) as client:
        logging.getLogger().addHandler(ids)
        try:
            answer = client.post("/compress", content=png(), headers={"traceparent": SENT})
            access_line(caplog)
        finally:
            logging.getLogger().removeHandler(ids)
    assert answer.is_success
    assert ids.of["at work"] == ids.of["POST /compress"] == TRACE


def test_without_opentelemetry_nothing_is_made_up_or_echoed(
    client: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    ids = Ids()
    logging.getLogger().addHandler(ids)
    try:
        answer = client.get("/models")
        access_line(caplog)
    finally:
        logging.getLogger().removeHandler(ids)
    assert ids.of["GET /models"] is None
    for each in (answer, client.get("/models", headers={"traceparent": SENT})):
        assert TRACE not in str(each.headers)
        assert not {"traceparent", "traceresponse"} & set(each.headers)
