"""Pictures to send: drawn ones, alike on every machine, or the files of a folder."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

KODAK = (768, 512)  # width and height
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")

_JPEG_QUALITY = 92  # as cameras save
_SLOPE = (
    1.25  # amplitude lost per octave: Kodak's size then costs 0.6 bits per pixel at quality 50, as Kodak does
)


def drawn(width: int, height: int, *, seed: int) -> Image.Image:
    """A picture with a photograph's mixture of flat areas, edges and texture, RGB."""
    generator = np.random.default_rng(seed)
    canvas = np.full((height, width, 3), 128.0)
    cells, amplitude = 3, 70.0
    while cells < max(width, height):
        rows, columns = max(2, cells * height // width), max(2, cells)
        grey = generator.normal(0, amplitude, (rows, columns))
        colour = generator.normal(0, amplitude / 4, (rows, columns, 3))
        canvas += _enlarged(grey[..., None] + colour, width, height)
        cells, amplitude = 2 * cells, amplitude / _SLOPE
    image = Image.fromarray(np.clip(canvas, 0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    for _ in range(12):
        left, top = generator.integers(0, width), generator.integers(0, height)
        right, bottom = (
            left + generator.integers(1, width // 4 + 2),
            top + generator.integers(1, height // 4 + 2),
        )
        fill = tuple(int(value) for value in generator.integers(0, 256, 3))
        shape = draw.ellipse if generator.random() < 0.5 else draw.rectangle
        shape((int(left), int(top), int(right), int(bottom)), fill=fill)
    return image


def jpeg(image: Image.Image) -> bytes:
    """The picture as a camera's file."""
    file = io.BytesIO()
    image.save(file, "jpeg", quality=_JPEG_QUALITY)
    return file.getvalue()


def png(image: Image.Image) -> bytes:
    """The picture as it is."""
    file = io.BytesIO()
    image.save(file, "png", compress_level=1)
    return file.getvalue()


def kodak_like(folder: Path | None, *, count: int, seed: int) -> Sequence[bytes]:
    """PNG files of Kodak's size, or the pictures of a folder as they are."""
    if folder is not None:
        return files(folder)
    return [png(drawn(*KODAK, seed=seed + number)) for number in range(count)]


def files(folder: Path) -> Sequence[bytes]:
    """The contents of a folder's pictures, by name; raises FileNotFoundError where there are none."""
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    if not found:
        raise FileNotFoundError(f"no picture in {folder}: {', '.join(SUFFIXES)} are looked for")
    return [path.read_bytes() for path in found]


def _enlarged(grid: np.ndarray, width: int, height: int) -> np.ndarray:
    planes = [
        Image.fromarray(grid[..., channel].astype(np.float32)).resize(
            (width, height), Image.Resampling.BICUBIC
        )
        for channel in range(3)
    ]
    return np.stack([np.asarray(plane) for plane in planes], axis=-1)
