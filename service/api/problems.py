"""What goes wrong, as HTTP says it: RFC 9457 problems, and the one table from the codec's errors to them."""

import http
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from model import errors
from service.api.query import MOST_ERRORS, refusal
from service.jobs import errors as job_errors

MEDIA_TYPE = "application/problem+json"

logger = logging.getLogger("cwic.problems")


class FieldProblem(BaseModel):
    """One parameter that was refused."""

    name: str = Field(description="The parameter.", examples=["quality"])
    reason: str = Field(examples=["Input should be less than or equal to 100"])


class Problem(BaseModel):
    """An error, as RFC 9457 describes it."""

    type: str = Field(
        description="Stable name of the kind of problem; `about:blank` where the status says it all.",
        examples=["urn:cwic:problem:limit"],
    )
    title: str = Field(description="The kind of problem in words.", examples=["Picture too large"])
    status: int = Field(examples=[422])
    detail: str = Field(description="This occurrence: what to change.")
    instance: str = Field(description="Path of the request.", examples=["/compress"])
    request_id: str = Field(description="As in the header X-Request-ID and in the log.")
    limit: int | float | None = Field(None, description="The limit that was passed.")
    actual: int | float | None = Field(None, description="The value that passed it.")
    lowest: float | None = Field(None, description="What the target can be for this picture, at the least.")
    highest: float | None = Field(None, description="The same, at the most.")
    errors: list[FieldProblem] | None = Field(None, description="The parameters that were refused.")


@dataclass(frozen=True)
class Kind:
    """A kind of problem.

    Attributes:
        slug: last part of its type URI.
        status: HTTP status.
        title: the kind in words.
        rejection: counted in `cwic_rejected_total` under its slug: the service turned work away.
    """

    slug: str
    status: int
    title: str
    rejection: bool = False


EMPTY_BODY = Kind("empty-body", 400, "No picture or file in the request")
BAD_REQUEST = Kind("bad-request", 400, "Not an HTTP request that can be taken")
BAD_FORM = Kind("bad-form", 400, "Unusable multipart form")
UNAUTHORIZED = Kind("unauthorized", 401, "A key is needed", rejection=True)
CROSS_ORIGIN = Kind("cross-origin", 403, "Not for pages of this site", rejection=True)
UNKNOWN_MODEL = Kind("unknown-model", 404, "No such model")
UNKNOWN_REQUEST = Kind("unknown-request", 404, "No such request in work")
NOT_ACCEPTABLE = Kind("not-acceptable", 406, "No acceptable output format")
BODY_TIMEOUT = Kind("body-timeout", 408, "The body took too long to arrive", rejection=True)
BODY_TOO_SLOW = Kind("body-too-slow", 408, "The body arrives too slowly", rejection=True)
HEADER_TIMEOUT = Kind("header-timeout", 408, "The header took too long to arrive", rejection=True)
BODY_TOO_LARGE = Kind("body-too-large", 413, "Request body too large", rejection=True)
UNSUPPORTED_IMAGE = Kind("unsupported-image", 415, "Not a picture that can be read")
NOT_CWIC = Kind("not-cwic", 415, "Not a .cwic file")
UNSUPPORTED_VERSION = Kind("unsupported-version", 415, "Unknown version of the .cwic format")
WRONG_HOST = Kind("wrong-host", 421, "No service of this name", rejection=True)
INVALID_PARAMETER = Kind("invalid-parameter", 422, "Invalid parameter")
UNREACHABLE = Kind("unreachable-target", 422, "No file of the picture reaches the target")
LIMIT = Kind("limit", 422, "Picture too large", rejection=True)
TOO_MUCH_WORK = Kind("too-much-work", 422, "Too much work for one request", rejection=True)
BROKEN_IMAGE = Kind("broken-image", 422, "Damaged picture")
DAMAGED_FILE = Kind("damaged-file", 422, "Damaged .cwic file")
TRUNCATED_FILE = Kind("truncated-file", 422, ".cwic file cut in transfer")
WRONG_MODEL = Kind("wrong-model", 422, "Made with a model that is not loaded")
NO_IMPORTANCE_MAP = Kind("no-importance-map", 422, "No importance map in the file")
QUEUE_FULL = Kind("queue-full", 429, "Too many requests", rejection=True)
RATE_LIMIT = Kind("rate-limit", 429, "Too many requests of one client", rejection=True)
BODY_MEMORY = Kind("body-memory", 429, "Too many bytes of bodies at once", rejection=True)
CLIENT_CONNECTIONS = Kind("client-connections", 429, "Too many connections of one client", rejection=True)
HEADER_TOO_LARGE = Kind("header-too-large", 431, "Request header too large", rejection=True)
CLIENT_GONE = Kind("client-gone", 499, "The client left", rejection=True)
INTERNAL = Kind("internal", 500, "Internal error")
NOT_READY = Kind("not-ready", 503, "Not ready", rejection=True)
DRAINING = Kind("draining", 503, "The server is being stopped", rejection=True)
OUT_OF_MEMORY = Kind("out-of-memory", 503, "Not enough memory now", rejection=True)
NOT_ALIVE = Kind("not-alive", 503, "The worker is dead or stuck", rejection=True)
TOO_MANY_CONNECTIONS = Kind("connections", 503, "Too many connections", rejection=True)
TIMEOUT = Kind("timeout", 504, "The request took too long", rejection=True)
NO_SPACE = Kind("no-space", 507, "No room for the upload", rejection=True)

# Every leaf of the tree in model/errors.py; a test proves that none is missing.
KINDS: Mapping[type[errors.CwicError], Kind] = MappingProxyType(
    {
        errors.ParameterError: INVALID_PARAMETER,
        errors.LimitError: LIMIT,
        errors.TargetError: UNREACHABLE,
        errors.UnsupportedImageError: UNSUPPORTED_IMAGE,
        errors.BrokenImageError: BROKEN_IMAGE,
        errors.NotCwicError: NOT_CWIC,
        errors.UnsupportedVersionError: UNSUPPORTED_VERSION,
        errors.TruncatedFileError: TRUNCATED_FILE,
        errors.ChecksumError: DAMAGED_FILE,
        errors.TrailingDataError: DAMAGED_FILE,
        errors.HeaderError: DAMAGED_FILE,
        errors.SectionError: DAMAGED_FILE,
        errors.PayloadError: DAMAGED_FILE,
        errors.WrongModelError: WRONG_MODEL,
        errors.NoImportanceMapError: NO_IMPORTANCE_MAP,
        errors.DeviceError: INTERNAL,
        errors.CheckpointNotFoundError: INTERNAL,
        errors.CheckpointFormatError: INTERNAL,
        errors.SelfTestError: INTERNAL,
    }
)


# Every leaf of the tree in service/jobs/errors.py; the same.
JOB_KINDS: Mapping[type[job_errors.JobError], Kind] = MappingProxyType(
    {
        job_errors.UnknownModelError: UNKNOWN_MODEL,
        job_errors.NotReadyError: NOT_READY,
        job_errors.DeadError: NOT_ALIVE,
        job_errors.StalledError: NOT_ALIVE,
        job_errors.RefusedError: QUEUE_FULL,
        job_errors.TooMuchWorkError: TOO_MUCH_WORK,
        job_errors.DeadlineError: TIMEOUT,
        job_errors.OutOfMemoryError: OUT_OF_MEMORY,
        job_errors.DrainedError: DRAINING,
        job_errors.AbandonedError: CLIENT_GONE,
    }
)
_WAITS: Mapping[Kind, int] = MappingProxyType({NOT_READY: 5, DRAINING: 1, OUT_OF_MEMORY: 10})  # seconds


def rejections() -> tuple[str, ...]:
    """The slugs of all kinds that are counted as work turned away."""
    return tuple(each.slug for each in globals().values() if isinstance(each, Kind) and each.rejection)


class ProblemError(Exception):
    """Ends a request with a problem of the given kind."""

    def __init__(
        self,
        kind: Kind,
        detail: str,
        *,
        limit: float | None = None,
        actual: float | None = None,
        lowest: float | None = None,
        highest: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail
        self.limit = limit
        self.actual = actual
        self.lowest = lowest
        self.highest = highest
        self.headers = headers


def from_cwic_error(error: errors.CwicError) -> ProblemError:
    """The answer to an error of the codec; the message passes on only what concerns the caller's input."""
    kind = next((KINDS[each] for each in type(error).__mro__ if each in KINDS), INTERNAL)
    if kind is INTERNAL:
        return internal()
    if isinstance(error, errors.LimitError):
        what = "pixels" if error.name == "max_pixels" else "pixels on a side"
        detail = (
            f"A picture of {error.actual} {what}; the limit is {error.limit} (CWIC_{error.name.upper()})."
        )
        return ProblemError(kind, detail, limit=error.limit, actual=error.actual)
    if isinstance(error, errors.TargetError):
        return ProblemError(kind, str(error), lowest=error.lowest, highest=error.highest)
    return ProblemError(kind, str(error))


def from_job_error(error: job_errors.JobError) -> ProblemError:
    """The answer to a job that has no result."""
    kind = JOB_KINDS[type(error)]
    if isinstance(error, job_errors.RefusedError):
        return ProblemError(
            kind, str(error), limit=error.limit, headers={"Retry-After": str(error.retry_after)}
        )
    if isinstance(error, job_errors.TooMuchWorkError):
        return ProblemError(kind, str(error), limit=round(error.limit, 1), actual=round(error.seconds, 1))
    if isinstance(error, job_errors.StalledError):
        return ProblemError(kind, str(error), limit=error.limit, actual=round(error.age, 1))
    wait = _WAITS.get(kind)
    return ProblemError(kind, str(error), headers={"Retry-After": str(wait)} if wait else None)


def internal() -> ProblemError:
    """The answer to a fault of ours: nothing of it leaves the server except the request id."""
    return ProblemError(INTERNAL, "A fault of the server; its log has the cause under the request_id.")


def respond(request: Request, error: ProblemError) -> Response:
    """The response to a problem of a request."""
    return respond_to(error, instance=request.url.path, request_id=request.state.request_id)


def respond_to(error: ProblemError, *, instance: str, request_id: str) -> Response:
    """The response to a problem, of a request that need not have reached the app."""
    return _response(
        instance,
        request_id,
        type_=f"urn:cwic:problem:{error.kind.slug}",
        title=error.kind.title,
        status=error.kind.status,
        detail=error.detail,
        limit=error.limit,
        actual=error.actual,
        lowest=error.lowest,
        highest=error.highest,
        headers=error.headers,
    )


def install(app: FastAPI, *, on_rejection: Callable[[str], None]) -> None:
    """Make every error of the app a problem; `on_rejection` is told the slug of work turned away.

    Unforeseen exceptions are not handled here but by the outermost middleware, which also logs them.
    """

    async def problem(request: Request, error: Exception) -> Response:
        assert isinstance(error, ProblemError)
        if error.kind.rejection and request.method == "POST":  # a probe is no work
            on_rejection(error.kind.slug)
        return respond(request, error)

    async def cwic(request: Request, error: Exception) -> Response:
        assert isinstance(error, errors.CwicError)
        if isinstance(error, errors.ParameterError) and error.name is not None:
            return await validation(request, refusal(error.name, str(error)))
        answer = from_cwic_error(error)
        if answer.kind is INTERNAL:
            logger.error("%s", answer.kind.title, exc_info=error)
        return await problem(request, answer)

    async def job(request: Request, error: Exception) -> Response:
        assert isinstance(error, job_errors.JobError)
        return await problem(request, from_job_error(error))

    async def validation(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        fields = [
            FieldProblem(name=".".join(str(part) for part in each["loc"][1:]), reason=each["msg"])
            for each in error.errors()[:MOST_ERRORS]
        ]
        return _response(
            request.url.path,
            request.state.request_id,
            type_=f"urn:cwic:problem:{INVALID_PARAMETER.slug}",
            title=INVALID_PARAMETER.title,
            status=INVALID_PARAMETER.status,
            detail="; ".join(f"{field.name}: {field.reason}" for field in fields),
            errors=fields,
        )

    async def plain(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        title = http.HTTPStatus(error.status_code).phrase
        return _response(
            request.url.path,
            request.state.request_id,
            type_="about:blank",
            title=title,
            status=error.status_code,
            detail=_DETAILS.get(error.status_code, error.detail),
            headers=error.headers,
        )

    app.add_exception_handler(ProblemError, problem)
    app.add_exception_handler(errors.CwicError, cwic)
    app.add_exception_handler(job_errors.JobError, job)
    app.add_exception_handler(RequestValidationError, validation)
    app.add_exception_handler(HTTPException, plain)


_DETAILS = {404: "No such address; /docs lists them.", 405: "Not with this method; see the header Allow."}


def _response(
    instance: str,
    request_id: str,
    *,
    type_: str,
    title: str,
    status: int,
    detail: str,
    limit: float | None = None,
    actual: float | None = None,
    lowest: float | None = None,
    highest: float | None = None,
    errors: list[FieldProblem] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    problem = Problem(
        type=type_,
        title=title,
        status=status,
        detail=detail,
        instance=instance,
        request_id=request_id,
        limit=limit,
        actual=actual,
        lowest=lowest,
        highest=highest,
        errors=errors,
    )
    return JSONResponse(
        problem.model_dump(exclude_none=True),
        status_code=status,
        headers={"Cache-Control": "no-store", **(headers or {})},
        media_type=MEDIA_TYPE,
    )
