"""model.images.writing: pixels to picture files."""

import re
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from model.errors import ParameterError
from model.images.writing import MEDIA_TYPES, write_image
from model.types import Pixels
from tests.model.images.samples import read, smooth


@given(
    picture=st.tuples(st.integers(1, 9), st.integers(1, 9), st.sampled_from((3, 4))).flatmap(
        lambda shape: arrays(np.uint8, shape)
    ),
    format=st.sampled_from(("png", "webp")),
)
@settings(max_examples=40)
def test_png_and_webp_are_written_without_loss(picture: Pixels, format: str) -> None:
    array, _ = read(write_image(picture, format=format))
    np.testing.assert_array_equal(array[..., :3], picture[..., :3])
    if array.shape[2] == 4:
        np.testing.assert_array_equal(array, picture)


def test_what_is_written_is_the_format_asked_for() -> None:
    for format, media_type in MEDIA_TYPES.items():
        with Image.open(BytesIO(write_image(smooth(), format=format))) as image:
            assert image.get_format_mimetype() == media_type


def test_a_written_jpeg_is_close_and_keeps_its_chroma() -> None:
    data = write_image(smooth(), format="jpeg")
    assert np.abs(read(data).array.astype(int) - smooth()).max() <= 6
    assert re.search(rb"\xff\xc0\0\x11\x08.{4}\x03\x01\x11\x00\x02\x11\x01\x03\x11\x01", data, re.DOTALL)


@pytest.mark.parametrize("format", sorted(MEDIA_TYPES))
def test_a_grey_array_can_be_written(format: str) -> None:
    grey = smooth()[..., 0]
    array, _ = read(write_image(grey, format=format))
    assert np.abs(array.astype(int) - grey[..., None]).max() <= 3


@pytest.mark.parametrize(
    ("array", "format", "message"),
    [
        (np.zeros((4, 4, 3), np.uint8), "gif", "png, jpeg, webp"),
        (np.zeros((4, 4, 4), np.uint8), "jpeg", "transparency"),
        (np.zeros((4, 4, 2), np.uint8), "png", r"\(4, 4, 2\)"),
        (np.zeros((0, 4, 3), np.uint8), "png", r"\(0, 4, 3\)"),
        (np.zeros((4, 4, 3), np.float32), "png", "float32"),
        (np.zeros((1, 16384, 3), np.uint8), "webp", "16383"),
        (np.zeros((65501, 1, 3), np.uint8), "jpeg", "65500"),
    ],
)
def test_what_a_format_cannot_hold_is_refused(array: Pixels, format: str, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        write_image(array, format=format)
