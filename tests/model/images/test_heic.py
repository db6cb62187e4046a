"""HEIC files through pillow-heif: read like the other formats, with their bounds, or refused where it is missing."""

import struct
import sys
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from model.errors import BrokenImageError, InputError, LimitError, UnsupportedImageError
from model.images.files import Picture, read_image, read_size
from model.types import Limits, Pixels
from tests.conftest import picture

BEGIN = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"


def saved(array: Pixels, *more: Pixels, **options: object) -> bytes:
    """A HEIC file; skips the test where it cannot be written."""
    pillow_heif = pytest.importorskip("pillow_heif", reason="pip install 'cwic[heif]'")
    file = BytesIO()
    heif = pillow_heif.from_pillow(Image.fromarray(array))
    for each in more:
        heif.add_from_pillow(Image.fromarray(each))
    heif.save(file, quality=95, chroma=444, **options)
    return file.getvalue()


def claiming(data: bytes, width: int, height: int) -> bytes:
    """A file that says of every item that it has this size."""
    parts = data.split(b"ispe")
    return b"ispe".join(
        [parts[0], *(each[:4] + struct.pack(">II", width, height) + each[12:] for each in parts[1:])]
    )


def read(data: bytes) -> Picture:
    return read_image(data, limits=Limits())


def test_without_the_extra_a_file_is_refused_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(UnsupportedImageError, match="HEIC, which is read with the extra `heif`"):
        read(BEGIN)


@pytest.mark.parametrize("channels", [3, 4])
def test_colour_and_alpha_are_read(channels: int) -> None:
    original = picture(70, 90, channels=channels)
    array, notes = read(saved(original))[:2]
    assert array.shape == original.shape
    assert np.abs(array.astype(int) - original).mean() < 4
    assert notes == ()


def test_grey_is_read() -> None:
    array, _ = read(saved(picture(70, 90)[..., 0]))[:2]
    assert array.shape == (70, 90, 3)
    assert (array[..., 0] == array[..., 2]).all()


def test_samples_of_ten_bits_are_scaled() -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    deep = picture(64, 64).astype(np.uint16) * 257
    file = BytesIO()
    pillow_heif.from_bytes("RGB;16", (64, 64), deep.tobytes()).save(file, quality=95, chroma=444)
    array, notes = read(file.getvalue())[:2]
    assert np.abs(array.astype(int) - picture(64, 64)).mean() < 4
    assert notes == ("depth-16-to-8",)


def test_a_picture_comes_upright_and_says_that_it_was_turned() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    original = picture(40, 64)
    array, notes = read(saved(original, exif=exif.tobytes()))[:2]
    assert np.abs(array.astype(int) - np.rot90(original, -1)).mean() < 4
    assert notes == ("orientation-applied",)


def test_of_several_pictures_the_first_is_read() -> None:
    array, notes = read(saved(picture(64, 80), picture(64, 64, seed=1)))[:2]
    assert array.shape == (64, 80, 3)
    assert notes == ("first-frame-of-2",)


def test_the_limits_hold_before_anything_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    data = saved(picture(64, 80))
    heif_image_file = pytest.importorskip("pillow_heif").HeifImageFile

    def never(_: object) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr(heif_image_file, "load", never)
    assert read_size(data, limits=Limits(max_pixels=5120)) == (80, 64)
    with pytest.raises(LimitError, match="max_pixels is 5119, got 5120"):
        read_image(data, limits=Limits(max_pixels=5119))
    with pytest.raises(LimitError, match="max_dimension is 79, got 80"):
        read_image(data, limits=Limits(max_dimension=79))


@pytest.mark.parametrize("claim", [(16, 16), (320, 256), (256, 320)])
def test_samples_of_another_size_than_the_header_says_are_refused(claim: tuple[int, int]) -> None:
    data = saved(picture(320, 320))
    with pytest.raises(BrokenImageError):
        read(claiming(data, *claim))


def test_damage_is_an_error_of_ours() -> None:
    data = saved(picture(64, 64))
    read(data)
    for length in range(len(BEGIN), len(data) - 1, 7):
        with pytest.raises(InputError):
            read(data[:length])
    generator = np.random.default_rng(0)
    for _ in range(200):
        broken = bytearray(data)
        broken[generator.integers(12, len(data))] ^= int(generator.integers(1, 256))
        try:
            array = read(bytes(broken)).array
        except InputError:
            continue
        assert array.dtype == np.uint8
