"""The endpoints that code pictures: compress, decompress, importance map, compare."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Annotated, TypeVar

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from model.container.format import MAGIC, Header
from model.errors import ParameterError
from model.images.masks import read_mask_size
from model.images.writing import MEDIA_TYPES, formats_for
from model.options import DEFAULT_EFFORT, TARGETS, DecodeOptions, EncodeOptions, MapOptions
from model.protocol import PictureCodec
from model.tiling import Box
from model.types import Limits
from service.api import openapi, problems
from service.api.body import MASK
from service.api.dependencies import NOTES, answer, perform
from service.api.negotiation import choose_format
from service.api.parameters import CompressQuery, DecompressQuery, FileQuery, MapQuery
from service.api.problems import ProblemError
from service.api.query import refusal
from service.api.schemas import ComparisonFacts
from service.jobs.compare import Compare
from service.jobs.engine import Engine
from service.jobs.models import Models, limits_of
from service.jobs.operations import Compress, Decompress, MapFile, MapPicture, OfPicture
from service.settings import Settings

T = TypeVar("T")

_PICTURE = (
    "A picture: PNG, JPEG, WebP, AVIF, GIF, TIFF, BMP, PPM or (with `cwic[heif]`) HEIC; its bytes tell which."
)
_FILE = "A .cwic file."
_MASK = (
    "Instead of the parameter `roi` a mask: a grey picture of the size of the upright picture, lighter where errors "
    "weigh more. 128 is a weight of 1, and 32 more double it."
)
_MODEL = {"X-CWIC-Model": "Id of the model that did it."}
_BPP = {"X-CWIC-Bpp": "Bits per pixel of the .cwic file."}
_QUALITY = {
    "X-CWIC-Quality": "That the file was made at, 1 to 100; `lossless` or `near-lossless`; absent for models of one "
    "rate."
}
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
        _check_effort(query.options, engine.settings)
        return lambda data: kind.of(data, codec=codec, options=query.options, limits=limits, **own)

    @router.post(
        "/compress",
        summary="A picture to a .cwic file",
        response_class=Response,
        responses=openapi.answers(
            *openapi.WORK,
            *openapi.READ_IMAGE,
            problems.UNKNOWN_MODEL,
            problems.UNREACHABLE,
            ok=openapi.binary("The file.", openapi.CWIC_TYPE, headers=_MODEL | _BPP | _QUALITY | _READ),
        ),
        openapi_extra=openapi.body(_PICTURE, "image/*", beside={MASK: _MASK}),
    )
    async def compress(request: Request, query: Annotated[FileQuery, Query()]) -> Response:
        prepare = of_picture(Compress, query, keep_metadata=query.metadata == "keep")

        def prepare_masked(mask: bytes, data: bytes) -> Compress:
            operation = prepare(data)
            assert isinstance(operation, Compress)
            _check_mask(mask, operation, query, limits=limits)
            return replace(operation, mask=mask)

        operation, (file, info, notes) = await perform(
            engine, request, op=Compress.op, prepare=prepare, prepare_masked=prepare_masked
        )
        assert isinstance(operation, Compress)
        engine.metrics.compressed(received=len(operation.data), size=len(file), pixels=operation.pixels)
        quality = info.kept or info.quality
        model_id = operation.codec.info.model_id
        return await answer(
            engine, file, openapi.CWIC_TYPE, model_id, notes=notes, bpp=info.bpp, quality=quality
        )

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
        models, options = engine.models, query.options
        _chosen(request, query.format, MEDIA_TYPES)  # before the body, where none would do

        def prepare(data: bytes) -> Decompress:
            codec, file = models.of_file(data, allow_truncated=options.allow_truncated)
            box = _box(options, file.header)
            possible = formats_for((box.height, box.width, 4 if file.header.alpha else 3))
            format = _chosen(request, query.format, possible)
            return Decompress(codec=codec, file=file, options=options, format=format)

        operation, picture = await perform(engine, request, op=Decompress.op, prepare=prepare)
        assert isinstance(operation, Decompress)
        return await answer(
            engine,
            picture,
            MEDIA_TYPES[operation.format],
            operation.codec.info.model_id,
            bpp=operation.file.bpp,
            vary="Accept",
        )

    @router.post(
        "/importance-map",
        summary="Where the bits go: a PNG, by default grey, of the picture's size and white where most is kept",
        response_class=Response,
        responses=openapi.answers(
            *openapi.WORK,
            *openapi.READ_IMAGE,
            *openapi.READ_FILE,
            problems.NO_IMPORTANCE_MAP,
            ok=openapi.binary("The map.", "image/png", headers=_MODEL | _READ),
        ),
        openapi_extra=openapi.body(
            f"{_PICTURE} Or a .cwic file, whose own map is shown; `quality`, `tune` and `model` are refused with it, "
            "and `allow_truncated` with a picture.",
            "image/*",
            openapi.CWIC_TYPE,
        ),
    )
    async def importance_map(request: Request, query: Annotated[MapQuery, Query()]) -> Response:
        models, drawn = engine.models, _drawn(query)
        models.named(query.model)  # before the body, where there is none of that name

        def prepare(data: bytes) -> MapPicture | MapFile:
            return _map_of(data, query, drawn, models=models, limits=limits)

        operation, (png, notes) = await perform(engine, request, op=MapPicture.op, prepare=prepare)
        return await answer(engine, png, MEDIA_TYPES["png"], operation.codec.info.model_id, notes=notes)

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
    for name in ("quality", *TARGETS, "tune", "roi"):
        if getattr(options, name) is not None:
            _check_choice(name, codec)
    if options.effort != DEFAULT_EFFORT:
        _check_choice("effort", codec)


def _check_effort(options: EncodeOptions, settings: Settings) -> None:
    """Refuse more effort than the service gives."""
    if options.effort > settings.max_effort:
        raise refusal("effort", f"At most {settings.max_effort} here (CWIC_MAX_EFFORT), got {options.effort}")


def _check_choice(name: str, codec: PictureCodec) -> None:
    if codec.info.fixed_rate:
        raise refusal(name, f"the model {codec.info.name!r} has one rate; leave {name} out")


def _check_mask(mask: bytes, operation: Compress, query: FileQuery, *, limits: Limits) -> None:
    """Refuse a mask that does not go with the request, by its header; which way up it is shows when it is decoded."""
    _check_choice(MASK, operation.codec)
    if query.lossless:
        raise refusal(MASK, "A lossless file keeps all of the picture: it has no regions of interest")
    if query.roi:
        raise refusal(MASK, "Rectangles or a mask, not both")
    (width, height), size = read_mask_size(mask, limits=limits), operation.size
    if sorted((width, height)) != sorted(size):
        raise refusal(MASK, f"A mask of {width}x{height} pixels for a picture of {size[0]}x{size[1]}")


def _map_of(
    data: bytes, query: MapQuery, drawn: MapOptions, *, models: Models, limits: Limits
) -> MapPicture | MapFile:
    """The operation of a picture, or of a .cwic file, for which nothing of how it is coded can be chosen."""
    if data.startswith(MAGIC):
        for name in ("quality", "tune", "model"):
            if getattr(query, name) is not None:
                raise refusal(name, "This is for pictures; a .cwic file has its own")
        opened = models.of_file(data, allow_truncated=query.allow_truncated)
        return MapFile(codec=opened.codec, file=opened.file, drawn=drawn)
    if query.allow_truncated:
        raise refusal("allow_truncated", "This is for .cwic files; a picture has to be whole")
    codec = models.named(query.model)
    _check_options(query.options, codec)
    return replace(MapPicture.of(data, codec=codec, options=query.options, limits=limits), drawn=drawn)


def _box(options: DecodeOptions, header: Header) -> Box:
    """The pixels that are wanted; refuses a region that is not inside the picture."""
    try:
        return options.box(header.grid.bounds)
    except ParameterError as exc:
        raise refusal("region", str(exc)) from exc


def _drawn(query: MapQuery) -> MapOptions:
    """How a map is wanted; refuses an overlay of another size than the picture's."""
    try:
        return MapOptions(style=query.style, size=query.size)
    except ParameterError as exc:
        raise refusal("size", str(exc)) from exc


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
