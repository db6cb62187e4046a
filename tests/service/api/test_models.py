"""`/models`, and which model codes what."""

import socket

import httpx
import pytest

from tests.effort import PATIENCE
from tests.service.fakes import FakeCodec, picture_array, png


def test_a_model_is_chosen_by_name_and_a_files_by_its_id(client: httpx.Client) -> None:
    file = client.post("/compress", params={"model": "other"}, content=png())
    assert file.headers["X-CWIC-Model"] == "07e41d00"
    assert client.post("/decompress", content=file.content).headers["X-CWIC-Model"] == "07e41d00"
    assert client.post("/compress", content=png()).headers["X-CWIC-Model"] == "0badc0de"


@pytest.mark.parametrize("path", ["/compress", "/importance-map"])
def test_an_unknown_model_is_404_and_names_those_there_are(client: httpx.Client, path: str) -> None:
    answer = client.post(path, params={"model": "nope"}, content=png())
    assert answer.status_code == 404
    assert "fake, other" in answer.json()["detail"]


def test_a_file_of_a_model_that_is_not_loaded_is_refused(client: httpx.Client) -> None:
    file = FakeCodec(model_id="ffffffff").encode(picture_array())
    for path in ("/decompress", "/importance-map"):
        answer = client.post(path, content=file)
        assert answer.json()["type"] == "urn:cwic:problem:wrong-model"
        assert "ffffffff" in answer.json()["detail"]


def test_models_lists_the_default_first(client: httpx.Client) -> None:
    models = client.get("/models").json()["models"]
    assert [(each["name"], each["default"]) for each in models] == [
        ("fake", True),
        ("other", False),
        ("fixed", False),
    ]


def test_models_tells_which_have_one_rate(client: httpx.Client) -> None:
    models = client.get("/models").json()["models"]
    assert [each["name"] for each in models if each["fixed_rate"]] == ["fixed"]


def test_models_tells_how_much_effort_they_may_take(client: httpx.Client) -> None:
    models = client.get("/models").json()["models"]
    assert {each["name"]: each["max_effort"] for each in models} == {"fake": 2, "other": 2, "fixed": 1}


def test_a_model_of_one_rate_works_without_a_quality(client: httpx.Client) -> None:
    file = client.post("/compress", params={"model": "fixed"}, content=png())
    assert file.headers["X-CWIC-Model"] == "f1edf1ed"
    facts = client.post("/inspect", content=file.content).json()
    assert (facts["quality"], facts["lowest_level"]) == (None, 0)
    assert client.post("/importance-map", params={"model": "fixed"}, content=png()).is_success


@pytest.mark.parametrize("path", ["/compress", "/importance-map"])
def test_a_quality_for_a_model_of_one_rate_is_422_and_named(client: httpx.Client, path: str) -> None:
    answer = client.post(path, params={"model": "fixed", "quality": 50}, content=png())
    assert (answer.status_code, answer.json()["type"]) == (422, "urn:cwic:problem:invalid-parameter")
    assert answer.json()["errors"][0]["name"] == "quality"
    assert "'fixed' has one rate" in answer.json()["detail"]


def test_a_quality_for_a_model_of_one_rate_is_refused_before_the_body_is_sent(client: httpx.Client) -> None:
    head = (
        b"POST /compress?model=fixed&quality=50 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n"
    )
    with socket.create_connection(
        (client.base_url.host, client.base_url.port or 80), timeout=PATIENCE
    ) as connection:
        connection.sendall(head)
        assert connection.recv(1000).startswith(b"HTTP/1.1 422")
