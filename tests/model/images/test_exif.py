"""EXIF that would take long to parse."""

import struct

import numpy as np
import pytest
from PIL import ExifTags, Image
from PIL.PngImagePlugin import PngInfo

from tests.conftest import picture
from tests.effort import counted_calls
from tests.model.images.samples import read, saved


def endless_orientation(count: int) -> bytes:
    """EXIF whose orientation is so many fractions."""
    at = 8 + 2 + 12 + 4
    directory = struct.pack("<IHHHIII", 8, 1, ExifTags.Base.Orientation, 5, count, at, 0)
    return b"Exif\0\0II*\0" + directory + struct.pack("<II", 6, 1) * count


@pytest.mark.parametrize("format", ["PNG", "WEBP", "PNG text"])
@pytest.mark.parametrize("count", [20_000, 200_000])
def test_endless_fractions_cost_only_the_orientation(format: str, count: int) -> None:
    pixels, exif = picture(24, 40), endless_orientation(count)
    image = Image.fromarray(pixels)
    if format == "PNG text":
        text = PngInfo()
        words = f"\nexif\n{len(exif)}\n{exif.hex()}"[: 2**20 - 1]  # Pillow reads no longer text
        text.add_text("Raw profile type exif", words, zip=True)
        data = saved(image, "PNG", pnginfo=text)
    else:
        data = saved(image, format, exif=exif, lossless=True)
    with counted_calls() as calls:
        array, notes = read(data)
    np.testing.assert_array_equal(array, pixels)
    assert notes == ("exif-ignored",)
    assert calls.count < 10_000
