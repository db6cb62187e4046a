"""Overload, deadlines, clients that leave, a worker that hangs or dies: over a real server."""

import math
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import httpx
import pytest

from model.container.format import Container
from model.options import EFFORT_WORK, TARGET_WORK, EncodeOptions
from model.protocol import DEFAULT_ENCODE_OPTIONS
from model.steps import Work
from model.types import Pixels
from service.app import create_app
from service.settings import Settings
from tests.effort import PATIENCE, wait_until
from tests.service.fakes import FakeCodec, picture_array, png
from tests.service.server import metric, running, serving

DEPTH = "cwic_queue_depth"
SHORT = 2.0  # seconds until a deadline passes that is meant to: ample for a request to be taken in


class Hold:
    """A codec's hook that holds pictures back until it is released, and counts those that came."""

    def __init__(self) -> None:
        self.release = threading.Event()
        self.seen = 0

    def __call__(self, array: Pixels) -> None:
        if array.shape[0] == 16:  # not the warm-up's picture
            self.seen += 1
            assert self.release.wait(PATIENCE)


class Endless(FakeCodec):
    """A codec that never comes to an end with a picture, but calls its check."""

    def encoding(self, array: Pixels, options: EncodeOptions = DEFAULT_ENCODE_OPTIONS) -> Work[bytes]:
        while array.shape[0] == 16:  # not the warm-up's picture
            yield ()
            time.sleep(0.01)
        return (yield from super().encoding(array, options))


@pytest.fixture
def hold() -> Iterator[Hold]:
    made = Hold()
    yield made
    made.release.set()


@contextmanager
def busy(client: httpx.Client, hold: Hold, *, count: int = 1) -> Iterator[list[Future[httpx.Response]]]:
    """So many requests in the service, the first of them running, until the hold is released."""
    with ThreadPoolExecutor(count) as pool:
        try:
            futures: list[Future[httpx.Response]] = []
            for _ in range(count):
                futures.append(pool.submit(client.post, "/compress", content=png()))
                wait_until(lambda: metric(client, DEPTH) == len(futures))
            wait_until(lambda: hold.seen == 1)
            yield futures
        finally:
            hold.release.set()


def leave_after_sending(client: httpx.Client) -> None:
    """Send a whole request and close the connection without waiting for the answer."""
    body = png()
    head = f"POST /compress HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    depth = metric(client, DEPTH)
    with socket.create_connection((client.base_url.host, client.base_url.port or 80)) as connection:
        connection.sendall(head + body)
        wait_until(lambda: metric(client, DEPTH) == depth + 1)


def release_once_closed(hold: Hold, url: httpx.URL) -> None:
    """Let the held work go on once the server takes no connections any more."""

    def closed() -> bool:
        try:
            httpx.get(f"{url}/livez", timeout=PATIENCE)
        except httpx.TransportError:
            return True
        return False

    wait_until(closed)
    hold.release.set()


def test_a_full_queue_answers_429_with_retry_after_and_recovers(hold: Hold) -> None:
    with serving(FakeCodec(on_encode=hold), queue_size=3) as client:
        with busy(client, hold, count=3) as futures:
            answer = client.post("/compress", content=png())
            assert answer.status_code == 429
            assert int(answer.headers["Retry-After"]) >= 1
            assert answer.json()["limit"] == 3
            assert "CWIC_QUEUE_SIZE" in answer.json()["detail"]
            assert metric(client, 'cwic_rejected_total{reason="queue-full"}') == 1
            hold.release.set()
            assert {each.result(PATIENCE).status_code for each in futures} == {200}
        assert metric(client, DEPTH) == 0
        assert client.post("/compress", content=png()).status_code == 200


@pytest.mark.parametrize(
    ("params", "work"),
    [({"target_bytes": 900}, TARGET_WORK["target_bytes"]), ({"effort": 3}, EFFORT_WORK[3])],
)
def test_targets_and_effort_count_as_the_time_that_they_take_and_the_picture_as_its_room(
    hold: Hold, params: dict[str, int], work: int
) -> None:
    codec, hours = FakeCodec(on_encode=hold), 1e9
    settings = {"workers": 1, "max_effort": 3, "request_timeout": hours, "stall_timeout": hours}
    app = create_app(Settings.model_validate(settings), load=lambda _: [codec])
    with running(app) as client, ThreadPoolExecutor(1) as pool:
        wait_until(lambda: client.get("/readyz").is_success)
        admission, kind = app.state.engine.admission, f"Compress {codec.info.name}"
        ticket = admission.admit(kind, client="", pixels=1, work=1_000_000, tiles=1, deadline=math.inf)
        ticket.spent = 1e6  # so that what the test itself takes does not count
        admission.release(ticket, finished=True)
        future = pool.submit(client.post, "/compress", params=params, content=png())
        try:
            wait_until(lambda: hold.seen == 1)
            assert metric(client, "cwic_queue_pixels") == 24 * 16
            assert admission.backlog == pytest.approx(admission.expected(kind, work * 24 * 16))
        finally:
            hold.release.set()
        assert future.result(PATIENCE).is_success


def test_a_full_queue_refuses_before_the_body_is_sent(hold: Hold) -> None:
    with serving(FakeCodec(on_encode=hold), queue_size=1) as client, busy(client, hold):
        address = client.base_url.host, client.base_url.port or 80
        with socket.create_connection(address, timeout=PATIENCE) as connection:
            connection.sendall(b"POST /compress HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n")
            assert connection.recv(1000).startswith(b"HTTP/1.1 429")


def test_probes_and_pages_answer_while_the_queue_is_full(hold: Hold) -> None:
    with serving(FakeCodec(on_encode=hold), queue_size=1) as client, busy(client, hold):
        for path in ("/livez", "/readyz", "/healthz", "/metrics", "/models", "/", "/docs", "/openapi.json"):
            assert client.get(path).status_code == 200
        assert client.get("/healthz").json()["queue_depth"] == 1


def test_a_request_past_its_deadline_is_504_and_not_run(hold: Hold) -> None:
    with serving(FakeCodec(on_encode=hold), request_timeout=SHORT) as client:
        # Whatever the machine does meanwhile: one request runs and is held, the next ones wait behind it.
        wait_until(lambda: client.post("/compress", content=png()).status_code == 504 and hold.seen == 1)
        for _ in range(2):
            wait_until(lambda: client.post("/compress", content=png()).status_code == 504)
        # the one that runs keeps its place until its thread has finished; the others are gone
        wait_until(lambda: metric(client, DEPTH) == 1)
        hold.release.set()
        wait_until(lambda: metric(client, DEPTH) == 0)
        wait_until(lambda: client.post("/importance-map", content=png()).is_success)
        assert hold.seen == 1
        assert metric(client, 'cwic_rejected_total{reason="timeout"}') >= 3


def test_the_answer_past_a_deadline_names_the_setting(hold: Hold) -> None:
    with serving(FakeCodec(on_encode=hold), request_timeout=SHORT) as client:
        answers: list[httpx.Response] = []

        def timed_out() -> bool:
            answers.append(client.post("/compress", content=png()))
            return answers[-1].status_code == 504

        wait_until(timed_out)
        assert "CWIC_REQUEST_TIMEOUT" in answers[-1].json()["detail"]


def test_a_running_job_ends_at_its_next_check_once_its_deadline_has_passed() -> None:
    with serving(Endless(), request_timeout=SHORT) as client:
        wait_until(lambda: client.post("/compress", content=png()).status_code == 504)
        wait_until(lambda: metric(client, DEPTH) == 0)
        wait_until(lambda: client.post("/importance-map", content=png()).is_success)


def test_a_running_job_ends_at_its_next_check_once_its_client_has_left() -> None:
    with serving(Endless()) as client:
        leave_after_sending(client)
        wait_until(lambda: metric(client, DEPTH) == 0)
        assert client.post("/importance-map", content=png()).status_code == 200
        assert metric(client, 'cwic_rejected_total{reason="client-gone"}') == 1


def test_a_client_that_leaves_before_its_turn_is_not_served(hold: Hold) -> None:
    with serving(FakeCodec(on_encode=hold)) as client:
        with busy(client, hold):
            leave_after_sending(client)
            wait_until(lambda: metric(client, DEPTH) == 1)
        assert client.post("/compress", content=png()).status_code == 200
        assert hold.seen == 2
        assert metric(client, 'cwic_rejected_total{reason="client-gone"}') == 1
        assert metric(client, 'cwic_http_requests_total{method="POST",route="/compress",status="499"}') == 1


def test_a_client_that_sends_has_no_place_yet() -> None:
    with serving() as client:
        address = client.base_url.host, client.base_url.port or 80
        with socket.create_connection(address) as connection:
            connection.sendall(
                b"POST /compress HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nfirst"
            )
            wait_until(
                lambda: metric(client, "cwic_http_requests_in_progress") == 2
            )  # the scrape is the other
            assert metric(client, DEPTH) == 0
        wait_until(lambda: metric(client, 'cwic_rejected_total{reason="client-gone"}') == 1)
        wait_until(lambda: metric(client, "cwic_http_requests_in_progress") == 1)


def test_a_stuck_worker_turns_livez_and_readyz_503(hold: Hold) -> None:
    with serving(FakeCodec(on_encode=hold), request_timeout=SHORT, stall_timeout=SHORT) as client:
        wait_until(lambda: client.get("/livez").is_success)
        wait_until(lambda: client.post("/compress", content=png()).status_code != 408 and hold.seen == 1)
        wait_until(lambda: client.get("/livez").status_code == 503)
        assert client.get("/livez").json()["limit"] == SHORT
        assert client.get("/readyz").status_code == 503
        assert client.get("/healthz").json()["live"] is False
        assert client.post("/compress", content=png()).status_code == 503
        hold.release.set()
        wait_until(lambda: client.get("/livez").is_success)


def test_a_stuck_thread_for_headers_turns_livez_503(hold: Hold) -> None:
    class Stuck(FakeCodec):
        def read(self, data: bytes, *, allow_truncated: bool = False) -> Container:
            assert hold.release.wait(PATIENCE)
            return super().read(data, allow_truncated=allow_truncated)

    file = FakeCodec().encode(picture_array())
    hold.release.set()
    with serving(Stuck(), request_timeout=SHORT, stall_timeout=SHORT) as client:
        hold.release.clear()  # behind the warm-up
        wait_until(lambda: client.post("/inspect", content=file).status_code == 504)
        wait_until(lambda: client.get("/livez").status_code == 503)
        hold.release.set()
        wait_until(lambda: client.get("/livez").is_success)
        wait_until(lambda: client.post("/inspect", content=file).is_success)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_dead_worker_fails_its_request_and_turns_livez_503() -> None:
    def die(array: Pixels) -> None:
        if array.shape[0] == 16:
            raise SystemExit

    with serving(FakeCodec(on_encode=die)) as client:
        answer = client.post("/compress", content=png())
        assert (answer.status_code, answer.json()["type"]) == (503, "urn:cwic:problem:not-alive")
        assert client.get("/livez").status_code == client.get("/readyz").status_code == 503
        assert client.get("/healthz").json()["status"] == "unavailable"
        assert client.post("/compress", content=png()).status_code == 503


def test_a_request_in_progress_is_finished_at_shutdown(hold: Hold) -> None:
    with ThreadPoolExecutor(2) as pool:
        with serving(FakeCodec(on_encode=hold)) as client:
            future = pool.submit(httpx.post, f"{client.base_url}/compress", content=png(), timeout=PATIENCE)
            wait_until(lambda: hold.seen == 1)
            pool.submit(release_once_closed, hold, client.base_url)
        assert future.result(PATIENCE).status_code == 200
