"""The endpoints that look at .cwic files without making pictures of them: truncate, inspect."""

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from model.container.format import Header
from model.container.format import truncate as truncated
from model.container.header import read_header
from model.container.reader import Reader
from model.errors import ParameterError
from service.api import openapi
from service.api.dependencies import answer, look, perform
from service.api.parameters import InspectQuery, TruncateQuery
from service.api.query import refusal
from service.api.schemas import FileFacts
from service.jobs.engine import Engine
from service.jobs.models import limits_of
from service.jobs.operations import Inspect

_FILE = "A .cwic file."
_HEADERS = {
    "X-CWIC-Model": "Id of the model that made the file; absent where it is lossless.",
    "X-CWIC-Bpp": "Bits per pixel of the file.",
}


def file_routes(engine: Engine) -> APIRouter:
    """The routes, bound to an engine."""
    router = APIRouter(tags=["codec"])
    limits = limits_of(engine.settings)

    @router.post(
        "/truncate",
        summary="A .cwic file to a smaller one of less detail, without decoding it",
        response_class=Response,
        responses=openapi.answers(
            *openapi.WORK,
            *openapi.READ_FILE,
            ok=openapi.binary("The file.", openapi.CWIC_TYPE, headers=_HEADERS),
        ),
        openapi_extra=openapi.body(_FILE, openapi.CWIC_TYPE),
    )
    async def truncate(request: Request, query: Annotated[TruncateQuery, Query()]) -> Response:
        def work(data: bytes) -> tuple[bytes, Header]:
            try:
                file = truncated(data, query.max_bytes, limits=limits)
            except ParameterError as exc:
                raise refusal("bytes", str(exc)) from exc
            return file, read_header(Reader(file), limits=limits)[0]

        file, header = await look(engine, request, op="truncate", work=work)
        bpp = 8 * len(file) / (header.width * header.height)
        return await answer(engine, file, openapi.CWIC_TYPE, header.model_id.hex(), bpp=bpp)

    @router.post(
        "/inspect",
        summary="What a .cwic file says about itself, even one that was cut in transfer",
        responses=openapi.answers(*openapi.WORK, *openapi.READ_FILE),
        openapi_extra=openapi.body(_FILE, openapi.CWIC_TYPE),
    )
    async def inspect(request: Request, query: Annotated[InspectQuery, Query()]) -> FileFacts:
        models = engine.models
        if not query.importance:
            codec = models.default
            return await look(
                engine,
                request,
                op=Inspect.op,
                work=lambda data: FileFacts.of(codec.read(data, allow_truncated=True).info()),
            )

        def prepare(data: bytes) -> Inspect:
            codec, file = models.of_file(data, allow_truncated=True)
            return Inspect(codec=codec, file=file)

        operation, mean_importance = await perform(engine, request, op=Inspect.op, prepare=prepare)
        assert isinstance(operation, Inspect)
        return FileFacts.of(operation.file.info(), mean_importance=mean_importance)

    return router
