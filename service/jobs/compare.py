"""How large JPEG, WebP and AVIF files of the same picture are at the same PSNR, measured on the picture itself.

Each format's quality is searched for the lowest whose file is as good as ours. A step of quality can be more than
half a decibel (AVIF's), so the size at exactly our PSNR is interpolated between that file and the one a quality
below, as rate and distortion curves are: the logarithm of the size over the PSNR. Pictures are compared without their
alpha, which JPEG has none of and we keep without loss.
"""

import io
import math
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, features

from model.images.distortion import psnr
from model.images.files import read_image
from model.steps import Work
from model.types import Pixels
from service.jobs.operations import OfPicture
from service.observe.timing import Timing

# Seven encodings each of AVIF and WebP take 9 s for a megapixel on one core, of a busy machine twice that: so half of
# the default time of a request. Of a larger picture the middle is compared: scaled down, it would have other detail.
MAX_PIXELS = 2_000_000
MAX_SIDE = 16_383  # WebP has no longer ones
QUALITIES = range(1, 101)

# What Pillow's `save` is given beside the quality; AVIF as Pillow writes it by default.
_SETTINGS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "JPEG": {"subsampling": "4:2:0", "optimize": True},
        "WebP": {"method": 6},
        "AVIF": {},
    }
)
_FEATURES: Mapping[str, str] = MappingProxyType({"JPEG": "jpg", "WebP": "webp", "AVIF": "avif"})


class Trial(NamedTuple):
    """A file of a format.

    Attributes:
        quality: that the format was asked for, one of `QUALITIES`.
        size: in bytes.
        psnr: over red, green and blue, in dB.
    """

    quality: int
    size: int
    psnr: float


class Equal(NamedTuple):
    """What a format needs to be as good as our file.

    Attributes:
        size: at exactly our PSNR, in bytes, interpolated between two qualities.
        trial: the smallest file that is at least as good.
    """

    size: int
    trial: Trial


class Comparison(NamedTuple):
    """Our file of a picture beside those of other formats.

    Attributes:
        width: of what was compared, in pixels.
        height: of what was compared, in pixels.
        cropped: whether that is only the middle of the picture.
        size: of our file, in bytes.
        psnr: of our file, over red, green and blue, in dB; infinite where nothing was lost.
        others: by the format's name; None where it cannot be as good. What Pillow cannot write here is absent.
    """

    width: int
    height: int
    cropped: bool
    size: int
    psnr: float
    others: Mapping[str, Equal | None]


class Compare(OfPicture[Comparison]):
    """A picture file to the sizes of other formats at the PSNR of ours."""

    op = "compare"

    @property
    def pixels(self) -> int:
        """Of what is compared."""
        return min(super().pixels, MAX_PIXELS)

    @property
    def tiles(self) -> int:
        """The other formats are tried one after the other."""
        return 1

    def work(self, timing: Timing) -> Work[Comparison]:
        """See `Operation`."""
        with timing.measure("decode"):
            whole = read_image(self.data, limits=self.limits).array[:, :, :3]
            picture = np.ascontiguousarray(middle(whole))
        cropped = picture.shape != whole.shape
        del whole
        file = yield from self.codec.encoding(picture, self.options)
        own = psnr(picture, (yield from self.codec.decoding(file)))
        others = {}
        for name in available_formats():

            def attempt(quality: int, name: str = name) -> Trial:
                with timing.measure(f"compare-{name.lower()}"):
                    return tried(picture, format=name, quality=quality)

            others[name] = yield from equal(attempt, psnr=own)
        height, width = picture.shape[:2]
        return Comparison(width, height, cropped, len(file), own, MappingProxyType(others))


def available_formats() -> Iterator[str]:
    """The names of the formats that Pillow can write here."""
    return (name for name in _SETTINGS if features.check(_FEATURES[name]))


def equal(attempt: Callable[[int], Trial], *, psnr: float) -> Work[Equal | None]:
    """What a format needs for this PSNR; None where even its highest quality has less.

    Takes the PSNR to rise with the quality, and looks at seven of the hundred qualities at most. Where it does not
    rise everywhere, the result still reaches the PSNR, and the quality just below does not.
    """
    below: Trial | None = None
    above: Trial | None = None
    low, high = QUALITIES.start, QUALITIES.stop
    while low < high:
        yield ()
        trial = attempt((low + high) // 2)
        if trial.psnr >= psnr:
            above, high = trial, trial.quality
        else:
            below, low = trial, trial.quality + 1
    return None if above is None else Equal(interpolated(below, above, psnr=psnr), above)


def interpolated(below: Trial | None, above: Trial, *, psnr: float) -> int:
    """The size at a PSNR between those of two trials; that of the better one where there is no line to follow."""
    if below is None or math.isinf(above.psnr):
        return above.size
    share = (psnr - below.psnr) / (above.psnr - below.psnr)
    return round(below.size * math.exp(share * math.log(above.size / below.size)))


def tried(picture: Pixels, *, format: str, quality: int) -> Trial:
    """A picture, [H, W, 3], as a file of a format, and what comes back of it."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, format.upper(), quality=quality, **_SETTINGS[format])
    with Image.open(file, formats=[format.upper()]) as image:
        decoded = np.asarray(image.convert("RGB"))
    return Trial(quality, len(file.getbuffer()), psnr(picture, decoded))


def middle(picture: Pixels, *, pixels: int = MAX_PIXELS, side: int = MAX_SIDE) -> Pixels:
    """The middle of a picture, [H, W, C], of at most so many pixels and such sides; all of a smaller one.

    Has the picture's proportions, but for strips that are longer than `side`.
    """
    height, width = (min(each, side) for each in picture.shape[:2])
    share = min(1.0, math.sqrt(pixels / (height * width)))
    columns = max(1, int(width * share))
    rows = max(1, min(int(height * share), pixels // columns))
    columns = min(columns, pixels // rows)
    top, left = (picture.shape[0] - rows) // 2, (picture.shape[1] - columns) // 2
    return picture[top : top + rows, left : left + columns]
