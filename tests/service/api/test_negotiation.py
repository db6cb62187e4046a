"""The header Accept."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.api.negotiation import choose_format

TYPES = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp"}


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        ("", "png"),
        ("*/*", "png"),
        ("image/*", "png"),
        ("image/webp", "webp"),
        ("IMAGE/WebP", "webp"),
        ("image/jpeg, image/webp", "jpeg"),
        ("image/jpeg;q=0.5, image/webp", "webp"),
        ("image/avif,image/webp,image/png,image/svg+xml,image/*;q=0.8,*/*;q=0.5", "png"),
        ("text/html, */*;q=0.1", "png"),
        ("image/png;q=0, image/*;q=0.3", "jpeg"),
        ("image/webp;level=1;q=0.9, image/png;q=0.8", "webp"),
        ("text/html", None),
        ("*/*;q=0", None),
        ("image/png;q=nonsense", None),
        ("image/png;q=nan", None),
        (",,;", None),
    ],
)
def test_the_weightiest_acceptable_format_is_chosen(accept: str, chosen: str | None) -> None:
    assert choose_format(accept, TYPES) == chosen


@given(st.text())
def test_every_header_gives_a_format_or_none(accept: str) -> None:
    assert choose_format(accept, TYPES) in {*TYPES, None}


@given(st.permutations(list(TYPES)), st.floats(0.01, 1), st.floats(0.01, 1))
def test_more_weight_wins(order: list[str], first: float, second: float) -> None:
    accept = f"{TYPES[order[0]]};q={first:.3f}, {TYPES[order[1]]};q={second:.3f}"
    chosen = choose_format(accept, TYPES)
    assert chosen in order[:2]
    if round(first, 3) != round(second, 3):
        assert chosen == (order[0] if first > second else order[1])
