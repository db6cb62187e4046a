"""A codec that keeps pixels as they are, behind the same Protocol as the real one, and pictures to feed it."""

import io
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from model.errors import NoImportanceMapError, NotCwicError, ParameterError, TruncatedFileError
from model.types import DEFAULT_QUALITY, Check, FileInfo, ModelInfo, Pixels, SectionInfo, unchecked

HEADER = struct.Struct(">4s8sfIIB")
STORED = " " * 8


def nothing(_: Pixels) -> None:
    """The hook that does nothing."""


@dataclass(frozen=True)
class FakeCodec:
    """Files are a header, where quality 0 means none, and the pixels, deflated.

    Attributes:
        name: as in `ModelInfo`.
        model_id: as files carry it; all spaces makes stored files.
        fixed_rate: as in `ModelInfo`.
        on_encode: called with the picture by `encode`; may wait or raise.
    """

    name: str = "fake"
    model_id: str = "0badc0de"
    fixed_rate: bool = False
    on_encode: Callable[[Pixels], None] = field(default=nothing)

    @property
    def info(self) -> ModelInfo:
        return ModelInfo(
            name=self.name,
            profile="fake",
            model_id=self.model_id,
            sha256=self.model_id * 8,
            parameters=0,
            size=0,
            device="cpu",
            dtype="float32",
            fixed_rate=self.fixed_rate,
        )

    def encode(self, array: Pixels, *, quality: float | None = None, check: Check = unchecked) -> bytes:
        self.on_encode(array)
        check()
        kept = 0 if self.model_id == STORED else self._quality(quality)
        header = HEADER.pack(b"CWIC", self.model_id.encode(), kept, *array.shape)
        return header + zlib.compress(array.tobytes(), 1)

    def decode(self, data: bytes, *, check: Check = unchecked) -> Pixels:
        check()
        info = self.inspect(data)
        pixels = zlib.decompress(data[HEADER.size :])
        return np.frombuffer(pixels, np.uint8).reshape(info.height, info.width, info.channels)

    def importance_map(
        self, source: Pixels | bytes, *, quality: float | None = None, check: Check = unchecked
    ) -> Pixels:
        check()
        if isinstance(source, bytes):
            info = self.inspect(source)
            if not info.model_id:
                raise NoImportanceMapError("a stored picture has no importance map")
            return np.full((info.height, info.width), 100, np.uint8)
        return np.full(source.shape[:2], round(self._quality(quality)), np.uint8)

    def kept_codes(self, data: bytes) -> int:
        height, width = self.decode(data).shape[:2]
        return int(height * width)

    def inspect(self, data: bytes) -> FileInfo:
        if data[:4] != b"CWIC":
            raise NotCwicError(f"expected the magic CWIC, got {data[:4]!r}")
        if len(data) < HEADER.size:
            raise TruncatedFileError(f"expected at least {HEADER.size} bytes, got {len(data)}")
        _, packed_id, quality, height, width, channels = HEADER.unpack_from(data)
        model_id = packed_id.decode().strip()
        return FileInfo(
            version=1,
            width=width,
            height=height,
            channels=channels,
            profile="fake" if model_id else "stored",
            model_id=model_id,
            quality=quality or None,
            lowest_level=int(quality > 0) if model_id else None,
            sections=(SectionInfo(name="pixels", length=len(data) - HEADER.size),),
            size=len(data),
        )

    def _quality(self, quality: float | None) -> float:
        if not self.fixed_rate:
            return DEFAULT_QUALITY if quality is None else quality
        if quality is not None:
            raise ParameterError(f"{self.name} has one rate")
        return 0


def picture_array(width: int = 24, height: int = 16) -> Pixels:
    """A gradient, [height, width, 3]."""
    rows, columns = np.mgrid[0:height, 0:width]
    return np.stack([columns * 9, rows * 7, columns + rows], axis=-1).astype(np.uint8)


def png(array: Pixels | None = None, *, picture_format: str = "PNG") -> bytes:
    """A picture file of an array, by default of `picture_array()`."""
    file = io.BytesIO()
    Image.fromarray(picture_array() if array is None else array).save(file, picture_format)
    return file.getvalue()


def pixels(data: bytes) -> Pixels:
    """The pixels of a picture file."""
    with Image.open(io.BytesIO(data)) as image:
        return np.array(image)
