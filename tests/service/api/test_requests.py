"""Request ids, the access line, HTTP metrics, and the answer to what nobody foresaw."""

import asyncio
import logging
import re
from types import SimpleNamespace

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.types import Message, Receive, Scope, Send

from model.types import Pixels
from service.api.requests import RequestContext
from service.observe import logs
from service.observe.answered import LONGEST_PATH
from service.observe.metrics import Metrics
from tests.effort import wait_until
from tests.service.fakes import FakeCodec, png
from tests.service.server import metric, serving

PROBLEM = "application/problem+json"


def access_line(caplog: pytest.LogCaptureFixture) -> logging.LogRecord:
    """The one access line; it is written after the client has its answer."""
    wait_until(lambda: any(each.name == "cwic.access" for each in caplog.records))
    [record] = [each for each in caplog.records if each.name == "cwic.access"]
    return record


def fields(record: logging.LogRecord) -> dict[str, object]:
    """What a log line says beside its message."""
    values = getattr(record, logs.FIELDS)
    assert isinstance(values, dict)
    return values


@given(sent=st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), max_size=150).map(str.strip))
@settings(max_examples=50)
def test_a_request_id_is_echoed_where_it_is_well_formed_and_else_replaced(
    client: httpx.Client, sent: str
) -> None:
    echoed = client.get("/livez", headers={"X-Request-ID": sent}).headers["X-Request-ID"]
    if re.fullmatch(r"[A-Za-z0-9._-]{1,128}", sent):
        assert echoed == sent
    else:
        assert re.fullmatch(r"[0-9a-f]{32}", echoed)


def test_every_request_without_an_id_gets_one_of_its_own(client: httpx.Client) -> None:
    ids = {client.get("/livez").headers["X-Request-ID"] for _ in range(5)}
    assert len(ids) == 5


def test_a_problem_carries_the_request_id(client: httpx.Client) -> None:
    answer = client.get("/nowhere", headers={"X-Request-ID": "abc.1"})
    assert answer.json()["request_id"] == answer.headers["X-Request-ID"] == "abc.1"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/nowhere", 404), ("GET", "/compress", 405), ("PUT", "/livez", 405)],
)
def test_what_the_router_refuses_is_a_problem_too(
    client: httpx.Client, method: str, path: str, status: int
) -> None:
    answer = client.request(method, path)
    assert answer.status_code == status
    assert answer.headers["Content-Type"] == PROBLEM
    problem = answer.json()
    assert (problem["type"], problem["status"], problem["instance"]) == ("about:blank", status, path)
    if status == 405:
        assert answer.headers["Allow"]


def test_an_unforeseen_error_is_500_tells_nothing_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    def fail(array: Pixels) -> None:
        if array.shape[0] == 16:  # not the warm-up's picture
            raise RuntimeError("secret path")

    with serving(FakeCodec(on_encode=fail)) as client:
        answer = client.post("/compress", content=png(), headers={"X-Request-ID": "r1"})
        assert answer.status_code == 500
        assert answer.headers["Content-Type"] == PROBLEM
        assert answer.headers["X-Request-ID"] == answer.json()["request_id"] == "r1"
        assert "secret" not in answer.text
        assert metric(client, 'cwic_http_requests_total{method="POST",route="/compress",status="500"}') == 1
        assert client.get("/readyz").is_success
    assert any(record.exc_info and "secret path" in str(record.exc_info[1]) for record in caplog.records)


def test_metrics_name_route_templates_and_nothing_of_the_clients(client: httpx.Client) -> None:
    for path in ("/nowhere/1", "/nowhere/2", "/wp-login.php"):
        client.get(path)
    client.request("PROPFIND", "/compress")
    text = client.get("/metrics").text
    assert "nowhere" not in text
    assert "PROPFIND" not in text
    assert metric(client, 'cwic_http_requests_total{method="GET",route="unmatched",status="404"}') >= 3
    assert metric(client, 'cwic_http_requests_total{method="other",route="/compress",status="405"}') >= 1


def test_metrics_have_the_promised_names_and_long_buckets(client: httpx.Client) -> None:
    text = client.get("/metrics").text
    for name in (
        "cwic_http_requests_total",
        "cwic_http_request_duration_seconds",
        "cwic_http_requests_in_progress",
        "cwic_stage_duration_seconds",
        "cwic_queue_depth",
        "cwic_rejected_total",
        "cwic_bits_per_pixel",
        "cwic_compression_ratio",
        "cwic_model_info",
        "cwic_build_info",
        "cwic_connections",
        "cwic_connections_refused_total",
        "cwic_body_bytes_in_flight",
        "cwic_worker_heartbeat_age_seconds",
        "process_resident_memory_bytes",
    ):
        assert f"# TYPE {name.removesuffix('_total')}" in text
    assert 'le="120.0"' in text
    assert metric(client, "cwic_http_requests_in_progress") == 1  # the scrape itself
    assert 'model_id="0badc0de"' in text


def test_one_line_per_request_with_its_id_and_its_stages(
    client: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    client.post("/compress", content=png())
    record = access_line(caplog)
    assert record.getMessage() == "POST /compress"
    values = fields(record)
    assert (values["status"], values["route"]) == (200, "/compress")
    assert set(values["stages_ms"]) == {"read", "inspect", "queue", "decode", "pack"}  # type: ignore[call-overload] # a dict


def test_the_time_in_which_a_client_takes_its_answer_is_not_the_requests(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 100.0

    async def app(_: Scope, __: Receive, send: Send) -> None:
        nonlocal now
        now += 2
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"answer"})

    async def take(message: Message) -> None:
        nonlocal now
        now += 1000 * (message["type"] == "http.response.body")

    async def receive() -> Message:
        raise AssertionError("not asked for")

    monkeypatch.setattr("service.api.requests.time", SimpleNamespace(monotonic=lambda: now))
    metrics = Metrics()
    scope: Scope = {"type": "http", "method": "GET", "path": "/", "query_string": b"", "headers": []}
    asyncio.run(RequestContext(app, metrics=metrics)(scope, receive, take))
    labels = {"method": "GET", "route": "unmatched"}
    assert metrics.registry.get_sample_value("cwic_http_request_duration_seconds_sum", labels) == 2


def test_probes_and_scrapes_are_silent_at_info_level(
    client: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    for path in ("/livez", "/readyz", "/healthz", "/metrics", "/models"):
        client.get(path)
    assert access_line(caplog).getMessage() == "GET /models"


def test_a_line_break_in_a_path_forges_no_log_line(
    client: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    client.get("/a%0Aforged")
    record = access_line(caplog)
    assert record.getMessage() == "GET /a%0Aforged"


def test_of_a_long_path_the_log_has_the_beginning(
    client: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    client.get("/" + "%0A" * 20_000)
    assert access_line(caplog).getMessage() == "GET /" + "%0A" * (LONGEST_PATH - 1)
