"""When OpenTelemetry is asked for, and that nothing of it is needed or imported where it is not."""

import json
import logging
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from service.observe.telemetry import Asked, Telemetry, telemetry_of
from tests.effort import PATIENCE, wait_until
from tests.service.program import process

ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}


@pytest.mark.parametrize(
    ("environ", "traces", "metrics"),
    [
        ({}, False, False),
        ({"OTEL_SERVICE_NAME": "mine", "OTEL_EXPORTER_OTLP_HEADERS": "a=b"}, False, False),
        (ENDPOINT, True, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, False, False),
        (ENDPOINT | {"OTEL_SDK_DISABLED": "TRUE"}, False, False),
        (ENDPOINT | {"OTEL_SDK_DISABLED": "false"}, True, True),
        (ENDPOINT | {"OTEL_METRICS_EXPORTER": "none"}, True, False),
        (ENDPOINT | {"OTEL_TRACES_EXPORTER": "none"}, False, True),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True, False),
        ({"OTEL_METRICS_EXPORTER": "OTLP"}, False, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://a/v1/traces"}, True, False),
        ({"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://a/v1/metrics"}, False, True),
        (ENDPOINT | {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, True, True),
    ],
)
def test_the_standard_variables_ask_for_traces_and_metrics(
    environ: dict[str, str], traces: bool, metrics: bool, caplog: pytest.LogCaptureFixture
) -> None:
    asked = Asked.of(environ)
    assert (asked.traces, asked.metrics) == (traces, metrics)
    assert bool(asked.by) == (traces or metrics)
    assert not caplog.records


@pytest.mark.parametrize(
    ("environ", "named"),
    [
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, "OTEL_TRACES_EXPORTER is zipkin"),
        (ENDPOINT | {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "OTEL_EXPORTER_OTLP_PROTOCOL is grpc"),
    ],
)
def test_what_cannot_be_followed_is_named_and_left_out(
    environ: dict[str, str], named: str, caplog: pytest.LogCaptureFixture
) -> None:
    asked = Asked.of(environ)
    assert not asked.traces
    assert named in caplog.text


@pytest.mark.parametrize(("text", "seconds"), [("", 60), ("500", 0.5), ("soon", 60), ("-1", 60), ("nan", 60)])
def test_the_interval_is_in_milliseconds_and_a_wrong_one_is_named(
    text: str, seconds: float, caplog: pytest.LogCaptureFixture
) -> None:
    assert Asked.of(ENDPOINT | {"OTEL_METRIC_EXPORT_INTERVAL": text}).interval == seconds
    assert bool(caplog.records) == (text not in ("", "500"))


def test_asked_for_and_not_installed_is_a_warning_that_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delitem(sys.modules, "service.observe.otel", raising=False)
    monkeypatch.delattr("service.observe.otel", raising=False)  # where another test has imported it
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    found = telemetry_of(ENDPOINT)
    assert type(found) is Telemetry
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert "OTEL_EXPORTER_OTLP_ENDPOINT" in record.getMessage()
    assert "pip install 'cwic[otel]'" in record.getMessage()


def test_the_program_starts_without_the_extra_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    missing = "import sys; sys.modules['opentelemetry.sdk'] = None; "
    log = tmp_path / "log"
    with process(log, "--log-format", "json", prefix=missing) as (_, address):
        wait_until(lambda: httpx.get(f"{address}/readyz", timeout=PATIENCE).is_success)
    [line] = [json.loads(each) for each in log.read_text().splitlines() if "cwic.telemetry" in each]
    assert line["level"] == "warning"
    assert "cwic[otel]" in line["message"]


def test_nothing_of_it_is_imported_where_nothing_asks_for_it() -> None:
    """But for its API, which FastAPI imports."""
    code = (
        "import sys; from service.app import create_app; from service.settings import Settings; "
        "from service.observe.telemetry import telemetry_of; "
        "create_app(Settings(), telemetry=telemetry_of({})); "
        "ours = ('service.observe.otel', 'opentelemetry.sdk', 'opentelemetry.exporter'); "
        "sys.exit(any(name.startswith(ours) for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0  # noqa: S603 - our own
