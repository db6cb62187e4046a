"""The page at `/`."""

import base64
import hashlib
import re

import httpx


def test_the_page_needs_nothing_from_elsewhere(client: httpx.Client) -> None:
    page = client.get("/")
    assert page.headers["Content-Type"].startswith("text/html")
    assert not re.search(r"""(src|href)\s*=\s*["']?(https?:)?//|@import|url\(""", page.text)
    assert not re.search(r"""\s(on\w+|style)\s*=\s*["']""", page.text), "the policy would block it"


def test_the_policy_allows_exactly_the_pages_own_script_and_style(client: httpx.Client) -> None:
    page = client.get("/")
    policy = page.headers["Content-Security-Policy"]
    assert "'unsafe-inline'" not in policy
    for tag in ("script", "style"):
        [content] = re.findall(rf"<{tag}>(.*?)</{tag}>", page.text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy


def test_every_address_that_the_page_uses_exists(client: httpx.Client) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    used = re.findall(r"""post\(["`]([\w-]+)""", client.get("/").text)
    assert set(used) == {"compress", "decompress", "importance-map", "inspect"}
    assert {f"/{each}" for each in used} <= set(paths)
