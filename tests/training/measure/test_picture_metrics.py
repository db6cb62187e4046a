"""training.measure.metrics: values that can be derived by hand, and the measure's own properties."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from model.errors import ParameterError
from model.types import Pixels
from tests.training.training_fakes import noise, scene
from training.measure.metrics import ms_ssim, ms_ssim_db, psnr


def test_psnr_of_equal_pictures_is_infinite() -> None:
    assert psnr(noise(5, 7), noise(5, 7)) == math.inf


@given(difference=st.integers(1, 255))
def test_psnr_of_a_constant_difference_is_that_of_its_square(difference: int) -> None:
    black = np.zeros((3, 4, 3), dtype=np.uint8)
    other = np.full_like(black, difference)
    assert psnr(black, other) == pytest.approx(20 * math.log10(255 / difference), abs=1e-9)


def test_psnr_averages_the_error_over_the_channels() -> None:
    black = np.zeros((3, 4, 3), dtype=np.uint8)
    red = black.copy()
    red[:, :, 0] = 255
    assert psnr(black, red) == pytest.approx(10 * math.log10(3))


@pytest.mark.parametrize("shape", [(4, 4), (4, 4, 4), (0, 4, 3)])
def test_other_arrays_are_refused_with_their_shape(shape: tuple[int, ...]) -> None:
    with pytest.raises(ParameterError, match="expected HxWx3 uint8"):
        psnr(np.zeros(shape, dtype=np.uint8), np.zeros(shape, dtype=np.uint8))


def test_pictures_of_different_size_are_refused() -> None:
    with pytest.raises(ParameterError, match="different size"):
        psnr(noise(4, 5), noise(5, 4))


def test_ms_ssim_of_equal_pictures_is_one() -> None:
    assert ms_ssim(scene(170, 201), scene(170, 201)) == pytest.approx(1, abs=1e-6)


def test_ms_ssim_falls_as_the_noise_rises() -> None:
    picture = scene(176, 192)
    values = [ms_ssim(picture, _noisy(picture, sigma)) for sigma in (1, 4, 16, 64)]
    assert values == sorted(values, reverse=True)
    assert 0 <= values[-1] < values[0] < 1


def test_ms_ssim_of_a_shift_in_brightness_is_the_luminance_term_of_the_coarsest_scale() -> None:
    flat = np.full((161, 161, 3), 100, dtype=np.uint8)
    c1 = (0.01 * 255) ** 2
    luminance = (2 * 100 * 120 + c1) / (100**2 + 120**2 + c1)
    assert ms_ssim(flat, flat + np.uint8(20)) == pytest.approx(luminance**0.1333, abs=1e-6)


def test_ms_ssim_agrees_with_a_plain_computation_in_float64() -> None:
    picture = scene(165, 178, seed=3)
    other = _noisy(picture, 9)
    assert ms_ssim(picture, other) == pytest.approx(_plain_ms_ssim(picture, other), abs=2e-5)


def test_ms_ssim_says_what_is_too_small() -> None:
    with pytest.raises(ParameterError, match="at least 161 pixels, got 300x160"):
        ms_ssim(noise(160, 300), noise(160, 300))


def test_ms_ssim_in_decibels_of_ninety_nine_percent_is_twenty() -> None:
    assert ms_ssim_db(0.99) == pytest.approx(20)
    assert ms_ssim_db(1.0) == math.inf


def _noisy(picture: Pixels, sigma: float) -> Pixels:
    error = np.random.default_rng(1).normal(0, sigma, picture.shape)
    noisy: Pixels = np.clip(picture + error, 0, 255).astype(np.uint8)
    return noisy


def _plain_ms_ssim(a: Pixels, b: Pixels) -> float:
    """Wang 2003 word for word, one channel and one window row after the other."""
    offsets = np.arange(11) - 5
    window = np.exp(-(offsets**2) / (2 * 1.5**2))
    window /= window.sum()

    def blur(x: NDArray[np.float64]) -> NDArray[np.float64]:
        rows = np.apply_along_axis(np.convolve, 0, x, window, "valid")
        return np.apply_along_axis(np.convolve, 1, rows, window, "valid")

    def halve(x: NDArray[np.float64]) -> NDArray[np.float64]:
        x = np.pad(x, ((0, x.shape[0] % 2), (0, x.shape[1] % 2)), mode="edge")
        return (x[::2, ::2] + x[1::2, ::2] + x[::2, 1::2] + x[1::2, 1::2]) / 4

    values = []
    for channel in range(3):
        x, y, value = a[:, :, channel].astype(float), b[:, :, channel].astype(float), 1.0
        for scale, weight in enumerate((0.0448, 0.2856, 0.3001, 0.2363, 0.1333)):
            mean_x, mean_y = blur(x), blur(y)
            var_x, var_y = blur(x * x) - mean_x**2, blur(y * y) - mean_y**2
            term = (2 * (blur(x * y) - mean_x * mean_y) + 7.65**2) / (var_x + var_y + 7.65**2)
            if scale == 4:
                term *= (2 * mean_x * mean_y + 2.55**2) / (mean_x**2 + mean_y**2 + 2.55**2)
            value *= max(float(term.mean()), 0) ** weight
            x, y = halve(x), halve(y)
        values.append(value)
    return float(np.mean(values))
