"""Colours under full transparency: files do not depend on them, unless they keep a picture as it is."""

import numpy as np
import pytest

from model.codec import Codec
from model.hidden import without_hidden
from model.images.distortion import psnr
from model.options import EncodeOptions
from model.steps import run
from model.types import Pixels
from tests.conftest import picture

MARGIN = 40


def cut_out(height: int, width: int, *, behind: Pixels | int) -> Pixels:
    """A picture that is transparent at its left, half so along one column, and has those colours there."""
    array = picture(height, width, channels=4, seed=3)
    array[..., 3] = 255
    array[:, MARGIN, 3] = 128
    array[:, :MARGIN, 3] = 0
    array[:, :MARGIN, :3] = behind
    return array


def noise(height: int) -> Pixels:
    return np.random.default_rng(1).integers(0, 256, (height, MARGIN, 3), dtype=np.uint8)


@pytest.mark.parametrize("options", [{"quality": 30}, {"quality": 30, "effort": 2}, {"target_bytes": 900}])
def test_a_coded_file_is_the_same_whatever_is_hidden(options: dict[str, float], tiny_codec: Codec) -> None:
    asked = EncodeOptions(lossless=False, **options)  # type: ignore[arg-type] # floats that are whole
    files = {tiny_codec.encode(cut_out(70, 90, behind=behind), asked) for behind in (0, 255, noise(70))}
    assert len(files) == 1


def test_what_is_seen_stays_and_goes_on_smoothly() -> None:
    array = cut_out(70, 90, behind=noise(70))
    before = array.copy()
    for tile in (32, 1024):
        seen = run(without_hidden(array, tile=tile))
        np.testing.assert_array_equal(array, before)
        np.testing.assert_array_equal(seen[..., 3], array[..., 3])
        np.testing.assert_array_equal(seen[:, MARGIN:], array[:, MARGIN:])
    steps = np.abs(np.diff(seen[:, : MARGIN - 8, :3].astype(int), axis=1))
    assert steps.max() <= 8


def test_where_all_is_hidden_there_is_one_colour() -> None:
    array = picture(33, 50, channels=4)
    array[..., 3] = 0
    assert len(np.unique(run(without_hidden(array, tile=1024))[..., :3])) == 1


def test_a_picture_that_hides_nothing_is_not_copied() -> None:
    for array in (picture(20, 30), cut_out(20, 60, behind=0)[:, MARGIN:]):
        assert run(without_hidden(array, tile=1024)) is array


def test_a_file_without_loss_keeps_what_is_hidden(tiny_codec: Codec) -> None:
    array = cut_out(40, 60, behind=noise(40))
    np.testing.assert_array_equal(
        tiny_codec.decode(tiny_codec.encode(array, EncodeOptions(lossless=True))), array
    )
    flat = np.zeros((40, 60, 4), np.uint8)
    flat[:20, :, :3] = 7  # smaller without loss than coded
    np.testing.assert_array_equal(tiny_codec.decode(tiny_codec.encode(flat)), flat)


def test_a_psnr_to_reach_is_that_of_what_is_coded(tiny_codec: Codec) -> None:
    array = cut_out(70, 90, behind=noise(70))
    decoded = tiny_codec.decode(tiny_codec.encode(array, EncodeOptions(target_psnr=19.1, lossless=False)))
    seen = run(without_hidden(array, tile=1024))
    assert psnr(seen[..., :3], decoded[..., :3]) >= 19.1
    assert psnr(array[..., :3], decoded[..., :3]) < 19.1


def test_the_map_of_a_picture_is_that_of_its_file(tiny_codec: Codec) -> None:
    array, options = cut_out(70, 90, behind=noise(70)), EncodeOptions(quality=30, lossless=False)
    expected = tiny_codec.importance_map(tiny_codec.encode(array, options))
    np.testing.assert_array_equal(tiny_codec.importance_map(array, options), expected)
