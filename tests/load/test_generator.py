"""The generator, the probes, the slow clients and the leak against small apps behind a real server."""

import asyncio
import itertools
import os

import httpx
import pytest
from fastapi import FastAPI, Request
from starlette.responses import Response

from service.api.connections import Connections
from service.settings import Settings
from tests.effort import PATIENCE, wait_until
from tests.load.commands.trickle import honest, slow_clients
from tests.load.generator import closed_loop, open_loop
from tests.load.leaky import Leaky
from tests.load.memory import resident, watched
from tests.load.outcomes import NO_ANSWER
from tests.load.plan import Item, Planned
from tests.load.probe import probed
from tests.load.retry import Answered, post
from tests.service.server import running

ITEM = Item("a body", "/compress", b"12345", {"quality": "50"})


def served(app: FastAPI) -> FastAPI:
    """An app that the service's server can run."""
    app.state.connections = Connections(Settings())
    return app


def app_of(*, together: int = 1) -> FastAPI:
    """Answers once so many requests are there at the same time; alive all the time."""
    app = served(FastAPI())
    all_there = asyncio.Barrier(together)

    @app.post("/compress")
    async def compress(request: Request) -> Response:
        await request.body()
        await all_there.wait()
        return Response(request.query_params.get("quality"), headers={"Retry-After": "2"})

    @app.get("/livez")
    async def livez() -> str:
        return "ok"

    return app


def test_an_open_loop_starts_requests_while_others_wait_and_counts_from_their_times() -> None:
    with running(app_of(together=20)) as client:
        plan = [Planned(number * 0.01, ITEM) for number in range(20)]
        outcomes = open_loop(str(client.base_url), plan, patience=PATIENCE)
    assert [each.planned for each in outcomes] == [each.at for each in plan]
    assert {each.status for each in outcomes} == {200}
    assert {each.retry_after for each in outcomes} == {"2"}
    assert all(each.planned + each.seconds >= plan[-1].at for each in outcomes)  # all waited for the last one


def test_a_closed_loop_keeps_as_many_as_were_asked_for() -> None:
    with running(app_of(together=4)) as client:
        outcomes = closed_loop(
            str(client.base_url),
            itertools.repeat(ITEM),
            concurrency=4,
            seconds=0,
            patience=PATIENCE,
        )
    assert [each.status for each in outcomes] == [200] * 4


def test_no_answer_is_an_outcome() -> None:
    [outcome] = open_loop("http://127.0.0.1:9", [Planned(0, ITEM)], patience=5)
    assert (outcome.status, outcome.error) == (NO_ANSWER, "ConnectError")


def test_probes_are_asked_beside_the_load_and_failures_counted() -> None:
    with running(app_of()) as client, probed(str(client.base_url), rate=50) as probes:
        pass
    assert probes.times.count > 0
    assert probes.failures == 0
    with probed("http://127.0.0.1:9", rate=50) as probes:
        pass
    assert probes.failures == probes.times.count > 0


def test_slow_clients_never_finish_and_come_again_where_they_are_closed() -> None:
    with running(app_of()) as client, slow_clients(str(client.base_url), 5) as slow:
        times, failed = honest(str(client.base_url), b"picture", 2, 30)
        wait_until(lambda: slow.at_once == 5)
    assert (len(times), failed) == (2, 0)
    assert (slow.connections, slow.closed) == (5, 0)

    refusing = served(FastAPI())  # 404 before the body

    with running(refusing) as client, slow_clients(str(client.base_url), 1) as slow:
        wait_until(lambda: slow.connections >= 2)
    assert slow.closed >= 1


def test_the_leak_keeps_something_of_every_request() -> None:
    leaky = Leaky(app_of(), size=1000)
    with running(leaky) as client:  # type: ignore[arg-type]
        for _ in range(3):
            assert client.post("/compress", content=b"12345").status_code == 200
        assert client.get("/livez").status_code == 200
    assert [bytes(kept) for kept in leaky._kept] == [b"12345" * 200] * 3


def test_the_memory_of_this_process_is_told_and_that_of_none_is_not() -> None:
    assert resident(os.getpid()) > 1e6
    assert resident(2**22 + 1) == 0
    with watched(os.getpid()) as memory:
        pass
    assert len(memory) >= 2
    with watched(None) as memory:
        pass
    assert memory == []


def answers(*given: httpx.Response | Exception) -> httpx.AsyncClient:
    """A client that gets these, in their order."""
    order = iter(given)

    def handle(_: httpx.Request) -> httpx.Response:
        answer = next(order)
        if isinstance(answer, Exception):
            raise answer
        return answer

    return httpx.AsyncClient(base_url="http://test", transport=httpx.MockTransport(handle))


def sent(*given: httpx.Response | Exception) -> Answered:
    async def run() -> Answered:
        async with answers(*given) as client:
            return await post(client, ITEM, patience=PATIENCE)

    return asyncio.run(run())


def test_a_client_that_retries_comes_again_when_it_is_told_to() -> None:
    again = {"Retry-After": "0"}
    problem = {"Content-Type": "application/problem+json"}
    found = sent(
        httpx.Response(429, headers=again),
        httpx.Response(503, headers=again),
        httpx.ReadError("lost"),
        httpx.Response(500, text="Internal Server Error"),  # what a proxy says of a replica that died
        httpx.Response(200),
    )
    assert found[:3] == (200, 2, 2)
    assert sent(httpx.Response(500, headers=problem))[:3] == (500, 0, 0)
    assert sent(httpx.Response(422, headers=problem))[:3] == (422, 0, 0)


def test_a_client_that_retries_ends_at_its_patience() -> None:
    async def run() -> None:
        async with answers(httpx.Response(503, headers={"Retry-After": "60"})) as client:
            await post(client, ITEM, patience=0.05)

    with pytest.raises(TimeoutError):
        asyncio.run(run())
