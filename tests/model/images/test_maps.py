"""Importance maps as pictures."""

import numpy as np
import pytest

from model.codec import Codec
from model.errors import NoImportanceMapError, ParameterError
from model.images.maps import drawing, heat_colours, mean_importance, overlay
from model.options import EncodeOptions, MapOptions, MapStyle
from model.protocol import DEFAULT_ENCODE_OPTIONS
from model.steps import run
from model.types import Pixels
from tests.conftest import picture

OPTIONS = EncodeOptions(lossless=False)


@pytest.mark.parametrize("size", [(1, 1), (16, 8), (75, 130), (300, 40)])
def test_a_pixel_of_the_small_map_stands_for_each_level(any_codec: Codec, size: tuple[int, int]) -> None:
    file = any_codec.read(any_codec.encode(picture(*size), EncodeOptions(lossless=False, tile=256)))
    grey = any_codec.importance_map(file)
    levels, _ = any_codec.decode_codes(file)
    small = run(drawing(any_codec, file, DEFAULT_ENCODE_OPTIONS, MapOptions(size="map")))
    assert np.array_equal(small, levels[0].numpy() * 255 // any_codec.config.levels)
    stride = any_codec.config.map_stride
    assert np.array_equal(small.repeat(stride, 0).repeat(stride, 1)[: size[0], : size[1]], grey)
    assert run(mean_importance(any_codec, file)) == pytest.approx(grey.mean() / 255)


@pytest.mark.parametrize("style", ["heat", "overlay"])
def test_a_map_of_a_file_is_drawn_over_what_it_decodes_to(any_codec: Codec, style: MapStyle) -> None:
    array = picture(75, 130, channels=4)
    file = any_codec.read(any_codec.encode(array, OPTIONS))
    of_picture, of_file = (
        run(drawing(any_codec, source, OPTIONS, MapOptions(style=style))) for source in (array, file)
    )
    if style == "heat":
        assert np.array_equal(of_picture, of_file)
        assert np.array_equal(of_file, heat_colours()[any_codec.importance_map(file)])
    else:
        assert np.array_equal(of_file, overlay(any_codec.importance_map(file), any_codec.decode(file)))
        assert np.array_equal(of_file[..., 3], array[..., 3])
        assert of_picture.shape == of_file.shape == array.shape


def test_colours_get_brighter_with_the_level() -> None:
    colours = heat_colours()
    assert colours[0].tolist() == [0, 0, 4]
    assert colours[255].tolist() == [252, 255, 164]
    brightness = colours @ np.array([0.2126, 0.7152, 0.0722])
    assert (np.diff(brightness) > -0.5).all()  # rounding to whole values of each colour
    assert (np.diff(brightness[::8]) > 0).all()


@pytest.mark.parametrize("channels", [3, 4])
def test_an_overlay_is_half_picture_and_half_colour(channels: int) -> None:
    array = picture(600, 20, channels=channels)
    grey: Pixels = np.arange(600 * 20, dtype=np.uint32).reshape(600, 20).astype(np.uint8)
    before = array.copy()
    found = overlay(grey, array)
    expected = (array[..., :3].astype(float) + heat_colours()[grey]) / 2
    assert np.abs(found[..., :3] - expected).max() <= 1
    assert np.array_equal(found[..., 3:], array[..., 3:])
    assert np.array_equal(array, before)


def test_lossless_files_have_no_map_to_draw(tiny_codec: Codec) -> None:
    file = tiny_codec.read(tiny_codec.encode(picture(20, 20), EncodeOptions(lossless=True)))
    for style in ("grey", "overlay"):
        with pytest.raises(NoImportanceMapError):
            run(drawing(tiny_codec, file, DEFAULT_ENCODE_OPTIONS, MapOptions(style=style)))


@pytest.mark.parametrize("wrong", [{"style": "blue"}, {"size": "small"}, {"style": "overlay", "size": "map"}])
def test_maps_that_cannot_be_drawn_are_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(ParameterError):
        MapOptions(**wrong)  # type: ignore[arg-type]
