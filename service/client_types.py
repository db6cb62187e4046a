"""What the client of the service takes and gives. It raises:

CwicClientError
├── UnreachableError            no answer: the connection failed, or took too long
├── UnexpectedAnswerError       a success that is not what the service answers, as from a proxy in its place
└── ProblemError                an answer that is no success; carries the problem document's members
    ├── RequestError            the request is at fault (4xx)
    │   ├── UnauthorizedError       a key is missing or wrong
    │   ├── InvalidParameterError   `errors` names the parameters
    │   ├── TooLargeError           `limit` and `actual` say of how much
    │   ├── UnreadableError         no picture or file that can be read
    │   └── ModelError              a model that the server does not have
    └── ServerError             the server is at fault (5xx)
        └── BusyError           too much work, not ready or being stopped (429 too); `retry_after` says when it is
"""

import email.utils
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, is_dataclass
from fnmatch import fnmatchcase
from typing import Any, Literal, NamedTuple, Self, TypeVar

import httpx

T = TypeVar("T")


class Region(NamedTuple):
    """A rectangle of a picture, in pixels."""

    x: int
    y: int
    width: int
    height: int


class Roi(NamedTuple):
    """A rectangle, in pixels, whose errors weigh so many times as much as those of the rest."""

    x: int
    y: int
    width: int
    height: int
    weight: float


class Facts:
    """What a JSON object of the service says; what a newer server says besides is left out."""

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Self:
        """The facts of a JSON object."""
        assert is_dataclass(cls)
        known = {each.name for each in fields(cls)}
        return cls(**{name: value for name, value in document.items() if name in known})


@dataclass(frozen=True)
class File:
    """A .cwic file or a picture, as it was answered.

    Attributes:
        data: the file.
        media_type: `image/x-cwic`, `image/png`, `image/jpeg` or `image/webp`.
        model_id: of the model that did it.
        bpp: bits per pixel of the .cwic file; None for importance maps.
        quality: that a file was compressed at, 1 to 100; None where it is lossless, or nearly, or the model has one
            rate.
        notes: what reading the picture changed, such as `orientation-applied`.
    """

    data: bytes = field(repr=False)
    media_type: str
    model_id: str | None
    bpp: float | None
    quality: float | None
    notes: tuple[str, ...]

    @classmethod
    def cwic_of(cls, response: httpx.Response) -> Self:
        """The .cwic file in an answer; raises ValueError where it is another kind of file."""
        return cls._of(response, "image/x-cwic")

    @classmethod
    def picture_of(cls, response: httpx.Response) -> Self:
        """The picture in an answer; raises ValueError where it is another kind of file."""
        return cls._of(response, "image/*")

    @classmethod
    def _of(cls, response: httpx.Response, wanted: str) -> Self:
        headers = response.headers
        media_type = headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if not fnmatchcase(media_type, wanted):
            raise ValueError(f"the answer is {media_type or 'of no media type'} and not {wanted}")
        quality = headers.get("X-CWIC-Quality")
        return cls(
            data=response.content,
            media_type=media_type,
            model_id=headers.get("X-CWIC-Model"),
            bpp=float(headers["X-CWIC-Bpp"]) if "X-CWIC-Bpp" in headers else None,
            quality=None if quality in (None, "lossless", "near-lossless") else float(quality),
            notes=tuple(headers["X-CWIC-Notes"].split(", ")) if "X-CWIC-Notes" in headers else (),
        )


@dataclass(frozen=True)
class Section(Facts):
    """A section of a .cwic file: its name, bytes and, by newer servers, bits for each pixel of the picture."""

    name: str
    length: int
    bpp: float | None = None


@dataclass(frozen=True)
class FileFacts(Facts):
    """What a .cwic file says about itself; as in `/docs`."""

    version: int
    width: int
    height: int
    channels: int
    profile: str
    model_id: str
    quality: float | None
    tune: str | None
    grey: bool
    lowest_level: int | None
    tile: int
    tiles: int
    plane: bool
    truncated: bool
    sections: tuple[Section, ...]
    size: int
    bpp: float
    mean_importance: float | None = None
    tolerance: int | None = None

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Self:
        """See `Facts`."""
        return super().of({**document, "sections": tuple(map(Section.of, document["sections"]))})


@dataclass(frozen=True)
class FormatFacts(Facts):
    """What another format needs: bytes at exactly that PSNR; its quality, and the size and PSNR of the file of it."""

    size: int
    quality: int
    file_size: int
    psnr: float | None


@dataclass(frozen=True)
class OtherFormat(Facts):
    """Another format in a comparison; `needs` is None where it cannot be as good."""

    name: str
    needs: FormatFacts | None

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Self:
        """See `Facts`."""
        needs = document["needs"]
        return super().of({**document, "needs": needs and FormatFacts.of(needs)})


@dataclass(frozen=True)
class Comparison(Facts):
    """The .cwic file of a picture beside what other formats need for its PSNR; as in `/docs`."""

    width: int
    height: int
    cropped: bool
    size: int
    psnr: float | None
    others: tuple[OtherFormat, ...]

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Self:
        """See `Facts`."""
        return super().of({**document, "others": tuple(map(OtherFormat.of, document["others"]))})


@dataclass(frozen=True)
class Model(Facts):
    """A model that the server has; as in `/docs`."""

    name: str
    default: bool
    profile: str
    model_id: str
    sha256: str
    parameters: int
    size: int
    device: str
    dtype: str
    fixed_rate: bool
    tunes: tuple[str, ...]
    max_effort: int

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Self:
        """See `Facts`."""
        return super().of({**document, "tunes": tuple(document["tunes"])})


@dataclass(frozen=True)
class Progress(Facts):
    """How far a request is: `waiting` or `working`, requests ahead of it, seconds left, share done (0 to 1)."""

    state: Literal["waiting", "working"]
    ahead: int
    seconds_left: float
    done: float


class CwicClientError(Exception):
    """Base of all errors of the client."""


class UnreachableError(CwicClientError):
    """No answer came."""


class UnexpectedAnswerError(CwicClientError):
    """A success came that is not what the service answers, such as the login page of a proxy."""


class ProblemError(CwicClientError):
    """An answer that is no success.

    Attributes:
        status: of HTTP.
        kind: the kind of problem, such as `limit`; empty where the answer is no problem document.
        detail: what to change.
        request_id: as the server's log has it.
        limit: the limit that was passed.
        actual: the value that passed it.
        errors: parameters that were refused, and why.
        retry_after: seconds after which the server wants to be asked again.
    """

    def __init__(self, response: httpx.Response) -> None:
        problem = _document(response)
        self.status = response.status_code
        self.kind = kind_of(response)
        self.detail = str(problem.get("detail", response.reason_phrase))
        self.request_id = response.headers.get("X-Request-ID", "")
        self.limit: float | None = problem.get("limit")
        self.actual: float | None = problem.get("actual")
        self.errors: Mapping[str, str] = dict(_refused(problem.get("errors")))
        self.retry_after = _retry_after(response)
        super().__init__(f"{self.status} {problem.get('title', response.reason_phrase)}: {self.detail}")


class RequestError(ProblemError):
    """The request is at fault."""


class UnauthorizedError(RequestError):
    """A key is missing or wrong."""


class InvalidParameterError(RequestError):
    """A parameter is unknown or has a value that does not do."""


class TooLargeError(RequestError):
    """The picture, the request, or the work that it asks for is larger than the server allows."""


class UnreadableError(RequestError):
    """No picture or file that can be read, or a damaged one."""


class ModelError(RequestError):
    """A model that the server does not have, by name or as the file's own."""


class ServerError(ProblemError):
    """The server is at fault."""


class BusyError(ServerError):
    """The server cannot take the request now."""


_KINDS: Mapping[str, type[ProblemError]] = {
    "unauthorized": UnauthorizedError,
    "invalid-parameter": InvalidParameterError,
    "unreachable-target": InvalidParameterError,
    "limit": TooLargeError,
    "too-much-work": TooLargeError,
    "body-too-large": TooLargeError,
    "empty-body": UnreadableError,
    "unsupported-image": UnreadableError,
    "broken-image": UnreadableError,
    "not-cwic": UnreadableError,
    "unsupported-version": UnreadableError,
    "damaged-file": UnreadableError,
    "truncated-file": UnreadableError,
    "unknown-model": ModelError,
    "wrong-model": ModelError,
}
_BUSY = (httpx.codes.TOO_MANY_REQUESTS, httpx.codes.SERVICE_UNAVAILABLE)
_PROXY_BUSY = (
    httpx.codes.BAD_GATEWAY,
    httpx.codes.GATEWAY_TIMEOUT,
)  # without a problem document: not the service's


def error_of(response: httpx.Response) -> ProblemError:
    """The error of an answer that is no success."""
    kind, status = kind_of(response), response.status_code
    if kind in _KINDS:
        return _KINDS[kind](response)
    if status in _BUSY or (status in _PROXY_BUSY and not kind):
        return BusyError(response)
    return ServerError(response) if response.is_server_error else RequestError(response)


@contextmanager
def exchange(url: httpx.URL) -> Iterator[None]:
    """Where requests are sent to that service; raises httpx's errors as those of the client."""
    try:
        yield
    except httpx.InvalidURL as exc:
        raise ValueError(f"the parameters do not fit into an address: {exc}") from exc
    except httpx.DecodingError as exc:
        raise UnexpectedAnswerError(f"{url}: {exc}") from exc
    except httpx.RequestError as exc:
        raise UnreachableError(f"{url}: {str(exc) or type(exc).__name__}") from exc


def answer_of(response: httpx.Response, parse: Callable[[httpx.Response], T]) -> T:
    """What `parse` makes of a success; raises ProblemError where it is none, and UnexpectedAnswerError."""
    if not response.is_success:
        raise error_of(response)
    try:
        return parse(response)
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as exc:
        reason = f"{type(exc).__name__}: {exc}"
        raise UnexpectedAnswerError(f"{response.url}: not what the service answers: {reason}") from exc


def check_visible(name: str, value: str | None) -> None:
    """Raises ValueError where a header cannot carry it."""
    if value and not re.fullmatch("[!-~]+", value):
        raise ValueError(f"{name} has other characters than visible ASCII ones, which a header cannot carry")


def kind_of(response: httpx.Response) -> str:
    """The last part of the problem's type; empty where there is none."""
    return (
        str(_document(response).get("type", "")).removeprefix("urn:cwic:problem:").removeprefix("about:blank")
    )


def _document(response: httpx.Response) -> dict[str, Any]:
    """The problem document, empty where it is another kind of answer."""
    if not response.headers.get("Content-Type", "").startswith("application/problem+json"):
        return {}
    try:
        found = response.json()
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _refused(errors: object) -> Iterator[tuple[str, str]]:
    """Names of parameters and why they were refused; nothing of documents that say it in another way."""
    for each in errors if isinstance(errors, list) else ():
        if isinstance(each, dict) and {"name", "reason"} <= each.keys():
            yield str(each["name"]), str(each["reason"])


def _retry_after(response: httpx.Response) -> float | None:
    """Seconds, by a header that has seconds or a date."""
    header = response.headers.get("Retry-After", "")
    if header.isdecimal():
        return float(header)
    try:
        seconds: float = email.utils.parsedate_to_datetime(header).timestamp() - time.time()
    except (ValueError, OverflowError):
        return None
    return max(0.0, seconds)
