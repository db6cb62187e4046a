"""The app as a replica: its startup lasts until it is ready, its health is the app's."""

import asyncio
import threading
from collections.abc import Callable

import pytest
from starlette.types import Message

from model.errors import CheckpointNotFoundError
from service.jobs.replica import Replica, ReplicaError
from service.settings import Settings
from tests.effort import PATIENCE
from tests.service.fakes import FakeCodec


async def lifespan(replica: Replica, meanwhile: Callable[[list[str]], None] = lambda _: None) -> list[str]:
    """Run a replica from its start to its end, as servers do; the types of what it said, in their order."""
    said: list[str] = []
    answered, ending = asyncio.Event(), asyncio.Event()
    asked = iter(("lifespan.startup", "lifespan.shutdown"))

    async def receive() -> Message:
        kind = next(asked)
        if kind == "lifespan.shutdown":
            await ending.wait()
        return {"type": kind}

    async def send(message: Message) -> None:
        said.append(message["type"])
        answered.set()

    async def run() -> None:
        try:
            await replica({"type": "lifespan", "state": {}}, receive, send)
        except ReplicaError:
            answered.set()

    task = asyncio.create_task(run())
    await asyncio.sleep(0.3)
    meanwhile(list(said))
    await answered.wait()
    if said[-1] == "lifespan.startup.complete":
        await replica.check_health()
    ending.set()
    await task
    return said


def test_the_startup_is_complete_only_once_the_models_are_loaded() -> None:
    loaded = threading.Event()

    def load(_: Settings) -> list[FakeCodec]:
        assert loaded.wait(PATIENCE)
        return [FakeCodec()]

    def still_loading(said: list[str]) -> None:
        assert said == []
        loaded.set()

    said = asyncio.run(lifespan(Replica(Settings(), load=load), still_loading))
    assert said == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


def test_a_replica_that_cannot_load_its_models_fails_its_startup() -> None:
    def load(_: Settings) -> list[FakeCodec]:
        raise CheckpointNotFoundError("no checkpoint in /nowhere")

    replica = Replica(Settings(), load=load)
    assert asyncio.run(lifespan(replica)) == ["lifespan.startup.failed"]
    with pytest.raises(ReplicaError, match="cannot serve: no checkpoint in /nowhere"):
        asyncio.run(replica.check_health())


def test_the_health_of_a_replica_needs_no_key_and_no_name() -> None:
    settings = Settings.model_validate({"api_keys": "k" * 16, "allowed_hosts": "cwic.example.org"})
    said = asyncio.run(lifespan(Replica(settings, load=lambda _: [FakeCodec()])))
    assert said == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


def test_a_replica_that_has_not_been_started_is_not_healthy() -> None:
    with pytest.raises(ReplicaError, match="/livez says 503"):
        asyncio.run(Replica(Settings(), load=lambda _: [FakeCodec()]).check_health())
