"""The pages at `/` and `/docs`."""

import base64
import hashlib
import re

import httpx
import pytest

from service.api.schemas import FileFacts
from tests.service.server import metric

PAGES = ["/", "/docs"]


@pytest.mark.parametrize("path", PAGES)
def test_a_page_needs_nothing_from_elsewhere(client: httpx.Client, path: str) -> None:
    page = client.get(path)
    assert page.headers["Content-Type"].startswith("text/html")
    assert "//" not in "".join(re.findall(r"""(?:src|href|action)\s*=\s*["']?([^"'\s>]*)""", page.text))
    assert not re.search(r"https?:|@import|url\(", page.text)
    assert not re.search(r"""<[^>]*\s(on\w+|style)\s*=""", page.text), "the policy would block it"


@pytest.mark.parametrize("path", PAGES)
def test_the_policy_allows_exactly_a_pages_own_script_and_style(client: httpx.Client, path: str) -> None:
    page = client.get(path)
    policy = page.headers["Content-Security-Policy"]
    assert "'unsafe-inline'" not in policy
    for tag in ("script", "style"):
        [content] = re.findall(rf"<{tag}>(.*?)</{tag}>", page.text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy


@pytest.mark.parametrize("path", PAGES)
def test_a_pages_script_finds_the_elements_that_it_names(client: httpx.Client, path: str) -> None:
    html = client.get(path).text
    ids = re.findall(r"""\sid="([\w-]+)\"""", html)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r"""\$\("([\w-]+)"\)""", html)) <= set(ids)


def test_every_address_that_the_page_uses_exists(client: httpx.Client) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    html = client.get("/").text
    posted = set(re.findall(r"""post\(["`]([\w-]+)""", html))
    assert posted == {"compress", "decompress", "importance-map", "inspect"}
    assert all("post" in paths[f"/{each}"] for each in posted)
    fetched = set(re.findall(r"""(?:fetch|ask)\("([\w-]+)\"""", html))
    assert fetched == {"models", "readyz"}
    assert all("get" in paths[f"/{each}"] for each in fetched)


def test_every_fact_of_a_file_that_the_page_shows_exists(client: httpx.Client) -> None:
    named = set(re.findall(r"\bfacts\.(\w+)", client.get("/").text))
    assert {"profile", "quality", "sections"} <= named <= set(FileFacts.model_fields)


def test_the_page_asks_for_no_map_of_a_lossless_file(client: httpx.Client, lossless_file: bytes) -> None:
    profile = client.post("/inspect", content=lossless_file).json()["profile"]
    assert f'const mapped = facts.profile !== "{profile}";' in client.get("/").text


def test_the_page_knows_the_problem_that_it_waits_for(client: httpx.Client) -> None:
    kinds = re.findall(r"urn:cwic:problem:[\w-]+", client.get("/").text)
    assert kinds == ["urn:cwic:problem:not-ready"]


@pytest.mark.parametrize("path", ["/", "/docs", "/healthz", "/readyz", "/models", "/openapi.json"])
def test_head_answers_as_get_does_without_the_body(client: httpx.Client, path: str) -> None:
    head, get = client.head(path), client.get(path)
    assert head.status_code == 200
    assert head.content == b""
    assert head.headers["Content-Type"] == get.headers["Content-Type"]
    assert path == "/healthz" or head.headers["Content-Length"] == str(len(get.content))


def test_head_is_counted_as_what_it_is(client: httpx.Client) -> None:
    name = 'cwic_http_requests_total{method="HEAD",route="/models",status="200"}'
    before = metric(client, name)
    client.head("/models")
    assert metric(client, name) == before + 1


def test_head_is_refused_where_only_post_is_allowed(client: httpx.Client) -> None:
    answer = client.head("/compress")
    assert (answer.status_code, answer.headers["Allow"]) == (405, "POST")
