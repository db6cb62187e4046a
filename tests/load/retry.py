"""A client that does not give up: it comes again when it is told to, and after a connection that was lost.

Every request of the service can be repeated: the same bytes give the same answer, and nothing is kept.
"""

import asyncio
import time
from typing import NamedTuple

import httpx

from tests.load.plan import Item

COME_AGAIN = (httpx.codes.TOO_MANY_REQUESTS, httpx.codes.SERVICE_UNAVAILABLE)
PROBLEM = "application/problem+json"
PAUSE = 0.5  # seconds, where no header says how long


class Answered(NamedTuple):
    """An answer, and what it took.

    Attributes:
        status: of HTTP.
        lost: tries that ended without an answer of the service: connections and replicas that died.
        refused: tries that were told to come again.
        seconds: from the first try to the end of the answer.
    """

    status: int
    lost: int
    refused: int
    seconds: float


async def post(client: httpx.AsyncClient, item: Item, *, patience: float) -> Answered:
    """Send an item until it is answered; raises TimeoutError where that takes longer than `patience` seconds."""
    start, lost, refused = time.perf_counter(), 0, 0
    async with asyncio.timeout(patience):
        while True:
            pause = PAUSE
            try:
                answer = await client.post(item.path, content=item.body, params=item.params)
            except httpx.TransportError:
                lost += 1
            else:
                if answer.status_code in COME_AGAIN:
                    refused += 1
                    pause = float(answer.headers.get("Retry-After", PAUSE))
                elif _of_a_proxy(answer):
                    lost += 1
                else:
                    return Answered(answer.status_code, lost, refused, time.perf_counter() - start)
            await asyncio.sleep(pause)


def _of_a_proxy(answer: httpx.Response) -> bool:
    """Whether a 5xx is not the service's own: what Ray's proxy says for a replica that died has no problem in it."""
    return answer.is_server_error and not answer.headers.get("Content-Type", "").startswith(PROBLEM)
