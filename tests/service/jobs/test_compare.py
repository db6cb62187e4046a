"""The comparison with JPEG, WebP and AVIF."""

import io
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, features

from model.errors import UnsupportedImageError
from model.images.distortion import psnr
from model.options import EncodeOptions
from model.protocol import DEFAULT_ENCODE_OPTIONS
from model.steps import Work, run
from model.types import Limits, Pixels
from service.jobs import compare
from service.jobs.compare import (
    QUALITIES,
    Compare,
    Comparison,
    Equal,
    Trial,
    equal,
    interpolated,
    middle,
    tried,
)
from service.observe.timing import Timing
from tests.conftest import picture
from tests.service.fakes import FakeCodec, png


@dataclass(frozen=True)
class CoarseCodec(FakeCodec):
    """Keeps only multiples of a step.

    Attributes:
        step: between two levels.
    """

    step: int = 16

    def encoding(self, array: Pixels, options: EncodeOptions = DEFAULT_ENCODE_OPTIONS) -> Work[bytes]:
        """See `PictureCodec`."""
        coarse = array // self.step * self.step
        return (yield from super().encoding(coarse.astype(np.uint8), options))


def operation(data: bytes, *, step: int = 16) -> Compare:
    return Compare.of(
        data, codec=CoarseCodec(step=step), options=DEFAULT_ENCODE_OPTIONS, limits=Limits(max_pixels=100_000)
    )


def compared(data: bytes, *, step: int = 16) -> Comparison:
    return run(operation(data, step=step).work(Timing("compare")))


@pytest.mark.parametrize("name", list(compare.available_formats()))
def test_the_file_of_a_format_is_as_good_as_ours_and_the_next_quality_is_not(name: str) -> None:
    array = picture(48, 64)
    result = compared(png(array))
    found = result.others[name]
    assert found is not None
    size, trial = found
    assert trial == tried(array, format=name, quality=trial.quality)
    below = tried(array, format=name, quality=trial.quality - 1)
    assert below.psnr < result.psnr <= trial.psnr
    assert below.size <= size <= trial.size


def test_our_file_is_measured_by_what_our_own_codec_decodes() -> None:
    array = picture(48, 64)
    result = compared(png(array))
    file = CoarseCodec().encode(array)
    assert (result.size, result.psnr) == (len(file), psnr(array, CoarseCodec().decode(file)))
    assert (result.width, result.height, result.cropped) == (64, 48, False)


def test_a_quality_that_a_format_cannot_reach_is_none() -> None:
    result = compared(png(picture(48, 64)), step=1)
    assert result.psnr == math.inf
    assert set(result.others.values()) == {None}


def test_alpha_is_left_out() -> None:
    array = picture(48, 64, channels=4)
    assert compared(png(array)) == compared(png(np.ascontiguousarray(array[:, :, :3])))


def test_a_format_that_pillow_cannot_write_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "check", lambda name: name != "avif")
    assert list(compared(png(picture(16, 16))).others) == ["JPEG", "WebP"]


def test_of_a_large_picture_the_middle_is_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    array = picture(80, 160)
    monkeypatch.setattr(compare, "middle", lambda whole: middle(whole, pixels=3200))
    result = compared(png(array))
    assert (result.width, result.height, result.cropped) == (80, 40, True)
    inner = np.ascontiguousarray(array[20:60, 40:120])
    assert result == compared(png(inner))._replace(cropped=True)


def test_it_costs_what_is_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    assert operation(png(picture(10, 20))).pixels == 200
    monkeypatch.setattr(compare, "MAX_PIXELS", 50)
    assert operation(png(picture(10, 20))).pixels == 50


def test_it_may_be_given_up_before_each_encoding(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[tuple[str, int]] = []
    between: list[int] = []

    def noted(array: Pixels, *, format: str, quality: int) -> Trial:
        done.append((format, quality))
        return tried(array, format=format, quality=quality)

    monkeypatch.setattr(compare, "tried", noted)
    run(
        operation(png(picture(16, 16))).work(Timing("compare")),
        check=lambda: between.append(len(done)),
    )
    assert set(between) >= set(range(len(done)))


def test_what_is_no_picture_is_refused_before_any_work() -> None:
    with pytest.raises(UnsupportedImageError):
        operation(b"no picture")


def test_each_format_has_its_time() -> None:
    timing = Timing("compare")
    run(operation(png(picture(16, 16))).work(timing))
    names = [f"compare-{name.lower()}" for name in compare.available_formats()]
    assert list(timing.milliseconds) == ["decode", *names]


@given(reaching=st.integers(1, 101))
def test_the_search_finds_the_lowest_quality_in_seven_trials(reaching: int) -> None:
    asked: list[int] = []

    def attempt(quality: int) -> Trial:
        asked.append(quality)
        return Trial(quality, size=quality, psnr=float(quality))

    found = run(equal(attempt, psnr=reaching))
    assert found == (Equal(reaching, Trial(reaching, reaching, reaching)) if reaching in QUALITIES else None)
    assert len(asked) <= 7


@given(values=st.lists(st.floats(20, 50), min_size=100, max_size=100), target=st.floats(20, 50))
def test_where_psnr_does_not_rise_the_result_still_reaches_it_and_the_quality_below_does_not(
    values: list[float], target: float
) -> None:
    found = run(equal(lambda quality: Trial(quality, 1, values[quality - 1]), psnr=target))
    if found is None:
        assert values[-1] < target
    else:
        assert found.trial.psnr >= target
        assert found.trial.quality == 1 or values[found.trial.quality - 2] < target


def test_the_size_between_two_qualities_is_that_on_a_straight_line_of_its_logarithm() -> None:
    below, above = Trial(30, 1000, 30.0), Trial(31, 4000, 32.0)
    assert interpolated(below, above, psnr=31.0) == 2000
    assert interpolated(below, above, psnr=32.0) == 4000


def test_the_size_is_that_of_a_file_where_there_is_no_line() -> None:
    assert interpolated(None, Trial(1, 500, 30.0), psnr=25.0) == 500
    assert interpolated(Trial(1, 400, 30.0), Trial(2, 500, math.inf), psnr=math.inf) == 500


@given(
    height=st.integers(1, 200),
    width=st.integers(1, 200),
    pixels=st.integers(1, 3000),
    side=st.integers(1, 90),
)
def test_the_middle_is_as_large_as_it_may_be(height: int, width: int, pixels: int, side: int) -> None:
    rows, columns = np.mgrid[0:height, 0:width]
    array = np.stack([rows, columns, rows], axis=-1).astype(np.uint8)
    part = middle(array, pixels=pixels, side=side)
    assert part.size
    assert part.shape[0] * part.shape[1] <= pixels
    assert max(part.shape[:2]) <= side
    if height * width <= pixels and max(height, width) <= side:
        assert part.shape == array.shape
    top, left = part[0, 0, :2]
    bottom, right = height - 1 - int(part[-1, -1, 0]), width - 1 - int(part[-1, -1, 1])
    assert abs(int(top) - bottom) <= 1
    assert abs(int(left) - right) <= 1


def test_the_middle_has_the_proportions_of_the_picture() -> None:
    assert middle(np.zeros((3000, 4000, 3), np.uint8)).shape == (1224, 1632, 3)


def test_psnr_is_that_of_its_definition() -> None:
    one, other = picture(700, 900), picture(700, 900, seed=1)
    error = np.mean((one.astype(np.float64) - other) ** 2)
    assert psnr(one, other) == pytest.approx(10 * math.log10(255**2 / error))
    assert psnr(one, one) == math.inf


@pytest.mark.parametrize(
    ("name", "options"),
    [("JPEG", {"subsampling": "4:2:0", "optimize": True}), ("WebP", {"method": 6}), ("AVIF", {})],
)
def test_a_trial_has_the_size_that_pillow_writes(name: str, options: Mapping[str, Any]) -> None:
    if name not in compare.available_formats():
        pytest.skip(f"this Pillow writes no {name}")
    array, file = picture(48, 64), io.BytesIO()
    Image.fromarray(array).save(file, name.upper(), quality=40, **options)
    assert tried(array, format=name, quality=40).size == len(file.getvalue())
