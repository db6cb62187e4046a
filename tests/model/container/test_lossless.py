import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from model.container import lossless
from model.errors import PayloadError
from model.types import Pixels

samples = arrays.arrays(np.uint8, st.tuples(st.integers(1, 50), st.integers(1, 9), st.integers(1, 4)))


@given(samples)
def test_samples_survive(array: Pixels) -> None:
    assert np.array_equal(lossless.unpack(lossless.pack(array), array.shape), array)


@given(samples, st.integers(0, 400))
def test_a_payload_at_the_limit_is_not_made(array: Pixels, limit: int) -> None:
    payload = lossless.pack(array)
    assert lossless.pack_below(array, limit=limit) == (payload if len(payload) < limit else None)


def test_payloads_of_another_size_are_refused() -> None:
    payload = lossless.pack(np.zeros((4, 5, 3), np.uint8))
    for shape in ((4, 5, 1), (4, 5, 4), (5, 4, 4)):
        with pytest.raises(PayloadError):
            lossless.unpack(payload, shape)
    for damaged in (payload[:-1], payload + b"\0", b"", b"\xff" * 9):
        with pytest.raises(PayloadError):
            lossless.unpack(damaged, (4, 5, 3))


def test_a_bomb_is_refused_without_being_unpacked() -> None:
    bomb = lossless.pack(np.zeros((4000, 4000, 3), np.uint8))
    with pytest.raises(PayloadError):
        lossless.unpack(bomb, (2, 2, 3))
