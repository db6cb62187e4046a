"""From a request to the engine and back: the body is read, an operation made of it, admitted and waited for."""

import asyncio
import hashlib
import time
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from starlette.requests import Request
from starlette.responses import Response

from service.api import problems
from service.api.auth import key_of
from service.api.body import Sent, read_body, share_of
from service.api.problems import ProblemError
from service.jobs.engine import Engine
from service.jobs.operations import Operation
from service.observe.timing import Timing

T = TypeVar("T")

NOTES = "X-CWIC-Notes"


async def perform(
    engine: Engine,
    request: Request,
    *,
    op: str,
    prepare: Callable[[bytes], Operation[T]],
    prepare_masked: Callable[[bytes, bytes], Operation[T]] | None = None,
) -> tuple[Operation[T], T]:
    """What a request asks for, done; with its result.

    A place is taken when the body is there and its header has told the cost, so that a client that sends slowly
    holds nobody up; and only while there is room for answers, so that none is made to be thrown away.

    Args:
        engine: that does it.
        request: its body has not been read yet.
        op: name of the operation, for the metrics.
        prepare: makes the operation of the body; looks at headers only. What it raises is raised here.
        prepare_masked: makes it of the mask of regions of interest and the body, where a mask comes too; without
            this, none may.

    Raises ProblemError, JobError, CwicError.
    """
    engine.check_working()
    client = _client(request)
    engine.admission.check_place(client)  # already full: the body need not come
    deadline = _deadline(engine, request)
    timing = request.state.timing = Timing(op)
    operation = await _prepared(engine, request, timing, deadline, prepare, prepare_masked)
    if share := share_of(request.scope):
        share.check_room()  # for the answer, before there is one: it may have become less since the body came
    result = await engine.perform(
        operation,
        client=client,
        name=request.state.request_id,
        timing=timing,
        deadline=deadline,
        gone=lambda: _disconnected(request),
    )
    return operation, result


async def look(engine: Engine, request: Request, *, op: str, work: Callable[[bytes], T]) -> T:
    """What takes milliseconds: done beside the queue."""
    engine.check_working()
    timing = request.state.timing = Timing(op)
    return await _prepared(engine, request, timing, _deadline(engine, request), work)


async def answer(
    engine: Engine,
    content: bytes,
    media_type: str,
    model_id: str,
    *,
    notes: tuple[str, ...] = (),
    bpp: float | None = None,
    quality: float | str | None = None,
    vary: str | None = None,
) -> Response:
    """The response of bytes that were made.

    Args:
        engine: whose threads take the digest.
        content: the bytes.
        media_type: of the content.
        model_id: of the model that made it; empty where none did.
        notes: what reading the picture changed.
        bpp: bits per pixel of the .cwic file.
        quality: that it was made at, or `lossless` or `near-lossless`.
        vary: the header that the choice of the media type depended on.
    """
    digest = await engine.look(lambda: hashlib.sha256(content).hexdigest())
    headers = {"ETag": f'"{digest[:32]}"'}
    if model_id:
        headers["X-CWIC-Model"] = model_id
    if bpp is not None:
        headers["X-CWIC-Bpp"] = f"{bpp:.4f}"
    if quality is not None:
        headers["X-CWIC-Quality"] = f"{quality}"
    if notes:
        headers[NOTES] = ", ".join(notes)
    if vary:
        headers["Vary"] = vary
    return Response(content, media_type=media_type, headers=headers)


async def _prepared(
    engine: Engine,
    request: Request,
    timing: Timing,
    deadline: float,
    work: Callable[[bytes], T],
    work_masked: Callable[[bytes, bytes], T] | None = None,
) -> T:
    with timing.measure("read"):
        reading = _read(engine, request, deadline, mask=work_masked is not None)
        data, mask = await engine.unless_over(reading)
    if work_masked is not None and mask is not None:
        work = partial(work_masked, mask)
    with timing.measure("inspect"):
        try:
            async with asyncio.timeout(deadline - time.monotonic()):
                return await engine.unless_over(engine.look(lambda: work(data)))
        except TimeoutError as exc:
            raise ProblemError(problems.TIMEOUT, _too_slow(engine, "to be looked at")) from exc


async def _read(engine: Engine, request: Request, deadline: float, *, mask: bool) -> Sent:
    try:
        async with asyncio.timeout(deadline - time.monotonic()):
            return await read_body(request, mask=mask)
    except TimeoutError as exc:
        raise ProblemError(problems.BODY_TIMEOUT, _too_slow(engine, "to arrive")) from exc


def _client(request: Request) -> str:
    """Whose share of the places is taken: a key's, or else that of whom the connection counts; see `Body.client`."""
    if key := key_of(request):
        return key.digest.hex()
    share = share_of(request.scope)
    return share.client if share else ""


def _deadline(engine: Engine, request: Request) -> float:
    started: float = request.state.started
    return started + engine.settings.request_timeout


def _too_slow(engine: Engine, what: str) -> str:
    return f"It took more than {engine.settings.request_timeout:g} s {what} (CWIC_REQUEST_TIMEOUT)."


async def _disconnected(request: Request) -> None:
    """Return once the client has left; to be awaited after the body has been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
