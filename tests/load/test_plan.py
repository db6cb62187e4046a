"""Plans: the same seed gives the same requests, at equal distances, with the bad input that was asked for."""

import io
from collections import Counter
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from model.errors import CwicError
from model.images.files import read_image
from model.types import Limits
from tests.load.pictures import drawn, files, jpeg, kodak_like, png
from tests.load.plan import Item, bad_items, catalogue, constant_rate, drawn_items

SMALL = ((32, 24, 3), (64, 48, 1))


def items(*, bad_share: float = 0.0, seed: int = 1) -> list[Item]:
    """A catalogue of small pictures, whose files are their pictures backwards."""
    return catalogue(lambda picture: picture[::-1], bad_share=bad_share, seed=seed, sizes=SMALL)


@given(rate=st.floats(0.5, 50), seconds=st.floats(0.1, 20), seed=st.integers(0, 5))
def test_requests_come_at_equal_distances_whatever_the_server_does(
    rate: float, seconds: float, seed: int
) -> None:
    plan = constant_rate([Item("a", "/compress", b"")], rate=rate, seconds=seconds, seed=seed)
    assert len(plan) == max(1, round(rate * seconds))
    assert np.allclose(np.diff([each.at for each in plan]), 1 / rate)
    assert plan[0].at == 0


def test_the_same_seed_gives_the_same_plan_and_another_one_another() -> None:
    first, second, other = (
        constant_rate(items(bad_share=0.2, seed=seed), rate=10, seconds=20, seed=seed) for seed in (1, 1, 2)
    )
    assert first == second
    assert [each.item.name for each in first] != [each.item.name for each in other]


def test_the_share_of_bad_input_is_what_was_asked_for() -> None:
    chosen = list(islice(drawn_items(items(bad_share=0.05), seed=3), 4000))
    assert sum(item.bad for item in chosen) / len(chosen) == pytest.approx(0.05, abs=0.015)
    assert not any(item.bad for item in items())


def test_items_come_as_often_as_they_weigh() -> None:
    pair = [Item("often", "/compress", b"", weight=3), Item("rarely", "/compress", b"", weight=1)]
    counts = Counter(item.name for item in islice(drawn_items(pair, seed=0), 4000))
    assert counts["often"] / counts["rarely"] == pytest.approx(3, rel=0.15)


def test_every_operation_gets_what_it_reads() -> None:
    kinds = {(item.path, item.body[:2] == b"\xff\xd8") for item in items()}
    assert kinds == {
        ("/compress", True),
        ("/importance-map", True),
        ("/decompress", False),
        ("/inspect", False),
    }


def test_photos_take_the_place_of_drawn_pictures() -> None:
    photos = [jpeg(drawn(16, 16, seed=seed)) for seed in range(2)]
    found = catalogue(lambda picture: picture, bad_share=0, seed=1, photos=photos)
    assert {item.body for item in found} == set(photos)


def test_the_bad_pictures_are_refused_by_the_reader() -> None:
    good = jpeg(drawn(64, 48, seed=0))
    bad = [item for item in bad_items(good, b"file" * 100, seed=1) if item.path == "/compress"]
    assert len(bad) == 4
    read_image(good, limits=Limits())
    for item in bad:
        with pytest.raises(CwicError):
            read_image(item.body, limits=Limits())


def test_a_drawn_picture_is_the_same_each_time_and_of_its_size() -> None:
    first, second = (np.asarray(drawn(40, 30, seed=7)) for _ in range(2))
    assert first.shape == (30, 40, 3)
    assert (first == second).all()
    with Image.open(io.BytesIO(png(drawn(40, 30, seed=7)))) as image:
        assert (np.asarray(image) == first).all()


def test_pictures_of_a_folder_are_sent_as_they_are(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no picture"):
        files(tmp_path)
    (tmp_path / "b.png").write_bytes(b"second")
    (tmp_path / "a.jpg").write_bytes(b"first")
    (tmp_path / "notes.txt").write_bytes(b"no picture")
    assert kodak_like(tmp_path, count=9, seed=1) == [b"first", b"second"]
