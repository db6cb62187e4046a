"""Parameters of the query that come more than once, or that a route does not have."""

from typing import Annotated

import httpx
import pytest
from fastapi import Depends, FastAPI, Query
from pydantic import BaseModel

from service.api import problems
from service.api.connections import Connections
from service.api.query import check_parameters
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


@pytest.mark.parametrize(
    ("method", "path", "name", "reason"),
    [
        ("POST", "/compress?qualty=5", "qualty", "No such parameter; there are quality, tune, model"),
        ("POST", "/decompress?quality=5", "quality", "there are format, region, groups, allow_truncated"),
        ("POST", "/decompress?tune=psnr&format=png", "tune", "No such parameter"),
        ("POST", "/truncate?bytes=999&quality=5", "quality", "No such parameter; there are bytes"),
        ("POST", "/inspect?quality=5", "quality", "No such parameter; there are importance"),
        ("POST", "/compare?region=0,0,1,1", "region", "there are quality, tune, model"),
        ("GET", "/models?quality=5", "quality", "Takes no parameters"),
        ("HEAD", "/models?quality=5", "quality", ""),
        ("GET", "/readyz?quality=5", "quality", "Takes no parameters"),
        ("GET", "/progress/x?request_id=5", "request_id", "Takes no parameters"),
    ],
)
def test_a_parameter_that_a_route_ignores_is_422_and_named(
    client: httpx.Client, method: str, path: str, name: str, reason: str
) -> None:
    answer = client.request(method, path, content=png() if method == "POST" else b"")
    assert answer.status_code == 422
    if method != "HEAD":
        problem = answer.json()
        assert problem["type"] == "urn:cwic:problem:invalid-parameter"
        assert [each["name"] for each in problem["errors"]] == [name]
        assert reason in problem["errors"][0]["reason"]


@pytest.mark.parametrize("path", ["/?from=elsewhere", "/docs?lang=en", "/openapi.json?v=1"])
def test_pages_may_be_linked_to_with_anything(client: httpx.Client, path: str) -> None:
    assert client.get(path).status_code == 200


def test_once_is_enough(client: httpx.Client) -> None:
    assert client.post("/compress?quality=1&model=fake", content=png()).status_code == 200


def test_lists_may_repeat_wherever_they_are_declared() -> None:
    class Asked(BaseModel):
        size: int = 0
        names: list[str] | None = None

    app = FastAPI(dependencies=[Depends(check_parameters)])
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


def test_thousands_of_wrong_parameters_have_a_short_answer(client: httpx.Client) -> None:
    query = "&".join(f"a{number}" for number in range(8000))
    for method, path in (("GET", "/livez"), ("POST", "/compress")):
        answer = client.request(method, f"{path}?{query}", content=png() if method == "POST" else None)
        assert answer.status_code == 422
        assert [each["name"] for each in answer.json()["errors"]] == [f"a{number}" for number in range(8)]
        assert len(answer.content) < 8000


def test_thousands_of_wrong_values_have_a_short_answer(client: httpx.Client) -> None:
    query = "&".join("roi=1" for _ in range(8000))
    answer = client.post(f"/compress?{query}", content=png())
    assert answer.status_code == 422
    assert len(answer.json()["errors"]) <= 8
    assert len(answer.content) < 8000
