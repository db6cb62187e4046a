"""The page at `/` where one tries the service: one file, nothing from elsewhere, and a policy to that end."""

import base64
import hashlib
import re
from importlib import resources

from fastapi import APIRouter
from starlette.responses import HTMLResponse


def page_routes() -> APIRouter:
    """The route of the page."""
    router = APIRouter(include_in_schema=False)
    html = resources.files("service").joinpath("page.html").read_text("utf-8")
    headers = {"Content-Security-Policy": content_security_policy(html), "Cache-Control": "no-cache"}

    @router.get("/")
    async def page() -> HTMLResponse:
        return HTMLResponse(html, headers=headers)

    return router


def content_security_policy(html: str) -> str:
    """Allows exactly the inline script and style of this page, requests to this server and local pictures."""
    script = " ".join(_hashes("script", html))
    style = " ".join(_hashes("style", html))
    return (
        f"default-src 'none'; script-src {script}; style-src {style}; img-src blob: data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def _hashes(tag: str, html: str) -> list[str]:
    parts = re.findall(rf"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
    return [f"'sha256-{base64.b64encode(hashlib.sha256(each.encode()).digest()).decode()}'" for each in parts]
