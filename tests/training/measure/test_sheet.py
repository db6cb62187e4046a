"""training.measure.sheet and training.data.synthetic: how contact sheets are laid out, and what is drawn for them."""

import numpy as np
import pytest
from PIL import Image

from training.data.synthetic import HEIGHT, NAMES, WIDTH, synthetic_picture
from training.measure.sheet import MAX_WIDTH, MIN_PANEL_WIDTH, Panel, coloured, compose, fitted


def tile(height: int, width: int, *, panels: int = 2, caption: str = "text") -> tuple[Panel, ...]:
    return tuple(Panel(Image.new("RGB", (width, height), "green"), caption) for _ in range(panels))


@pytest.mark.parametrize("count", [1, 2, 7, 24, 36])
@pytest.mark.parametrize("panels", [2, 3, 5])
def test_no_sheet_is_wider_than_the_limit(count: int, panels: int) -> None:
    large = Image.new("RGB", (6000, 4000))
    panel = Panel(fitted(large, panels=panels, height=264, smooth=True), "text")
    sheet = compose([(panel,) * panels] * count, ["heading"] * panels, title="title")
    assert sheet.width <= MAX_WIDTH


@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (3000, 1), (264, 264), (5000, 3000)])
def test_pictures_of_any_shape_fit_the_sheet(size: tuple[int, int]) -> None:
    for smooth in (True, False):
        shrunk = fitted(Image.new("RGB", size), panels=2, height=264, smooth=smooth)
        assert max(shrunk.width / 2, shrunk.height) == 264 or shrunk.height == 264
        assert shrunk.width <= 528


def test_text_that_is_too_long_stays_in_its_cell() -> None:
    narrow = compose([tile(50, 60, caption="x" * 200)], ["y" * 200] * 2, title="z" * 200)
    white = np.asarray(narrow)[:, -5:] == 255
    assert white.all()
    assert narrow.width < 3 * MIN_PANEL_WIDTH


@pytest.mark.parametrize("name", ["two\nlines", "\udcff is no UTF-8", "", "\u6f22\u5b57.png"])
def test_any_file_name_can_be_written_below_a_picture(name: str) -> None:
    assert compose([tile(50, 60, caption=name)], ["picture", "map"], title=name).size[0] > 100


def test_colours_go_from_dark_to_light() -> None:
    scale = np.asarray(coloured(np.arange(256, dtype=np.uint8)[None]).convert("L"))[0].astype(int)
    assert scale[0] < 8
    assert scale[-1] > 240
    assert (np.diff(scale) >= -1).all()


@pytest.mark.parametrize("name", NAMES)
def test_a_synthetic_picture_is_the_same_every_time_and_not_flat(name: str) -> None:
    picture = synthetic_picture(name)
    assert picture.shape == (HEIGHT, WIDTH, 3)
    assert picture.dtype == np.uint8
    assert (picture == synthetic_picture(name)).all()
    assert picture.std() > 10
