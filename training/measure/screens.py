"""Screen content beside JPEG and AVIF: what our codec makes of exactly as many bytes, by itself or without loss."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from model.container.format import inspect
from model.errors import TargetError
from model.options import EncodeOptions
from model.protocol import PictureCodec
from model.types import Pixels
from training.data.screens import SCREENS, screen
from training.measure.metrics import psnr
from training.measure.pillow_codecs import PILLOW_CODECS, PillowCodec

QUALITIES = (5, 10, 20, 50, 75, 90)  # of the other formats
JPEGS = tuple(
    PillowCodec(f"JPEG {each}", "JPEG", MappingProxyType({"subsampling": each, "optimize": True}), QUALITIES)
    for each in ("4:2:0", "4:4:4")
)
OTHERS = (*JPEGS, PILLOW_CODECS["avif444"])
_ONCE = 90  # the quality of JPEG that screens had which come from one


@dataclass(frozen=True, kw_only=True)
class ScreenUse:
    """A picture at the size of one file of it in another format.

    Attributes:
        format: which; a JPEG's tables are optimised.
        quality: of that file.
        size: of that file, in bytes.
        psnr: its PSNR in dB.
        ours: that of our file of at most that size, in dB; infinite where it is lossless, None where all are larger.
    """

    format: str
    quality: int
    size: int
    psnr: float
    ours: float | None


@dataclass(frozen=True, kw_only=True)
class Screen:
    """A picture of a screen.

    Attributes:
        name: of the picture.
        lossless: size of its file without loss, in bytes.
        half: that of its file at quality 50, and whether this is lossless.
        uses: at each file of another format.
    """

    name: str
    lossless: int
    half: tuple[int, bool]
    uses: tuple[ScreenUse, ...]


def drawn_screens() -> dict[str, Pixels]:
    """Pictures of screens by their names: as programs draw them, and as they come from a JPEG file of each."""
    drawn = {name: screen(name) for name in SCREENS}
    jpeg = JPEGS[0]
    once = {
        f"{name}, once a JPEG": jpeg.decode(jpeg.encode(each, quality=_ONCE)) for name, each in drawn.items()
    }
    return drawn | once


def measure_screens(codec: PictureCodec, pictures: Mapping[str, Pixels]) -> tuple[Screen, ...]:
    """Code each picture for the size of each of its other files, by what the codec would do for anyone."""
    return tuple(_measure(codec, name, array) for name, array in pictures.items())


def _measure(codec: PictureCodec, name: str, array: Pixels) -> Screen:
    half = codec.encode(array, EncodeOptions(quality=50))
    return Screen(
        name=name,
        lossless=len(codec.encode(array, EncodeOptions(lossless=True))),
        half=(len(half), inspect(half).kept == "lossless"),
        uses=tuple(_beside(codec, array, other, quality) for other in OTHERS for quality in QUALITIES),
    )


def _beside(codec: PictureCodec, array: Pixels, other: PillowCodec, quality: int) -> ScreenUse:
    file = other.encode(array, quality=quality)
    ours = _largest(codec, array, len(file))
    return ScreenUse(
        format=other.label,
        quality=quality,
        size=len(file),
        psnr=psnr(array, other.decode(file)),
        ours=None if ours is None else psnr(array, codec.decode(ours)),
    )


def _largest(codec: PictureCodec, array: Pixels, size: int) -> bytes | None:
    """Our file of at most so many bytes; None where all have more."""
    asked = EncodeOptions(tune="psnr" if "psnr" in codec.info.tunes else None)
    try:
        return codec.encode(array, replace(asked, target_bytes=size))
    except TargetError as error:
        return None if size < error.lowest else codec.encode(array, replace(asked, quality=100))
