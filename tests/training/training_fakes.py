"""A codec behind the Protocol that needs no network, and synthetic pictures."""

import io
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from model.container.format import DEFAULT_TILE, Container, Header, pack
from model.errors import CheckpointNotFoundError
from model.options import DEFAULT_QUALITY, DecodeOptions, EncodeOptions
from model.protocol import DEFAULT_DECODE_OPTIONS, DEFAULT_ENCODE_OPTIONS
from model.steps import Work
from model.types import ModelInfo, Pixels
from tests.containers import ReadsContainers

MAP_SECTION = b"imap"


def made_up_info(name: str, *, fixed_rate: bool = False) -> ModelInfo:
    """Of a checkpoint that does not exist."""
    return ModelInfo(
        name=name,
        profile="cwic",
        model_id="0badc0de",
        sha256="0badc0de" * 8,
        parameters=1,
        size=1,
        device="cpu",
        dtype="float32",
        fixed_rate=fixed_rate,
    )


@dataclass(frozen=True)
class JpegInABox(ReadsContainers):
    """Files are containers of a fake map of four bytes and a JPEG; the quality is JPEG's."""

    seen: list[float] = field(default_factory=list)

    @property
    def info(self) -> ModelInfo:
        """Made up."""
        return made_up_info("box")

    def encoding(self, array: Pixels, options: EncodeOptions = DEFAULT_ENCODE_OPTIONS) -> Work[bytes]:
        """A four-byte map, then a JPEG."""
        yield ()
        quality = DEFAULT_QUALITY if options.quality is None else options.quality
        self.seen.append(quality)
        out = io.BytesIO()
        Image.fromarray(array).save(out, format="JPEG", quality=round(quality))
        return boxed(array, [MAP_SECTION, out.getvalue()], model_id=self.info.model_id)

    def decoding(
        self, file: bytes | Container, options: DecodeOptions = DEFAULT_DECODE_OPTIONS
    ) -> Work[Pixels]:
        """The JPEG's picture."""
        yield ()
        del options
        container = self.opened(file)
        with Image.open(io.BytesIO(container.payloads[1])) as picture:
            return np.asarray(picture)

    def mapping(
        self, source: Pixels | bytes | Container, options: EncodeOptions = DEFAULT_ENCODE_OPTIONS
    ) -> Work[Pixels]:
        """Everything is important."""
        yield ()
        array = source if isinstance(source, np.ndarray) else self.decode(source)
        return np.full(array.shape[:2], round(options.quality or DEFAULT_QUALITY), dtype=np.uint8)

    def kept_codes(self, file: bytes | Container) -> int:
        """Everything."""
        height, width = self.decode(file).shape[:2]
        return int(height * width)


def boxed(array: Pixels, payloads: list[bytes], *, model_id: str) -> bytes:
    """A file of a made-up model; the picture has one tile."""
    height, width = array.shape[:2]
    assert max(height, width) <= DEFAULT_TILE
    return pack(
        Header(
            width=width,
            height=height,
            profile="cwic",
            tile=DEFAULT_TILE,
            model_id=bytes.fromhex(model_id),
            quality=507,
        ),
        payloads,
    )


def run_settings(folder: Path) -> dict[str, object]:
    """What the tests' runs have in common; their pictures are `train_*.png` and `val.png` of the folder."""
    return {
        "train_files": [str(folder / "train_*.png")],
        "val_files": str(folder / "val.png"),
        "out": str(folder / "run"),
        "patch": 64,
        "bfloat16": False,
    }


def fail_to_load() -> JpegInABox:
    """Stands in for a checkpoint that does not exist."""
    raise CheckpointNotFoundError("nothing to load here")


def noise(height: int, width: int, *, seed: int = 0) -> Pixels:
    """No two pixels alike, as good as."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def scene(height: int, width: int, *, seed: int = 0) -> Pixels:
    """Smooth shading with grain: something that a codec can compress."""
    y, x = np.mgrid[0:height, 0:width]
    waves = 128 + 60 * np.sin(x / 23 + seed) + 40 * np.cos(y / 31 + seed)
    grain = np.random.default_rng(seed).normal(0, 4, (height, width, 3))
    picture: Pixels = np.clip(waves[:, :, None] + grain, 0, 255).astype(np.uint8)
    return picture


def write_png(path: Path, array: Pixels) -> Path:
    """A PNG file of a picture."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, format="PNG")
    return path
