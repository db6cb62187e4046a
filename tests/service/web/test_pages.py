"""The pages at `/` and `/docs`."""

import base64
import hashlib
import re
from importlib import resources

import httpx
import pytest

from service.api import problems
from service.api.schemas import ComparisonFacts, FileFacts, FormatFacts
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
        contents = re.findall(rf"<{tag}>(.*?)</{tag}>", page.text, re.DOTALL)
        assert contents
        digests = [base64.b64encode(hashlib.sha256(each.encode()).digest()).decode() for each in contents]
        assert f"{tag}-src " + " ".join(f"'sha256-{each}'" for each in digests) + ";" in policy


def test_what_lies_beside_a_page_is_sent_in_it(client: httpx.Client) -> None:
    page = client.get("/").text
    folder = resources.files("service.web")
    beside = [each for each in folder.iterdir() if each.name.endswith((".js", ".css"))]
    assert len(beside) > 5
    assert all(each.read_text("utf-8") in page for each in beside)
    assert not re.search(r"<link rel=.stylesheet|<script src", page)


def test_no_file_of_the_pages_is_long() -> None:
    folder = resources.files("service.web")
    assert {
        each.name for each in folder.iterdir() if each.is_file() and len(each.read_text().splitlines()) > 400
    } == set()


@pytest.mark.parametrize("path", PAGES)
def test_a_pages_script_finds_the_elements_that_it_names(client: httpx.Client, path: str) -> None:
    html = client.get(path).text
    ids = re.findall(r"""\sid="([\w-]+)\"""", html)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r"""\$\("([\w-]+)"\)""", html)) <= set(ids)


def test_every_address_that_the_page_uses_exists(client: httpx.Client) -> None:
    paths = {path.split("/")[1]: each for path, each in client.get("/openapi.json").json()["paths"].items()}
    html = client.get("/").text
    posted = set(re.findall(r"""post\(["`]([\w-]+)""", html))
    assert posted == {"compress", "decompress", "importance-map", "inspect", "compare"}
    assert all("post" in paths[each] for each in posted)
    fetched = set(re.findall(r"""(?:fetch|ask)\(["`]([\w-]+)""", html))
    assert fetched == {"models", "readyz", "progress"}
    assert all("get" in paths[each] for each in fetched)


def test_every_fact_of_a_file_that_the_page_shows_exists(client: httpx.Client) -> None:
    named = set(re.findall(r"\bfacts\.(\w+)", client.get("/").text))
    known = set(FileFacts.model_fields) | set(ComparisonFacts.model_fields)
    assert {"profile", "quality", "sections", "others", "cropped"} <= named <= known


def test_every_fact_of_another_format_that_the_page_shows_exists(client: httpx.Client) -> None:
    named = set(re.findall(r"\bneeds\.(\w+)", client.get("/").text))
    assert {"size", "quality"} <= named <= set(FormatFacts.model_fields)


def test_the_page_asks_for_no_map_of_a_lossless_file(client: httpx.Client, lossless_file: bytes) -> None:
    profile = client.post("/inspect", content=lossless_file).json()["profile"]
    assert f'const mapped = facts.profile !== "{profile}";' in client.get("/").text


def test_the_page_knows_the_problem_that_it_waits_for(client: httpx.Client) -> None:
    kinds = re.findall(r"urn:cwic:problem:[\w-]+", client.get("/").text)
    assert kinds == ["urn:cwic:problem:not-ready"]


def test_every_kind_of_problem_that_the_page_explains_exists(client: httpx.Client) -> None:
    explained = set(re.findall(r"""kind === "([\w-]+)\"""", client.get("/").text))
    kinds = {each.slug for each in vars(problems).values() if isinstance(each, problems.Kind)}
    assert {"limit", "queue-full"} <= explained <= kinds


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
