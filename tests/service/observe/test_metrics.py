"""Metrics: every answer is counted once, labels come from closed sets, what alerts need is there from the start."""

import re
import threading
from collections import Counter, defaultdict
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
import torch
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from model.types import Pixels
from service.api import problems
from service.api.connections import CUTS
from service.api.framing import MAX_HEADER
from service.app import create_app
from service.jobs.memory import cuda_memory
from service.observe.answered import OTHER, UNMATCHED
from service.observe.metrics import CUDA_MEMORY, METHODS, Metrics
from service.settings import Settings
from tests.effort import PATIENCE, wait_until
from tests.service.fakes import FakeCodec, picture_array, png
from tests.service.raw import LIVEZ, answers, connect, last_answer, until_closed
from tests.service.server import metric, running, serving

WORK = ("/compress", "/decompress", "/importance-map", "/inspect")
FAULTS = (
    b"no HTTP at all\r\n\r\n",
    b"BREW /compress HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET /livez HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 2 * MAX_HEADER + b"\r\n\r\n",
    b"POST /inspect HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nno size\r\n",
    b"POST /inspect HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\na",
)


def samples(client: httpx.Client, name: str) -> dict[tuple[tuple[str, str], ...], float]:
    """The samples of that name, by their labels."""
    families = text_string_to_metric_families(client.get("/metrics").text)
    return {
        tuple(sorted(each.labels.items())): each.value
        for family in families
        for each in family.samples
        if each.name == name
    }


def by_status(client: httpx.Client) -> Counter[str]:
    """Requests counted so far."""
    found: Counter[str] = Counter()
    for labels, value in samples(client, "cwic_http_requests_total").items():
        found[dict(labels)["status"]] += int(value)
    return found


class Held:
    """A collector that holds scrapes back."""

    def __init__(self) -> None:
        self.begun, self.go_on = threading.Event(), threading.Event()

    def collect(self) -> Iterable[Metric]:
        self.begun.set()
        assert self.go_on.wait(PATIENCE)
        return ()

    def describe(self) -> Iterable[Metric]:
        return ()


def mix(client: httpx.Client) -> Counter[str]:
    """Requests of all kinds and the statuses of their answers."""
    file = client.post("/compress", content=png()).content
    told = [200]
    for method, path, content in [
        ("POST", "/decompress", file),
        ("POST", "/importance-map", file),
        ("POST", "/inspect", file),
        ("POST", "/compress", b"no picture"),
        ("POST", "/compress", b""),
        ("POST", "/compress?quality=0", png()),
        ("POST", "/compress?model=none", png()),
        ("POST", "/compress", bytes(100_001)),
        ("POST", "/decompress", file[:-1]),
        ("GET", "/", b""),
        ("HEAD", "/livez", b""),
        ("GET", "/nowhere", b""),
        ("GET", "/compress", b""),
        ("DELETE", "/metrics", b""),
        ("PROPFIND", "/", b""),
        ("OPTIONS", "/compress", b""),
        ("GET", "/progress/nobody", b""),
        ("GET", "/openapi.json", b""),
    ]:
        told.append(client.request(method, path, content=content).status_code)
    told.append(client.post("/inspect", content=file, headers={"Origin": "https://elsewhere"}).status_code)
    for fault in FAULTS:
        with connect(client) as connection:
            connection.sendall(fault)
            told.append(last_answer(connection).status)
    with connect(client) as connection:  # answered in their order, the fault last
        connection.sendall(LIVEZ * 3 + b"no HTTP at all\r\n\r\n")
        told += [each.status for each in answers(until_closed(connection))]
    return Counter(map(str, told))


def test_every_answer_is_counted_once_under_its_status() -> None:
    def fail(array: Pixels) -> None:
        if array.shape[0] == 48:
            raise RuntimeError("unforeseen")

    with serving(FakeCodec(on_encode=fail), max_body_bytes=100_000) as client:
        before = by_status(client)
        told = mix(client)
        broken = png(picture_array(64, 48))
        told[str(client.post("/compress", content=broken).status_code)] += 1
        told["200"] += 1  # the first scrape, which is counted once it is answered
        scrapes = 0

        def counted() -> Counter[str]:
            """What has been counted since, these looks left out."""
            nonlocal scrapes
            found = by_status(client) - before
            found["200"] -= scrapes
            scrapes += 1
            return found

        wait_until(lambda: counted() == told)  # an answer is counted once it is sent
        assert set(told) >= {"200", "400", "403", "404", "405", "413", "415", "422", "431", "500"}
        totals = [
            sum(samples(client, name).values())
            for name in ("cwic_http_requests_total", "cwic_http_request_duration_seconds_count")
        ]
        assert totals[1] == totals[0] + 1  # the scrape in between


def test_labels_take_values_of_closed_sets_only(client: httpx.Client) -> None:
    mix(client)
    paths = set(client.get("/openapi.json").json()["paths"])
    kinds = {each.slug for each in vars(problems).values() if isinstance(each, problems.Kind)}
    allowed: dict[str, set[str]] = {
        "method": {*METHODS, OTHER},
        "route": {*paths, "/", "/docs", "/openapi.json", UNMATCHED},
        "status": {str(each) for each in (200, *range(400, 600))},
        "op": {"compress", "decompress", "importance-map", "inspect", "truncate", "compare"},
        "stage": {"read", "inspect", "queue", "decode", "inference", "pack", "encode"},
        "reason": {*kinds, "displaced", "answer-not-taken"},
        "action": {"halved", "refused"},
        "model": {"fake", "other", "fixed"},
        "kind": set(CUDA_MEMORY),
    }
    told: defaultdict[str, set[str]] = defaultdict(set)
    for family in text_string_to_metric_families(client.get("/metrics").text):
        for sample in family.samples if not family.name.endswith("_info") else ():
            for name, value in sample.labels.items():
                told[name].add(value)
    told.pop("le")
    cuts = {dict(labels)["reason"] for labels in samples(client, "cwic_connections_refused_total")}
    assert cuts == set(CUTS)
    assert {name: values - allowed[name] for name, values in told.items()} == {name: set() for name in told}


def test_every_histogram_of_seconds_reaches_120() -> None:
    seconds = [each for each in vars(Metrics()).values() if getattr(each, "_type", "") == "histogram"]
    names = {each._name: each._kwargs["buckets"] for each in seconds}
    assert {name for name in names if name.endswith("_seconds")} >= {
        "cwic_http_request_duration_seconds",
        "cwic_stage_duration_seconds",
        "cwic_event_loop_lag_seconds",
    }
    for name, buckets in names.items():
        assert not name.endswith("_seconds") or max(buckets) == 120


def test_what_alerts_ask_for_is_there_before_anything_happens() -> None:
    with serving() as client:
        requests = samples(client, "cwic_http_requests_total")
        for route in WORK:
            for status in ("200", "500", "503", "504"):
                assert requests[(("method", "POST"), ("route", route), ("status", status))] == 0
        text = client.get("/metrics").text
    for start in (
        'cwic_oom_total{action="refused"} 0.0',
        'cwic_oom_total{action="halved"} 0.0',
        "cwic_abandoned_cpu_seconds_total 0.0",
        'cwic_rejected_total{reason="queue-full"} 0.0',
        'cwic_connections_refused_total{reason="displaced"} 0.0',
        'cwic_operations_total{model="fake",op="compress"} 0.0',
        'cwic_http_request_duration_seconds_count{method="POST",route="/compress"} 0.0',
        'cwic_cuda_memory_bytes{kind="allocated"} 0.0',
        "cwic_oldest_wait_seconds 0.0",
        "cwic_event_loop_lag_seconds_count ",
    ):
        assert re.search(f"^{re.escape(start)}", text, re.MULTILINE), start


def test_operations_and_bytes_are_counted() -> None:
    with serving() as client:
        data = png()
        answer = client.post("/compress", content=data)
        received = 'cwic_received_bytes_total{route="/compress"}'
        wait_until(lambda: metric(client, received) == len(data))
        assert metric(client, 'cwic_sent_bytes_total{route="/compress"}') == len(answer.content)
        assert metric(client, 'cwic_operations_total{model="fake",op="compress"}') == 1
        assert metric(client, 'cwic_pixels_total{model="fake",op="compress"}') == 24 * 16
        assert metric(client, "cwic_batch_size_count") == 0  # it has no steps


def test_the_gpus_memory_is_read_by_its_kind_at_every_scrape() -> None:
    held = {"allocated": 3.0, "reserved": 5.0}
    metrics = Metrics()
    metrics.watch_cuda(held.__getitem__)
    held["reserved"] = 8.0
    values = {
        kind: metrics.registry.get_sample_value("cwic_cuda_memory_bytes", {"kind": kind})
        for kind in CUDA_MEMORY
    }
    assert values == held


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("kind", CUDA_MEMORY)
def test_a_gpu_tells_how_much_this_process_has_of_it(kind: str) -> None:
    kept = torch.zeros(2**20, device="cuda")
    assert cuda_memory("cuda:0", kind) >= kept.nbytes


def test_probes_are_answered_while_a_scrape_is_written() -> None:
    app, held = create_app(Settings(), load=lambda _: (FakeCodec(),)), Held()
    app.state.engine.metrics.registry.register(held)
    with running(app) as client, ThreadPoolExecutor(1) as pool:
        scrape = pool.submit(client.get, "/metrics")
        try:
            assert held.begun.wait(PATIENCE)
            assert client.get("/livez").is_success
        finally:
            held.go_on.set()
        assert scrape.result(PATIENCE).is_success
