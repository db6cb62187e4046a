from collections.abc import Iterator

import httpx
import pytest

from model.options import EncodeOptions
from tests.service.fakes import FakeCodec, picture_array
from tests.service.server import serving


@pytest.fixture(scope="session")
def client() -> Iterator[httpx.Client]:
    """A client of a ready service with small limits and three models: the default, another, one of one rate."""
    codecs = (
        FakeCodec(),
        FakeCodec(name="other", model_id="07e41d00"),
        FakeCodec(name="fixed", model_id="f1edf1ed", fixed_rate=True),
    )
    with serving(*codecs, max_body_bytes=100_000, max_pixels=10_000, max_dimension=500) as client:
        yield client


@pytest.fixture
def lossless_file() -> bytes:
    """A .cwic file that needs no model."""
    return FakeCodec().encode(picture_array(), EncodeOptions(lossless=True))
