"""Apps behind a real uvicorn server in a thread: what clients meet, sockets included."""

import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager

import httpx
import uvicorn
from fastapi import FastAPI

from model.protocol import PictureCodec
from service.app import create_app
from service.server import server_config
from service.settings import Settings
from tests.effort import PATIENCE, wait_until
from tests.service.fakes import FakeCodec


@contextmanager
def running(app: FastAPI) -> Iterator[httpx.Client]:
    """A client of a server that runs the app; the app may not be ready yet. Stops gracefully at the end."""
    # With the protocol named, asyncio turns Nagle's algorithm off, as it does for its own listeners.
    with closing(socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)) as listener:
        listener.bind(("127.0.0.1", 0))
        server = uvicorn.Server(server_config(app))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            wait_until(lambda: server.started)
            with httpx.Client(
                base_url=f"http://127.0.0.1:{listener.getsockname()[1]}", timeout=PATIENCE
            ) as client:
                yield client
        finally:
            server.should_exit = True
            thread.join(PATIENCE)
            assert not thread.is_alive(), "the server did not stop"


@contextmanager
def serving(*codecs: PictureCodec, **settings: object) -> Iterator[httpx.Client]:
    """A client of a ready service with these codecs and settings; with one worker, where they do not say."""
    values = Settings.model_validate({"workers": 1} | settings)
    with running(create_app(values, load=lambda _: codecs or (FakeCodec(),))) as client:
        wait_until(lambda: client.get("/readyz").is_success)
        yield client


def metric(client: httpx.Client, line: str) -> float:
    """The value of one sample of /metrics, named as it is written there; 0 where it is absent."""
    for each in client.get("/metrics").text.splitlines():
        name, _, value = each.rpartition(" ")
        if name == line:
            return float(value)
    return 0.0
