"""Clients that send one byte a second: what an honest client notices of them."""

import argparse
import socket
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx

from tests.load.pictures import KODAK, drawn, jpeg
from tests.load.report import Report
from tests.load.session import add_server_options, rest, server_of, settings_of, timeout_of

PROMISED = 1_000_000  # bytes that each slow client announces
PAUSE = 1.0  # seconds between two bytes


@dataclass
class Slow:
    """What the slow clients met.

    Attributes:
        connections: opened, in all.
        closed: of those, by the server.
        at_once: open at the end.
    """

    connections: int = 0
    closed: int = 0
    at_once: int = 0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options."""
    add_server_options(parser)
    parser.add_argument("--clients", type=int, default=64, help="slow clients (%(default)s)")
    parser.add_argument("--requests", type=int, default=10, help="honest requests a round (%(default)s)")
    parser.add_argument(
        "--rounds", type=int, default=2, help="each without and with slow clients (%(default)s)"
    )
    parser.add_argument(
        "--max-ratio", type=float, default=1.5, help="bound for the ratio of the medians (%(default)s)"
    )


def run(args: argparse.Namespace) -> Report:
    """Measure."""
    report = Report(f"{args.clients} clients that send a byte a second")
    picture = jpeg(drawn(*KODAK, seed=1))
    alone: list[float] = []
    beside: list[float] = []
    refusals = 0
    met: list[Slow] = []
    with server_of(args) as server:
        server.compress(picture)
        patience = 2 * timeout_of(settings_of(args))
        for _ in range(args.rounds):
            times, failed = honest(server.url, picture, args.requests, patience)
            alone += times
            refusals += failed
            with slow_clients(server.url, args.clients) as slow:
                rest(2 * PAUSE)
                times, failed = honest(server.url, picture, args.requests, patience)
                beside += times
                refusals += failed
            met.append(slow)
            rest()
    without = statistics.median(alone) if alone else None
    with_them = statistics.median(beside) if beside else None
    report.add("honest request alone, median", without and 1000 * without, "ms")
    report.add("honest request beside them, median", with_them and 1000 * with_them, "ms")
    ratio = with_them / without if with_them and without else None
    report.add("ratio", ratio, at_most=args.max_ratio)
    report.add("honest requests not done", refusals, at_most=0)
    report.add("slow connections opened", sum(each.connections for each in met))
    report.add("slow connections closed by the server", sum(each.closed for each in met))
    report.details |= {"alone": alone, "beside": beside, "slow": met}
    return report


def honest(url: str, picture: bytes, count: int, patience: float) -> tuple[list[float], int]:
    """One request after the other, each on a connection of its own; times of those done, number of the others."""
    times, failed = [], 0
    for _ in range(count):
        started = time.perf_counter()
        try:
            done = httpx.post(f"{url}/compress", content=picture, timeout=patience).is_success
        except httpx.TransportError:
            done = False
        if done:
            times.append(time.perf_counter() - started)
        else:
            failed += 1
    return times, failed


@contextmanager
def slow_clients(url: str, count: int) -> Iterator[Slow]:
    """Keep so many slow clients connected; one that the server closes comes again."""
    address = urlsplit(url)
    assert address.hostname is not None
    assert address.port is not None
    where = (address.hostname, address.port)
    slow, stop = Slow(), threading.Event()
    thread = threading.Thread(target=_trickle, args=(where, count, slow, stop), daemon=True)
    thread.start()
    try:
        yield slow
    finally:
        stop.set()
        thread.join()


def _trickle(where: tuple[str, int], count: int, slow: Slow, stop: threading.Event) -> None:
    head = f"POST /compress HTTP/1.1\r\nHost: {where[0]}:{where[1]}\r\nContent-Length: {PROMISED}\r\n\r\n"
    sockets: list[socket.socket] = []
    while True:
        for _ in range(count - len(sockets)):
            connection = _connected(where, head.encode())
            if connection is not None:
                slow.connections += 1
                sockets.append(connection)
        slow.at_once = len(sockets)
        if stop.wait(PAUSE):
            break
        for connection in sockets.copy():
            if not _alive(connection):
                slow.closed += 1
                sockets.remove(connection)
                connection.close()
    for connection in sockets:
        connection.close()


def _connected(where: tuple[str, int], head: bytes) -> socket.socket | None:
    try:
        connection = socket.create_connection(where, timeout=5)
        connection.sendall(head)
    except OSError:
        return None
    connection.setblocking(False)
    return connection


def _alive(connection: socket.socket) -> bool:
    """Send one byte; whether the server still waits for more: any answer, or its end, says that it does not."""
    try:
        connection.send(b"\0")
        connection.recv(4096)
    except BlockingIOError:
        return True
    except OSError:
        pass
    return False
