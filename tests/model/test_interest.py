"""Regions of interest: which plane they make, what is refused, and what they bring."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.checkpoints import load_codec
from model.codec import Codec
from model.container.header import QUALITY_STEPS
from model.content_plane import content_offsets
from model.errors import ParameterError
from model.options import MAX_ROIS, PLANE_CELL, PLANE_STEPS, EncodeOptions, Offsets
from model.rate_control import positions, with_plane
from model.types import Pixels, Roi
from tests.conftest import TINY, TINY_2018, picture
from tests.photo import photo_jpeg, pixels_of
from training.data.synthetic import synthetic_picture
from training.measure.metrics import psnr
from training.measure.prefixes import largest_file

OCTAVE = PLANE_STEPS / math.log2(TINY.lambda_max / TINY.lambda_min)  # steps


def plane_of(roi: object, height: int, width: int, **others: Any) -> Offsets:
    asked = EncodeOptions(roi=roi, **others)  # type: ignore[arg-type]
    made = with_plane(asked, TINY, np.zeros((height, width, 3), np.uint8))
    assert made.roi is None
    assert made.plane is not None
    return made.plane


def largest_of_cells(octaves: np.ndarray[Any, Any]) -> Offsets:
    """The plane of octaves for each pixel, cell by cell."""
    height, width = octaves.shape
    cells = [
        [octaves[y : y + PLANE_CELL, x : x + PLANE_CELL].max() for x in range(0, width, PLANE_CELL)]
        for y in range(0, height, PLANE_CELL)
    ]
    return (np.array(cells) * OCTAVE).round().astype(np.int8)


@st.composite
def rectangles(draw: st.DrawFn, height: int, width: int) -> Roi:
    x, y = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
    weight = draw(st.sampled_from([1 / 16, 0.3, 0.5, 1, 1.1, 2, 4.0, 16]))
    return Roi(x, y, draw(st.integers(1, width - x)), draw(st.integers(1, height - y)), weight)


@given(height=st.integers(1, 300), width=st.integers(1, 300), data=st.data())
@settings(max_examples=60)
def test_a_cell_has_the_largest_weight_of_its_pixels_and_later_rectangles_cover_earlier_ones(
    height: int, width: int, data: st.DataObject
) -> None:
    rois = data.draw(st.lists(rectangles(height, width), min_size=1, max_size=6))
    octaves = np.zeros((height, width))
    for roi in rois:
        octaves[roi.y : roi.y + roi.height, roi.x : roi.x + roi.width] = math.log2(roi.weight)
    assert np.array_equal(plane_of(rois, height, width), largest_of_cells(octaves))


@given(height=st.integers(1, 200), width=st.integers(1, 200), seed=st.integers(0, 99))
@settings(max_examples=40)
def test_a_mask_has_one_octave_for_32_values(height: int, width: int, seed: int) -> None:
    mask = np.random.default_rng(seed).integers(0, 256, (height, width)).astype(np.uint8)
    mask[mask > 40 + seed * 2] = 0  # otherwise each cell has a pixel that is nearly white
    assert np.array_equal(plane_of(mask, height, width), largest_of_cells((mask.astype(float) - 128) / 32))


@given(height=st.integers(1, 200), width=st.integers(1, 200), data=st.data())
@settings(max_examples=30)
def test_a_mask_says_what_a_rectangle_says(height: int, width: int, data: st.DataObject) -> None:
    roi = data.draw(rectangles(height, width).filter(lambda roi: roi.weight in (0.5, 1, 2, 4)))
    mask = np.full((height, width), 128, np.uint8)
    mask[roi.y : roi.y + roi.height, roi.x : roi.x + roi.width] = 128 + 32 * math.log2(roi.weight)
    assert np.array_equal(plane_of(mask, height, width), plane_of([roi], height, width))


def test_what_is_in_the_docstring() -> None:
    found = plane_of([Roi(32, 32, 128, 96, 4), Roi(64, 64, 96, 64, 0.5)], 128, 192)
    assert np.array_equal(found, (np.array([[2, 2, 2], [2, -1, 0]]) * OCTAVE).round())


@given(quality=st.integers(0, QUALITY_STEPS), weight=st.floats(1 / 16, 16))
def test_a_weight_multiplies_lambda_at_any_quality_until_the_axis_ends(quality: int, weight: float) -> None:
    def weight_of_errors(position: float) -> float:
        return float(TINY.lambda_min * (TINY.lambda_max / TINY.lambda_min) ** (position / QUALITY_STEPS))

    plane = plane_of([Roi(0, 0, 64, 64, weight)], 64, 128)
    inside, outside = positions(quality, plane, cells=1)[0]
    expected = weight_of_errors(quality) * weight
    clipped = min(max(expected, TINY.lambda_min), TINY.lambda_max)
    assert outside == quality
    assert abs(math.log2(weight_of_errors(inside) / clipped)) <= 0.51 / OCTAVE


def test_where_all_is_of_equal_interest_there_is_no_plane(tiny_codec: Codec) -> None:
    array = picture(70, 130)
    plain = tiny_codec.encode(array, EncodeOptions(lossless=False))
    rois: list[Any] = [(), [], [Roi(3, 3, 70, 60, 1)], np.full((70, 130), 128, np.uint8)]
    for roi in rois:
        assert tiny_codec.encode(array, EncodeOptions(roi=roi, lossless=False)) == plain


@pytest.mark.parametrize("as_mask", [False, True])
def test_regions_of_interest_are_a_plane_for_files_and_maps(tiny_codec: Codec, *, as_mask: bool) -> None:
    array = picture(150, 200, channels=4)
    mask = np.full((150, 200), 128, np.uint8)
    mask[10:100, 70:130] = 192
    roi: Any = mask if as_mask else [Roi(70, 10, 60, 90, 4)]
    plane = np.zeros((3, 4), np.int8)
    plane[0:2, 1:3] = round(2 * OCTAVE)
    asked = EncodeOptions(quality=30, roi=roi, lossless=False)
    same = EncodeOptions(quality=30, plane=plane, lossless=False)
    file = tiny_codec.encode(array, asked)
    assert tiny_codec.read(file).info().plane
    assert file == tiny_codec.encode(array, same)
    assert np.array_equal(tiny_codec.importance_map(array, asked), tiny_codec.importance_map(array, same))
    assert tiny_codec.decode(file).shape == array.shape


def test_for_the_tune_visual_weights_are_added_to_what_the_content_says() -> None:
    array = np.full((256, 400, 3), 90, np.uint8)
    array[:, 192:] = np.random.default_rng(0).integers(0, 256, (256, 208, 3), np.uint8)
    content = content_offsets(array)
    asked = EncodeOptions(tune="visual", roi=[Roi(128, 64, 128, 128, 4)])
    expected = content.astype(int)
    expected[1:3, 2:4] += round(2 * OCTAVE)
    found = with_plane(asked, TINY, array).plane
    assert found is not None
    assert content.any()
    assert np.array_equal(found, expected)
    most = with_plane(EncodeOptions(tune="visual", roi=[Roi(0, 0, 400, 256, 16)]), TINY, array).plane
    assert most is not None
    assert np.array_equal(most, (content.astype(int) + round(4 * OCTAVE)).clip(-PLANE_STEPS, PLANE_STEPS))
    for given_ in (
        EncodeOptions(plane=expected.astype(np.int8), tune="visual"),
        EncodeOptions(lossless=True),
    ):
        assert with_plane(given_, TINY, array) is given_


@pytest.mark.parametrize(
    ("roi", "message"),
    [
        ([Roi(0, 0, 41, 30, 2)], "roi 41x30 at 0,0 is not inside 40x30"),
        ([Roi(0, 0, 40, 30, 2), Roi(39, 29, 1, 2, 2)], "roi 1x2 at 39,29 is not inside 40x30"),
        ([Roi(-1, 0, 4, 4, 2)], "roi 4x4 at -1,0 is not inside 40x30"),
        ([Roi(5, 5, 0, 4, 2)], "roi 0x4 at 5,5 is not inside"),
        ([Roi(5, 5, 4, -4, 2)], "roi 4x-4 at 5,5 is not inside"),
        ([Roi(40, 0, 0, 0, 2)], "is not inside"),
        (np.zeros((40, 30), np.uint8), "a mask of 30x40 pixels for a picture of 40x30"),
        (np.zeros((1, 1), np.uint8), "a mask of 1x1 pixels"),
        (np.zeros((0, 0), np.uint8), "a mask of 0x0 pixels"),
    ],
)
def test_what_does_not_fit_the_picture_is_refused(tiny_codec: Codec, roi: Any, message: str) -> None:
    asked = EncodeOptions(roi=roi)
    for use in (tiny_codec.encode, tiny_codec.encoding, tiny_codec.importance_map):
        with pytest.raises(ParameterError, match=message):
            use(picture(30, 40), asked)


@pytest.mark.parametrize("weight", [0, -1, 1 / 16.1, 16.1, math.inf, math.nan, True, "2", None])
def test_a_weight_out_of_range_is_refused(weight: Any) -> None:
    with pytest.raises(ParameterError, match="weight of a region of interest is 1/16 to 16, got"):
        EncodeOptions(roi=[Roi(0, 0, 1, 1, weight)])


@pytest.mark.parametrize(
    ("others", "message"),
    [
        ({"roi": [Roi(0, 0, 1, 1, 2)], "lossless": True}, "a lossless file has neither"),
        ({"roi": np.zeros((4, 4), np.uint8), "lossless": True}, "a lossless file has neither"),
        ({"roi": [Roi(0, 0, 1, 1, 2)], "plane": np.zeros((1, 1), np.int8)}, "give one of the two"),
        ({"roi": Roi(0, 0, 1, 1, 2)}, None),
        ({"roi": [(0, 0, 1, 1, 2)]}, "is a Roi of whole pixels, got"),
        ({"roi": [Roi(0.0, 0, 1, 1, 2)]}, "is a Roi of whole pixels, got"),  # type: ignore[arg-type]
        ({"roi": "0,0,1,1,2"}, "is a Roi of whole pixels, got"),
        ({"roi": np.zeros((4, 4, 3), np.uint8)}, "is uint8 HxW, got uint8"),
        ({"roi": np.zeros((4, 4))}, "is uint8 HxW, got float64"),
        ({"roi": [Roi(0, 0, 1, 1, 2)] * (MAX_ROIS + 1)}, "at most 64 regions of interest, got 65"),
    ],
)
def test_options_that_contradict_themselves_are_refused(others: dict[str, Any], message: str | None) -> None:
    if message is None:  # one rectangle is as good as a list of one
        assert EncodeOptions(**others).roi == (others["roi"],)
        return
    with pytest.raises(ParameterError, match=message):
        EncodeOptions(**others)


def test_a_checkpoint_of_one_rate_has_no_regions_of_interest(tiny_2018_codec: Codec) -> None:
    array = picture(40, 56)
    rois: list[Any] = [[Roi(0, 0, 8, 8, 1)], np.full((40, 56), 128, np.uint8)]
    for roi in rois:
        with pytest.raises(ParameterError, match="profile cvpr2018 has one rate"):
            tiny_2018_codec.encode(array, EncodeOptions(roi=roi))
    with pytest.raises(ParameterError, match="profile cvpr2018 has one rate"):
        with_plane(EncodeOptions(roi=rois[0]), TINY_2018, array)


@pytest.mark.parametrize(
    "text", ["", "1,2,3,4", "1,2,3,4,5,6", "1,2,3,4,x", "1,2,3,x,5", "1;2;3;4;5", "1.5,2,3,4,5"]
)
def test_words_that_are_no_region_of_interest_are_refused(text: str) -> None:
    with pytest.raises(ParameterError, match="X,Y,W,H in pixels and a WEIGHT behind them, got"):
        Roi.of(text)


def test_a_region_of_interest_is_written_as_five_numbers() -> None:
    assert Roi.of("1,2,30,40,0.5") == Roi(1, 2, 30, 40, 0.5)


def real_picture(name: str) -> Pixels:
    """A photograph or a drawing, 512 x 384."""
    whole = pixels_of(photo_jpeg())[40:424] if name == "photo" else synthetic_picture(name)
    assert whole.shape == (384, 512, 3)
    return np.ascontiguousarray(whole)


@pytest.fixture(scope="module")
def codec() -> Codec:
    """The default checkpoint."""
    return load_codec(device="cpu")


@pytest.mark.parametrize(("name", "quality"), [("photo", 30), ("photo", 60), ("leaves", 30), ("checks", 60)])
def test_a_quarter_of_a_picture_gains_2_db_at_equal_size(codec: Codec, name: str, quality: float) -> None:
    """Of pictures that have detail elsewhere too: where there is none, there is nothing to take it from."""
    array, roi = real_picture(name), Roi(128, 96, 256, 192, 8)
    file = codec.encode(array, EncodeOptions(quality=quality, lossless=False))
    asked = EncodeOptions(roi=[roi], lossless=False)
    same = largest_file(codec, array, len(file), options=asked, below=quality)
    inside = np.s_[roi.y : roi.y + roi.height, roi.x : roi.x + roi.width]
    before, after = (psnr(array[inside], codec.decode(each)[inside]) for each in (file, same))
    assert 0.97 * len(file) <= len(same) <= len(file)
    assert after - before >= 2
