"""A codec and checkpoints for the `cwic` command that need no networks."""

import io
import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from model.container import format as file_format
from model.container import lossless
from model.container.format import Container, Header, Section
from model.errors import ParameterError, WrongModelError
from model.options import DEFAULT_QUALITY, DecodeOptions, EncodeOptions
from model.protocol import DEFAULT_DECODE_OPTIONS, DEFAULT_ENCODE_OPTIONS, PictureCodec
from model.steps import Work
from model.types import Limits, ModelInfo, Pixels, Region
from tests.containers import ReadsContainers

PICTURE = np.arange(6 * 8 * 3, dtype=np.uint8).reshape(6, 8, 3)


def packed(
    array: Pixels, *, model_id: str = "", quality: float = DEFAULT_QUALITY, tune: str = "psnr"
) -> bytes:
    """A sound .cwic file; of no checkpoint, and then a real one, or of one, and then its payloads are plain samples.

    A file of a checkpoint has two channel groups, the second of which means nothing.
    """
    height, width, channels = array.shape
    header = Header(
        width=width,
        height=height,
        profile="cwic" if model_id else "lossless",
        tile=file_format.DEFAULT_TILE if model_id else file_format.LOSSLESS_TILE,
        model_id=bytes.fromhex(model_id),
        quality=round((quality - 1) / 99 * file_format.QUALITY_STEPS) if model_id else 0,
        tune=tune,
        alpha=channels == 4,
    )
    alpha = [b""] * (channels == 4)
    payloads = [b"map", *alpha, array.tobytes(), b"more"] if model_id else [lossless.pack(array)]
    return file_format.pack(header, payloads)


@dataclass(frozen=True)
class FakeCodec(ReadsContainers):
    """Keeps pictures as they are. Claims one model id, as a checkpoint does.

    Of a decoding of one group it makes a black picture, so that one sees which option has come to it.
    """

    model_id: str

    @property
    def info(self) -> ModelInfo:
        return ModelInfo(
            f"fake-{self.model_id}",
            "cwic",
            self.model_id,
            self.model_id * 8,
            1,
            1,
            "cpu",
            "float32",
            fixed_rate=False,
        )

    def encoding(self, array: Pixels, options: EncodeOptions = DEFAULT_ENCODE_OPTIONS) -> Work[bytes]:
        yield ()
        if options.lossless:
            return packed(array)
        quality = DEFAULT_QUALITY if options.quality is None else options.quality
        return packed(array, model_id=self.model_id, quality=quality, tune=options.tune or "psnr")

    def decoding(
        self, file: bytes | Container, options: DecodeOptions = DEFAULT_DECODE_OPTIONS
    ) -> Work[Pixels]:
        yield ()
        container = self.opened(file)
        header = container.header
        if header.model_id not in (b"", bytes.fromhex(self.model_id)):
            raise WrongModelError(f"made with {header.model_id.hex()}, not with {self.model_id}")
        payload = container.payload(Section.SAMPLES if header.lossless else Section.CODES, 0)
        assert payload is not None
        shape = (header.height, header.width, 4 if header.alpha else 3)
        if header.lossless:
            array = lossless.unpack(payload, shape)
        else:
            array = np.frombuffer(payload, np.uint8).reshape(shape)
        left, top, right, bottom = (options.region or Region(0, 0, header.width, header.height)).edges
        if right > header.width or bottom > header.height:
            raise ParameterError(f"region to {right},{bottom} of {header.width}x{header.height}")
        return array[top:bottom, left:right] * np.uint8(options.groups != 1)

    def mapping(
        self, source: Pixels | bytes | Container, options: EncodeOptions = DEFAULT_ENCODE_OPTIONS
    ) -> Work[Pixels]:
        yield ()
        array = source if isinstance(source, np.ndarray) else self.decode(source)
        return np.full(array.shape[:2], round(options.quality or DEFAULT_QUALITY), np.uint8)

    def kept_codes(self, file: bytes | Container) -> int:
        return int(self.decode(file).size)


@dataclass
class FakeCheckpoints:
    """Two checkpoints in every folder."""

    DEFAULT_MODEL_DIR: Path = Path("built-in")
    error: Exception | None = None
    loaded: list[tuple[str, Path, str, str]] = field(default_factory=list)

    def available(self, model_dir: Path) -> tuple[str, ...]:
        return () if model_dir.name == "empty" else ("default", "other")

    def model_id(self, name: str, *, model_dir: Path) -> str:
        assert name in self.available(model_dir)
        return "11111111" if name == "default" else "22222222"

    def load_codec(
        self, name: str, *, model_dir: Path, device: str, dtype: str, limits: Limits | None
    ) -> PictureCodec:
        assert limits is not None
        self.loaded.append((name, model_dir, device, dtype))
        if self.error is not None:
            raise self.error
        return FakeCodec(self.model_id(name, model_dir=model_dir))


class Streams:
    """Standard input and output as bytes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, given: bytes) -> None:
        self.out = io.BytesIO()
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given)))
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(self.out))
