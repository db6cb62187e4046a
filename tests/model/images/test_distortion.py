"""Distances of pictures."""

import numpy as np
import pytest

from model.images.distortion import ssimulacra2
from tests.conftest import picture


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
