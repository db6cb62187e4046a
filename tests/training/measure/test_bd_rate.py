"""training.measure.bd_rate: BD-rate against what it must be."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.errors import ParameterError
from training.measure.bd_rate import Curve, bd_rate

CURVE = Curve((0.2, 0.35, 0.6, 1.0), (28.0, 30.5, 33.0, 35.5))


def test_bd_rate_of_two_curves_is_the_mean_difference_of_their_logarithms() -> None:
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
    with pytest.raises(ParameterError, match=r"do not overlap: 40\.00 to 42\.00 and 28\.00 to 35\.50"):
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
