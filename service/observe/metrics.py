"""What `/metrics` tells, in a registry of the app's own, so that two apps in one process do not meet."""

import platform
from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

from model.types import ModelInfo
from service.version import version

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120)
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Metrics:
    """The service's instruments. Labels take values from closed sets only: no paths, no client's words."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.requests = Counter(
            "cwic_http_requests",
            "Requests answered.",
            ("method", "route", "status"),
            registry=registry,
        )
        self.duration = Histogram(
            "cwic_http_request_duration_seconds",
            "From the request's first line to the response's last byte.",
            ("method", "route"),
            buckets=SECONDS,
            registry=registry,
        )
        self.in_progress = Gauge(
            "cwic_http_requests_in_progress", "Requests being answered.", registry=registry
        )
        self.stages = Histogram(
            "cwic_stage_duration_seconds",
            "Time of one stage of one operation.",
            ("op", "stage"),
            buckets=SECONDS,
            registry=registry,
        )
        self.rejected = Counter("cwic_rejected", "Work turned away.", ("reason",), registry=registry)
        self.refused = Counter(
            "cwic_connections_refused",
            "Connections turned away, displaced by newer ones, or ended for what they sent or did not send.",
            ("reason",),
            registry=registry,
        )
        self.bits_per_pixel = Histogram(
            "cwic_bits_per_pixel",
            "Size of compressed files, in bits per pixel of the picture.",
            buckets=(0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 1.5, 2, 4, 8, 16, 24),
            registry=registry,
        )
        self.compression_ratio = Histogram(
            "cwic_compression_ratio",
            "Bytes received over bytes of the compressed file.",
            buckets=(0.5, 1, 2, 3, 5, 7.5, 10, 15, 20, 30, 50, 100, 200),
            registry=registry,
        )
        self.model_info = Gauge(
            "cwic_model_info",
            "1 for every model that is loaded.",
            ("name", "model_id", "profile", "device", "dtype"),
            registry=registry,
        )
        build = Gauge(
            "cwic_build_info", "1; what is running.", ("version", "python", "torch"), registry=registry
        )
        build.labels(version("cwic"), platform.python_version(), version("torch")).set(1)
        ProcessCollector(registry=registry)

    def watch(
        self, *, queue_depth: Callable[[], float], queue_size: int, heartbeat_age: Callable[[], float]
    ) -> None:
        """Read these values at every scrape."""
        depth = Gauge("cwic_queue_depth", "Requests admitted and not finished.", registry=self.registry)
        depth.set_function(queue_depth)
        size = Gauge("cwic_queue_size", "Most requests admitted at once.", registry=self.registry)
        size.set(queue_size)
        age = Gauge(
            "cwic_worker_heartbeat_age_seconds",
            "Since the worker's last sign of life; grows while it runs one job.",
            registry=self.registry,
        )
        age.set_function(heartbeat_age)

    def watch_connections(self, *, count: Callable[[], float], body_bytes: Callable[[], float]) -> None:
        """Read these values at every scrape."""
        connections = Gauge("cwic_connections", "Connections that are open.", registry=self.registry)
        connections.set_function(count)
        held = Gauge(
            "cwic_body_bytes_in_flight",
            "Bytes of bodies that have arrived, of requests that have not ended.",
            registry=self.registry,
        )
        held.set_function(body_bytes)

    def models_loaded(self, infos: Iterable[ModelInfo]) -> None:
        """Name the models that are served."""
        for info in infos:
            self.model_info.labels(info.name, info.model_id, info.profile, info.device, info.dtype).set(1)

    def compressed(self, *, received: int, size: int, pixels: int) -> None:
        """Record one compressed file: bytes of the upload, bytes of the file, pixels of the picture."""
        self.bits_per_pixel.observe(8 * size / pixels)
        self.compression_ratio.observe(received / size)

    def rejection(self, reason: str) -> None:
        """Count work turned away."""
        self.rejected.labels(reason).inc()

    def connection_refused(self, reason: str) -> None:
        """Count a connection that was turned away or ended."""
        self.refused.labels(reason).inc()
