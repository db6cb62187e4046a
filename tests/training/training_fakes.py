"""A codec behind the Protocol that needs no network, and synthetic pictures."""

import io
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from model.errors import CheckpointNotFoundError
from model.types import DEFAULT_QUALITY, Check, FileInfo, ModelInfo, Pixels, SectionInfo, unchecked

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
class JpegInABox:
    """Files are a fake map section of four bytes and a JPEG; the quality is JPEG's."""

    seen: list[float] = field(default_factory=list)

    @property
    def info(self) -> ModelInfo:
        """Made up."""
        return made_up_info("box")

    def encode(self, array: Pixels, *, quality: float | None = None, check: Check = unchecked) -> bytes:
        """A four-byte section, then a JPEG."""
        check()
        quality = DEFAULT_QUALITY if quality is None else quality
        self.seen.append(quality)
        out = io.BytesIO()
        Image.fromarray(array).save(out, format="JPEG", quality=round(quality))
        return MAP_SECTION + out.getvalue()

    def decode(self, data: bytes, *, check: Check = unchecked) -> Pixels:
        """The JPEG's picture."""
        check()
        with Image.open(io.BytesIO(data[len(MAP_SECTION) :])) as picture:
            return np.asarray(picture)

    def importance_map(
        self, source: Pixels | bytes, *, quality: float | None = None, check: Check = unchecked
    ) -> Pixels:
        """Everything is important."""
        check()
        array = self.decode(source) if isinstance(source, bytes) else source
        return np.full(array.shape[:2], round(quality or DEFAULT_QUALITY), dtype=np.uint8)

    def kept_codes(self, data: bytes) -> int:
        """Everything."""
        height, width = self.decode(data).shape[:2]
        return int(height * width)

    def inspect(self, data: bytes) -> FileInfo:
        """Two sections: map and codes."""
        height, width, channels = self.decode(data).shape
        return FileInfo(
            version=1,
            width=width,
            height=height,
            channels=channels,
            profile="cwic",
            model_id=self.info.model_id,
            quality=50,
            lowest_level=1,
            sections=(
                SectionInfo("map", len(MAP_SECTION)),
                SectionInfo("codes", len(data) - len(MAP_SECTION)),
            ),
            size=len(data),
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
