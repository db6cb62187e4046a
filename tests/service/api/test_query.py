"""Parameters of the query that come more than once."""

from typing import Annotated

import httpx
import pytest
from fastapi import Depends, FastAPI, Query
from pydantic import BaseModel

from service.api import problems
from service.api.connections import Connections
from service.api.query import refuse_repeats
from service.api.requests import RequestContext
from service.observe.metrics import Metrics
from service.settings import Settings
from tests.service.fakes import png
from tests.service.server import running


@pytest.mark.parametrize(
    ("method", "path", "name"),
    [
        ("POST", "/compress?quality=1&quality=2", "quality"),
        ("POST", "/compress?quality=1&quality=1", "quality"),
        ("POST", "/compress?model=fake&quality=5&model=other", "model"),
        ("POST", "/importance-map?quality=&quality=2", "quality"),
        ("POST", "/decompress?format=png&format=jpeg", "format"),
        ("POST", "/inspect?x=1&x=2", "x"),
        ("GET", "/models?x=1&x=2", "x"),
        ("GET", "/livez?x=1&x=2", "x"),
        ("GET", "/metrics?x=1&x=2", "x"),
        ("GET", "/?x=1&x=2", "x"),
    ],
)
def test_a_parameter_that_comes_twice_is_422_and_named(
    client: httpx.Client, method: str, path: str, name: str
) -> None:
    answer = client.request(method, path, content=png() if method == "POST" else b"")
    assert (answer.status_code, answer.json()["type"]) == (422, "urn:cwic:problem:invalid-parameter")
    assert answer.json()["errors"] == [{"name": name, "reason": "Comes 2 times; once is enough"}]
    assert name in answer.json()["detail"]


def test_once_is_enough(client: httpx.Client) -> None:
    assert client.post("/compress?quality=1&model=fake", content=png()).status_code == 200


def test_lists_may_repeat_wherever_they_are_declared() -> None:
    class Asked(BaseModel):
        size: int = 0
        names: list[str] | None = None

    app = FastAPI(dependencies=[Depends(refuse_repeats)])
    app.state.connections = Connections(Settings())
    app.add_middleware(RequestContext, metrics=Metrics())
    problems.install(app, on_rejection=lambda _: None)

    @app.get("/model")
    async def of_a_model(asked: Annotated[Asked, Query()]) -> list[str] | None:
        return asked.names

    @app.get("/readyz")
    async def plain(names: Annotated[list[str], Query()], size: int = 0) -> list[str]:  # noqa: ARG001 - declared
        return names

    with running(app) as client:
        for path in ("/model", "/readyz"):
            assert client.get(f"{path}?names=a&names=b&size=1").json() == ["a", "b"]
            refused = client.get(f"{path}?names=a&names=b&size=1&size=2")
            assert [each["name"] for each in refused.json()["errors"]] == ["size"]
