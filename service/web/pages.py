"""The pages for people: `/`, where one tries the service, and `/docs`, its API.

Each is sent as one file that needs nothing from elsewhere, so that it works without a network and behind any prefix,
and has a policy to that end. What lies beside a page in this folder (`page.css`, `page.js`) is put into it here.
"""

import base64
import hashlib
import re
from importlib import resources

from fastapi import APIRouter
from starlette.responses import HTMLResponse

_STYLE = re.compile(r'<link rel="stylesheet" href="([\w-]+\.css)">')
_SCRIPT = re.compile(r'<script src="([\w-]+\.js)"></script>')


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
    """Allows exactly the inline scripts and style of this page, requests to this server and local pictures."""
    script = " ".join(_hashes("script", html))
    style = " ".join(_hashes("style", html))
    return (
        f"default-src 'none'; script-src {script}; style-src {style}; img-src blob: data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def in_one_file(html: str) -> str:
    """A page with the styles and scripts that it names inside of it."""
    html = _STYLE.sub(lambda found: f"<style>\n{_text(found[1])}</style>", html)
    return _SCRIPT.sub(lambda found: f"<script>\n{_text(found[1])}</script>", html)


def _read(name: str) -> tuple[str, dict[str, str]]:
    html = in_one_file(_text(name))
    return html, {
        "Content-Security-Policy": content_security_policy(html),
        "Cache-Control": "no-cache",
    }


def _text(name: str) -> str:
    return resources.files("service.web").joinpath(name).read_text("utf-8")


def _hashes(tag: str, html: str) -> list[str]:
    parts = re.findall(rf"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
    return [f"'sha256-{base64.b64encode(hashlib.sha256(each.encode()).digest()).decode()}'" for each in parts]
