"""A client of the service: `Client`, and `AsyncClient` with the same methods to be awaited.

    with Client("http://127.0.0.1:8000") as client:
        file = client.compress(Path("photo.jpg").read_bytes(), quality=50)
        picture = client.decompress(file.data, format="png")

Needs httpx and tenacity, and nothing else of cwic. Parameters are those of the HTTP API, by its names; one that the
server does not know is refused by it. What is wrong is raised as one of the errors of `service.client_types`; what no
request can carry, such as an `api_key` or a `request_id` that is not of visible ASCII characters, as ValueError.

Where the server is busy or cannot be reached, a request is sent again, after as long as `Retry-After` says: every
request can be repeated, as the same bytes give the same answer and nothing is kept.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import wraps
from typing import Any, Concatenate, Generic, Literal, ParamSpec, Self, TypeVar
from urllib.parse import quote

import httpx
import tenacity

from service.client_types import (
    BusyError,
    Comparison,
    CwicClientError,
    File,
    FileFacts,
    InvalidParameterError,
    Model,
    ModelError,
    ProblemError,
    Progress,
    Region,
    RequestError,
    Roi,
    ServerError,
    TooLargeError,
    UnauthorizedError,
    UnexpectedAnswerError,
    UnreachableError,
    UnreadableError,
    answer_of,
    check_visible,
    exchange,
)

__all__ = [
    "AsyncClient",
    "BusyError",
    "Client",
    "Comparison",
    "CwicClientError",
    "File",
    "FileFacts",
    "InvalidParameterError",
    "Model",
    "ModelError",
    "ProblemError",
    "Progress",
    "Region",
    "RequestError",
    "Roi",
    "ServerError",
    "TooLargeError",
    "UnauthorizedError",
    "UnexpectedAnswerError",
    "UnreachableError",
    "UnreadableError",
]
T = TypeVar("T")
P = ParamSpec("P")

Tune = Literal["psnr", "visual"]
PictureFormat = Literal["png", "jpeg", "webp"]

_TIMEOUT = 120.0  # seconds: twice the longest that a server by default works for a request
_ATTEMPTS, _PATIENCE = 8, 120.0
_BACKOFF = tenacity.wait_random_exponential(multiplier=0.5, max=10.0)
_LOST = (httpx.ConnectError, httpx.ConnectTimeout, httpx.NetworkError, httpx.RemoteProtocolError)


@dataclass(frozen=True)
class _Call(Generic[T]):
    """A request, and what becomes of its answer."""

    method: str
    path: str
    parse: Callable[[httpx.Response], T]
    params: Mapping[str, object] = field(default_factory=dict)
    content: bytes | None = None
    files: Mapping[str, bytes] | None = None
    request_id: str | None = None

    def __post_init__(self) -> None:
        check_visible("request_id", self.request_id)

    def arguments(self, key: str | None) -> dict[str, Any]:
        """Of httpx's `request`."""
        headers = {"X-Request-ID": self.request_id, "Authorization": key and f"Bearer {key}"}
        return {
            "params": {name: _words(value) for name, value in self.params.items() if value not in (None, ())},
            "content": self.content,
            "files": self.files,
            "headers": {name: value for name, value in headers.items() if value},
        }


def _json(make: Callable[[Any], T]) -> Callable[[httpx.Response], T]:
    """How to parse an answer whose JSON document something is made of."""
    return lambda response: make(response.json())


def _compress(
    picture: bytes,
    *,
    quality: float | None = None,
    target_bytes: int | None = None,
    target_bpp: float | None = None,
    target_psnr: float | None = None,
    target_ssimulacra2: float | None = None,
    effort: int | None = None,
    tune: Tune | None = None,
    roi: Sequence[Roi] | bytes = (),
    lossless: bool | None = None,
    metadata: Literal["drop", "keep"] | None = None,
    model: str | None = None,
    request_id: str | None = None,
) -> _Call[File]:
    """A picture file to a .cwic file.

    `roi` is rectangles, or a grey picture file of the picture's size that is lighter where errors weigh more.
    """
    mask = roi if isinstance(roi, bytes) else None
    params = {
        "quality": quality,
        "target_bytes": target_bytes,
        "target_bpp": target_bpp,
        "target_psnr": target_psnr,
        "target_ssimulacra2": target_ssimulacra2,
        "effort": effort,
        "tune": tune,
        "roi": () if isinstance(roi, bytes) else tuple(map(_numbers, roi)),
        "lossless": lossless,
        "metadata": metadata,
        "model": model,
    }
    return _Call(
        "POST",
        "/compress",
        File.cwic_of,
        params,
        content=picture if mask is None else None,
        files=None if mask is None else {"file": picture, "roi": mask},
        request_id=request_id,
    )


def _decompress(
    file: bytes,
    *,
    format: PictureFormat | None = None,
    region: Region | None = None,
    groups: int | None = None,
    allow_truncated: bool | None = None,
    request_id: str | None = None,
) -> _Call[File]:
    """A .cwic file to a picture file, PNG if no format is given."""
    params = {
        "format": format,
        "region": region and _numbers(region),
        "groups": groups,
        "allow_truncated": allow_truncated,
    }
    return _Call("POST", "/decompress", File.picture_of, params, content=file, request_id=request_id)


def _truncate(file: bytes, max_bytes: int, *, request_id: str | None = None) -> _Call[File]:
    """A .cwic file cut to at most so many bytes, in less detail and still whole."""
    return _Call("POST", "/truncate", File.cwic_of, {"bytes": max_bytes}, content=file, request_id=request_id)


def _importance_map(
    source: bytes,
    *,
    quality: float | None = None,
    tune: Tune | None = None,
    model: str | None = None,
    style: Literal["grey", "heat", "overlay"] | None = None,
    size: Literal["picture", "map"] | None = None,
    allow_truncated: bool | None = None,
    request_id: str | None = None,
) -> _Call[File]:
    """Where the bits of a picture file or a .cwic file go, as a PNG."""
    params = {
        "quality": quality,
        "tune": tune,
        "model": model,
        "style": style,
        "size": size,
        "allow_truncated": allow_truncated,
    }
    return _Call("POST", "/importance-map", File.picture_of, params, content=source, request_id=request_id)


def _inspect(
    file: bytes, *, importance: bool | None = None, request_id: str | None = None
) -> _Call[FileFacts]:
    """What a .cwic file says about itself, even one that was cut in transfer."""
    params = {"importance": importance}
    return _Call("POST", "/inspect", _json(FileFacts.of), params, content=file, request_id=request_id)


def _compare(
    picture: bytes,
    *,
    quality: float | None = None,
    tune: Tune | None = None,
    model: str | None = None,
    request_id: str | None = None,
) -> _Call[Comparison]:
    """What other formats need to be as good as the .cwic file of a picture file; takes as long as they do."""
    params = {"quality": quality, "tune": tune, "model": model}
    return _Call("POST", "/compare", _json(Comparison.of), params, content=picture, request_id=request_id)


def _models() -> _Call[tuple[Model, ...]]:
    """The models that the server has, the default one first."""
    return _Call("GET", "/models", _json(lambda found: tuple(map(Model.of, found["models"]))))


def _progress(request_id: str) -> _Call[Progress]:
    """How far a request is that was sent with this id and is not answered yet; RequestError where there is none."""
    return _Call("GET", f"/progress/{quote(request_id, safe='')}", _json(Progress.of))


def _numbers(values: Sequence[float]) -> str:
    """With all digits and without exponents, which the server does not read in coordinates."""
    return ",".join(f"{Decimal(str(each)):f}".removesuffix(".0") for each in values)


def _words(value: object) -> object:
    return str(value).lower() if isinstance(value, bool) else value


def _sync(make: Callable[P, _Call[T]]) -> Callable[Concatenate["Client", P], T]:
    """The method of `Client` that makes a call and waits for its answer."""

    @wraps(make)
    def method(self: "Client", /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._answer(make(*args, **kwargs))

    return method


def _async(make: Callable[P, _Call[T]]) -> Callable[Concatenate["AsyncClient", P], Awaitable[T]]:
    """The method of `AsyncClient` that makes a call and awaits its answer."""

    @wraps(make)
    async def method(self: "AsyncClient", /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._answer(make(*args, **kwargs))

    return method


def _policy(attempts: int, patience: float) -> dict[str, Any]:
    """How often and when requests are sent again, in tenacity's words."""
    return {
        "retry": tenacity.retry_if_exception(_may_pass),
        "wait": _pause,
        "stop": tenacity.stop_after_attempt(attempts) | tenacity.stop_before_delay(patience),
        "reraise": True,
    }


def _may_pass(error: BaseException) -> bool:
    """Whether the same request may be answered later; one that took too long would take as long again."""
    lost = isinstance(error, UnreachableError) and isinstance(error.__cause__, _LOST)
    return lost or isinstance(error, BusyError)


def _pause(state: tenacity.RetryCallState) -> float:
    """Seconds before the next attempt: what the server says, else longer each time."""
    error = state.outcome.exception() if state.outcome else None
    if isinstance(error, BusyError) and error.retry_after is not None:
        return error.retry_after
    return _BACKOFF(state)


class Client:
    """A client of a service. Safe to use from several threads; to be closed, or used with `with`."""

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None = None,
        timeout: float = _TIMEOUT,
        attempts: int = _ATTEMPTS,
        patience: float = _PATIENCE,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """Connect to nothing yet.

        Args:
            url: of the service.
            api_key: where the service has keys.
            timeout: seconds to wait for a connection, and for the next bytes of an answer.
            attempts: how often a request is sent at most, 1 and above.
            patience: seconds after which a request is not sent again; a longer `Retry-After` is not waited for.
            transport: httpx's, for proxies or certificates of one's own.

        Raises:
            ValueError: `api_key` has characters that no header can carry.
        """
        check_visible("api_key", api_key)
        self._http = httpx.Client(base_url=url, timeout=timeout, transport=transport)
        self._api_key = api_key
        self._policy = _policy(attempts, patience)

    compress = _sync(_compress)
    decompress = _sync(_decompress)
    truncate = _sync(_truncate)
    importance_map = _sync(_importance_map)
    inspect = _sync(_inspect)
    compare = _sync(_compare)
    models = _sync(_models)
    progress = _sync(_progress)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _answer(self, call: _Call[T]) -> T:
        found: T = tenacity.Retrying(**self._policy)(self._send, call)
        return found

    def _send(self, call: _Call[T]) -> T:
        with exchange(self._http.base_url):
            response = self._http.request(call.method, call.path, **call.arguments(self._api_key))
        return answer_of(response, call.parse)


class AsyncClient:
    """`Client` for asyncio and trio: its methods are awaited. To be closed, or used with `async with`."""

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None = None,
        timeout: float = _TIMEOUT,
        attempts: int = _ATTEMPTS,
        patience: float = _PATIENCE,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """See `Client`."""
        check_visible("api_key", api_key)
        self._http = httpx.AsyncClient(base_url=url, timeout=timeout, transport=transport)
        self._api_key = api_key
        self._policy = _policy(attempts, patience)

    compress = _async(_compress)
    decompress = _async(_decompress)
    truncate = _async(_truncate)
    importance_map = _async(_importance_map)
    inspect = _async(_inspect)
    compare = _async(_compare)
    models = _async(_models)
    progress = _async(_progress)

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _answer(self, call: _Call[T]) -> T:
        found: T = await tenacity.AsyncRetrying(**self._policy)(self._send, call)
        return found

    async def _send(self, call: _Call[T]) -> T:
        with exchange(self._http.base_url):
            response = await self._http.request(call.method, call.path, **call.arguments(self._api_key))
        return answer_of(response, call.parse)
