"""The search along the quality axis, on curves that stand for a picture."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.container.format import QUALITY_STEPS
from model.options import Target
from model.quality_search import Goal, Search


@given(
    seed=st.integers(0, 2**32 - 1),
    sampled=st.tuples(*[st.floats(-9, 9)] * 3),
    position=st.integers(0, QUALITY_STEPS),
)
def test_the_search_finds_what_is_there_whatever_the_sample_says(
    seed: int, sampled: tuple[float, float, float], position: int
) -> None:
    steps = np.random.default_rng(seed).exponential(0.005, QUALITY_STEPS)
    values = np.concatenate([[0.0], np.cumsum(steps)])
    low, high = values[position] - 0.01, values[position] + 0.01
    curve = np.interp(np.arange(QUALITY_STEPS + 1), (128, 512, 896), sampled)
    search = Search(Goal(low=low, aim=values[position], high=high, at_most=True), curve)
    tried = []
    while (at := search.next()) is not None:
        tried.append(at)
        search.add(at, float(values[at]))
    assert low <= values[tried[-1]] <= high
    assert len(set(tried)) == len(tried) <= 4 + math.log2(QUALITY_STEPS) + 1


def test_a_search_that_a_sample_guides_well_is_short() -> None:
    """A curve of the shape of sizes, and two values of a sample that is 15 % too large at the lowest quality."""
    axis = np.arange(QUALITY_STEPS + 1) / QUALITY_STEPS
    true = 8 + 5 * axis - 1.5 * axis**2
    sample = true + 0.15 * np.exp(-axis)
    guessed = 8 + 4.7 * axis - axis**2
    for position in range(0, QUALITY_STEPS + 1, 32):
        target = Target("target_bytes", int(math.exp(true[position])))
        goal = Goal.of(target, pixels=1)
        guide = Search(goal, guessed)
        for sampled in guide.sampled():
            guide.add(sampled, float(sample[sampled]))
        search = Search(goal, guide.estimates())
        trials = 0
        while (at := search.next()) is not None:
            search.add(at, float(true[at]))
            trials += 1
        assert trials <= 2


@pytest.mark.parametrize("slope", [0.3, 0.6, 2.0])
def test_sizes_that_grow_in_steps_are_passed_in_few_trials(slope: float) -> None:
    """A file of some two hundred bytes, whose size stays the same over 32 positions; the sample knows no steps."""
    sizes = 152 + np.arange(QUALITY_STEPS + 1) // 32 * 8
    goal = Goal.of(Target("target_bytes", int(sizes[100])), pixels=1)
    search = Search(goal, np.log(152 + slope * np.arange(QUALITY_STEPS + 1)))
    trials = 0
    while (at := search.next()) is not None:
        search.add(at, math.log(sizes[at]))
        trials += 1
    assert trials <= 5


def test_a_size_is_sampled_at_two_positions_around_the_guess_and_a_quality_at_it() -> None:
    curve = np.linspace(0, 1, QUALITY_STEPS + 1)
    sampled = {
        at_most: [
            Search(Goal(low=at, aim=at, high=at, at_most=at_most), curve).sampled() for at in (-1.0, 0.5, 2.0)
        ]
        for at_most in (True, False)
    }
    assert sampled == {True: [[0, 128], [384, 640], [896, 1024]], False: [[0], [512], [1024]]}


@pytest.mark.parametrize(("second", "trials"), [(32.29, 2), (32.31, 3), (31.99, 3)])
def test_a_quality_that_is_passed_by_little_is_not_searched_for_again(second: float, trials: int) -> None:
    search = Search(
        Goal.of(Target("target_psnr", 32.0), pixels=1), np.linspace(30.0, 34.0, QUALITY_STEPS + 1)
    )
    values = iter([31.0, second, 32.1])
    tried = 0
    while (at := search.next()) is not None:
        search.add(at, next(values))
        tried += 1
    assert tried == trials
