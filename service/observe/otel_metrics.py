"""The registry's metrics as OpenTelemetry's, sent again and again.

Read from the registry as a scrape reads them, so that both tell the same: histograms with their buckets too, which
OpenTelemetry's observable instruments do not have. All are cumulative.
"""

import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from opentelemetry.sdk.metrics import export
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from prometheus_client import CollectorRegistry, Metric
from prometheus_client.samples import Sample

from service.version import version

_CUMULATIVE = export.AggregationTemporality.CUMULATIVE

Labels = tuple[tuple[str, str], ...]


class Pusher:
    """A thread that sends a registry's metrics. Life cycle: `start`, `stop`."""

    def __init__(self, exporter: export.MetricExporter, resource: Resource, *, seconds: float) -> None:
        """Send through an exporter, in the name of a resource, every so many seconds and once at the end."""
        self._exporter = exporter
        self._resource = resource
        self._seconds = seconds
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, registry: CollectorRegistry) -> None:
        """Start the thread."""
        self._thread = threading.Thread(target=self._main, args=(registry,), name="cwic-metrics", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Send a last time, and wait for that: as long as the exporter tries."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
        self._exporter.shutdown()

    def _main(self, registry: CollectorRegistry) -> None:
        since = time.time_ns()
        ended = False
        while not ended:
            ended = self._ended.wait(self._seconds)
            metrics = converted(registry.collect(), since=since, now=time.time_ns())
            scope = export.ScopeMetrics(InstrumentationScope("cwic", version("cwic")), metrics, "")
            self._exporter.export(export.MetricsData([export.ResourceMetrics(self._resource, [scope], "")]))


def converted(families: Iterable[Metric], *, since: int, now: int) -> list[export.Metric]:
    """Prometheus' families as OpenTelemetry's metrics.

    Args:
        families: counters, gauges and histograms.
        since: when counting began, where a family does not tell; in nanoseconds, as all times there.
        now: when the families were read.
    """
    return [
        export.Metric(family.name, family.documentation, "", _data(family, since=since, now=now))
        for family in families
    ]


@dataclass
class _Series:
    """The samples of one series, gathered: a histogram has many."""

    bounds: list[float] = field(default_factory=list)
    cumulative: list[float] = field(default_factory=list)
    value: float = 0.0
    since: int | None = None


def _data(family: Metric, *, since: int, now: int) -> export.Sum | export.Gauge | export.Histogram:
    series = _gathered(family.name, family.samples)
    if family.type == "histogram":
        return export.Histogram(
            [
                export.HistogramDataPoint(
                    attributes=dict(labels),
                    start_time_unix_nano=each.since or since,
                    time_unix_nano=now,
                    count=int(each.cumulative[-1]),
                    sum=each.value,
                    bucket_counts=_differences(each.cumulative),
                    explicit_bounds=each.bounds[:-1],  # the last one is infinite
                    min=None,
                    max=None,
                )
                for labels, each in series.items()
            ],
            _CUMULATIVE,
        )
    points = [
        export.NumberDataPoint(
            attributes=dict(labels),
            start_time_unix_nano=(each.since or since) if family.type == "counter" else 0,
            time_unix_nano=now,
            value=each.value,
        )
        for labels, each in series.items()
    ]
    if family.type == "counter":
        return export.Sum(points, _CUMULATIVE, is_monotonic=True)
    return export.Gauge(points)


def _gathered(name: str, samples: Iterable[Sample]) -> dict[Labels, _Series]:
    """Samples by their labels, the bucket's left out."""
    found: dict[Labels, _Series] = {}
    for sample in samples:
        labels = dict(sample.labels)
        bound = labels.pop("le", None)
        series = found.setdefault(tuple(sorted(labels.items())), _Series())
        kind = sample.name.removeprefix(name)
        if kind == "_created":
            series.since = round(1e9 * sample.value)
        elif kind == "_bucket" and bound is not None:
            series.bounds.append(float(bound))
            series.cumulative.append(sample.value)
        elif kind in ("", "_total", "_sum"):
            series.value = sample.value
    return found


def _differences(cumulative: Sequence[float]) -> list[int]:
    """What each bucket has beside the ones before it."""
    before = [0.0, *cumulative[:-1]]
    return [int(each - less) for each, less in zip(cumulative, before, strict=True)]
