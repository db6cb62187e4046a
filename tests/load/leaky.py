"""The negative control of the soak: the real program around an app that keeps something of every request.

Run as a module in the place of `service`. It is a test's own: nothing of the service knows of it.
"""

import os
import sys
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

MODULE = "tests.load.leaky"
LEAK = "LEAK_BYTES"  # of the environment: how much is kept of each request


class Leaky:
    """Keeps the body of every request, repeated or cut to a length."""

    def __init__(self, app: ASGIApp, *, size: int) -> None:
        self._app = app
        self._size = size
        self._kept: list[bytearray] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http" or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        kept = bytearray()
        self._kept.append(kept)

        async def keep() -> Message:
            message = await receive()
            kept.extend(message.get("body", b""))
            return message

        await self._app(scope, keep, send)
        kept[:] = (kept or bytearray(1)) * (self._size // max(1, len(kept)) + 1)
        del kept[self._size :]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._app, name)


def main() -> int:
    """Serve, and leak."""
    from service import __main__ as program
    from service import app

    create_app = app.create_app

    def leaking(*args: Any, **kwargs: Any) -> Leaky:
        return Leaky(create_app(*args, **kwargs), size=int(os.environ[LEAK]))

    app.create_app = leaking  # type: ignore[assignment]
    return program.main()


if __name__ == "__main__":
    sys.exit(main())
