"""training.bd_rate: interpolation against SciPy's values, BD-rate against what it must be."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.errors import ParameterError
from training.bd_rate import Curve, bd_rate, pchip

CURVE = Curve((0.2, 0.35, 0.6, 1.0), (28.0, 30.5, 33.0, 35.5))


@pytest.mark.parametrize(
    ("x", "y", "at", "expected"),
    [
        (
            [0, 1, 3, 4, 7, 8],
            [0, 2, 2.5, 2.5, 1, 5],
            [0.25, 0.5, 2, 3.5, 5, 6.5, 7.5, 7.9],
            [0.65297720, 1.26210586, 2.37162162, 2.5, 2.11111111, 1.11111111, 2.359375, 4.472875],
        ),
        ([1, 2, 5], [0.1, 3, 3.1], [1.2, 1.9, 3, 4.5], [0.86201388, 2.94497262, 3.06091838, 3.09806016]),
        ([1, 3], [10, 20], [1, 1.5, 3], [10, 12.5, 20]),
    ],
)
def test_pchip_gives_the_values_of_scipy(
    x: list[float], y: list[float], at: list[float], expected: list[float]
) -> None:
    assert pchip(x, y, at) == pytest.approx(expected, abs=1e-8)


@given(st.lists(st.floats(-100, 100), min_size=2, max_size=8))
def test_pchip_goes_through_its_points_and_never_beyond_them(values: list[float]) -> None:
    x = np.arange(len(values))
    assert pchip(x, values, x) == pytest.approx(values)
    between = pchip(x, values, x[:-1] + 0.3)
    low, high = np.minimum(values[:-1], values[1:]), np.maximum(values[:-1], values[1:])
    assert ((between >= low - 1e-9) & (between <= high + 1e-9)).all()


def test_bd_rate_of_two_curves_is_what_scipy_integrates() -> None:
    other = Curve((0.15, 0.3, 0.55, 1.1), (27.0, 30.0, 33.4, 36.5))
    assert bd_rate(CURVE, other) == pytest.approx(11.143665959715543, abs=1e-9)


@given(factor=st.floats(0.2, 5))
def test_bd_rate_of_the_same_quality_for_a_multiple_of_the_bits_is_that_multiple(factor: float) -> None:
    scaled = Curve(tuple(factor * bpp for bpp in CURVE.bpp), CURVE.quality)
    assert bd_rate(scaled, CURVE) == pytest.approx(100 * (factor - 1), abs=1e-6)


def test_bd_rate_looks_only_at_quality_that_both_curves_reach() -> None:
    half = Curve((0.1, 0.175, 0.3, 0.5, 2.0), (28.0, 30.5, 33.0, 35.5, 40.0))
    assert bd_rate(Curve(half.bpp[:3], half.quality[:3]), CURVE) == pytest.approx(-50, abs=1)


def test_curves_that_share_no_quality_are_refused_with_their_ranges() -> None:
    better = Curve((0.2, 0.4), (40.0, 42.0))
    with pytest.raises(ParameterError, match=r"do not overlap: 40\.00 to 42\.00 dB and 28\.00 to 35\.50 dB"):
        bd_rate(better, CURVE)


def test_a_single_point_has_no_bd_rate() -> None:
    with pytest.raises(ParameterError, match="two points a curve, got 1 and 4"):
        bd_rate(Curve((0.5,), (31.0,)), CURVE)


@pytest.mark.parametrize(
    ("bpp", "quality"),
    [
        ((), ()),
        ((1.0,), ()),
        ((0.0, 1.0), (1.0, 2.0)),
        ((1.0, 1.0), (1.0, 2.0)),
        ((1.0, 2.0), (2.0, 2.0)),
        ((1.0, 2.0), (2.0, float("nan"))),
    ],
)
def test_what_is_no_curve_is_refused(bpp: tuple[float, ...], quality: tuple[float, ...]) -> None:
    with pytest.raises(ParameterError, match="curve"):
        Curve(bpp, quality)


@given(st.lists(st.tuples(st.floats(0.01, 4), st.floats(20, 50)), min_size=1, max_size=20))
def test_points_in_any_order_make_a_curve_without_those_that_cost_more_for_less(
    points: list[tuple[float, float]],
) -> None:
    curve = Curve.of([bpp for bpp, _ in points], [quality for _, quality in points])
    kept = set(zip(curve.bpp, curve.quality, strict=True))
    assert kept <= set(points)
    for bpp, quality in points:
        assert (bpp, quality) in kept or any(b <= bpp and q >= quality for b, q in kept)


def test_quality_between_points_is_interpolated_and_outside_there_is_none() -> None:
    assert CURVE.quality_at(0.35) == pytest.approx(30.5)
    assert 30.5 < (CURVE.quality_at(0.5) or 0) < 33.0
    assert CURVE.quality_at(0.19) is None
    assert CURVE.quality_at(1.01) is None
