"""What the tests of the command start from."""

from pathlib import Path

import pytest

from model.images.writing import write_image
from tests.model.command_line.fakes import PICTURE, FakeCheckpoints


@pytest.fixture
def fake() -> FakeCheckpoints:
    return FakeCheckpoints()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "in.png"
    path.write_bytes(write_image(PICTURE, format="png"))
    return path
