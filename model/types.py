"""The values that cross the package's seams, and the codec as its users see it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
DEFAULT_QUALITY = 50.0
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


@dataclass(frozen=True)
class SectionInfo:
    """One section of a file: its name and the length of its payload in bytes."""

    name: str
    length: int


@dataclass(frozen=True)
class FileInfo:
    """What a .cwic file says about itself without being decoded.

    Attributes:
        version: format version.
        width: in pixels.
        height: in pixels.
        channels: 3 (RGB) or 4 (RGB and alpha).
        profile: codec profile, `cwic`, `cvpr2018` or `stored` (a picture kept as it was, because coding did not pay).
        model_id: first 8 hexadecimal digits of the checkpoint's SHA-256; empty for `stored`.
        quality: 1 to 100; None for `stored` and for profiles of one rate.
        lowest_level: of the importance map: 1, or 0 where places may be empty; None for `stored`.
        sections: in file order.
        size: of the whole file, in bytes.
    """

    version: int
    width: int
    height: int
    channels: int
    profile: str
    model_id: str
    quality: float | None
    lowest_level: int | None
    sections: tuple[SectionInfo, ...]
    size: int

    @property
    def bpp(self) -> float:
        """Bits per pixel of the whole file."""
        return 8 * self.size / (self.width * self.height)


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


class PictureCodec(Protocol):
    """Pictures to bytes and back. Safe to use from several threads; holds no state between calls."""

    @property
    def info(self) -> ModelInfo:
        """The checkpoint behind it."""

    def encode(self, array: Pixels, *, quality: float | None = None, check: Check = unchecked) -> bytes:
        """A .cwic file of an [H, W, 3] or [H, W, 4] picture.

        `quality` is 1 to 100; None means DEFAULT_QUALITY, or nothing where the checkpoint has one rate.

        Raises ParameterError (a quality out of range, or given where there is none to choose), LimitError.
        """

    def decode(self, data: bytes, *, check: Check = unchecked) -> Pixels:
        """The picture of a .cwic file, [H, W, 3] or [H, W, 4]; raises FileError, LimitError."""

    def importance_map(
        self, source: Pixels | bytes, *, quality: float | None = None, check: Check = unchecked
    ) -> Pixels:
        """How many channels are kept where, [H, W] of the picture's size, 255 = all.

        Of a picture (with `quality` as in `encode`), or of a .cwic file, where its codes are not decoded.
        """

    def kept_codes(self, data: bytes) -> int:
        """How many codes a file keeps under its mask: raw bits, where codes are binary. 0 for a stored picture."""

    def inspect(self, data: bytes) -> FileInfo:
        """The facts of a file's header; every checksum is verified, nothing is decoded."""
