"""What keeps web pages from using a service that is not theirs: names, origins, and headers that browsers obey.

A page of any site can send requests to `http://localhost:8000` from the browser of whoever looks at it. Without
CORS it cannot read the answers, but the work is done, and after DNS rebinding (its own name made to mean 127.0.0.1)
the browser takes the service for its own site. So a request has to name a host that the service is called by,
and one that a page sends, told by the header `Origin`, has to come from the service's own page or an allowed site.
"""

import re
from collections.abc import Sequence
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api import problems
from service.api.addresses import is_address, plain
from service.api.problems import ProblemError
from service.settings import Settings

ANY = "*"
READING = frozenset({"GET", "HEAD", "OPTIONS"})  # methods that change nothing and make no work

# What a page of an allowed site may read of an answer beside the body.
EXPOSED = (
    "ETag",
    "Retry-After",
    "Server-Timing",
    "X-CWIC-Bpp",
    "X-CWIC-Quality",
    "X-CWIC-Model",
    "X-CWIC-Notes",
    "X-Request-ID",
)

_LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
# No name of DNS is longer.
_HOST = re.compile(r"(?P<name>\[[0-9a-f:.]{2,45}\]|[^\s:@/?#\[\]]{1,254})(?::\d*)?")
_ORIGIN = re.compile(r"(?P<scheme>https?)://(?P<authority>[^\s@/?#]+)")
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


class AllowedHosts:
    """A check: the header `Host` has one of the service's names, or the address that the connection came to.

    That address is right for probes and scrapes, which know no name; a page cannot have it as the name of its site.
    """

    def __init__(self, patterns: Sequence[str]) -> None:
        self._any = ANY in patterns
        self._names = frozenset(each.lower() for each in patterns)

    def __call__(self, request: Request) -> None:
        """Raise ProblemError where the name is another one.

        With 421, which says that the request came to the wrong server; 400 would say that it is malformed, as one
        with two names is: whoever passed it on may have looked at the other one (RFC 9112, 3.2).
        """
        hosts = request.headers.getlist("Host")
        if len(hosts) > 1:
            raise ProblemError(problems.BAD_REQUEST, f"The header Host comes {len(hosts)} times.")
        host = "".join(hosts)
        if not self._any and not self._knows(host, request.scope.get("server")):
            raise ProblemError(
                problems.WRONG_HOST,
                f"This service is not called {host[:254]!r}; CWIC_ALLOWED_HOSTS has its names.",
            )

    def _knows(self, host: str, server: tuple[str, int | None] | None) -> bool:
        parts = _HOST.fullmatch(host.lower())
        if parts is None:
            return False
        name = parts["name"].rstrip(".")
        parents = (f"*{name[index:]}" for index, letter in enumerate(name) if letter == ".")
        return (
            name in self._names
            or any(each in self._names for each in parents)
            or (server is not None and _same_address(name, server[0]))
        )


class AllowedOrigins:
    """A check: what a web page sends comes from the service's own host or from an allowed site."""

    def __init__(self, origins: Sequence[str]) -> None:
        self._any = ANY in origins
        self._origins = frozenset(origins)

    def __call__(self, request: Request) -> None:
        """Raise ProblemError (403) for another origin; reading is free, as the page sees no answer."""
        origin = request.headers.get("Origin")
        if origin is None or request.method in READING or self._any or origin in self._origins:
            return
        if not _same_host(origin, request.headers.get("Host", "")):
            raise ProblemError(
                problems.CROSS_ORIGIN,
                f"Pages of {origin[:254]!r} may not use this service; CWIC_CORS_ORIGINS has the sites that may.",
            )


class SecurityHeaders:
    """Adds to every answer what a browser has to obey; what a page has set for itself stays."""

    def __init__(self, app: ASGIApp, *, cross_origin: bool) -> None:
        self._app = app
        self._headers = {
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "X-Frame-Options": "DENY",
            "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
            "Cross-Origin-Resource-Policy": "cross-origin" if cross_origin else "same-origin",
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""

        async def reply(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, reply if scope["type"] == "http" else send)


def hosts_of(settings: Settings) -> Sequence[str]:
    """The names that the service of these settings is called by; any where it can be reached from elsewhere."""
    if settings.allowed_hosts is not None:
        return settings.allowed_hosts
    if not settings.on_loopback:
        return (ANY,)
    own = f"[{settings.host}]" if ":" in settings.host else settings.host
    return (*_LOOPBACK, own)


def cors_options(origins: Sequence[str]) -> dict[str, Any]:
    """The arguments of Starlette's CORSMiddleware; keys travel in headers, so it needs no credentials."""
    return {
        "allow_origins": origins,
        "allow_methods": ("GET", "POST"),
        "allow_headers": ("Authorization", "X-API-Key", "X-Request-ID"),
        "expose_headers": EXPOSED,
    }


def _same_host(origin: str, host: str) -> bool:
    """Whether an origin has this host; by whatever scheme, as a proxy may have ended TLS."""
    parts = _ORIGIN.fullmatch(origin.lower())
    if parts is None:  # `null` among them: a file, or a page in a sandbox
        return False
    port = _DEFAULT_PORTS[parts["scheme"]]
    return parts["authority"].removesuffix(port) == host.lower().removesuffix(port)


def _same_address(name: str, address: str) -> bool:
    """Whether both are one IP address, however it is written; a name has none, nor has every socket."""
    return is_address(address) and plain(name.strip("[]")) == plain(address)
