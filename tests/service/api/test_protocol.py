"""Single connections: what is no HTTP, or costs more than it is worth, over a real server."""

import socket
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.api.framing import FEW_CHUNKS, MAX_HEADER, MIN_CHUNK
from service.api.protocol import MAX_PIPELINE, GuardedProtocol
from service.observe.logs import FIELDS
from tests.service.fakes import png
from tests.service.raw import (
    CHUNKED,
    HEAD,
    LIVEZ,
    Answer,
    announced,
    answers,
    connect,
    connections,
    last_answer,
    read_answer,
    stream_until_cut,
    until_closed,
)
from tests.service.server import metric, serving

UNMATCHED = 'method="other",route="unmatched"'
OTHER = "cwic_http_requests_total{{" + UNMATCHED + ',status="{}"}}'
CUT = 'cwic_connections_refused_total{{reason="{}"}}'
SENDERS = 8


def sent(client: httpx.Client, data: bytes) -> Answer:
    """The only answer to what is sent, after which the server closes."""
    with connect(client) as connection:
        connection.sendall(data)
        return last_answer(connection)


def unmatched(client: httpx.Client) -> tuple[float, float]:
    """Requests of no known method and route counted, by status and by duration."""
    lines = [line.rpartition(" ") for line in client.get("/metrics").text.splitlines()]
    names = ("cwic_http_requests_total{", "cwic_http_request_duration_seconds_count{")
    by_status, by_duration = (
        sum(float(value) for name, _, value in lines if name.startswith(start) and UNMATCHED in name)
        for start in names
    )
    return by_status, by_duration


def test_senders_of_tiny_chunks_are_cut_after_a_few_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed = 0
    on_body = GuardedProtocol.on_body

    def counting(self: GuardedProtocol, body: bytes) -> None:
        nonlocal parsed
        parsed += 1
        on_body(self, body)

    monkeypatch.setattr(GuardedProtocol, "on_body", counting)
    with serving() as client:
        with connections(client, SENDERS) as senders, ThreadPoolExecutor(SENDERS) as pool:
            for sender in senders:
                sender.sendall(CHUNKED)
            tiny = b"1\r\na\r\n" * 10_000
            cut = list(pool.map(lambda sender: stream_until_cut(sender, tiny), senders))
        assert {(answer.status, answer.kind) for answer in cut} == {(400, "bad-request")}
        assert all(answer.headers["connection"] == "close" for answer in cut)
        assert 0 < parsed <= SENDERS * (FEW_CHUNKS + 1)
        assert metric(client, CUT.format("bad-request")) == SENDERS
        assert client.get("/livez").is_success


@pytest.mark.parametrize("size", [MIN_CHUNK, 700])
def test_small_honest_chunks_one_at_a_time_pass(client: httpx.Client, size: int) -> None:
    data = bytes(size * 2 * FEW_CHUNKS)
    with connect(client) as connection:
        connection.sendall(CHUNKED)
        for start in range(0, len(data), size):
            connection.sendall(b"%x\r\n%b\r\n" % (size, data[start : start + size]))
        connection.sendall(b"0\r\n\r\n")
        assert read_answer(connection).kind == "unsupported-image"


def test_a_few_tiny_chunks_pass(client: httpx.Client) -> None:
    data = png()
    parts = [data[at : at + 1] for at in range(FEW_CHUNKS - 1)] + [data[FEW_CHUNKS - 1 :]]
    assert (
        client.post("/compress", content=iter(parts)).content
        == client.post("/compress", content=data).content
    )


@pytest.mark.parametrize(
    "framing",
    [
        b"4;" + b"x" * MAX_HEADER * 2,  # an extension without end
        b"4\r\nabcd\r\n0\r\nTrailer: " + b"x" * MAX_HEADER * 2,
        b"4\r\nabcd\r\n0\r\n" + b"T: x\r\n" * MAX_HEADER,
    ],
    ids=["extension", "trailer", "trailers"],
)
def test_framing_without_end_is_refused(client: httpx.Client, framing: bytes) -> None:
    with connect(client) as connection:
        connection.sendall(CHUNKED)
        assert stream_until_cut(connection, framing).kind == "bad-request"


@pytest.mark.parametrize(
    "request_",
    [
        HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
        HEAD + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nabcde",
        HEAD + b"Content-Length: 5, 6\r\n\r\nabcdef",
        HEAD + b"Content-Length: -5\r\n\r\nabcdef",
        HEAD + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
        HEAD + b"Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 5\r\n\r\nabcde",
        b"BREW /compress HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"CONNECT x:80 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET http://x HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # TLS
    ],
)
def test_what_is_no_request_is_400_closed_and_counted(client: httpx.Client, request_: bytes) -> None:
    before = metric(client, OTHER.format(400))
    answer = sent(client, request_)
    assert (answer.status, answer.kind) == (400, "bad-request")
    assert metric(client, OTHER.format(400)) == before + 1


def test_a_transfer_coding_that_is_not_known_is_400(client: httpx.Client) -> None:
    assert sent(client, HEAD + b"Transfer-Encoding: gzip\r\n\r\nabc").kind == "bad-request"


def test_a_broken_chunk_is_answered_by_the_route_and_counted_once(client: httpx.Client) -> None:
    name = 'cwic_http_requests_total{method="POST",route="/compress",status="400"}'
    before, others = metric(client, name), metric(client, OTHER.format(400))
    answer = sent(client, CHUNKED + b"5\r\nabcde\r\nzz\r\n")
    assert answer.kind == "bad-request"
    assert answer.problem["instance"] == "/compress"
    assert (metric(client, name), metric(client, OTHER.format(400))) == (before + 1, others)


@pytest.mark.parametrize(
    "start",
    [
        b"GET /" + b"x" * (MAX_HEADER + 1),
        b"GET / HTTP/1.1\r\nX: " + b"x" * (MAX_HEADER + 1),
        b"GET / HTTP/1.1\r\nX: " + b"x" * (MAX_HEADER + 1) + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"X: x\r\n" * (MAX_HEADER // 2),
        b"\r\n" * MAX_HEADER,
    ],
    ids=["address", "field", "complete", "fields", "nothing"],
)
def test_a_header_above_its_bound_is_431(client: httpx.Client, start: bytes) -> None:
    before = metric(client, OTHER.format(431))
    answer = sent(client, start)
    assert (answer.status, answer.kind, answer.problem["limit"]) == (431, "header-too-large", MAX_HEADER)
    assert metric(client, OTHER.format(431)) == before + 1


def test_a_header_below_its_bound_passes(client: httpx.Client) -> None:
    assert client.get("/livez", headers={"X-Long": "x" * (MAX_HEADER - 1000)}).is_success


def test_requests_sent_ahead_are_answered_in_their_order_and_a_fault_after_them(client: httpx.Client) -> None:
    with connect(client) as connection:
        connection.sendall(LIVEZ + b"GET /nowhere HTTP/1.1\r\nHost: localhost\r\n\r\n" + b"no HTTP\r\n\r\n")
        assert [answer.status for answer in answers(until_closed(connection))] == [200, 404, 400]


def test_too_many_requests_sent_ahead_are_refused_after_the_others(client: httpx.Client) -> None:
    with connect(client) as connection:
        connection.sendall(LIVEZ * 1000)
        statuses = [answer.status for answer in answers(until_closed(connection))]
    assert statuses == [200] * (MAX_PIPELINE + 1) + [400]


def test_an_upgrade_is_ignored_and_what_follows_is_read(client: httpx.Client) -> None:
    upgrade = b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    with connect(client) as connection:
        connection.sendall(upgrade + b"GET /nowhere HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert [answer.status for answer in answers(until_closed(connection))] == [200, 404]


LARGE = bytes(90_000)
STREAM = (
    LIVEZ
    + announced(len(LARGE)) + LARGE
    + CHUNKED + b"".join(b"c8;x=y\r\n%b\r\n" % LARGE[:200] for _ in range(200)) + b"0\r\nTrailer: x\r\n\r\n"
    + b"\r\nGET /livez HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * (MAX_HEADER - 1000) + b"\r\n\r\n"
    + b"POST /nowhere HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 3\r\n\r\nabc"
)  # fmt: skip


@given(cuts=st.lists(st.integers(0, len(STREAM)), max_size=20))
@settings(max_examples=40)
def test_requests_are_answered_alike_however_they_are_cut(client: httpx.Client, cuts: list[int]) -> None:
    places = [0, *sorted(cuts), len(STREAM)]
    with connect(client) as connection:
        for start, end in pairwise(places):
            connection.sendall(STREAM[start:end])
        statuses = [answer.status for answer in answers(until_closed(connection))]
    assert statuses == [200, 415, 415, 200, 404]


def test_whatever_is_sent_ends_with_answers_or_without_a_word(
    client: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    starts = [b"", LIVEZ, CHUNKED, announced(100), b"GET /livez HTTP/1.1\r\n"]

    @given(start=st.sampled_from(starts), rest=st.binary())
    def check(start: bytes, rest: bytes) -> None:
        with connect(client) as connection:
            connection.sendall(start + rest)
            connection.shutdown(socket.SHUT_WR)
            statuses = {answer.status for answer in answers(until_closed(connection))}
        assert statuses <= {100, 200, 400, 404, 405, 415, 431}

    check()
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


def test_all_answers_are_counted_and_logged(client: httpx.Client, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    before = unmatched(client)
    sent(client, b"BREW /pot HTTP/1.1\r\n\r\n")
    sent(client, b"GET /half HTTP/1.1\r\nX: " + b"x" * MAX_HEADER * 2)
    assert [after - once for after, once in zip(unmatched(client), before, strict=True)] == [2, 2]
    lines = [record for record in caplog.records if record.name == "cwic.access"]
    logged = [(getattr(record, FIELDS)["status"], record.getMessage()) for record in lines]
    gone = 499  # clients of other tests, who left
    assert [line for line in logged if line[0] != gone] == [(400, "other %2A"), (431, "other /half")]
