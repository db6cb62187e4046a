"""Refusals before the body: checks that need only the head of a request, and the middleware that makes them."""

from collections.abc import Callable, Sequence

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from service.api import problems
from service.api.problems import ProblemError

Check = Callable[[Request], None]  # raises ProblemError


class Guard:
    """Makes checks in their order and answers with the first problem; then nothing of the body has been read."""

    def __init__(self, app: ASGIApp, *, checks: Sequence[Check], on_rejection: Callable[[str], None]) -> None:
        self._app = app
        self._checks = checks
        self._on_rejection = on_rejection

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        try:
            for check in self._checks:
                check(request)
        except ProblemError as exc:
            if exc.kind.rejection:
                self._on_rejection(exc.kind.slug)
            await problems.respond(request, exc)(scope, receive, send)
            return
        await self._app(scope, receive, send)
