"""Depths and colour spaces: every kind of sample gives the right 8-bit sRGB or a clear refusal."""

import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from PIL import Image

from model.errors import UnsupportedImageError
from model.types import Pixels
from tests.model.images.samples import png, read, saved, tiff

Deep = NDArray[np.uint16]


def rounded(deep: NDArray[np.generic]) -> NDArray[np.float64]:
    """The definition: x * 255 / 65535, to the nearest."""
    return np.floor(deep.astype(float) * 255 / 65535 + 0.5)


def deep_pictures(channels: int) -> st.SearchStrategy[Deep]:
    shape = st.tuples(st.integers(1, 7), st.integers(1, 7), st.just(channels))
    return shape.flatmap(lambda shape: arrays(np.uint16, shape))


@given(
    deep=deep_pictures(1), case=st.sampled_from(("PNG", "TIFF <", "TIFF >", "PGM", "inverted TIFF", "LZW"))
)
@settings(max_examples=120)
def test_deep_grey_is_scaled_not_clipped(deep: Deep, case: str) -> None:
    expected = rounded(deep)
    if case == "PNG":
        data = png(deep, 0, depth=16)
    elif case == "PGM":
        data = b"P5 %d %d 65535\n" % (deep.shape[1], deep.shape[0]) + deep.astype(">u2").tobytes()
    elif case == "LZW":
        data = saved(Image.fromarray(deep[..., 0]), "TIFF", compression="tiff_lzw")
    elif case == "inverted TIFF":
        data, expected = tiff(deep, 0), rounded(65535 - deep)
    else:
        data = tiff(deep, 1, order=case[-1])
    array, notes = read(data)
    np.testing.assert_array_equal(array, np.repeat(expected, 3, axis=2))
    assert notes == ("depth-16-to-8",)


@given(deep=deep_pictures(3), case=st.sampled_from(("PNG", "TIFF <", "TIFF >", "PPM")))
@settings(max_examples=80)
def test_deep_colour_is_rounded_not_cut(deep: Deep, case: str) -> None:
    if case == "PNG":
        data = png(deep, 2, depth=16)
    elif case == "PPM":
        data = b"P6 %d %d 65535\n" % (deep.shape[1], deep.shape[0]) + deep.astype(">u2").tobytes()
    else:
        data = tiff(deep, 2, order=case[-1])
    array, notes = read(data)
    np.testing.assert_array_equal(array, rounded(deep))
    assert notes == ("depth-16-to-8",)


@given(deep=deep_pictures(4), case=st.sampled_from(("PNG", "TIFF <", "TIFF >")))
@settings(max_examples=60)
def test_deep_colour_keeps_its_alpha(deep: Deep, case: str) -> None:
    deep[0, 0, 3] = 0
    array, notes = read(png(deep, 6, depth=16) if case == "PNG" else tiff(deep, 2, order=case[-1], extra=2))
    np.testing.assert_array_equal(array, rounded(deep))
    assert notes == ("depth-16-to-8",)


@given(deep=deep_pictures(2))
@settings(max_examples=30)
def test_deep_grey_keeps_its_alpha(deep: Deep) -> None:
    deep[0, 0, 1] = 0
    array, _ = read(png(deep, 4, depth=16))
    np.testing.assert_array_equal(array, rounded(deep[..., (0, 0, 0, 1)]))


@pytest.mark.parametrize("order", ["<", ">"])
def test_premultiplied_deep_colour_is_divided_by_its_alpha(order: str) -> None:
    deep = np.array([[[10000, 20000, 40000, 40000], [0, 0, 0, 0]]], np.uint16)
    array, _ = read(tiff(deep, 2, order=order, extra=1))
    assert array[0, 0].tolist() == [64, 128, 255, 156]
    assert array[0, 1, 3] == 0


@pytest.mark.parametrize("order", ["<", ">"])
def test_compressed_deep_tiff_is_rounded_too(order: str) -> None:
    ramp = np.arange(0, 65536, 97, dtype=np.uint16)[:660].reshape(20, 11, 3)
    data = tiff(ramp, 2, order=order)
    body = zlib.compress(data[8 : 8 + ramp.nbytes])  # a new strip at the end, in the place of the plain one
    changes = [
        ("HHIH", (259, 3, 1, 1), 8),
        ("HHII", (273, 4, 1, 8), len(data)),
        ("HHII", (279, 4, 1, ramp.nbytes), len(body)),
    ]
    for layout, entry, value in changes:
        old = struct.pack(order + layout, *entry)
        assert data.count(old) == 1
        data = data.replace(old, struct.pack(order + layout, *entry[:3], value))
    np.testing.assert_array_equal(read(data + body).array, rounded(ramp))


@pytest.mark.parametrize(
    ("array", "photometric", "message"),
    [
        (np.ones((2, 2, 1), np.float32), 1, "float"),
        (np.ones((2, 2, 1), np.uint32), 1, "integer"),
        (np.ones((2, 2, 1), np.int16), 1, "integer"),
        (np.ones((2, 2, 3), np.float32), 2, "TIFF"),
    ],
)
def test_samples_without_a_white_point_are_refused(
    array: NDArray[np.generic], photometric: int, message: str
) -> None:
    with pytest.raises(UnsupportedImageError, match=message):
        read(tiff(array, photometric))


def test_deep_samples_in_separate_planes_are_refused() -> None:
    with pytest.raises(UnsupportedImageError, match="planes"):
        read(tiff(np.ones((4, 4, 3), np.uint16), 2, planar=True))
    eight = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    np.testing.assert_array_equal(read(tiff(eight, 2, planar=True)).array, eight)


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_shallow_grey_and_its_transparent_level_are_scaled(depth: int) -> None:
    top = 2**depth - 1
    levels = np.arange(top + 1, dtype=np.uint8)[None]
    array, notes = read(png(levels, 0, depth=depth, key=struct.pack(">H", top)))
    assert array[0, :, 0].tolist() == [255 * level // top for level in range(top + 1)]
    assert array[0, :, 3].tolist() == [255] * top + [0]
    assert notes == ()


def test_a_transparent_colour_is_compared_at_full_depth() -> None:
    deep = np.array([[[0x1234, 0, 0], [0x1235, 0, 0]]], np.uint16)
    array, _ = read(png(deep, 2, depth=16, key=struct.pack(">HHH", 0x1234, 0, 0)))
    assert array[0, :, 3].tolist() == [0, 255]
    grey, _ = read(png(deep[..., 0], 0, depth=16, key=struct.pack(">H", 0x1235)))
    assert grey[0, :, 3].tolist() == [255, 0]
    shallow = np.array([[[1, 2, 3], [1, 2, 4]]], np.uint8)
    array, _ = read(saved(Image.fromarray(shallow), "PNG", transparency=(1, 2, 3)))
    assert array[0, :, 3].tolist() == [0, 255]


@given(
    array=st.tuples(st.integers(1, 6), st.integers(1, 6)).flatmap(lambda hw: arrays(np.uint8, (*hw, 4))),
    format=st.sampled_from(("PNG", "TIFF", "WEBP")),
)
@settings(max_examples=60)
def test_alpha_is_kept_only_where_something_is_transparent(array: Pixels, format: str) -> None:
    options = {"WEBP": {"lossless": True, "exact": True}}.get(format, {})
    got, notes = read(saved(Image.fromarray(array), format, **options))
    np.testing.assert_array_equal(got[..., :3], array[..., :3])
    opaque = bool((array[..., 3] == 255).all())
    assert got.shape[2] == (3 if opaque else 4)
    assert notes in (((), ("alpha-opaque-dropped",)) if opaque else ((),))  # WebP has dropped it itself
    if not opaque:
        np.testing.assert_array_equal(got, array)


def test_palettes_give_their_colours_and_their_transparency() -> None:
    image = Image.new("P", (3, 1))
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    image.putdata([0, 1, 2])
    colours = [[255, 0, 0], [0, 255, 0], [0, 0, 255]]
    for format in ("PNG", "GIF", "BMP", "TIFF"):
        assert read(saved(image, format)).array.tolist() == [colours]
    for format in ("PNG", "GIF"):
        array = read(saved(image, format, transparency=1)).array
        assert array[0, :, 3].tolist() == [255, 0, 255]
        assert array[0, ::2, :3].tolist() == colours[::2]
    array = read(saved(image, "PNG", transparency=bytes((255, 128, 0)))).array
    assert array[0, :, 3].tolist() == [255, 128, 0]


def test_grey_with_alpha_and_bilevel_pictures_become_rgb() -> None:
    grey = Image.new("LA", (2, 1))
    grey.putdata([(9, 255), (200, 3)])
    assert read(saved(grey, "PNG")).array.tolist() == [[[9, 9, 9, 255], [200, 200, 200, 3]]]
    bits = Image.new("1", (2, 1))
    bits.putdata([0, 255])
    for format in ("PNG", "TIFF", "BMP", "PPM"):
        assert read(saved(bits, format)).array.tolist() == [[[0, 0, 0], [255, 255, 255]]]


INKS = {"white": (0, 0, 0, 0), "black": (0, 0, 0, 255), "red": (0, 255, 255, 0), "cyan": (255, 0, 0, 0)}


LIGHT = {"white": (255, 255, 255), "black": (0, 0, 0), "red": (255, 0, 0), "cyan": (0, 255, 255)}


@pytest.mark.parametrize("ink", sorted(INKS))
@pytest.mark.parametrize("format", ["JPEG", "TIFF"])
def test_cmyk_is_not_inverted(format: str, ink: str) -> None:
    data = saved(Image.new("CMYK", (16, 16), INKS[ink]), format)
    if format == "JPEG":
        assert b"Adobe" in data, "this is the inverted kind"
    array, notes = read(data)
    assert np.abs(array.astype(int) - LIGHT[ink]).max() <= 3
    assert notes == ("cmyk-converted",)


@pytest.mark.parametrize("order", ["<", ">"])
def test_deep_cmyk_is_read(order: str) -> None:
    inks = np.array([[INKS["red"], INKS["white"]]], np.uint16) * 257
    array, notes = read(tiff(inks, 5, order=order))
    assert array.tolist() == [[[255, 0, 0], [255, 255, 255]]]
    assert notes == ("depth-16-to-8", "cmyk-converted")


def test_ycbcr_tiff_is_read() -> None:
    colours = np.array([[[255, 0, 0], [0, 128, 255]]], np.uint8)
    data = saved(Image.fromarray(colours).convert("YCbCr"), "TIFF")
    assert np.abs(read(data).array.astype(int) - colours).max() <= 2


def test_lab_tiff_has_the_colours_that_it_names() -> None:
    lab = np.array([[[100, 0, 0], [0, 0, 0], [54.29, 80.81, 69.89]]])  # D50: white, black, sRGB's red
    packed = (lab * (2.55, 1, 1)).round().astype(int).astype(np.uint8)  # a and b are signed bytes
    array, notes = read(tiff(packed, 8))
    assert np.abs(array.astype(int) - [[[255] * 3, [0] * 3, [255, 0, 0]]]).max() <= 6
    assert notes == ("lab-converted",)


def test_a_camera_raw_file_is_not_read_as_its_thumbnail() -> None:
    data = tiff(np.ones((4, 4, 3), np.uint8), 2)
    # The tag SamplesPerPixel stays; RowsPerStrip (278), which has a default, makes room for DNGVersion.
    entry = struct.pack("<HHII", 278, 4, 1, 4)
    assert entry in data
    with pytest.raises(UnsupportedImageError, match="raw"):
        read(data.replace(entry, struct.pack("<HHII", 50706, 1, 4, 0x00000401)))
