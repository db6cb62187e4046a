"""Numbers of outcomes, and the check of memory: what is right, what is wrong, what grows."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.load.memory import MB, Sample, growth
from tests.load.outcomes import NO_ANSWER, Outcome, percentile, percentiles, rate_between, summarise
from tests.load.plan import Item

GOOD = Item("good", "/compress", b"")
BAD = Item("bad", "/compress", b"", bad=True)


def outcome(
    status: int, *, item: Item = GOOD, seconds: float = 1.0, retry_after: str | None = None
) -> Outcome:
    return Outcome(item, 0.0, 0.0, seconds, status, retry_after, "" if status else "ReadError")


@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(0.01, 1))
def test_a_percentile_is_a_value_that_the_share_is_not_above(values: list[float], share: float) -> None:
    found = percentile(values, share)
    assert found in values
    assert sum(value <= found for value in values) >= share * len(values) - 1e-9
    assert sum(value < found for value in values) < share * len(values) + 1e-9


def test_percentiles_of_a_hundred_values_are_known() -> None:
    found = percentiles(float(value) for value in range(1, 101))
    assert (found.count, found.p50, found.p95, found.p99, found.longest) == (100, 50, 95, 99, 100)
    assert percentiles([]).p99 is None


@pytest.mark.parametrize(
    ("item", "status", "right"),
    [
        (GOOD, 200, True),
        (GOOD, 429, True),
        (GOOD, 422, False),
        (GOOD, 500, False),
        (GOOD, 503, False),
        (GOOD, 504, False),
        (GOOD, NO_ANSWER, False),
        (BAD, 415, True),
        (BAD, 422, True),
        (BAD, 429, True),
        (BAD, 200, False),
        (BAD, 500, False),
        (BAD, NO_ANSWER, False),
    ],
)
def test_only_these_answers_are_right(item: Item, status: int, right: bool) -> None:
    assert outcome(status, item=item).right is right


def test_a_summary_counts_each_kind() -> None:
    summary = summarise(
        [
            outcome(200, seconds=2.0),
            outcome(200, seconds=4.0),
            outcome(429, seconds=0.1, retry_after="3"),
            outcome(429, seconds=0.2, retry_after="0"),
            outcome(429, seconds=0.2),
            outcome(415, item=BAD, seconds=0.3),
            outcome(504, seconds=1.0),
            outcome(NO_ANSWER, seconds=1.0),
        ]
    )
    assert summary.requests == 8
    assert summary.statuses == {0: 1, 200: 2, 415: 1, 429: 3, 504: 1}
    assert (summary.accepted.count, summary.accepted.longest) == (2, 4.0)
    assert summary.per_second == pytest.approx(2 / 4.0)
    assert (summary.refused.count, summary.without_retry_after) == (3, 2)
    assert summary.bad.count == 1
    assert summary.wrong == {"good: 504": 1, "good: ReadError": 1}


def test_a_rate_counts_what_ends_between_two_times() -> None:
    ends = [Outcome(GOOD, number - 3.0, 0.0, 3.0, 200) for number in range(1, 21)]  # one a second, three each
    others = [
        Outcome(BAD, 5.0, 0.0, 1.0, 415),
        Outcome(GOOD, 5.0, 0.0, 1.0, 429, "1"),
        Outcome(GOOD, 5.0, 0.0, 1.0, 504),
    ]
    assert rate_between(ends + others, 2, 12, good_only=True) == 1
    assert rate_between(ends + others, 2, 12, good_only=False) == pytest.approx(1.1)


def samples(*megabytes: float) -> list[Sample]:
    return [Sample(float(second), int(MB * value)) for second, value in enumerate(megabytes)]


def test_a_leak_is_growth_and_a_large_picture_is_not() -> None:
    level = [400.0] * 100
    assert growth(samples(*level), settled=40, window=20).megabytes == 0
    spike = [*level[:90], 1500.0, 1500.0, *level[92:]]
    assert growth(samples(*spike), settled=40, window=20).megabytes == 0
    leak = [400.0 + second for second in range(100)]
    assert growth(samples(*leak), settled=40, window=20).megabytes == pytest.approx(40, abs=1)
    warm_up = [300.0] * 30 + [400.0] * 70
    assert growth(samples(*warm_up), settled=40, window=20).megabytes == 0


@pytest.mark.parametrize("count", [0, 1, 59])
def test_a_run_that_is_too_short_for_its_windows_is_no_proof(count: int) -> None:
    with pytest.raises(ValueError, match="too short"):
        growth(samples(*[400.0] * count), settled=20, window=20)
