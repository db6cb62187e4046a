"""OpenTelemetry, on where the standard `OTEL_*` variables ask for it and the extra `cwic[otel]` is installed.

Nothing of OpenTelemetry is imported otherwise.

    OTEL_EXPORTER_OTLP_ENDPOINT                     traces and metrics, there
    OTEL_EXPORTER_OTLP_{TRACES,METRICS}_ENDPOINT    one of them, there
    OTEL_{TRACES,METRICS}_EXPORTER=otlp             one of them, to http://localhost:4318; none: not that one
    OTEL_SDK_DISABLED=true                          nothing, whatever the others say

All other variables (headers, timeouts, sampling, names) are read by OpenTelemetry itself.
"""

import logging
from collections.abc import Mapping
from typing import NamedTuple, Self

from prometheus_client import CollectorRegistry

from service.observe.tracing import Tracing

logger = logging.getLogger("cwic.telemetry")

_ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
_PROTOCOL = "http/protobuf"
_INTERVAL = "OTEL_METRIC_EXPORT_INTERVAL"  # milliseconds
_USUAL_INTERVAL = 60_000.0


class Telemetry:
    """What leaves the process by itself; in this one, nothing does.

    Life cycle: `start`, requests through `tracing`, `stop`.

    Attributes:
        tracing: makes the spans.
    """

    def __init__(self, tracing: Tracing | None = None) -> None:
        self.tracing = tracing or Tracing()

    def start(self, registry: CollectorRegistry) -> None:
        """Begin to send what a registry measures."""

    def stop(self) -> None:
        """Send what is left; may take seconds."""


class Asked(NamedTuple):
    """What the environment asks for.

    Attributes:
        traces: whether spans are to be sent.
        metrics: whether metrics are.
        interval: seconds between two of their exports.
        by: the variables that say so.
    """

    traces: bool
    metrics: bool
    interval: float
    by: tuple[str, ...]

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Self:
        """What these variables ask for; one that cannot be followed is warned of and left out."""
        if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
            return cls(False, False, 0.0, ())
        traces, metrics = _asked_by(environ, "TRACES"), _asked_by(environ, "METRICS")
        by = tuple(dict.fromkeys((*traces, *metrics)))
        return cls(bool(traces), bool(metrics), _interval(environ) if metrics else 0.0, by)


def telemetry_of(environ: Mapping[str, str]) -> Telemetry:
    """What the environment asks for, or, with a warning where that is not installed, nothing."""
    asked = Asked.of(environ)
    if not asked.by:
        return Telemetry()
    try:
        from service.observe import otel
    except ModuleNotFoundError as exc:
        if not (exc.name or "").startswith("opentelemetry"):
            raise
        logger.warning(
            "%s asks for OpenTelemetry, which is not installed, so nothing is sent: pip install 'cwic[otel]'",
            ", ".join(asked.by),
        )
        return Telemetry()
    return otel.OtelTelemetry.of(asked)


def _asked_by(environ: Mapping[str, str], signal: str) -> tuple[str, ...]:
    """The variables that ask for a signal to be sent."""
    exporter, endpoint = f"OTEL_{signal}_EXPORTER", f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT"
    named = [name.strip().lower() for name in environ.get(exporter, "").split(",") if name.strip()]
    asking = (exporter,) if named else tuple(name for name in (_ENDPOINT, endpoint) if environ.get(name))
    if not asking or named == ["none"]:
        return ()
    if named and "otlp" not in named:
        logger.warning("%s is %s, but only otlp is known here: not sent", exporter, ",".join(named))
        return ()
    for name in (f"OTEL_EXPORTER_OTLP_{signal}_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"):
        if protocol := environ.get(name):
            if protocol != _PROTOCOL:
                logger.warning("%s is %s, but only %s is known here: not sent", name, protocol, _PROTOCOL)
                return ()
            break
    return asking


def _interval(environ: Mapping[str, str]) -> float:
    text = environ.get(_INTERVAL, "")
    try:
        value = float(text) if text else _USUAL_INTERVAL
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        logger.warning("%s is %r, but has to be a number of milliseconds", _INTERVAL, text)
        value = _USUAL_INTERVAL
    return value / 1000
