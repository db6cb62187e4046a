"""What `/metrics` tells, in a registry of the app's own, so that two apps in one process do not meet."""

import platform
from collections.abc import Callable, Iterable
from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

from model.types import ModelInfo
from service.version import version

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120)
_TELLING = 4096  # pixels: in smaller pictures the bytes around the picture outweigh it
CUDA_MEMORY = ("allocated", "reserved")  # kinds
FAILURES = (500, 503, 504)  # statuses that an alert asks for
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
            "From the complete header until the answer is handed to the connection.",
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
        self.batch_steps = Histogram(
            "cwic_batch_size",
            "Tiles that were worked on together.",
            buckets=(1, 2, 4, 8, 16, 32, 64),
            registry=registry,
        )
        self.batch_pixels = Histogram(
            "cwic_batch_pixels",
            "Pixels of the tiles that were worked on together.",
            buckets=tuple(2**power for power in range(12, 24, 2)),
            registry=registry,
        )
        self.abandoned = Counter(
            "cwic_abandoned_cpu_seconds",
            "CPU time of workers that went into work whose result nobody waited for any more.",
            registry=registry,
        )
        self.out_of_memory = Counter(
            "cwic_oom",
            "Lacks of memory: the batch was halved, or its request refused.",
            ("action",),
            registry=registry,
        )
        for action in ("halved", "refused"):
            self.out_of_memory.labels(action)
        self.operations = Counter("cwic_operations", "Operations done.", ("op", "model"), registry=registry)
        self.pixels = Counter(
            "cwic_pixels", "Pixels of the pictures of operations done.", ("op", "model"), registry=registry
        )
        self.received = Counter("cwic_received_bytes", "Of requests' bodies.", ("route",), registry=registry)
        self.sent = Counter("cwic_sent_bytes", "Of answers' bodies.", ("route",), registry=registry)
        self.event_loop_lag = Histogram(
            "cwic_event_loop_lag_seconds",
            "How much later than asked for the event loop came back from a short sleep.",
            buckets=(0.001, 0.0025, *SECONDS),
            registry=registry,
        )
        self.refused = Counter(
            "cwic_connections_refused",
            "Connections turned away, displaced by newer ones, or ended for what they sent, or did not send or take.",
            ("reason",),
            registry=registry,
        )
        self.bits_per_pixel = Histogram(
            "cwic_bits_per_pixel",
            "Size of compressed files, in bits per pixel of the picture; of pictures of 4096 pixels and more.",
            buckets=(0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 1.5, 2, 4, 8, 16, 24),
            registry=registry,
        )
        self.compression_ratio = Histogram(
            "cwic_compression_ratio",
            "Bytes received over bytes of the compressed file; of pictures of 4096 pixels and more.",
            buckets=(0.5, 1, 2, 3, 5, 7.5, 10, 15, 20, 30, 50, 100, 200),
            registry=registry,
        )
        self.model_info = Gauge(
            "cwic_model_info",
            "1 for every model that is loaded.",
            ("name", "model_id", "profile", "device", "dtype"),
            registry=registry,
        )
        self.cuda_memory = Gauge(
            "cwic_cuda_memory_bytes",
            "Of the GPU, by this process: in use, and kept for the next use; 0 where there is no GPU.",
            ("kind",),
            registry=registry,
        )
        for kind in CUDA_MEMORY:
            self.cuda_memory.labels(kind)
        build = Gauge(
            "cwic_build_info", "1; what is running.", ("version", "python", "torch"), registry=registry
        )
        build.labels(version("cwic"), platform.python_version(), version("torch")).set(1)
        ProcessCollector(registry=registry)

    def watch(
        self,
        *,
        queue_depth: Callable[[], float],
        queue_size: int,
        queue_pixels: Callable[[], float],
        queue_max_pixels: int,
        oldest_wait: Callable[[], float],
        oldest_work: Callable[[], float],
        heartbeat_age: Callable[[], float],
    ) -> None:
        """Read these values at every scrape."""
        for name, what, read in (
            ("cwic_queue_depth", "Requests in work.", queue_depth),
            ("cwic_queue_size", "Most requests in work at once.", lambda: queue_size),
            (
                "cwic_queue_pixels",
                "Pixels of the pictures of the requests in work, with those of masks.",
                queue_pixels,
            ),
            (
                "cwic_queue_max_pixels",
                "Most of them at once, unless it is one picture.",
                lambda: queue_max_pixels,
            ),
            ("cwic_oldest_wait_seconds", "Of the request that waits longest for a worker.", oldest_wait),
            (
                "cwic_oldest_work_seconds",
                "Age of the oldest request that a worker has begun and that has not ended.",
                oldest_work,
            ),
            (
                "cwic_worker_heartbeat_age_seconds",
                "Since the last sign of life of the worker that has given none for longest; grows while it runs one "
                "step.",
                heartbeat_age,
            ),
        ):
            Gauge(name, what, registry=self.registry).set_function(read)

    def watch_connections(self, *, count: Callable[[], float], body_bytes: Callable[[], float]) -> None:
        """Read these values at every scrape."""
        connections = Gauge("cwic_connections", "Connections that are open.", registry=self.registry)
        connections.set_function(count)
        held = Gauge(
            "cwic_body_bytes_in_flight",
            "Bytes of bodies that have arrived, or of answers that are not sent, of requests that have not ended.",
            registry=self.registry,
        )
        held.set_function(body_bytes)

    def expect(self, *, work: Iterable[str], rejections: Iterable[str], cuts: Iterable[str]) -> None:
        """Begin series at 0, so that the first time counts as a rise, which a series that begins at 1 does not show.

        Args:
            work: routes of POST.
            rejections: reasons for which work is turned away.
            cuts: reasons for which connections are refused or ended.
        """
        for route in work:
            for status in (200, *FAILURES):
                self.requests.labels("POST", route, status)
            self.duration.labels("POST", route)
            self.received.labels(route)
            self.sent.labels(route)
        for reason in rejections:
            self.rejected.labels(reason)
        for reason in cuts:
            self.refused.labels(reason)

    def models_loaded(self, infos: Iterable[ModelInfo], *, ops: Iterable[str] = ()) -> None:
        """Name the models that are served, and the operations that they do."""
        for info in infos:
            self.model_info.labels(info.name, info.model_id, info.profile, info.device, info.dtype).set(1)
            for op in ops:
                self.operations.labels(op, info.name)
                self.pixels.labels(op, info.name)

    def watch_cuda(self, read: Callable[[str], float]) -> None:
        """Read the GPU's memory at every scrape, by its kind."""
        for kind in CUDA_MEMORY:
            self.cuda_memory.labels(kind).set_function(partial(read, kind))

    def performed(self, op: str, *, model: str, pixels: int) -> None:
        """Record an operation that was done."""
        self.operations.labels(op, model).inc()
        self.pixels.labels(op, model).inc(pixels)

    def compressed(self, *, received: int, size: int, pixels: int) -> None:
        """Record one compressed file: bytes of the upload, bytes of the file, pixels of the picture."""
        if pixels >= _TELLING:
            self.bits_per_pixel.observe(8 * size / pixels)
            self.compression_ratio.observe(received / size)

    def rejection(self, reason: str) -> None:
        """Count work turned away."""
        self.rejected.labels(reason).inc()

    def connection_refused(self, reason: str) -> None:
        """Count a connection that was turned away or ended."""
        self.refused.labels(reason).inc()
