"""Quality planes to bytes and back."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.context.offsets import pack_offsets, unpack_offsets
from model.errors import PayloadError
from model.options import PLANE_STEPS
from model.profiles.export import logistic_tables


@given(
    shape=st.tuples(st.integers(1, 16), st.integers(1, 16)),
    seed=st.integers(0, 99),
    spread=st.sampled_from([0, 1, 8, 64]),
)
@settings(max_examples=40)
def test_planes_survive_coding(shape: tuple[int, int], seed: int, spread: int) -> None:
    tables = logistic_tables()
    offsets = np.random.default_rng(seed).integers(-spread, spread + 1, shape).astype(np.int32)
    payload = pack_offsets(offsets, tables, limit=PLANE_STEPS)
    assert np.array_equal(unpack_offsets(payload, tables, shape, limit=PLANE_STEPS), offsets)
    assert len(payload) <= 6 + offsets.size  # of seven bits each and a bit of overhead
    assert bool(payload) == bool(offsets.any())


def test_planes_of_rectangles_are_small() -> None:
    offsets = np.zeros((16, 16), np.int32)
    offsets[4:9, 6:12] = 10
    assert len(pack_offsets(offsets, logistic_tables(), limit=PLANE_STEPS)) < 80


@pytest.mark.parametrize("payload", [b"\x61", b"\xff\x00", b"\x30\x01\x00"])
def test_planes_that_no_encoder_wrote_are_refused(payload: bytes) -> None:
    with pytest.raises(PayloadError):
        unpack_offsets(payload, logistic_tables(), (3, 3), limit=PLANE_STEPS)
