"""A photograph that a test dependency ships, and what is left of it."""

import io
from importlib.resources import files

import httpx
import numpy as np
from PIL import Image

from model.types import Pixels
from training.measure.metrics import psnr

RECOGNISED = 25.0  # dB; a photo that comes back with less is broken


def photo_jpeg() -> bytes:
    """A portrait of Grace Hopper, in the public domain, as matplotlib ships it."""
    return files("matplotlib").joinpath("mpl-data/sample_data/grace_hopper.jpg").read_bytes()


def pixels_of(data: bytes) -> Pixels:
    """A picture file's pixels, uint8 [H, W, 3]."""
    with Image.open(io.BytesIO(data)) as image:
        return np.array(image.convert("RGB"))


def round_trip(client: httpx.Client, *, form: bool = False) -> str:
    """Send the photo through a service, as a raw body or as a form, and tell what became of it."""
    photo = photo_jpeg()
    sent = (
        client.post("/compress", files={"file": photo}) if form else client.post("/compress", content=photo)
    )
    file = sent.raise_for_status().content
    restored = client.post("/decompress", content=file).raise_for_status().content
    return told(photo, file, restored)


def told(photo: bytes, file: bytes, restored: bytes) -> str:
    """What became of a photo, for a report; raises AssertionError where it is no smaller or no longer recognised."""
    quality = psnr(pixels_of(photo), pixels_of(restored))
    line = f"photo of {len(photo)} bytes: {len(file)} bytes, {quality:.1f} dB"
    assert len(file) < len(photo), line
    assert quality > RECOGNISED, line
    return line
