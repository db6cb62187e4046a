"""Sends planned requests at their times, or as many at once as are asked for, and notes what comes back.

The open loop is what the internet does: requests start when they are due, whether or not the server keeps up, and
time counts from when they were due. A generator that waits for answers before it asks again hides every stall.
"""

import asyncio
import time
from collections.abc import Iterator, Sequence

import httpx

from tests.load.outcomes import NO_ANSWER, Outcome
from tests.load.plan import Item, Planned

_UNLIMITED = httpx.Limits(max_connections=None, max_keepalive_connections=64)


def open_loop(url: str, plan: Sequence[Planned], *, patience: float) -> list[Outcome]:
    """Send every request at its time; what came of them, in their order.

    Args:
        url: of the server.
        plan: in the order of the times.
        patience: seconds until no answer counts as none.
    """

    async def run() -> list[Outcome]:
        async with _client(url, patience) as client, asyncio.TaskGroup() as group:
            start = time.perf_counter()
            tasks = []
            for at, item in plan:
                await asyncio.sleep(max(0.0, start + at - time.perf_counter()))
                tasks.append(group.create_task(_send(client, item, start, at)))
        return [task.result() for task in tasks]

    return asyncio.run(run())


def closed_loop(
    url: str, items: Iterator[Item], *, concurrency: int, seconds: float, patience: float
) -> list[Outcome]:
    """Keep so many requests in work for a time, for the throughput; what came of those that began within it.

    Each of the clients sends one at least.
    """

    async def run() -> list[Outcome]:
        outcomes: list[Outcome] = []

        async def keep(client: httpx.AsyncClient, start: float) -> None:
            at = 0.0
            while at <= seconds:
                outcomes.append(await _send(client, next(items), start, at))
                at = time.perf_counter() - start

        async with _client(url, patience) as client, asyncio.TaskGroup() as group:
            start = time.perf_counter()
            for _ in range(concurrency):
                group.create_task(keep(client, start))
        return outcomes

    return asyncio.run(run())


def _client(url: str, patience: float) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=url, timeout=patience, limits=_UNLIMITED, trust_env=False)


async def _send(client: httpx.AsyncClient, item: Item, start: float, planned: float) -> Outcome:
    late = time.perf_counter() - start - planned
    status, retry_after, error = NO_ANSWER, None, ""
    try:
        answer = await client.post(item.path, content=item.body, params=item.params)
    except httpx.TransportError as exc:
        error = type(exc).__name__
    else:
        status, retry_after = answer.status_code, answer.headers.get("Retry-After")
    seconds = time.perf_counter() - start - planned
    return Outcome(item, planned, late, seconds, status, retry_after, error)
