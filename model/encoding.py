"""Pictures to files: coded, with patches or none, without loss, or nearly so: the smallest that is as close."""

import torch

from model.config import CwicConfig
from model.container.format import QUALITY_STEPS, UNLIMITED, unpack
from model.decoder import decode_picture
from model.encoder import coded_file
from model.images.distortion import coarse_psnr, psnr, ssimulacra2
from model.loaded import LoadedModel
from model.lossless_files import lossless_file
from model.options import SIZES, DecodeOptions, EncodeOptions
from model.patches import has_sharp_flat_blocks, with_patches
from model.profiles.cwic.transforms import lambda_at
from model.snapping import TOLERANCES, has_few_colours, snapped_picture
from model.source import Source, source_of
from model.steps import Work
from model.types import Pixels


def encode_picture(model: LoadedModel, array: Pixels, options: EncodeOptions) -> Work[bytes]:
    """A file of a picture, uint8 [H, W, 3] or [H, W, 4], as the options ask.

    Without loss where that is smaller; nearly so, or with patches, where that is smaller and the picture no
    farther from the original.
    """
    if options.lossless:
        file = yield from lossless_file(array, options, limit=None)
        assert file is not None
        return file
    source = yield from source_of(array, tile=options.tile)
    coded = yield from coded_file(model, source, options)
    if options.lossless is False:
        return coded
    smaller = yield from lossless_file(array, options, limit=len(coded))
    if smaller is None:
        smaller = yield from nearly_lossless_file(model, source, options, coded=coded, limit=len(coded))
    best = smaller or coded
    patched = yield from patched_source(model, source, options, coded=coded, limit=len(best))
    if patched is None:
        return best
    file = yield from coded_file(model, patched, options)
    if len(file) >= len(best):
        return best
    as_close = yield from is_as_close(model, source, options, file, coded)
    return file if as_close else best


def patched_source(
    model: LoadedModel, source: Source, options: EncodeOptions, *, coded: bytes, limit: int
) -> Work[Source | None]:
    """A source with patches where its coded file costs more; None for none, or where they have `limit` bytes."""
    config = model.config
    if not isinstance(config, CwicConfig) or not has_sharp_flat_blocks(source.array):
        return None
    header = unpack(coded, limits=UNLIMITED).header
    weight = float(lambda_at(config, torch.tensor(header.quality / QUALITY_STEPS)))
    decoded = yield from _decoded(model, coded)
    patched = yield from with_patches(source, decoded, weight=weight, tile=options.tile)
    return patched if patched is not None and patched.fixed < limit else None


def is_as_close(
    model: LoadedModel, source: Source, options: EncodeOptions, file: bytes, other: bytes
) -> Work[bool]:
    """Whether a file's picture is no farther from the source than another file's."""
    closeness = []
    for each in (file, other):
        decoded = yield from _decoded(model, each)
        yield ()
        closeness.append(_closeness(source.array, decoded, options))
    return _as_close(*closeness)


def nearly_lossless_file(
    model: LoadedModel, source: Source, options: EncodeOptions, *, coded: bytes, limit: int
) -> Work[bytes | None]:
    """A file below `limit` bytes that keeps a picture near the source, no farther from it than that of a coded file.

    The smallest one or, where the options ask for a size, the closest; None where there is none.
    """
    array = source.array
    if not has_few_colours(array):
        return None
    by_size = options.target is not None and options.target.name in SIZES
    *finer, coarsest = TOLERANCES
    snapped = yield from snapped_picture(array, coarsest)
    smallest = yield from lossless_file(snapped, options, limit=limit, tolerance=coarsest)
    if smallest is None:
        return None
    decoded = yield from _decoded(model, coded)
    yield ()
    least = _closeness(array, decoded, options)
    del decoded  # pictures may be large
    smallest_is_close = _as_close(_closeness(array, snapped, options), least)
    if smallest_is_close and not by_size:
        return smallest
    for tolerance in finer if by_size else reversed(finer):
        snapped = yield from snapped_picture(array, tolerance)
        yield ()
        if _as_close(_closeness(array, snapped, options), least):
            file = yield from lossless_file(snapped, options, limit=limit, tolerance=tolerance)
            if file is not None or not by_size:  # a closer one would be larger
                return file
    return smallest if smallest_is_close else None


def _decoded(model: LoadedModel, file: bytes) -> Work[Pixels]:
    return (yield from decode_picture(model, unpack(file, limits=UNLIMITED), DecodeOptions()))


def _as_close(closeness: tuple[float, float], least: tuple[float, float]) -> bool:
    return all(own >= other for own, other in zip(closeness, least, strict=True))


def _closeness(array: Pixels, other: Pixels, options: EncodeOptions) -> tuple[float, float]:
    """How close another picture is, and how close its block means are: bands in a sky are wrong in these."""
    one, other = array[..., :3], other[..., :3]
    asked = options.target.name if options.target else None
    metric = ssimulacra2 if asked == "target_ssimulacra2" else psnr
    return metric(one, other), coarse_psnr(one, other)
