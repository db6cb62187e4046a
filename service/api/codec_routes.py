"""The endpoints that do work: compress, decompress, importance map, inspect."""

import hashlib
from collections.abc import Mapping
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.exceptions import RequestValidationError
from starlette.requests import Request
from starlette.responses import Response

from model.container.format import MAGIC
from model.images.files import read_image
from model.images.writing import MEDIA_TYPES, formats_for, write_image
from model.options import EncodeOptions
from model.protocol import PictureCodec
from service.api import openapi, problems
from service.api.negotiation import choose_format
from service.api.problems import ProblemError
from service.api.schemas import CompressQuery, DecompressQuery, FileFacts, NoQuery
from service.jobs.engine import Engine, Job
from service.jobs.models import limits_of

NOTES = "X-CWIC-Notes"

_PICTURE = "A picture: PNG, JPEG, WebP, AVIF, GIF, TIFF, BMP or PPM; its bytes tell which."
_FILE = "A .cwic file."
_MODEL = {"X-CWIC-Model": "Id of the model that did it."}
_BPP = {"X-CWIC-Bpp": "Bits per pixel of the .cwic file."}
_READ = {NOTES: "What reading changed, such as `orientation-applied`; absent if nothing."}


def codec_routes(engine: Engine) -> APIRouter:
    """The routes, bound to an engine."""
    router = APIRouter(tags=["codec"])
    limits = limits_of(engine.settings)

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
    async def compress(request: Request, query: Annotated[CompressQuery, Query()]) -> Response:
        codec = engine.models.named(query.model)
        options = query.options
        _check_options(options, codec)

        def work(job: Job) -> Response:
            with job.stages.measure("decode"):
                picture = read_image(job.data, limits=limits)
            with job.stages.measure("inference"):
                file = codec.encode(picture.array, options, check=job.check)
            height, width = picture.array.shape[:2]
            engine.metrics.compressed(received=len(job.data), size=len(file), pixels=width * height)
            return _answer(
                file, openapi.CWIC_TYPE, codec, notes=picture.notes, bpp=8 * len(file) / (width * height)
            )

        return await engine.run(request, op="compress", work=work)

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

        def work(job: Job) -> Response:
            codec, file = models.of_file(job.data)
            with job.stages.measure("inference"):
                array = codec.decode(file, check=job.check)
            picture_format = _chosen(request, query.format, formats_for(array.shape))
            with job.stages.measure("encode"):
                picture = write_image(array, format=picture_format)
            bpp = 8 * file.size / (array.shape[0] * array.shape[1])
            return _answer(picture, MEDIA_TYPES[picture_format], codec, bpp=bpp, vary="Accept")

        return await engine.run(request, op="decompress", work=work)

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
            f"{_PICTURE} Or a .cwic file, whose own map is shown; `quality` and `model` do not apply to it.",
            "image/*",
            openapi.CWIC_TYPE,
        ),
    )
    async def importance_map(request: Request, query: Annotated[CompressQuery, Query()]) -> Response:
        models = engine.models
        named, options = models.named(query.model), query.options

        def work(job: Job) -> Response:
            notes: tuple[str, ...] = ()
            if job.data.startswith(MAGIC):
                codec, file = models.of_file(job.data)
                with job.stages.measure("inference"):
                    array = codec.importance_map(file, check=job.check)
            else:
                codec = named
                _check_options(options, codec)
                with job.stages.measure("decode"):
                    picture = read_image(job.data, limits=limits)
                notes = picture.notes
                with job.stages.measure("inference"):
                    array = codec.importance_map(picture.array, options, check=job.check)
            with job.stages.measure("encode"):
                png = write_image(array, format="png")
            return _answer(png, MEDIA_TYPES["png"], codec, notes=notes)

        return await engine.run(request, op="importance-map", work=work)

    @router.post(
        "/inspect",
        summary="What a .cwic file says about itself, even one that was cut in transfer",
        responses=openapi.answers(*openapi.WORK, *openapi.READ_FILE),
        openapi_extra=openapi.body(_FILE, openapi.CWIC_TYPE),
    )
    async def inspect(request: Request, query: Annotated[NoQuery, Query()]) -> FileFacts:  # noqa: ARG001 - refuses any
        models = engine.models

        def work(job: Job) -> FileFacts:
            with job.stages.measure("inspect"):
                return FileFacts.of(models.default.read(job.data, allow_truncated=True).info())

        return await engine.run(request, op="inspect", work=work)

    return router


def _check_options(options: EncodeOptions, codec: PictureCodec) -> None:
    """Refuse a quality where there is none to choose, before a picture is received or read."""
    if options.quality is not None and codec.info.fixed_rate:
        reason = f"the model {codec.info.name!r} has one rate; leave quality out"
        raise RequestValidationError([{"loc": ("query", "quality"), "msg": reason}])


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


def _answer(
    content: bytes,
    media_type: str,
    codec: PictureCodec,
    *,
    notes: tuple[str, ...] = (),
    bpp: float | None = None,
    vary: str | None = None,
) -> Response:
    headers = {
        "ETag": f'"{hashlib.sha256(content).hexdigest()[:32]}"',
        "X-CWIC-Model": codec.info.model_id,
    }
    if bpp is not None:
        headers["X-CWIC-Bpp"] = f"{bpp:.4f}"
    if notes:
        headers[NOTES] = ", ".join(notes)
    if vary:
        headers["Vary"] = vary
    return Response(content, media_type=media_type, headers=headers)
