"""Single connections: what is no HTTP, early answers, clients that end their side, over a real server."""

import http.client
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import httpx
import pytest
import uvicorn.config
from hypothesis import given, settings
from hypothesis import strategies as st

from model.options import EncodeOptions
from model.protocol import DEFAULT_ENCODE_OPTIONS
from model.types import Check, Pixels, unchecked
from service.api.framing import FEW_CHUNKS, MAX_HEADER, MIN_CHUNK
from service.api.protocol import CONTINUE, MAX_PIPELINE, GuardedProtocol
from tests.effort import PATIENCE, wait_until
from tests.service.fakes import FakeCodec, png
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

ASYNCIO = "uvicorn.loops.asyncio:asyncio_loop_factory"
OTHER = 'cwic_http_requests_total{{method="other",route="unmatched",status="{}"}}'
CUT = 'cwic_connections_refused_total{{reason="{}"}}'
SENDERS = 8


def sent(client: httpx.Client, data: bytes) -> Answer:
    """The only answer to what is sent, after which the server closes."""
    with connect(client) as connection:
        connection.sendall(data)
        return last_answer(connection)


def total(client: httpx.Client) -> tuple[float, float]:
    """Requests counted, by status and by duration."""
    lines = [line.rpartition(" ") for line in client.get("/metrics").text.splitlines()]
    names = ("cwic_http_requests_total{", "cwic_http_request_duration_seconds_count{")
    by_status, by_duration = (
        sum(float(value) for name, _, value in lines if name.startswith(start)) for start in names
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
        b"BREW /compress HTTP/1.1\r\nHost: x\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET http://x HTTP/1.1\r\nHost: x\r\n\r\n",
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
        connection.sendall(LIVEZ + b"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n" + b"no HTTP\r\n\r\n")
        assert [answer.status for answer in answers(until_closed(connection))] == [200, 404, 400]


def test_too_many_requests_sent_ahead_are_refused_after_the_others(client: httpx.Client) -> None:
    with connect(client) as connection:
        connection.sendall(LIVEZ * 1000)
        statuses = [answer.status for answer in answers(until_closed(connection))]
    assert statuses == [200] * (MAX_PIPELINE + 1) + [400]


def test_an_upgrade_is_ignored_and_what_follows_is_read(client: httpx.Client) -> None:
    upgrade = b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    with connect(client) as connection:
        connection.sendall(upgrade + b"GET /nowhere HTTP/1.1\r\nConnection: close\r\n\r\n")
        assert [answer.status for answer in answers(until_closed(connection))] == [200, 404]


LARGE = bytes(90_000)
STREAM = (
    LIVEZ
    + announced(len(LARGE)) + LARGE
    + CHUNKED + b"".join(b"c8;x=y\r\n%b\r\n" % LARGE[:200] for _ in range(200)) + b"0\r\nTrailer: x\r\n\r\n"
    + b"\r\nGET /livez HTTP/1.1\r\nX: " + b"x" * (MAX_HEADER - 1000) + b"\r\n\r\n"
    + b"POST /nowhere HTTP/1.1\r\nConnection: close\r\nContent-Length: 3\r\n\r\nabc"
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
    before, _ = total(client)
    sent(client, b"BREW /pot HTTP/1.1\r\n\r\n")
    sent(client, b"GET /half HTTP/1.1\r\nX: " + b"x" * MAX_HEADER * 2)
    by_status, by_duration = total(client)
    assert (by_status, by_duration) == (before + 3, before + 3)  # the first scrape is counted in the second
    lines = [record for record in caplog.records if record.name == "cwic.access"]
    statuses = [getattr(record, "cwic_fields")["status"] for record in lines]  # noqa: B009 - unknown to mypy
    assert statuses == [400, 431]
    assert lines[1].getMessage() == "other /half"


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
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n\r\n"
        connection.sendall(head.encode())
        connection.sendall(bytes(size))
        answer = last_answer(connection)
        assert (answer.status, answer.problem["status"]) == (status, status)


def test_an_early_answer_ends_the_connection_even_where_the_client_never_reads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("service.api.ending.LINGER_BYTES", 1_000_000)
    with serving() as client, connect(client) as connection:
        connection.sendall(b"POST /nowhere HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")

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
        connection.sendall(b"POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n")
        assert last_answer(connection).status == 404
        wait_until(lambda: metric(client, "cwic_connections") == 1)


class Large(FakeCodec):
    """A codec whose files are larger than what a socket holds."""

    def encode(
        self, array: Pixels, options: EncodeOptions = DEFAULT_ENCODE_OPTIONS, *, check: Check = unchecked
    ) -> bytes:
        return super().encode(array, options, check=check) + bytes(20_000_000 * (array.shape[0] == 16))


@pytest.mark.parametrize("connection_header", [b"", b"Connection: close\r\n"])
def test_an_answer_that_its_client_does_not_take_is_given_up(
    connection_header: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.api.ending.STALL", 0.05)
    monkeypatch.setattr("service.server.KEEP_ALIVE", 1)  # longer than between two looks
    answered = 'cwic_http_requests_total{method="POST",route="/compress",status="200"}'
    with serving(Large()) as client, connect(client) as connection:
        connection.sendall(announced(len(png())).replace(b"Host", connection_header + b"Host") + png())
        wait_until(lambda: metric(client, answered) == 1)
        wait_until(lambda: metric(client, "cwic_connections") == 1)


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
