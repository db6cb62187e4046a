"""What connections share: how many, of whom, for how long without a request, and the bytes of their bodies."""

import gc
import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import httpx
import pytest
from starlette.requests import Request
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from service.api.connections import RESERVED_FILES, TURNED_AWAY, Body, Connections
from service.api.problems import ProblemError
from service.settings import Settings
from tests.effort import PATIENCE, wait_until
from tests.service.fakes import png
from tests.service.raw import (
    CHUNKED,
    LIVEZ,
    announced,
    connect,
    connections,
    last_answer,
    read_answer,
    until_closed,
)
from tests.service.server import metric, serving

HALF = b"GET /livez HTTP/1.1\r\nHo"
BYTES = "cwic_body_bytes_in_flight"
OPEN = "cwic_connections"
OTHER = 'cwic_http_requests_total{{method="other",route="unmatched",status="{}"}}'
CUT = 'cwic_connections_refused_total{{reason="{}"}}'
BODY = 100_000
SHORT = 2.0  # seconds: ample for the header of a request that is meant to be served
PROXY = {"X-Forwarded-For": "192.0.2.1"}


@pytest.fixture
def small() -> Iterator[httpx.Client]:
    """A service with room for four bodies of its largest size, two of one client."""
    with serving(max_body_bytes=BODY, max_body_memory=4 * BODY, trusted_proxies="127.0.0.1") as client:
        yield client


def through_proxy(client: str, size: int) -> bytes:
    """The head of a request that a trusted proxy has got from a client."""
    return announced(size).replace(b"Host", f"X-Forwarded-For: {client}\r\nHost".encode())


# How many


def test_a_header_that_does_not_come_in_time_ends_its_connection() -> None:
    with serving(header_timeout=SHORT) as client, connections(client, 3) as (half, later, silent):
        half.sendall(HALF)
        later.sendall(LIVEZ)
        assert read_answer(later).status == 200
        later.sendall(HALF)
        for connection in (half, later):
            answer = last_answer(connection)
            assert (answer.status, answer.kind, answer.problem["limit"]) == (408, "header-timeout", SHORT)
            assert "CWIC_HEADER_TIMEOUT" in answer.problem["detail"]
        assert until_closed(silent) == b""  # there is no request to answer
        assert metric(client, OTHER.format(408)) == 2
        assert metric(client, CUT.format("header-timeout")) == 3


def test_at_the_limit_the_connection_that_waits_longest_goes_and_honest_ones_are_served() -> None:
    with serving(max_connections=20) as client, connections(client, 19) as slow:
        wait_until(lambda: metric(client, OPEN) == 20)  # with the client's own, which has waited least
        for connection in slow:
            connection.sendall(HALF)
        assert client.get("/livez").is_success  # behind it, all halves have been read
        with connections(client, 5) as fresh:
            for connection in fresh:
                connection.sendall(LIVEZ)
                assert read_answer(connection).status == 200
            for connection in slow[:5]:
                answer = last_answer(connection)
                assert (answer.status, answer.kind) == (503, "connections")
            assert metric(client, CUT.format("displaced")) == 5
            assert metric(client, OPEN) == 20
            for connection in slow[5:]:
                connection.sendall(b"st: localhost\r\n\r\n")
                assert read_answer(connection).status == 200


def test_a_flood_of_half_headers_leaves_room_for_honest_requests() -> None:
    with serving(max_connections=20, max_connections_per_client=1000) as client, ExitStack() as stack:
        for _ in range(10):
            for _ in range(30):
                stack.enter_context(connect(client)).sendall(HALF)
            with httpx.Client(
                base_url=client.base_url, timeout=PATIENCE
            ) as honest:  # a new one: the last in line
                assert honest.get("/livez").is_success
                assert metric(honest, OPEN) <= 20


def test_where_no_connection_waits_a_new_one_is_503() -> None:
    with serving(max_connections=4, max_connections_per_client=1000) as client, ExitStack() as stack:
        client.get("/livez")
        busy = [stack.enter_context(connect(client)) for _ in range(4)]
        for connection in busy:  # the client's own idle one is displaced by the last of them
            connection.sendall(announced(10).replace(b"Host", b"Expect: 100-continue\r\nHost"))
            assert connection.recv(100).startswith(b"HTTP/1.1 100")  # its header is there
        refused = [stack.enter_context(connect(client)) for _ in range(3)]
        for connection in refused:
            answer = last_answer(connection)
            assert (answer.status, answer.kind, answer.problem["limit"]) == (503, "connections", 4)
            assert int(answer.headers["retry-after"]) > 0
            assert "CWIC_MAX_CONNECTIONS" in answer.problem["detail"]
        for connection in busy:
            connection.sendall(b"0123456789")
            assert read_answer(connection).status == 415
        assert metric(client, OTHER.format(503)) == 3


def test_connections_that_are_turned_away_are_bounded_too() -> None:
    class Silent:
        gone = False

        def displace(self) -> None:
            self.gone = True

    shared = Connections(Settings(max_connections=1))
    first, *others = (Silent() for _ in range(TURNED_AWAY + 3))
    assert shared.add(first, "192.0.2.1") is None
    shared.waits(first, waiting=False)
    assert all(shared.add(each, "192.0.2.2") for each in others)
    assert len(shared) == 1 + TURNED_AWAY
    assert [each.gone for each in others] == [True] * 2 + [False] * TURNED_AWAY
    for each in (first, *others):
        shared.remove(each)
    assert len(shared) == 0
    assert shared.add(first, "192.0.2.1") is None


@pytest.mark.parametrize(
    ("open_files", "capacity"), [(None, 1000), (100_000, 1000), (RESERVED_FILES + 50, 50), (10, 1)]
)
def test_there_are_never_more_connections_than_files(open_files: int | None, capacity: int) -> None:
    assert Connections(Settings(), open_files=open_files).capacity == capacity


# Of whom


def test_one_client_has_so_many_connections_and_gets_them_back() -> None:
    with serving(max_connections_per_client=5) as client:
        client.get("/livez")  # one of the five
        with connections(client, 4), connect(client) as connection:
            answer = last_answer(connection)
            assert (answer.status, answer.kind, answer.problem["limit"]) == (429, "client-connections", 5)
            assert int(answer.headers["retry-after"]) > 0
            assert "CWIC_MAX_CONNECTIONS_PER_CLIENT" in answer.problem["detail"]
        wait_until(lambda: metric(client, OPEN) == 1)
        assert metric(client, OTHER.format(429)) == 1
        with connections(client, 4) as again:
            again[-1].sendall(LIVEZ)
            assert read_answer(again[-1]).status == 200


def test_a_trusted_proxy_has_any_number_and_its_clients_are_counted_by_request() -> None:
    with (
        serving(max_connections_per_client=2, trusted_proxies="127.0.0.0/8") as client,
        connections(client, 4) as held,
    ):
        for connection, address in zip(held, ("192.0.2.1", "192.0.2.1", "192.0.2.2"), strict=False):
            connection.sendall(through_proxy(address, 10) + b"first")
        wait_until(lambda: metric(client, BYTES) == 15)
        held[3].sendall(through_proxy("192.0.2.1", 10))
        answer = last_answer(held[3])
        assert answer.kind == "client-connections"
        assert answer.problem["detail"].startswith("192.0.2.1 ")
        held[0].sendall(b"abcde")
        assert read_answer(held[0]).status == 415
        assert client.get("/livez", headers=PROXY).is_success


@pytest.mark.parametrize("proxied", [True, False])
def test_where_few_connections_are_free_they_are_for_clients_with_few_requests(proxied: bool) -> None:
    settings = {"max_connections_per_client": 1000, **({"trusted_proxies": "127.0.0.0/8"} if proxied else {})}
    with serving(max_connections=8, **settings) as client, ExitStack() as stack:
        client.get("/livez")  # its idle connection can be displaced

        def begin(number: int) -> socket.socket:
            address = client.base_url.host, client.base_url.port or 80
            connection = socket.create_connection(address, PATIENCE, (f"127.0.0.{number}", 0))
            head = through_proxy(f"192.0.2.{number}", 10) if proxied else announced(10)
            stack.enter_context(connection).sendall(head.replace(b"Host", b"Expect: 100-continue\r\nHost"))
            return connection

        for _ in range(7):
            assert begin(2).recv(100).startswith(b"HTTP/1.1 100")
        refused = last_answer(begin(2))
        assert (refused.status, refused.kind) == (429, "client-connections")
        assert "CWIC_MAX_CONNECTIONS" in refused.problem["detail"]
        assert begin(3).recv(100).startswith(b"HTTP/1.1 100")


# Bytes of bodies


def test_bodies_above_the_memory_for_all_are_429_and_the_memory_is_given_back(small: httpx.Client) -> None:
    with connections(small, 5) as held:
        for number, connection in enumerate(held[:4]):
            connection.sendall(through_proxy(f"192.0.2.{number}", BODY) + bytes(BODY - 1))
        wait_until(lambda: metric(small, BYTES) == 4 * (BODY - 1))
        held[4].sendall(through_proxy("192.0.2.9", BODY) + bytes(1000))
        answer = last_answer(held[4])
        assert (answer.status, answer.kind, answer.problem["limit"]) == (429, "body-memory", 4 * BODY)
        assert int(answer.headers["retry-after"]) > 0
        assert "CWIC_MAX_BODY_MEMORY" in answer.problem["detail"]
        held[0].sendall(b"x")
        assert read_answer(held[0]).status == 415
        wait_until(lambda: metric(small, BYTES) == 3 * (BODY - 1))
    wait_until(lambda: metric(small, BYTES) == 0)
    assert metric(small, 'cwic_rejected_total{reason="body-memory"}') == 1
    assert small.post("/compress", content=png(), headers=PROXY).status_code == 200


def test_one_client_has_half_of_the_memory(small: httpx.Client) -> None:
    with connections(small, 4) as held:
        for connection in held[:2]:
            connection.sendall(through_proxy("2001:db8::1", BODY) + bytes(BODY - 1))
        wait_until(lambda: metric(small, BYTES) == 2 * (BODY - 1))
        held[2].sendall(through_proxy("2001:db8::2", BODY) + bytes(1000))  # the same network
        assert last_answer(held[2]).problem["limit"] == 2 * BODY
        held[3].sendall(through_proxy("192.0.2.1", 3) + b"abc")
        assert read_answer(held[3]).status == 415


def test_a_few_clients_leave_memory_for_others_and_each_has_room_for_a_body() -> None:
    shared = Connections(Settings(max_body_bytes=BODY, max_body_memory=12 * BODY))
    bodies = [Body(shared, f"192.0.2.{number}") for number in range(3)]
    for _ in range(100):
        for body in bodies:
            with suppress(ProblemError):
                body.take(BODY // 4)
    assert shared.bytes == 9 * BODY  # a quarter is free, which is as much as each of them has
    other = Body(shared, "192.0.2.9")
    other.take(BODY)
    for body in bodies:
        body.release()
    other.take(5 * BODY)
    with pytest.raises(ProblemError):
        other.take(1)


def test_bodies_that_nobody_reads_are_counted_until_their_request_has_ended(small: httpx.Client) -> None:
    with connect(small) as connection:
        connection.sendall(announced(5).replace(b"/compress", b"/nowhere") + b"abcde")
        assert read_answer(connection).status == 404
    wait_until(lambda: metric(small, BYTES) == 0)


def test_a_chunked_body_is_counted_as_it_arrives(small: httpx.Client) -> None:
    with connect(small) as connection:
        connection.sendall(CHUNKED + b"3\r\nabc\r\n")
        wait_until(lambda: metric(small, BYTES) == 3)
        connection.sendall(b"2\r\nde\r\n")
        wait_until(lambda: metric(small, BYTES) == 5)
    wait_until(lambda: metric(small, BYTES) == 0)


def test_requests_sent_ahead_give_their_bytes_back_where_the_client_leaves(small: httpx.Client) -> None:
    with connect(small) as connection:
        connection.sendall(announced(5) + b"abcde" + announced(6) + b"abcdef" + announced(7) + b"abc")
    wait_until(lambda: metric(small, BYTES) == 0 and metric(small, OPEN) == 1)


def test_an_idle_connection_keeps_nothing_of_the_body_that_it_has_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("service.server.KEEP_ALIVE", 1000)
    marker = b"marker of this test" * 3000

    def nothing_is_left() -> bool:
        gc.collect()
        living = gc.get_objects()
        cycles = [each for each in living if type(each) is RequestResponseCycle]
        requests = [each for each in living if type(each) is Request]
        assert cycles
        return not any(cycle.body for cycle in cycles) and not any(
            getattr(request, "_body", b"") == marker for request in requests
        )

    with serving() as client, connect(client) as connection:
        assert client.post("/compress", content=marker).status_code == 415
        wait_until(nothing_is_left)
        connection.sendall(announced(5).replace(b"/compress", b"/nowhere") + b"abcde")  # which nobody reads
        assert read_answer(connection).status == 404
        wait_until(nothing_is_left)
