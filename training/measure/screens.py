"""Screen content beside JPEG: what our codec makes of exactly as many bytes, by itself or without loss."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from model.container.format import inspect
from model.errors import TargetError
from model.options import EncodeOptions
from model.protocol import PictureCodec
from model.types import Pixels
from training.measure.metrics import psnr
from training.measure.pillow_codecs import PillowCodec

QUALITIES = (5, 10, 20, 50, 75, 90)  # of JPEG
JPEGS = tuple(
    PillowCodec(f"JPEG {each}", "JPEG", MappingProxyType({"subsampling": each, "optimize": True}), QUALITIES)
    for each in ("4:2:0", "4:4:4")
)


@dataclass(frozen=True, kw_only=True)
class ScreenUse:
    """A picture at the size of one JPEG file of it.

    Attributes:
        jpeg: which JPEG; its tables are optimised.
        quality: of the JPEG file.
        size: of the JPEG file, in bytes.
        psnr: its PSNR in dB.
        ours: that of our file of at most that size, in dB; infinite where it is lossless, None where all are larger.
    """

    jpeg: str
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
        uses: at each JPEG file.
    """

    name: str
    lossless: int
    half: tuple[int, bool]
    uses: tuple[ScreenUse, ...]


def measure_screens(codec: PictureCodec, pictures: Mapping[str, Pixels]) -> tuple[Screen, ...]:
    """Code each picture for the size of each of its JPEG files, by what the codec would do for anyone."""
    return tuple(_measure(codec, name, array) for name, array in pictures.items())


def _measure(codec: PictureCodec, name: str, array: Pixels) -> Screen:
    half = codec.encode(array, EncodeOptions(quality=50))
    return Screen(
        name=name,
        lossless=len(codec.encode(array, EncodeOptions(lossless=True))),
        half=(len(half), inspect(half).profile == "lossless"),
        uses=tuple(_beside(codec, array, jpeg, quality) for jpeg in JPEGS for quality in QUALITIES),
    )


def _beside(codec: PictureCodec, array: Pixels, jpeg: PillowCodec, quality: int) -> ScreenUse:
    other = jpeg.encode(array, quality=quality)
    ours = _largest(codec, array, len(other))
    return ScreenUse(
        jpeg=jpeg.label,
        quality=quality,
        size=len(other),
        psnr=psnr(array, jpeg.decode(other)),
        ours=None if ours is None else psnr(array, codec.decode(ours)),
    )


def _largest(codec: PictureCodec, array: Pixels, size: int) -> bytes | None:
    """Our file of at most so many bytes; None where all have more."""
    asked = EncodeOptions(tune="psnr" if "psnr" in codec.info.tunes else None)
    try:
        return codec.encode(array, replace(asked, target_bytes=size))
    except TargetError as error:
        return None if size < error.lowest else codec.encode(array, replace(asked, quality=100))
