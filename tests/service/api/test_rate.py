"""How fast a body has to arrive, over a real server, with a window that is short."""

import asyncio
import socket
import threading
import time
from collections.abc import Iterator

import httpx
import pytest
from starlette.types import Message

from service.api.rate import BodyRate
from tests.service.fakes import png
from tests.service.raw import (
    Answer,
    announced,
    answers,
    connect,
    connections,
    last_answer,
    read_answer,
    until_closed,
)
from tests.service.server import metric, serving

SLOW = 'cwic_rejected_total{reason="body-too-slow"}'
RATE = 1000


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Iterator[httpx.Client]:
    """A client of a service that looks at a fraction of a second at a time."""
    monkeypatch.setattr("service.api.rate.WINDOW", 0.4)
    with serving(min_body_rate=RATE) as made:
        yield made


def drip(connection: socket.socket, part: bytes, pause: float) -> Answer:
    """Send the same bytes from time to time until the server answers."""
    answered = threading.Event()

    def sender() -> None:
        while not answered.wait(pause):
            try:
                connection.sendall(part)
            except OSError:
                return

    thread = threading.Thread(target=sender)
    thread.start()
    try:
        first = connection.recv(65536)
    finally:
        answered.set()
        thread.join()
    [answer] = answers(first + until_closed(connection))
    return answer


def test_connections_that_send_a_byte_now_and_then_are_all_408(client: httpx.Client) -> None:
    with connections(client, 64) as slow:
        for connection in slow:
            connection.sendall(announced(100_000))
        for connection in slow[1:]:
            connection.sendall(b"x")
        answer = drip(slow[0], b"x", 0.02)
        assert (answer.status, answer.kind, answer.problem["limit"]) == (408, "body-too-slow", RATE)
        assert "CWIC_MIN_BODY_RATE" in answer.problem["detail"]
        assert answer.headers["connection"] == "close"
        assert {last_answer(each).status for each in slow[1:]} == {408}
    assert metric(client, SLOW) == 64
    assert client.post("/compress", content=png()).status_code == 200


def test_a_burst_does_not_pay_for_a_stall(client: httpx.Client) -> None:
    with connect(client) as connection:
        connection.sendall(announced(2_000_000) + bytes(1_000_000))
        assert last_answer(connection).kind == "body-too-slow"


def test_small_pieces_at_a_sufficient_rate_pass() -> None:
    size = 100_000
    with serving(min_body_rate=RATE) as client, connect(client) as connection:
        connection.sendall(announced(size))
        for _ in range(size // 1000):  # about a hundred times as fast as need be
            connection.sendall(bytes(1000))
            time.sleep(0.01)
        assert read_answer(connection).status == 415
        assert metric(client, SLOW) == 0


def test_time_in_which_the_server_does_not_read_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.api.rate.WINDOW", 0.1)

    async def receive() -> Message:
        return {"type": "http.request", "body": b"x", "more_body": True}

    async def read() -> int:
        rate = BodyRate(1_000_000)
        # each may count for two of the twenty steps in a window, however long it takes on this machine
        for part in range(9):
            assert (await rate.receive(receive))["body"] == b"x", part
            await asyncio.sleep(0.2)
        return part

    assert asyncio.run(read()) == 8


def test_the_end_of_a_body_is_never_too_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.api.rate.WINDOW", 0.1)

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def read() -> None:
        rate = BodyRate(1_000_000)
        for _ in range(100):
            rate.count(1.0)
        await rate.receive(receive)

    asyncio.run(read())
