"""The pages for people: `/`, where one tries the service, and `/docs`, its API.

Each is one file that needs nothing from elsewhere, so that it works without a network, and has a policy to
that end.
"""

import base64
import hashlib
import re
from importlib import resources

from fastapi import APIRouter
from starlette.responses import HTMLResponse


def page_routes() -> APIRouter:
    """The routes of the pages."""
    router = APIRouter(include_in_schema=False)
    page_html, page_headers = _read("index.html")
    docs_html, docs_headers = _read("docs.html")

    @router.get("/")
    async def page() -> HTMLResponse:
        return HTMLResponse(page_html, headers=page_headers)

    @router.get("/docs")
    async def docs() -> HTMLResponse:
        return HTMLResponse(docs_html, headers=docs_headers)

    return router


def content_security_policy(html: str) -> str:
    """Allows exactly the inline script and style of this page, requests to this server and local pictures."""
    script = " ".join(_hashes("script", html))
    style = " ".join(_hashes("style", html))
    return (
        f"default-src 'none'; script-src {script}; style-src {style}; img-src blob: data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def _read(name: str) -> tuple[str, dict[str, str]]:
    html = resources.files("service.web").joinpath(name).read_text("utf-8")
    return html, {
        "Content-Security-Policy": content_security_policy(html),
        "Cache-Control": "no-cache",
    }


def _hashes(tag: str, html: str) -> list[str]:
    parts = re.findall(rf"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
    return [f"'sha256-{base64.b64encode(hashlib.sha256(each.encode()).digest()).decode()}'" for each in parts]
