"""The values that cross the package's seams, and the codec as its users see it."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.errors import LimitError, ParameterError

Pixels = NDArray[np.uint8]
PRECISIONS = ("auto", "float32", "bfloat16")  # of the transforms; see `model.checkpoints.resolve_dtype`
MAX_METADATA = 65_527  # bytes; what a JPEG file can hold of EXIF in its one segment
Check = Callable[[], None]  # called between the steps of long work; what it raises ends the work


def unchecked() -> None:
    """The check that lets the work go on."""


@dataclass(frozen=True)
class Limits:
    """Largest pictures that are read, decoded or encoded; checked before anything is allocated.

    Attributes:
        max_pixels: width times height.
        max_dimension: width, and height.
    """

    max_pixels: int = 40_000_000
    max_dimension: int = 65_535

    def check(self, width: int, height: int) -> None:
        """Raise LimitError for a larger picture."""
        if width * height > self.max_pixels:
            raise LimitError("max_pixels", limit=self.max_pixels, actual=width * height)
        if max(width, height) > self.max_dimension:
            raise LimitError("max_dimension", limit=self.max_dimension, actual=max(width, height))


@dataclass(frozen=True)
class SectionInfo:
    """One section of a file.

    Attributes:
        name: `map`, `codes0` and so on.
        length: of its payloads, in bytes.
        bpp: their bits for each pixel of the picture.
    """

    name: str
    length: int
    bpp: float


@dataclass(frozen=True)
class Region:
    """A rectangle of a picture.

    Attributes:
        x: pixels to the left of it.
        y: pixels above it.
        width: in pixels.
        height: in pixels.
    """

    x: int
    y: int
    width: int
    height: int

    @classmethod
    def of(cls, text: str) -> "Region":
        """From the four numbers as people write them, `x,y,width,height`; raises ParameterError."""
        try:
            x, y, width, height = map(int, text.split(","))
        except ValueError as exc:
            raise ParameterError(f"a region is X,Y,W,H in pixels, got {text!r}") from exc
        return cls(x, y, width, height)

    @property
    def edges(self) -> tuple[int, int, int, int]:
        """Left, top, right and bottom, as `model.tiling.Box` takes them; right and bottom are outside."""
        return self.x, self.y, self.x + self.width, self.y + self.height


@dataclass(frozen=True)
class Roi(Region):
    """A region of interest: a rectangle of a picture whose errors weigh more, or less, than those of the rest.

    Attributes:
        weight: how many times as much as without it: above 1 the rectangle is coded better, below 1 worse.
    """

    weight: float

    @classmethod
    def of(cls, text: str) -> "Roi":
        """From the five numbers as people write them, `x,y,width,height,weight`; raises ParameterError."""
        try:
            *numbers, weight = text.split(",")
            x, y, width, height = map(int, numbers)
            return cls(x, y, width, height, float(weight))
        except ValueError as exc:
            raise ParameterError(
                f"a region of interest is X,Y,W,H in pixels and a WEIGHT behind them, got {text!r}"
            ) from exc


@dataclass(frozen=True)
class Metadata:
    """What a file says about its picture besides the pixels; each part has at most `MAX_METADATA` bytes.

    Attributes:
        exif: a TIFF structure as EXIF has it, without the prefix of JPEG; it tells no orientation. Empty for none.
        icc_profile: of RGB pixels, which the picture's are; empty for none, which means sRGB.
    """

    exif: bytes = b""
    icc_profile: bytes = b""


NO_METADATA = Metadata()


@dataclass(frozen=True)
class FileInfo:
    """What a .cwic file says about itself without being decoded.

    Attributes:
        version: format version.
        width: in pixels.
        height: in pixels.
        channels: 3 (RGB) or 4 (RGB and alpha).
        profile: codec profile, `cwic` or `cvpr2018`, or `lossless` (samples kept as they are).
        model_id: first 8 hexadecimal digits of the checkpoint's SHA-256; empty for `lossless`.
        quality: 1 to 100; None for `lossless` and for profiles of one rate.
        tolerance: of `lossless`, how far samples may be from the picture's, of 255: 0 where nothing is lost, more
            where colours that are close to each other were made equal. None for other profiles.
        tune: what the picture was coded for, `psnr` or `visual`; None for profiles that have none, and `lossless`.
        grey: whether the three colour channels are equal.
        lowest_level: of the importance map: 1, or 0 where places may be empty; None for `lossless`.
        tile: side of the tiles, in pixels.
        tiles: how many there are.
        plane: whether the quality varies over the picture.
        truncated: whether the file was cut in transfer and announces more than is there.
        sections: in file order, each with the sum over its tiles; only those that are there.
        size: of the whole file, in bytes.
    """

    version: int
    width: int
    height: int
    channels: int
    profile: str
    model_id: str
    quality: float | None
    tolerance: int | None
    tune: str | None
    grey: bool
    lowest_level: int | None
    tile: int
    tiles: int
    plane: bool
    truncated: bool
    sections: tuple[SectionInfo, ...]
    size: int

    @property
    def bpp(self) -> float:
        """Bits per pixel of the whole file."""
        return 8 * self.size / (self.width * self.height)

    @property
    def kept(self) -> str:
        """How the picture was kept: `lossless` where nothing is lost, `near-lossless` where little is, else empty."""
        return "" if self.tolerance is None else "near-lossless" if self.tolerance else "lossless"


@dataclass(frozen=True)
class ModelInfo:
    """A loaded checkpoint.

    Attributes:
        name: file name without its suffix.
        profile: codec profile.
        model_id: first 8 hexadecimal digits of the weights' SHA-256, as files carry it.
        sha256: the whole digest.
        parameters: number of weights.
        size: of the weights' file, in bytes.
        device: where it runs, `cpu` or `cuda:0`.
        dtype: of the pixel path, `float32` or `bfloat16`.
        fixed_rate: whether it has one rate, and no quality to choose.
        tunes: what it was trained for, the default first; empty where there is nothing to choose.
    """

    name: str
    profile: str
    model_id: str
    sha256: str
    parameters: int
    size: int
    device: str
    dtype: str
    fixed_rate: bool
    tunes: tuple[str, ...] = ()
