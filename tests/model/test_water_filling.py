"""Reverse water-filling: what is expected of pictures whose coefficients are known, and of a real one."""

import numpy as np
import pytest

from model.checkpoints import load_codec
from model.container.format import QUALITY_STEPS, position_of
from model.images.distortion import psnr
from model.options import EncodeOptions
from model.water_filling import expected_psnr, expected_rate
from tests.photo import photo_jpeg, pixels_of

HEIGHTS = 34.8 - 26.0 * np.linspace(0, 1, QUALITY_STEPS + 1)  # of the water, in dB above a squared error of 1


def test_of_noise_that_stands_above_the_water_the_error_is_the_water() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (256, 256, 3), np.uint8)
    found = expected_psnr(noise)
    high = slice(QUALITY_STEPS * 3 // 4, None)  # where hardly a coefficient lies below
    np.testing.assert_allclose(found[high], 20 * np.log10(255) - HEIGHTS[high], atol=0.2)
    assert (np.diff(found) >= 0).all()


def test_a_rate_grows_by_a_bit_for_each_6_db_of_noise() -> None:
    """Of white noise all coefficients rise above the water by as much: log2 of the ratio of deviations."""
    noise = np.random.default_rng(0).integers(0, 256, (256, 256, 3), np.uint8)
    axis = np.linspace(0, 1, QUALITY_STEPS + 1)
    bits = np.exp((expected_rate(noise) - 1.31 - 0.46 * axis) / 1.94)
    found = (bits[-1] - bits[QUALITY_STEPS * 3 // 4]) / (HEIGHTS[QUALITY_STEPS * 3 // 4] - HEIGHTS[-1])
    assert found == pytest.approx(1 / (20 * np.log10(2)), rel=0.1)


@pytest.mark.parametrize("shape", [(1, 1), (3, 50), (8, 8), (9, 17)])
def test_pictures_of_all_sizes_have_curves(shape: tuple[int, int]) -> None:
    for array in (
        np.full((*shape, 3), 90, np.uint8),
        np.random.default_rng(1).integers(0, 256, (*shape, 3), np.uint8),
    ):
        for curve in (expected_psnr(array), expected_rate(array)):
            assert curve.shape == (QUALITY_STEPS + 1,)
            assert np.isfinite(curve).all()
            assert (np.diff(curve) >= 0).all()


def test_of_a_large_picture_some_rows_of_blocks_tell_as_much() -> None:
    part = np.random.default_rng(2).integers(0, 256, (64, 2048, 3), np.uint8)
    whole = np.tile(part, (32, 1, 1))  # 4 megapixels, of which a quarter is looked at
    np.testing.assert_allclose(expected_psnr(whole), expected_psnr(part), atol=0.1)
    np.testing.assert_allclose(expected_rate(whole), expected_rate(part), atol=0.05)


def test_a_photo_is_as_expected_within_3_db_and_a_factor_of_4() -> None:
    codec = load_codec(device="cpu")
    array = pixels_of(photo_jpeg())
    psnrs, rates = expected_psnr(array), np.exp(expected_rate(array))
    for quality in (10, 50, 90):
        file = codec.encode(array, EncodeOptions(quality=quality, lossless=False))
        at = position_of(quality)
        assert abs(psnr(array, codec.decode(file)) - psnrs[at]) < 3
        assert 1 / 4 < 8 * len(file) / array[..., 0].size / rates[at] < 4
