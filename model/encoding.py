"""Pictures to files: coded, with patches or none, without loss, or nearly so: the smallest that is as close."""

from collections.abc import Mapping

from model.container.format import QUALITY_STEPS, UNLIMITED, unpack
from model.decoder import NOTHING_KNOWN, decode_picture
from model.encoder import coded_file
from model.images.distortion import coarse_psnr, psnr, ssimulacra2
from model.loaded import LoadedModel
from model.lossless_files import lossless_file
from model.options import DecodeOptions, EncodeOptions
from model.patches import has_sharp_flat_blocks, with_patches
from model.snapping import TOLERANCES, has_few_colours, snapped_picture
from model.source import Source, source_of
from model.steps import Work
from model.tile_cache import Tile, TileCache
from model.types import Pixels

_OF_EXACT = (
    0.8  # what a file with patches may have of the bytes of one without loss, to be taken in its place
)


def encode_picture(model: LoadedModel, array: Pixels, options: EncodeOptions) -> Work[bytes]:
    """A file of a picture, uint8 [H, W, 3] or [H, W, 4], as the options ask.

    Without loss where that is smaller; nearly so, or with patches, where that is smaller, by a fifth than a file
    without loss, and the picture no farther from the original.
    """
    if options.lossless:
        file = yield from lossless_file(array, options, limit=None)
        assert file is not None
        return file
    source = yield from source_of(array, tile=options.tile)
    if options.lossless is False:
        return (yield from coded_file(model, source, options))
    taken = yield from _smallest(model, array, source, options.unrefined())
    if isinstance(taken, bytes):
        return taken
    if options.effort == taken.options.effort:
        return taken.file
    return (yield from coded_file(model, taken.source, options))


def _smallest(
    model: LoadedModel, array: Pixels, source: Source, options: EncodeOptions
) -> "Work[Rival | bytes]":
    """What is to be taken of a picture: it coded, or coded with patches, or a file without loss, or nearly so."""
    rival = yield from _rival(model, source, options)
    exact = yield from lossless_file(array, options, limit=len(rival.file))
    limit = len(rival.file) if exact is None else round(_OF_EXACT * len(exact))
    patched = yield from patched_source(rival, limit=limit)
    other = exact or (yield from nearly_lossless_file(rival, limit=limit))
    if patched is not None:
        own = yield from _rival(model, patched, options)
        if len(own.file) < min(limit, len(other or rival.file)) and (yield from rival.is_met_by(own)):
            return own
    return other or rival


class Rival:
    """A coded file that others are measured by; its picture is made when that is first needed."""

    def __init__(
        self,
        model: LoadedModel,
        source: Source,
        options: EncodeOptions,
        file: bytes,
        *,
        known: Mapping[int, Tile] = NOTHING_KNOWN,
    ) -> None:
        """Take the file of a source, made with these options, and those of its tiles that are known."""
        self.model = model
        self.source = source
        self.options = options
        self.file = file
        self._known = known
        self._closeness: tuple[float, float] | None = None

    def picture(self) -> Work[Pixels]:
        """What the file shows, uint8 [H, W, 3] or [H, W, 4]."""
        container = unpack(self.file, limits=UNLIMITED)
        decoded = yield from decode_picture(self.model, container, DecodeOptions(), known=self._known)
        yield ()
        self._closeness = self.closeness_of(decoded)
        return decoded

    def closeness(self) -> Work[tuple[float, float]]:
        """Of the file's picture: see `closeness_of`."""
        if self._closeness is None:
            yield from self.picture()
        assert self._closeness is not None
        return self._closeness

    def closeness_of(self, picture: Pixels) -> tuple[float, float]:
        """How close a picture is to the source, and its block means: bands in a sky are wrong in these."""
        one, other = self.source.array[..., :3], picture[..., :3]
        asked = self.options.target.name if self.options.target else None
        metric = ssimulacra2 if asked == "target_ssimulacra2" else psnr
        return metric(one, other), coarse_psnr(one, other)

    def is_met_by(self, other: "Rival") -> Work[bool]:
        """Whether another file's picture is no farther from the source."""
        return _as_close((yield from other.closeness()), (yield from self.closeness()))


def patched_source(rival: Rival, *, limit: int) -> Work[Source | None]:
    """The rival's source with patches where its file costs more.

    None where there are none, or where `limit` bytes are not enough for them: at the rival's quality if the options
    have no size to be reached by a lower one.
    """
    source, size = rival.source, len(rival.file)
    if rival.model.config.fixed_rate or not has_sharp_flat_blocks(source.array):
        return None
    quality = unpack(rival.file, limits=UNLIMITED).header.quality / QUALITY_STEPS
    decoded = yield from rival.picture()
    found = yield from with_patches(
        source, decoded, size=size - source.fixed, quality=quality, tile=rival.options.tile
    )
    if found is None:
        return None
    patched, expected = found
    return patched if (patched.fixed if rival.options.by_size else expected) < limit else None


def nearly_lossless_file(rival: Rival, *, limit: int) -> Work[bytes | None]:
    """A file below `limit` bytes that keeps a picture near the source, no farther from it than that of the rival.

    The smallest one or, where the options ask for a size, the closest; None where there is none.
    """
    array, options = rival.source.array, rival.options
    if not has_few_colours(array):
        return None
    *finer, coarsest = TOLERANCES
    snapped = yield from snapped_picture(array, coarsest)
    smallest = yield from lossless_file(snapped, options, limit=limit, tolerance=coarsest)
    if smallest is None:
        return None
    least = yield from rival.closeness()
    smallest_is_close = _as_close(rival.closeness_of(snapped), least)
    if smallest_is_close and not options.by_size:
        return smallest
    for tolerance in finer if options.by_size else reversed(finer):
        snapped = yield from snapped_picture(array, tolerance)
        yield ()
        if _as_close(rival.closeness_of(snapped), least):
            file = yield from lossless_file(snapped, options, limit=limit, tolerance=tolerance)
            if file is not None or not options.by_size:  # a closer one would be larger
                return file
    return smallest if smallest_is_close else None


def _rival(model: LoadedModel, source: Source, options: EncodeOptions) -> Work[Rival]:
    """The coded file of a source, with its first tiles, so that its picture costs no more than the synthesis."""
    cache = TileCache(features=None)
    file = yield from coded_file(model, source, options, cache=cache)
    return Rival(model, source, options, file, known=cache.tiles)


def _as_close(closeness: tuple[float, float], least: tuple[float, float]) -> bool:
    return all(own >= other for own, other in zip(closeness, least, strict=True))
