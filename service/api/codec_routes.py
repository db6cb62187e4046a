"""The endpoints that do work: compress, decompress, importance map, inspect, compare."""

import hashlib
from collections.abc import Callable, Mapping
from typing import Annotated, TypeVar

from fastapi import APIRouter, Query
from fastapi.exceptions import RequestValidationError
from starlette.requests import Request
from starlette.responses import Response

from model.container.format import MAGIC
from model.images.writing import MEDIA_TYPES, formats_for
from model.options import EncodeOptions
from model.protocol import PictureCodec
from service.api import openapi, problems
from service.api.dependencies import look, perform
from service.api.negotiation import choose_format
from service.api.problems import ProblemError
from service.api.schemas import ComparisonFacts, CompressQuery, DecompressQuery, FileFacts, FileQuery, NoQuery
from service.jobs.compare import Compare
from service.jobs.engine import Engine
from service.jobs.models import limits_of
from service.jobs.operations import Compress, Decompress, MapFile, Mapped, MapPicture, OfPicture

T = TypeVar("T")

NOTES = "X-CWIC-Notes"

_PICTURE = (
    "A picture: PNG, JPEG, WebP, AVIF, GIF, TIFF, BMP, PPM or (with `cwic[heif]`) HEIC; its bytes tell which."
)
_FILE = "A .cwic file."
_MODEL = {"X-CWIC-Model": "Id of the model that did it."}
_BPP = {"X-CWIC-Bpp": "Bits per pixel of the .cwic file."}
_READ = {NOTES: "What reading changed, such as `orientation-applied`; absent if nothing."}


def codec_routes(engine: Engine) -> APIRouter:
    """The routes, bound to an engine."""
    router = APIRouter(tags=["codec"])
    limits = limits_of(engine.settings)

    def of_picture(
        kind: type[OfPicture[T]], query: CompressQuery, **own: object
    ) -> Callable[[bytes], OfPicture[T]]:
        """What makes the operation of a picture file; refuses first what needs no picture to be refused."""
        codec = engine.models.named(query.model)
        _check_options(query.options, codec)
        return lambda data: kind.of(data, codec=codec, options=query.options, limits=limits, **own)

    @router.post(
        "/compress",
        summary="A picture to a .cwic file",
        response_class=Response,
        responses=openapi.answers(
            *openapi.WORK,
            *openapi.READ_IMAGE,
            problems.UNKNOWN_MODEL,
            ok=openapi.binary("The file.", openapi.CWIC_TYPE, headers=_MODEL | _BPP | _READ),
        ),
        openapi_extra=openapi.body(_PICTURE, "image/*"),
    )
    async def compress(request: Request, query: Annotated[FileQuery, Query()]) -> Response:
        prepare = of_picture(Compress, query, keep_metadata=query.metadata == "keep")
        operation, (file, notes) = await perform(engine, request, op=Compress.op, prepare=prepare)
        assert isinstance(operation, Compress)
        pixels = operation.pixels
        engine.metrics.compressed(received=len(operation.data), size=len(file), pixels=pixels)
        bpp = 8 * len(file) / pixels
        return await _answer(engine, file, openapi.CWIC_TYPE, operation.codec, notes=notes, bpp=bpp)

    @router.post(
        "/decompress",
        summary="A .cwic file to a picture",
        response_class=Response,
        responses=openapi.answers(
            *openapi.WORK,
            *openapi.READ_FILE,
            problems.NOT_ACCEPTABLE,
            ok=openapi.binary("The picture.", *openapi.pictures(), headers=_MODEL | _BPP),
        ),
        openapi_extra=openapi.body(_FILE, openapi.CWIC_TYPE),
    )
    async def decompress(request: Request, query: Annotated[DecompressQuery, Query()]) -> Response:
        models = engine.models
        _chosen(request, query.format, MEDIA_TYPES)  # before the body, where none would do

        def prepare(data: bytes) -> Decompress:
            codec, file = models.of_file(data)
            header = file.header
            possible = formats_for((header.height, header.width, 4 if header.alpha else 3))
            return Decompress(codec=codec, file=file, format=_chosen(request, query.format, possible))

        operation, picture = await perform(engine, request, op=Decompress.op, prepare=prepare)
        assert isinstance(operation, Decompress)
        bpp = 8 * operation.file.size / operation.pixels
        media_type = MEDIA_TYPES[operation.format]
        return await _answer(engine, picture, media_type, operation.codec, bpp=bpp, vary="Accept")

    @router.post(
        "/importance-map",
        summary="Where the bits go: a grey PNG of the picture's size, white where most is kept",
        response_class=Response,
        responses=openapi.answers(
            *openapi.WORK,
            *openapi.READ_IMAGE,
            *openapi.READ_FILE,
            problems.NO_IMPORTANCE_MAP,
            ok=openapi.binary("The map.", "image/png", headers=_MODEL | _READ),
        ),
        openapi_extra=openapi.body(
            f"{_PICTURE} Or a .cwic file, whose own map is shown; `quality`, `tune` and `model` do not apply to it.",
            "image/*",
            openapi.CWIC_TYPE,
        ),
    )
    async def importance_map(request: Request, query: Annotated[CompressQuery, Query()]) -> Response:
        models = engine.models
        models.named(query.model)  # before the body, where there is none of that name

        def prepare(data: bytes) -> OfPicture[Mapped] | MapFile:
            if data.startswith(MAGIC):
                codec, file = models.of_file(data)
                return MapFile(codec=codec, file=file)
            return of_picture(MapPicture, query)(data)

        operation, (png, notes) = await perform(engine, request, op=MapPicture.op, prepare=prepare)
        return await _answer(engine, png, MEDIA_TYPES["png"], operation.codec, notes=notes)

    @router.post(
        "/inspect",
        summary="What a .cwic file says about itself, even one that was cut in transfer",
        responses=openapi.answers(*openapi.WORK, *openapi.READ_FILE),
        openapi_extra=openapi.body(_FILE, openapi.CWIC_TYPE),
    )
    async def inspect(request: Request, query: Annotated[NoQuery, Query()]) -> FileFacts:  # noqa: ARG001 - refuses any
        codec = engine.models.default
        return await look(
            engine,
            request,
            op="inspect",
            work=lambda data: FileFacts.of(codec.read(data, allow_truncated=True).info()),
        )

    @router.post(
        "/compare",
        summary="How large a JPEG, a WebP and an AVIF file have to be to equal the .cwic file of a picture",
        responses=openapi.answers(*openapi.WORK, *openapi.READ_IMAGE, problems.UNKNOWN_MODEL),
        openapi_extra=openapi.body(_PICTURE, "image/*"),
    )
    async def compare(request: Request, query: Annotated[CompressQuery, Query()]) -> ComparisonFacts:
        _, comparison = await perform(engine, request, op=Compare.op, prepare=of_picture(Compare, query))
        return ComparisonFacts.of(comparison)

    return router


def _check_options(options: EncodeOptions, codec: PictureCodec) -> None:
    """Refuse what there is not to choose, before a picture is received or read."""
    for name, value in (("quality", options.quality), ("tune", options.tune)):
        if value is not None and codec.info.fixed_rate:
            reason = f"the model {codec.info.name!r} has one rate; leave {name} out"
            raise RequestValidationError([{"loc": ("query", name), "msg": reason}])


def _chosen(request: Request, wanted: str | None, media_types: Mapping[str, str]) -> str:
    """The format that is wanted, or else one that the picture can have, by Accept; raises ProblemError (406)."""
    if wanted:
        return wanted
    accept = ", ".join(request.headers.getlist("Accept"))
    chosen = choose_format(accept, media_types)
    if chosen is None:
        raise ProblemError(
            problems.NOT_ACCEPTABLE,
            f"This picture can come as {', '.join(media_types.values())}; Accept has {accept!r}.",
            headers={"Vary": "Accept"},
        )
    return chosen


async def _answer(
    engine: Engine,
    content: bytes,
    media_type: str,
    codec: PictureCodec,
    *,
    notes: tuple[str, ...] = (),
    bpp: float | None = None,
    vary: str | None = None,
) -> Response:
    digest = await engine.look(lambda: hashlib.sha256(content).hexdigest())
    headers = {
        "ETag": f'"{digest[:32]}"',
        "X-CWIC-Model": codec.info.model_id,
    }
    if bpp is not None:
        headers["X-CWIC-Bpp"] = f"{bpp:.4f}"
    if notes:
        headers[NOTES] = ", ".join(notes)
    if vary:
        headers["Vary"] = vary
    return Response(content, media_type=media_type, headers=headers)
