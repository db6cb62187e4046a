"""The OpenAPI document, compared with the committed one: what clients rely on changes only on purpose.

To renew it: `python -m tests.service.api.renew_openapi`, and read the difference before committing it.
"""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.service.api.renew_openapi import PATH, document

WORK = ["/compress", "/decompress", "/truncate", "/importance-map", "/inspect", "/compare"]


@pytest.fixture(scope="module")
def api() -> Any:
    return json.loads(document())


def test_the_document_is_the_committed_one() -> None:
    assert document() == Path(PATH).read_text(), "renew it with: python -m tests.service.api.renew_openapi"


def test_the_server_serves_it(client: httpx.Client, api: Any) -> None:
    assert client.get("/openapi.json").json()["paths"] == api["paths"]
    assert client.get("/docs").status_code == 200


@pytest.mark.parametrize("path", WORK)
def test_bodies_are_documented_raw_and_as_a_form(api: Any, path: str) -> None:
    body = api["paths"][path]["post"]["requestBody"]
    assert body["required"]
    assert {"application/octet-stream", "multipart/form-data"} < set(body["content"])


@pytest.mark.parametrize("path", WORK)
def test_every_error_of_every_endpoint_is_documented_as_a_problem(api: Any, path: str) -> None:
    responses = api["paths"][path]["post"]["responses"]
    assert {"200", "400", "408", "413", "415", "422", "429", "500", "503", "504"} <= set(responses)
    for status, response in responses.items():
        if status != "200":
            assert list(response["content"]) == ["application/problem+json"]


def test_every_reference_in_the_document_resolves(api: Any) -> None:
    text = json.dumps(api)
    names = {part.partition('"')[0] for part in text.split("#/components/schemas/")[1:]}
    assert "Problem" in names
    assert names <= set(api["components"]["schemas"])
