import numpy as np
import pytest

from model.codec import Codec
from model.content_plane import content_offsets
from model.options import PLANE_CELL, EncodeOptions
from model.types import Pixels
from tests.conftest import picture


@pytest.fixture
def half_busy() -> Pixels:
    """Flat on the left, noise on the right, of a size that is no multiple of a cell."""
    array = np.full((250, 400, 3), 90, np.uint8)
    array[:, 192:] = np.random.default_rng(0).integers(0, 256, (250, 208, 3), np.uint8)
    return array


def test_busy_places_pay_for_calm_ones(half_busy: Pixels) -> None:
    offsets = content_offsets(half_busy)
    assert offsets.shape == (4, 7)
    assert offsets.dtype == np.int8
    assert (offsets[:, :3] > 0).all()
    assert (offsets[:, 3:] < 0).all()
    turned = content_offsets(half_busy[::-1])
    np.testing.assert_array_equal(offsets[:, :3], turned[:, :3])


def test_places_below_the_least_variance_are_alike() -> None:
    array = np.full((256, 256, 3), 90, np.uint8)
    array[::2, 128::2, 1] += 3
    assert not content_offsets(array).any()


def test_strong_outlines_pay_no_more_than_foliage() -> None:
    """Black and white beside a third of the contrast, whose variance is a ninth and still above the highest."""
    array = np.full((256, 256, 3), 90, np.uint8)
    array[:, ::2] = 0
    array[:, 1::2, :] = 255
    array[:, ::2][:, :64] = 85
    array[:, 1::2][:, :64] = 170
    assert not content_offsets(array).any()
    flat = array.copy()
    flat[:64] = 90
    assert int(content_offsets(flat).max()) - int(content_offsets(flat).min()) == 5


def test_few_cells_have_no_plane(half_busy: Pixels) -> None:
    assert not content_offsets(half_busy[: 2 * PLANE_CELL]).any()


def test_only_the_tune_visual_follows_the_content_and_only_where_no_plane_is_given(
    tiny_codec: Codec, half_busy: Pixels
) -> None:
    def sections(options: EncodeOptions) -> set[str]:
        return {
            section.name for section in tiny_codec.read(tiny_codec.encode(half_busy, options)).info().sections
        }

    even = np.zeros((4, 7), np.int8)
    assert "plane" in sections(EncodeOptions(tune="visual", lossless=False))
    assert "plane" not in sections(EncodeOptions(tune="visual", plane=even, lossless=False))
    assert "plane" not in sections(EncodeOptions(tune="psnr", lossless=False))


def test_a_file_with_such_a_plane_decodes_as_any_other(tiny_codec: Codec) -> None:
    array = picture(300, 330)
    options = EncodeOptions(tune="visual", lossless=False)
    file = tiny_codec.encode(array, options)
    assert tiny_codec.decode(file).shape == array.shape
    assert tiny_codec.encode(array, options) == file
