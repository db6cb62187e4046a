"""A codec that keeps pixels as they are, behind the same Protocol as the real one, and pictures to feed it."""

import io
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from model.container import format as file_format
from model.container.format import QUALITY_STEPS, Container, Header, Section
from model.errors import NoImportanceMapError, ParameterError, TruncatedFileError
from model.options import DEFAULT_QUALITY, DecodeOptions, EncodeOptions
from model.protocol import DEFAULT_DECODE_OPTIONS, DEFAULT_ENCODE_OPTIONS
from model.steps import Work
from model.types import ModelInfo, Pixels
from tests.containers import ReadsContainers
from tests.effort import wait_until

LAST_GROUP = b"last group"
LARGE = 10_000_000  # bytes: twice what a system takes without sending it


def nothing(_: Pixels) -> None:
    """The hook that does nothing."""


@dataclass(frozen=True)
class FakeCodec(ReadsContainers):
    """Files are real ones, with all pixels, deflated, in a payload of the first tile.

    They have a second group, which means nothing, so that a file can be cut behind the pixels. A picture of the first
    group alone has half of each value.

    Attributes:
        name: as in `ModelInfo`.
        model_id: as files carry it.
        fixed_rate: as in `ModelInfo`.
        tunes: as in `ModelInfo`.
        on_encode: called with the picture by `encode`; may wait or raise.
    """

    name: str = "fake"
    model_id: str = "0badc0de"
    fixed_rate: bool = False
    tunes: tuple[str, ...] = ()
    on_encode: Callable[[Pixels], None] = field(default=nothing)

    @property
    def info(self) -> ModelInfo:
        return ModelInfo(
            name=self.name,
            profile=self._profile,
            model_id=self.model_id,
            sha256=self.model_id * 8,
            parameters=0,
            size=0,
            device="cpu",
            dtype="float32",
            fixed_rate=self.fixed_rate,
            tunes=self.tunes,
        )

    def encoding(self, array: Pixels, options: EncodeOptions = DEFAULT_ENCODE_OPTIONS) -> Work[bytes]:
        self.on_encode(array)
        yield ()
        height, width, channels = array.shape
        header = Header(
            width=width,
            height=height,
            profile="lossless" if options.lossless else self._profile,
            tile=options.tile,
            model_id=b"" if options.lossless else bytes.fromhex(self.model_id),
            quality=0 if options.lossless else self._position(options),
            tune=options.tune or "psnr",
            alpha=channels == 4,
            lowest_level=0 if self.fixed_rate and not options.lossless else 1,
        )
        rest = [b""] * (header.grid.count - 1)
        payloads = [b""] * (header.required - header.grid.count)
        payloads += [zlib.compress(array.tobytes(), 1), *rest]
        extensions = file_format.extensions_of(options.metadata)
        return file_format.pack(
            header, payloads if options.lossless else [*payloads, self._last_group(array), *rest], extensions
        )

    def decoding(
        self, file: bytes | Container, options: DecodeOptions = DEFAULT_DECODE_OPTIONS
    ) -> Work[Pixels]:
        yield ()
        container = (
            self.read(file, allow_truncated=options.allow_truncated) if isinstance(file, bytes) else file
        )
        if container.truncated and not options.allow_truncated:
            raise TruncatedFileError("the file was cut in transfer")
        header = container.header
        payload = container.payload(Section.SAMPLES if header.lossless else Section.CODES, 0)
        assert payload is not None
        samples = np.frombuffer(zlib.decompress(payload), np.uint8)
        whole = samples.reshape(header.height, header.width, 4 if header.alpha else 3)
        part = whole[options.box(header.grid.bounds).slices(header.grid.bounds, 1)]
        return part // 2 if options.groups == 1 else part

    def mapping(
        self, source: Pixels | bytes | Container, options: EncodeOptions = DEFAULT_ENCODE_OPTIONS
    ) -> Work[Pixels]:
        yield ()
        if isinstance(source, np.ndarray):
            self._position(options)
            quality = DEFAULT_QUALITY if options.quality is None else options.quality
            return np.full(source.shape[:2], 0 if self.fixed_rate else round(quality), np.uint8)
        header = (self.read(source) if isinstance(source, bytes) else source).header
        if header.lossless:
            raise NoImportanceMapError("a lossless file has no importance map")
        return np.full((header.height, header.width), 100, np.uint8)

    def kept_codes(self, file: bytes | Container) -> int:
        return int(self.decode(file).size)

    @property
    def _profile(self) -> str:
        return "cvpr2018" if self.fixed_rate else "cwic"

    def _last_group(self, array: Pixels) -> bytes:  # noqa: ARG002 - for those whose files differ
        return LAST_GROUP

    def _position(self, options: EncodeOptions) -> int:
        """On the quality axis."""
        if not self.fixed_rate:
            quality = DEFAULT_QUALITY if options.quality is None else options.quality
            return round((quality - 1) / 99 * QUALITY_STEPS)
        if options.quality is not None:
            raise ParameterError(f"{self.name} has one rate")
        return 0


@dataclass(frozen=True)
class Large(FakeCodec):
    """A codec whose files of the usual picture are larger than what a socket holds."""

    def _last_group(self, array: Pixels) -> bytes:
        return bytes(LARGE) if array.shape[0] == 16 else super()._last_group(array)


@dataclass(frozen=True)
class WaitsFor:
    """A codec's hook that holds pictures back until a file is there, in whatever process it runs.

    Attributes:
        path: of the file.
        height: of the pictures that are held back; the warm-up's has another one.
    """

    path: str
    height: int = 16

    def __call__(self, array: Pixels) -> None:
        if array.shape[0] == self.height:
            wait_until(Path(self.path).exists)


def picture_array(width: int = 24, height: int = 16) -> Pixels:
    """A gradient, [height, width, 3]."""
    rows, columns = np.mgrid[0:height, 0:width]
    return np.stack([columns * 9, rows * 7, columns + rows], axis=-1).astype(np.uint8)


def png(array: Pixels | None = None, *, picture_format: str = "PNG", exif: bytes | None = None) -> bytes:
    """A picture file of an array, by default of `picture_array()`."""
    file = io.BytesIO()
    options = {"exif": exif} if exif else {}
    Image.fromarray(picture_array() if array is None else array).save(file, picture_format, **options)
    return file.getvalue()


def pixels(data: bytes) -> Pixels:
    """The pixels of a picture file."""
    with Image.open(io.BytesIO(data)) as image:
        return np.array(image)
