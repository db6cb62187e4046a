"""Distances of pictures."""

import numpy as np
import pytest

from model.images import distortion
from model.images.distortion import coarse_psnr, psnr, ssimulacra2
from tests.conftest import picture


@pytest.mark.parametrize("strip", [1, 60, 137, 1 << 20])
def test_a_psnr_is_that_of_all_samples_however_many_are_summed_at_once(
    strip: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(distortion, "_STRIP", strip)
    one, other = picture(37, 20), picture(37, 20, seed=1)
    expected = 10 * np.log10(255**2 / np.square(one.astype(float) - other).mean())
    assert psnr(one, other) == pytest.approx(expected)
    assert psnr(one, one) == np.inf


@pytest.mark.parametrize("strip", [1, 1000, 1 << 20])
@pytest.mark.parametrize("size", [(1, 1), (8, 16), (37, 21)])
def test_a_coarse_psnr_is_that_of_block_means(
    strip: int, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(distortion, "_STRIP", strip)
    one, other = picture(*size), picture(*size, seed=1)
    corners = [(top, left) for top in range(0, size[0], 8) for left in range(0, size[1], 8)]
    means = [
        (one.astype(float) - other)[top : top + 8, left : left + 8].mean((0, 1)) for top, left in corners
    ]
    assert coarse_psnr(one, other) == pytest.approx(10 * np.log10(255**2 / np.square(means).mean()))
    assert coarse_psnr(one, one) == np.inf


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (40, 7), (7, 7)])
def test_small_pictures_differ_by_ssimulacra2(size: tuple[int, int]) -> None:
    pytest.importorskip("ssimulacra2")
    array = picture(*size)
    assert ssimulacra2(array, array) == 100
    assert ssimulacra2(array, 255 - array) < 99
    height, width = (max(0, 8 - side) for side in size)
    padded = np.pad(array, ((0, height), (0, width), (0, 0)), mode="edge")
    negative = np.pad(255 - array, ((0, height), (0, width), (0, 0)), mode="edge")
    assert ssimulacra2(array, 255 - array) == ssimulacra2(padded, negative)
