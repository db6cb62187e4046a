"""HTTP by hand, over plain sockets: what no client library would send."""

import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import httpx

from tests.effort import PATIENCE

HEAD = b"POST /compress HTTP/1.1\r\nHost: localhost\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
LIVEZ = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"


class Answer(NamedTuple):
    """One answer: its status, its fields by lower-case name, its body."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def problem(self) -> dict[str, Any]:
        """The body of a problem document."""
        assert self.headers["content-type"] == "application/problem+json"
        problem = json.loads(self.body)
        assert problem["status"] == self.status
        assert problem["request_id"] == self.headers["x-request-id"]
        assert isinstance(problem, dict)
        return problem

    @property
    def kind(self) -> str:
        """The last part of a problem's type."""
        return str(self.problem["type"]).rpartition(":")[2]


def announced(size: int) -> bytes:
    """The head of a request with a body of so many bytes."""
    return HEAD + b"Content-Length: %d\r\n\r\n" % size


def connect(client: httpx.Client) -> socket.socket:
    """A new connection to the client's server."""
    address = client.base_url.host, client.base_url.port or 80
    connection = socket.create_connection(address, timeout=PATIENCE)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


@contextmanager
def connections(client: httpx.Client, count: int) -> Iterator[list[socket.socket]]:
    """So many connections, one made after the other."""
    with ExitStack() as stack:
        yield [stack.enter_context(connect(client)) for _ in range(count)]


def until_closed(connection: socket.socket) -> bytes:
    """All that arrives until the server closes; a reset is an error."""
    return b"".join(iter(lambda: connection.recv(65536), b""))


def answers(data: bytes) -> list[Answer]:
    """The answers in what a server has sent, each with a Content-Length."""
    found = []
    while data:
        head, _, data = data.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        size = int(headers.get("content-length", 0))
        found.append(Answer(int(first.split()[1]), headers, data[:size]))
        data = data[size:]
    return found


def last_answer(connection: socket.socket) -> Answer:
    """The only answer of a connection that the server closes after it."""
    [answer] = answers(until_closed(connection))
    assert answer.headers["connection"] == "close"
    return answer


def read_answer(connection: socket.socket) -> Answer:
    """The next answer; the connection may stay open."""
    data = bytearray()

    def read_on() -> None:
        part = connection.recv(65536)
        assert part, f"closed after {bytes(data)!r}"
        data.extend(part)

    while (end := data.find(b"\r\n\r\n")) < 0:
        read_on()
    [empty] = answers(bytes(data[: end + 4]))
    while len(data) < end + 4 + int(empty.headers.get("content-length", 0)):
        read_on()
    [answer] = answers(bytes(data))
    return answer


def stream_until_cut(connection: socket.socket, data: bytes) -> Answer:
    """Send the same bytes over and over until the server answers, then read that answer to its end."""
    connection.setblocking(False)
    received = b""
    while not received:
        try:
            connection.send(data)
        except BlockingIOError:
            pass
        try:
            received = connection.recv(65536)
        except BlockingIOError:
            pass
    connection.settimeout(PATIENCE)
    [answer] = answers(received + until_closed(connection))
    return answer
