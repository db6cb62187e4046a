"""Picture files as masks of regions of interest."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from model.errors import BrokenImageError, ImageError, LimitError, ParameterError, UnsupportedImageError
from model.images.masks import read_mask, read_mask_size
from model.types import Limits, Pixels

LIMITS = Limits(max_pixels=10_000, max_dimension=200)


def saved(array: Pixels, picture_format: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(array).save(file, picture_format, **options)
    return file.getvalue()


@given(height=st.integers(1, 20), width=st.integers(1, 20), seed=st.integers(0, 99))
@settings(max_examples=20)
def test_a_grey_picture_is_a_mask_whatever_its_mode(height: int, width: int, seed: int) -> None:
    grey = np.random.default_rng(seed).integers(0, 256, (height, width)).astype(np.uint8)
    opaque = np.full_like(grey, 255)
    for array in (grey, np.stack([grey] * 3, axis=2), np.stack([grey, grey, grey, opaque], axis=2)):
        assert np.array_equal(read_mask(saved(array), limits=LIMITS), grey)
    assert np.array_equal(read_mask(saved(grey, "TIFF"), limits=LIMITS), grey)
    deep = grey.astype(np.uint16) * 257
    assert np.array_equal(read_mask(saved(deep), limits=LIMITS), grey)  # type: ignore[arg-type]


def test_a_mask_is_turned_upright() -> None:
    grey = np.arange(60, dtype=np.uint8).reshape(6, 10)
    exif = Image.Exif()
    exif[0x0112] = 6
    data = saved(grey, exif=exif)
    assert np.array_equal(read_mask(data, limits=LIMITS), np.rot90(grey, -1))
    assert read_mask_size(data, limits=LIMITS) == (10, 6)


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.eye(5, dtype=np.uint8)[..., None] * np.array([9, 9, 8], np.uint8), "has colours"),
        (np.eye(5, dtype=np.uint8)[..., None] * np.array([9, 8, 9], np.uint8), "has colours"),
        (np.full((5, 5, 4), 99, np.uint8), "has transparent places"),
    ],
)
def test_colours_and_transparent_places_are_refused(array: Pixels, reason: str) -> None:
    with pytest.raises(ParameterError, match=f"the mask of regions of interest {reason}"):
        read_mask(saved(array), limits=LIMITS)


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", BrokenImageError),
        (b"neither", UnsupportedImageError),
        (b"CWIC", UnsupportedImageError),
        (saved(np.zeros((9, 9), np.uint8))[:40], BrokenImageError),
    ],
)
def test_a_file_that_cannot_be_read_is_said_to_be_the_mask(data: bytes, error: type[ImageError]) -> None:
    with pytest.raises(error, match=r"^the mask of regions of interest: "):
        read_mask(data, limits=LIMITS)


def test_a_mask_is_held_to_the_limits_of_pictures() -> None:
    for array, name in (
        (np.zeros((101, 100), np.uint8), "max_pixels"),
        (np.zeros((1, 201), np.uint8), "max_dimension"),
    ):
        for read in (read_mask, read_mask_size):
            with pytest.raises(LimitError, match=name):
                read(saved(array), limits=LIMITS)
