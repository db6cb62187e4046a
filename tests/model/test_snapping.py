"""Colours that are made equal where they are close, and files that keep such pictures where these are smaller."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from model.checkpoints import load_codec
from model.codec import Codec
from model.container.format import inspect
from model.encoding import encode_picture
from model.errors import TargetError
from model.images.distortion import coarse_psnr, psnr
from model.options import EncodeOptions
from model.snapping import TOLERANCES, Snapping, has_few_colours, snapped_picture
from model.steps import run
from model.types import Pixels
from tests.conftest import picture
from tests.photo import photo_jpeg, pixels_of
from training.data.screens import screen
from training.data.synthetic import synthetic_picture

PHOTO = pixels_of(photo_jpeg())


@pytest.fixture(scope="module")
def codec() -> Codec:
    """The default checkpoint."""
    return load_codec(device="cpu", dtype="float32")


def as_jpeg(array: Pixels, quality: int) -> Pixels:
    """A picture as it comes back from a JPEG file."""
    file = io.BytesIO()
    Image.fromarray(array).save(file, "JPEG", quality=quality, subsampling=0)
    return np.asarray(Image.open(file))


def document(quality: int = 90) -> Pixels:
    """A page of text that was a JPEG file, 256 x 384."""
    return as_jpeg(np.ascontiguousarray(screen("document")[60:316, 40:424]), quality)


def distance(one: Pixels, other: Pixels) -> int:
    return int(np.abs(one.astype(int) - other).max(initial=0))


@given(
    height=st.integers(1, 40), width=st.integers(1, 40), alpha=st.booleans(), tolerance=st.integers(1, 255)
)
def test_no_colour_goes_farther_than_the_tolerance(
    height: int, width: int, alpha: bool, tolerance: int
) -> None:
    array = picture(height, width, channels=3 + alpha, seed=tolerance)
    given_ = array.copy()
    snapping = Snapping.of(array, tolerance)
    snapped = snapping(array)
    assert np.array_equal(array, given_)
    assert snapped.shape == array.shape
    assert snapped.dtype == np.uint8
    assert distance(array[..., :3], snapped[..., :3]) <= tolerance
    assert np.array_equal(array[..., 3:], snapped[..., 3:])
    assert np.array_equal(snapping(array), snapped)
    for one in snapping.dominant:
        assert np.array_equal(snapping(one.astype(np.uint8).reshape(1, 1, 3)).ravel(), one)


@pytest.mark.parametrize("side", [1, 100, 2048])
def test_a_picture_is_snapped_as_a_whole_in_parts(side: int, monkeypatch: pytest.MonkeyPatch) -> None:
    array = document()[:9, :200] if side == 1 else document()
    monkeypatch.setattr("model.snapping._AT_ONCE", side)
    assert np.array_equal(run(snapped_picture(array, 8)), Snapping.of(array, 8)(array))


@pytest.mark.parametrize("tolerance", TOLERANCES)
def test_what_is_grey_stays_grey(tolerance: int) -> None:
    ramp = np.arange(256, dtype=np.uint8).reshape(8, 32, 1).repeat(3, 2)
    snapped = Snapping.of(ramp, tolerance)(ramp)
    assert (snapped == snapped[..., :1]).all()


def test_noise_around_few_colours_goes() -> None:
    flat = np.full((90, 120, 3), (250, 240, 230), np.uint8)
    flat[20:50, 30:80] = (10, 60, 120)
    noisy = np.clip(flat + np.random.default_rng(1).normal(0, 2, flat.shape).round(), 0, 255).astype(np.uint8)
    colours = {tuple(colour) for colour in Snapping.of(noisy, 12)(noisy).reshape(-1, 3).tolist()}
    assert len(colours) == 2
    assert {tuple(colour) for colour in noisy.reshape(-1, 3).tolist()} > colours


@pytest.mark.parametrize("name", ["document", "editor", "plot", "table", "desktop"])
@pytest.mark.parametrize("quality", [90, 75])
def test_screens_that_were_a_jpeg_file_have_few_colours(name: str, quality: int) -> None:
    assert has_few_colours(as_jpeg(screen(name), quality))


@pytest.mark.parametrize("array", [PHOTO, synthetic_picture("mountain"), picture(200, 300)])
def test_photographs_and_noise_do_not(array: Pixels) -> None:
    assert not has_few_colours(array)


@pytest.mark.parametrize("options", [EncodeOptions(quality=50), EncodeOptions(quality=80, tune="psnr")])
def test_print_with_noise_is_kept_nearly_where_that_is_smaller_and_as_close(
    codec: Codec, options: EncodeOptions
) -> None:
    array = document()
    file = codec.encode(array, options)
    info = inspect(file)
    coded = run(encode_picture(codec._model, array, EncodeOptions(**vars(options) | {"lossless": False})))
    assert (info.profile, info.kept, info.quality) == ("lossless", "near-lossless", None)
    assert info.tolerance in TOLERANCES
    assert len(file) < 0.7 * len(coded)
    assert inspect(coded).profile == "cwic"
    kept, decoded = codec.decode(file), codec.decode(coded)
    assert 0 < distance(array, kept) <= info.tolerance
    assert psnr(array, kept) > psnr(array, decoded)
    assert coarse_psnr(array, kept) > coarse_psnr(array, decoded)


def test_what_asks_for_no_loss_has_none_and_what_refuses_it_is_coded(codec: Codec) -> None:
    array = document()
    exact = inspect(codec.encode(array, EncodeOptions(lossless=True)))
    assert (exact.kept, exact.tolerance) == ("lossless", 0)
    coded = inspect(codec.encode(array, EncodeOptions(lossless=False)))
    assert (coded.profile, coded.kept, coded.tolerance) == ("cwic", "", None)


def test_alpha_is_kept_beside_colours_that_are_snapped(codec: Codec) -> None:
    array = np.dstack([document(), np.linspace(100, 255, 256 * 384).reshape(256, 384).astype(np.uint8)])
    file = codec.encode(array, EncodeOptions(target_bytes=20_000))
    assert inspect(file).kept == "near-lossless"
    assert np.array_equal(codec.decode(file)[..., 3], array[..., 3])


def test_a_smooth_ground_is_not_cut_into_bands(codec: Codec) -> None:
    """It would have as high a PSNR, but not its block means."""
    array = as_jpeg(screen("desktop"), 90)
    coded = codec.decode(codec.encode(array, EncodeOptions(lossless=False)))
    snapped = Snapping.of(array, 16)(array)
    assert has_few_colours(array)
    assert coarse_psnr(array, snapped) < coarse_psnr(array, coded)
    assert inspect(codec.encode(array)).profile == "cwic"


def test_a_size_is_used_for_the_closest_picture_that_fits(codec: Codec) -> None:
    array = document()
    sizes = {}
    for size in (12_000, 20_000):
        file = codec.encode(array, EncodeOptions(target_bytes=size))
        tolerance = inspect(file).tolerance
        assert tolerance
        assert len(file) <= size
        coded = codec.encode(array, EncodeOptions(target_bytes=size, lossless=False))
        assert psnr(array, codec.decode(file)) > psnr(array, codec.decode(coded))
        sizes[size] = tolerance
    assert sizes[12_000] > sizes[20_000]


def test_a_quality_is_reached_in_fewer_bytes(codec: Codec) -> None:
    array = document()
    file = codec.encode(array, EncodeOptions(target_psnr=38.0))
    assert inspect(file).kept == "near-lossless"
    assert psnr(array, codec.decode(file)) >= 38
    assert len(file) < len(codec.encode(array, EncodeOptions(target_psnr=38.0, lossless=False)))


def test_a_size_below_every_coded_file_is_reached_where_colours_are_few(codec: Codec) -> None:
    array = synthetic_picture("page")[:, :256]
    lowest = len(codec.encode(array, EncodeOptions(quality=1, lossless=False)))
    size = round(0.9 * lowest)
    with pytest.raises(TargetError):
        codec.encode(array, EncodeOptions(target_bytes=size, lossless=False))
    file = codec.encode(array, EncodeOptions(target_bytes=size))
    assert inspect(file).kept == "near-lossless"
    assert len(file) <= size
    with pytest.raises(TargetError, match=f"target_bytes 90 .* {lowest} to"):
        codec.encode(array, EncodeOptions(target_bytes=90))
