"""Who asks, and how often: API keys, and a limit on the requests of each client."""

import math
import time
from collections.abc import Callable

from starlette.datastructures import Headers
from starlette.requests import Request

from service.api import problems
from service.api.addresses import client_of
from service.api.problems import ProblemError
from service.keys import ApiKey, KeyRing

# Probes come from machines that have no key, and the pages are the same for everyone.
OPEN = frozenset({"/livez", "/readyz", "/healthz", "/", "/docs", "/openapi.json"})

_PROGRESS = "/progress/"  # of work that has been counted
_REALM = 'Bearer realm="cwic"'
_SIZE = 10_000  # clients remembered by a rate limit, about 2 MB; behind the first ones it forgets those gone longest


class Authentication:
    """A check: where there are keys, every request needs one of them, except for the open addresses.

    Sets `request.state.key`.
    """

    def __init__(self, keys: KeyRing) -> None:
        self._keys = keys

    def __call__(self, request: Request) -> None:
        """Raise ProblemError (401) where the request has no key of ours; which it lacks is not told."""
        if request.scope["path"] in OPEN:
            return
        key = self._keys.find(_sent(request.headers))
        if key is None:
            raise ProblemError(
                problems.UNAUTHORIZED,
                "Send a key of this service, as `Authorization: Bearer KEY` or as `X-API-Key: KEY`.",
                headers={"WWW-Authenticate": _REALM},
            )
        request.state.key = key


class RateLimit:
    """A check: a token bucket for each key, or where there are no keys for each address.

    A request takes a token. Tokens come back evenly, so many a minute, and a bucket holds a sixth of those, but ten
    where there are as many: a page that makes some requests at once is not refused. Refused requests take none.
    """

    def __init__(
        self, per_minute: int, *, clock: Callable[[], float] = time.monotonic, size: int = _SIZE
    ) -> None:
        assert per_minute > 0, f"a limit of {per_minute} lets nobody in"
        self.burst = min(per_minute, max(10, per_minute // 6))
        self._per_minute = per_minute
        self._clock = clock
        self._size = size
        # By client, the one longest unused first: tokens, and when there were so many.
        self._buckets: dict[bytes | str, tuple[float, float]] = {}

    def __call__(self, request: Request) -> None:
        """Raise ProblemError (429) where the bucket is empty; open addresses and progress are not counted."""
        path = request.scope["path"]
        if path in OPEN or path.startswith(_PROGRESS):
            return
        wait = math.ceil(self.take(_client(request)))
        if wait:
            raise ProblemError(
                problems.RATE_LIMIT,
                f"More than {self._per_minute} requests a minute (CWIC_RATE_LIMIT); try again in {wait} s.",
                limit=self._per_minute,
                headers={"Retry-After": str(wait)},
            )

    def take(self, client: bytes | str) -> float:
        """Take a token of a client's; seconds until there is one where there is none, else 0."""
        now = self._clock()
        rate = self._per_minute / 60
        tokens, since = self._buckets.pop(client, (float(self.burst), now))
        tokens = min(self.burst, tokens + rate * (now - since))
        admitted = tokens >= 1
        self._buckets[client] = (tokens - 1 if admitted else tokens, now)
        if len(self._buckets) > self._size:
            del self._buckets[next(iter(self._buckets))]
        return 0.0 if admitted else (1 - tokens) / rate


def _sent(headers: Headers) -> bytes:
    """The key in a request's headers; empty where there is none."""
    key = headers.get("X-API-Key", "")
    scheme, _, token = headers.get("Authorization", "").partition(" ")
    if not key and scheme.lower() == "bearer":
        key = token.strip()
    return key.encode("latin-1")  # how Starlette has decoded it


def key_of(request: Request) -> ApiKey | None:
    """The key that a request came with, where keys are asked for."""
    key = getattr(request.state, "key", None)
    return key if isinstance(key, ApiKey) else None


def _client(request: Request) -> bytes | str:
    """What a client is told by: its key, or else its address; of IPv6 the network that one customer has."""
    if key := key_of(request):
        return key.digest
    return client_of(request.client.host) if request.client else ""
