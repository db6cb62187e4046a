"""What becomes of answers that their clients do not take, over a real server: memory, and the work for others."""

import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import pytest
import uvicorn.config

from model.types import Pixels
from service.api.connections import Connections
from service.app import create_app
from service.settings import Settings
from tests.effort import PATIENCE, wait_until
from tests.service.fakes import LARGE, Large, picture_array, png
from tests.service.program import process
from tests.service.raw import LIVEZ, announced, answers, connect, connections, read_answer, until_closed
from tests.service.server import metric, running, serving

BYTES = "cwic_body_bytes_in_flight"
CUT = 'cwic_connections_refused_total{reason="answer-not-taken"}'
REFUSED = 'cwic_rejected_total{reason="body-memory"}'
MEMORY = LARGE * 3 // 2  # room for one answer, which is more than half
OTHER = np.zeros((8, 8, 3), np.uint8)  # its file is small


class Counting:
    """A codec's hook that counts the pictures whose files are large, and may hold them back.

    Attributes:
        count: of them.
        go: not to be waited for once set.
    """

    def __init__(self) -> None:
        self.count = 0
        self.go = threading.Event()
        self.go.set()

    def __call__(self, array: Pixels) -> None:
        if array.shape[0] == 16:
            self.count += 1
            assert self.go.wait(PATIENCE)


def post(client: str, body: bytes) -> bytes:
    """A request to compress that a trusted proxy has got from a client."""
    return announced(len(body)).replace(b"Host", f"X-Forwarded-For: {client}\r\nHost".encode()) + body


@contextmanager
def small(hook: Counting) -> Iterator[httpx.Client]:
    """A service with room for one large answer, which is more than one client may hold."""
    with serving(
        Large(on_encode=hook),
        max_body_bytes=100_000,
        max_body_memory=MEMORY,
        trusted_proxies="127.0.0.1",
        header_timeout=PATIENCE,
    ) as client:
        yield client


def test_while_a_client_does_not_take_its_answer_no_other_one_is_made_for_it() -> None:
    work = Counting()
    with small(work) as client, connections(client, 3) as (first, second, third):
        first.sendall(post("192.0.2.1", png()))
        wait_until(lambda: metric(client, BYTES) >= LARGE)
        second.sendall(post("192.0.2.1", png()))
        refused = read_answer(second)
        assert (refused.status, refused.kind, refused.problem["limit"]) == (429, "body-memory", MEMORY // 2)
        assert int(refused.headers["retry-after"]) > 0
        assert "CWIC_MAX_BODY_MEMORY" in refused.problem["detail"]
        assert work.count == 1
        assert metric(client, REFUSED) == 1
        third.sendall(post("192.0.2.2", png(OTHER)))
        assert read_answer(third).status == 200
        assert len(read_answer(first).body) > LARGE
        wait_until(lambda: metric(client, BYTES) == 0)
        first.sendall(post("192.0.2.1", png()))
        assert len(read_answer(first).body) > LARGE


def test_while_answers_fill_the_memory_no_work_is_begun_and_probes_are_answered() -> None:
    work = Counting()
    work.go.clear()
    with small(work) as client, connections(client, 4) as held:
        for number, connection in enumerate(
            held[:2]
        ):  # taken on while there was room, so it is found for both
            connection.sendall(post(f"192.0.2.{number}", png()))
            wait_until(lambda: client.get("/healthz").json()["queue_depth"] == number + 1)  # noqa: B023 - at once
        work.go.set()
        wait_until(lambda: metric(client, BYTES) >= 2 * LARGE)
        held[2].sendall(post("192.0.2.9", png(OTHER)))
        assert read_answer(held[2]).problem["limit"] == MEMORY
        assert client.get("/readyz").is_success
        for connection in held[:2]:
            assert len(read_answer(connection).body) > LARGE
        held[3].sendall(post("192.0.2.9", png(OTHER)))
        assert read_answer(held[3]).status == 200


def test_an_answer_that_takes_longer_than_a_request_may_gives_way_where_others_need_its_room() -> None:
    work, now = Counting(), [0.0]
    work.go.clear()
    settings = Settings(
        workers=1,
        max_body_bytes=100_000,
        max_body_memory=MEMORY,
        trusted_proxies=("127.0.0.1",),
        header_timeout=PATIENCE,
    )
    shared = Connections(settings, clock=lambda: now[0])
    app = create_app(settings, load=lambda _: [Large(on_encode=work)], connections=shared)
    with running(app) as client, connections(client, 2) as (oldest, later):
        wait_until(lambda: client.get("/readyz").is_success)
        for number, connection in enumerate((oldest, later)):
            connection.sendall(post(f"192.0.2.{number}", png()))
            wait_until(lambda: client.get("/healthz").json()["queue_depth"] == 1)
            work.go.set()
            wait_until(lambda: metric(client, BYTES) >= (number + 1) * LARGE)  # noqa: B023 - at once
            work.go.clear()
        work.go.set()
        for passed, status in (
            (0.0, 429),
            (settings.request_timeout - 0.1, 429),
            (settings.request_timeout, 200),
        ):
            now[0] = passed
            with connect(client) as other:
                other.sendall(post("192.0.2.9", png(OTHER)))
                assert read_answer(other).status == status
        assert metric(client, CUT) == 1
        assert len(read_answer(later).body) > LARGE  # there was room for one of the two
        with pytest.raises((AssertionError, OSError)):
            read_answer(oldest)
        wait_until(lambda: metric(client, BYTES) == 0)


def test_a_body_that_came_while_there_was_room_is_not_worked_on_once_there_is_none() -> None:
    work = Counting()
    work.go.clear()
    with small(work) as client, connections(client, 2) as (first, second):
        first.sendall(post("192.0.2.1", png()))
        first.sendall(post("192.0.2.1", png()).replace(b"Host", b"Connection: close\r\nHost"))
        second.sendall(post("192.0.2.1", png()))
        wait_until(lambda: client.get("/healthz").json()["queue_depth"] == 2)
        work.go.set()
        wait_until(lambda: metric(client, BYTES) >= 2 * LARGE)
        made, refused = answers(until_closed(first))
        assert len(made.body) > LARGE
        assert refused.kind == "body-memory"
        assert work.count == 2


def test_a_client_that_leaves_gives_the_memory_of_its_answer_back() -> None:
    with serving(Large()) as client:
        with connect(client) as connection:
            connection.sendall(announced(len(png())) + png())
            wait_until(lambda: metric(client, BYTES) >= LARGE)
        wait_until(lambda: metric(client, BYTES) == 0 and metric(client, "cwic_connections") == 1)


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_a_client_that_reads_in_small_pieces_gets_all_and_stays_connected(
    loop: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if loop == "asyncio":
        monkeypatch.setitem(
            uvicorn.config.LOOP_FACTORIES, "auto", "uvicorn.loops.asyncio:asyncio_loop_factory"
        )
    with serving(Large()) as client, socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(PATIENCE)
        connection.connect((client.base_url.host, client.base_url.port))
        connection.sendall(
            announced(len(png())) + png() + LIVEZ.replace(b"Host", b"Connection: close\r\nHost")
        )
        data = b"".join(iter(lambda: connection.recv(5000), b""))
        large, alive = answers(data)
        assert large.body == Large().encode(picture_array())
        assert alive.status == 200


@pytest.mark.parametrize("taken", [True, False])
def test_at_the_end_of_the_process_an_answer_is_sent_to_its_end_or_given_up_with_it(
    taken: bool, tmp_path: Path
) -> None:
    soon = "import service.server; service.server._ANSWERING = 0; "
    with process(tmp_path / "log", "--shutdown-timeout", "1", codec="Large()", prefix=soon * (not taken)) as (
        server,
        address,
    ):
        client = httpx.Client(base_url=address, timeout=PATIENCE)
        wait_until(lambda: client.get("/readyz").is_success)
        with connect(client) as connection:
            connection.sendall(announced(len(png())) + png())
            start = connection.recv(1000)
            client.close()
            server.send_signal(signal.SIGTERM)
            if taken:
                wait_until(lambda: "Shutting down" in (tmp_path / "log").read_text())
                [answer] = answers(start + until_closed(connection))
                assert len(answer.body) > LARGE
            server.wait(PATIENCE)
    assert "Traceback" not in (tmp_path / "log").read_text()
