"""The request's body: its limits, which count bytes as they arrive, and the picture or file in it."""

from collections.abc import Sequence
from typing import NamedTuple

from python_multipart.multipart import parse_options_header
from starlette.datastructures import FormData, Headers, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api import problems
from service.api.connections import BODY, Body
from service.api.problems import ProblemError
from service.api.rate import WINDOW, BodyRate

FIELD = "file"
MASK = "roi"
CHARSETS = ("utf-8", "utf8", "us-ascii", "ascii", "iso-8859-1", "latin-1")


class BodyLimit:
    """Refuses bodies that are too large, by Content-Length before reading, else by counting, or that come too slowly.

    The refusal is raised to whoever reads the body, and so is that of the connection, where it found no room in
    memory or no sense in what arrived. What is not read then, the connection throws away as it arrives, so that a
    client that only listens after sending still gets its answer.
    """

    def __init__(self, app: ASGIApp, *, max_bytes: int, min_rate: float) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._min_rate = min_rate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        announced = Headers(scope=scope).get("Content-Length", "")
        count = 0
        more = True
        rate = BodyRate(self._min_rate)
        body = share_of(scope)

        async def counted() -> Message:
            nonlocal count, more
            if not more:  # whoever reads on waits for the client to leave
                return await receive()
            if announced.isdecimal():
                self._check(int(announced))
            try:
                message = await rate.receive(receive)
            except TimeoutError as exc:
                raise self._too_slow() from exc
            if body is not None and body.refusal is not None:
                raise body.refusal
            if message["type"] == "http.request":
                count += len(message.get("body", b""))
                more = message.get("more_body", False)
                self._check(count)
            return message

        await self._app(scope, counted, send)

    def _too_slow(self) -> ProblemError:
        return ProblemError(
            problems.BODY_TOO_SLOW,
            f"In {WINDOW:g} s less than {self._min_rate:g} bytes per second have arrived (CWIC_MIN_BODY_RATE).",
            limit=self._min_rate,
        )

    def _check(self, size: int) -> None:
        if size > self._max_bytes:
            raise ProblemError(
                problems.BODY_TOO_LARGE,
                f"A body of at least {size} bytes; the limit is {self._max_bytes} (CWIC_MAX_BODY_BYTES).",
                limit=self._max_bytes,
                actual=size,
            )


def share_of(scope: Scope) -> Body | None:
    """A request's share of the memory for bodies; there is none behind any other server than ours."""
    share: Body | None = scope.get("state", {}).get(BODY)
    return share


class Sent(NamedTuple):
    """What a request brings.

    Attributes:
        data: the picture or .cwic file.
        mask: the mask of its regions of interest, if there is one.
    """

    data: bytes
    mask: bytes | None = None


async def read_body(request: Request, *, mask: bool = False) -> Sent:
    """The picture or .cwic file in a request: its raw body, or the field `file` of a multipart form.

    The content type decides only between those two; what the bytes are is for their reader to tell. With `mask`, the
    form may have a mask of regions of interest too, in the field `roi`.
    Raises ProblemError.
    """
    try:
        if request.headers.get("Content-Type", "").partition(";")[0].strip().lower() == "multipart/form-data":
            sent = await _read_form(request, (FIELD, MASK) if mask else (FIELD,))
        else:
            sent = Sent(await _read_raw(request))
    except ClientDisconnect as exc:
        raise ProblemError(problems.CLIENT_GONE, "The client left while sending.") from exc
    if not sent.data:
        raise ProblemError(
            problems.EMPTY_BODY, f"Send the bytes as the body, or as the field `{FIELD}` of a multipart form."
        )
    return sent


async def _read_raw(request: Request) -> bytes:
    # Growing one block, which goes back to the system as a whole; Starlette's list of parts leaves holes.
    data = bytearray()
    async for part in request.stream():
        data += part
    return bytes(data)


async def _read_form(request: Request, known: Sequence[str]) -> Sent:
    # Others decode slowly or not at all, on the event loop; field names need none.
    _, parameters = parse_options_header(request.headers["Content-Type"])
    charset = parameters.get(b"charset", b"utf-8").decode("latin-1")
    if charset.lower() not in CHARSETS:
        raise ProblemError(problems.BAD_FORM, f"The form's charset is one of {', '.join(CHARSETS)}.")
    try:
        async with request.form(max_files=len(known), max_fields=8) as form:
            others = sorted({name for name in form if name not in known})
            if FIELD not in form:
                found = f", not {', '.join(map(repr, others))}" if others else ""
                raise ProblemError(problems.BAD_FORM, f"The form needs a file in the field `{FIELD}`{found}.")
            if others:
                raise ProblemError(
                    problems.BAD_FORM,
                    f"Unexpected fields {', '.join(map(repr, others))}: parameters go into the query string.",
                )
            data = await _read_field(form, FIELD)
            return Sent(data, await _read_field(form, MASK) if MASK in form else None)
    except HTTPException as exc:  # how Starlette reports a form that cannot be parsed
        raise ProblemError(problems.BAD_FORM, exc.detail) from exc
    except OSError as exc:  # its parser keeps what is large in a temporary file
        raise ProblemError(
            problems.NO_SPACE,
            f"The temporary folder (TMPDIR) cannot take the form: {exc.strerror}; a raw body does not need it.",
        ) from exc


async def _read_field(form: FormData, name: str) -> bytes:
    uploads = form.getlist(name)
    if len(uploads) > 1:
        raise ProblemError(problems.BAD_FORM, f"The field `{name}` comes {len(uploads)} times.")
    upload = uploads[0]
    if not isinstance(upload, UploadFile):
        raise ProblemError(problems.BAD_FORM, f"The field `{name}` has text instead of a file.")
    return await upload.read()
