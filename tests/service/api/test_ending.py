"""How connections end: early answers that arrive, clients that end their side, and those that have left."""

import http.client
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
import uvicorn.config

from model.types import Pixels
from service.api.protocol import CONTINUE
from tests.effort import PATIENCE, wait_until
from tests.service.fakes import FakeCodec, Large, png
from tests.service.raw import (
    LIVEZ,
    announced,
    answers,
    connect,
    last_answer,
    until_closed,
)
from tests.service.server import metric, serving

ASYNCIO = "uvicorn.loops.asyncio:asyncio_loop_factory"


# Answers before all of the request has arrived


@pytest.mark.parametrize(
    ("path", "size", "status"),
    [("/nowhere", 20_000_000, 404), ("/compress?quality=x", 20_000_000, 422), ("/compress", 40_000_000, 413)],
)
def test_an_early_answer_reaches_a_client_that_sends_all_before_it_reads(
    path: str, size: int, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.api.ending.LINGER_IDLE", PATIENCE)
    with serving() as client, connect(client) as connection:
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {size}\r\n\r\n"
        connection.sendall(head.encode())
        connection.sendall(bytes(size))
        answer = last_answer(connection)
        assert (answer.status, answer.problem["status"]) == (status, status)


def test_an_early_answer_ends_the_connection_even_where_the_client_never_reads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("service.api.ending.LINGER_BYTES", 1_000_000)
    with serving() as client, connect(client) as connection:
        connection.sendall(b"POST /nowhere HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")

        def send_for_ever() -> None:
            for _ in range(1000):  # a hundred times the bound, and more than any system keeps in between
                connection.sendall(bytes(100_000))

        with pytest.raises(OSError, match=r"reset|Broken pipe"):
            send_for_ever()


def test_an_early_answer_ends_the_connection_where_the_client_falls_silent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("service.api.ending.LINGER_IDLE", 0.05)
    with serving() as client, connect(client) as connection:
        connection.sendall(b"POST /nowhere HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n")
        assert last_answer(connection).status == 404
        wait_until(lambda: metric(client, "cwic_connections") == 1)


@pytest.mark.parametrize("connection_header", [b"", b"Connection: close\r\n"])
def test_an_answer_that_its_client_does_not_take_is_given_up(
    connection_header: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.api.taking.WINDOW", 0.05)
    monkeypatch.setattr("service.server.KEEP_ALIVE", 1)  # longer than between two looks
    answered = 'cwic_http_requests_total{method="POST",route="/compress",status="200"}'
    with serving(Large()) as client, connect(client) as connection:
        connection.sendall(announced(len(png())).replace(b"Host", connection_header + b"Host") + png())
        wait_until(lambda: metric(client, answered) == 1)
        wait_until(lambda: metric(client, "cwic_connections") == 1)
        assert metric(client, 'cwic_connections_refused_total{reason="answer-not-taken"}') == 1


# Clients that end their side


@pytest.fixture(params=["uvloop", "asyncio"])
def loop(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server on either event loop."""
    if request.param == "asyncio":
        monkeypatch.setitem(uvicorn.config.LOOP_FACTORIES, "auto", ASYNCIO)


@pytest.mark.usefixtures("loop")
@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
def test_a_client_that_ends_its_side_gets_its_answer(version: bytes) -> None:
    release, begun = threading.Event(), threading.Event()

    def hold(array: Pixels) -> None:
        if array.shape[0] == 16:  # not the warm-up's picture
            begun.set()
            assert release.wait(PATIENCE)

    with serving(FakeCodec(on_encode=hold)) as client:
        with connect(client) as connection:
            connection.sendall(announced(len(png())).replace(b"1.1", version) + png())
            assert begun.wait(PATIENCE)
            connection.shutdown(socket.SHUT_WR)
            if version == b"1.1":
                assert connection.recv(5, socket.MSG_PEEK)  # the go-ahead, while the work still goes on
            release.set()
            *interim, answer = answers(until_closed(connection))
        assert [each.status for each in interim] == ([100] if version == b"1.1" else [])
        assert answer.status == 200
        assert answer.body == client.post("/compress", content=png()).content
        assert metric(client, 'cwic_rejected_total{reason="client-gone"}') == 0


def test_all_requests_sent_ahead_are_answered_after_the_client_has_ended_its_side(
    client: httpx.Client,
) -> None:
    with connect(client) as connection:
        connection.sendall(announced(len(png())) + png() + LIVEZ * 3)
        connection.shutdown(socket.SHUT_WR)
        statuses = [answer.status for answer in answers(until_closed(connection))]
    assert [status for status in statuses if status != 100] == [200] * 4


@pytest.mark.usefixtures("loop")
def test_a_client_that_has_left_ends_its_work() -> None:
    release, begun = threading.Event(), threading.Event()

    def hold(array: Pixels) -> None:
        if array.shape[0] == 16:
            begun.set()
            assert release.wait(PATIENCE)

    with serving(FakeCodec(on_encode=hold)) as client:
        with connect(client) as connection:
            connection.sendall(announced(len(png())) + png())
            assert begun.wait(PATIENCE)
        wait_until(lambda: metric(client, 'cwic_rejected_total{reason="client-gone"}') == 1)
        release.set()


def by_httpx(url: str) -> bytes:
    return httpx.get(url, timeout=PATIENCE).content


def by_http_client(url: str) -> bytes:
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=PATIENCE)
    connection.request("GET", "/")
    body = connection.getresponse().read()
    connection.close()
    return body


def by_curl(url: str) -> bytes:
    if (curl := shutil.which("curl")) is None:
        pytest.skip("no curl")
    return subprocess.run([curl, "-sS", url], check=True, capture_output=True).stdout  # noqa: S603 - our own address


@pytest.mark.parametrize("client_", [by_httpx, by_http_client, by_curl], ids=["httpx", "http.client", "curl"])
def test_clients_skip_the_go_ahead(client_: Callable[[str], bytes]) -> None:
    def serve() -> None:
        with listener.accept()[0] as connection:
            assert connection.recv(65536)
            connection.sendall(CONTINUE)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nright")

    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as pool:
        served = pool.submit(serve)
        assert client_(f"http://127.0.0.1:{listener.getsockname()[1]}") == b"right"
        served.result(PATIENCE)


def test_a_client_that_ends_its_side_in_a_body_has_left(client: httpx.Client) -> None:
    with connect(client) as connection:
        connection.sendall(announced(1000) + b"first")
        connection.shutdown(socket.SHUT_WR)
        assert until_closed(connection) == b""
