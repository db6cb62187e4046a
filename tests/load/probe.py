"""`/livez` at a fixed rate, from a process of its own: the work of the load does not count as the server's."""

import http.client
import multiprocessing
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event
from urllib.parse import urlsplit

from tests.load.outcomes import Percentiles, percentiles

PATH = "/livez"
RATE = 20.0  # questions a second
PATIENCE = 30.0  # seconds


@dataclass
class Probes:
    """What the probes met, filled at the end of the block.

    Attributes:
        seconds: from each one's planned time to its answer.
        failures: answers other than 200, and none at all.
    """

    seconds: list[float] = field(default_factory=list)
    failures: int = 0

    @property
    def times(self) -> Percentiles:
        """The usual percentiles."""
        return percentiles(self.seconds)


@contextmanager
def probed(url: str, *, rate: float = RATE) -> Iterator[Probes]:
    """Ask for the server's life as long as the block runs."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    stop = context.Event()
    process = context.Process(target=ask, args=(url, rate, stop, theirs), daemon=True)
    process.start()
    ours.recv()  # it has begun
    probes = Probes()
    try:
        yield probes
    finally:
        stop.set()
        probes.seconds, probes.failures = ours.recv()
        process.join()


def ask(url: str, rate: float, stop: Event, results: Connection) -> None:
    """The probing process: one question after the other, each counted from when it was due."""
    address = urlsplit(url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=PATIENCE)
    results.send(None)
    seconds: list[float] = []
    failures, number, start = 0, 0, time.perf_counter()
    while not number or not stop.wait(max(0.0, start + number / rate - time.perf_counter())):
        try:
            connection.request("GET", PATH)
            answer = connection.getresponse()
            answer.read()
            failures += answer.status != http.client.OK
        except (OSError, http.client.HTTPException):
            connection.close()  # the next request opens it again
            failures += 1
        seconds.append(time.perf_counter() - start - number / rate)
        number += 1
    results.send((seconds, failures))
