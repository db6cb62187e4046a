from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.tiling import Box, TileGrid
from model.types import Region

sides = st.integers(1, 40)
grids = st.builds(TileGrid, sides, sides, st.integers(1, 20))
boxes = st.builds(
    lambda x, y, width, height: Box(x, y, x + width, y + height),
    st.integers(-20, 50),
    st.integers(-20, 50),
    st.integers(-3, 40),
    st.integers(-3, 40),
)
CANVAS = 120


def pixels(box: Box) -> np.ndarray[tuple[int, int], np.dtype[np.bool_]]:
    """The pixels of a box on a canvas that holds all boxes of these tests, shifted by 40."""
    mask = np.zeros((CANVAS, CANVAS), np.bool_)
    mask[box.top + 40 : max(box.top, box.bottom) + 40, box.left + 40 : max(box.left, box.right) + 40] = True
    return mask


@given(grids)
def test_tiles_cover_each_pixel_once_in_raster_order(grid: TileGrid) -> None:
    index = np.full((grid.height, grid.width), -1)
    corners = []
    for tile in range(grid.count):
        box = grid.box(tile)
        assert 0 < box.width <= grid.tile
        assert 0 < box.height <= grid.tile
        assert (index[box.top : box.bottom, box.left : box.right] == -1).all()
        index[box.top : box.bottom, box.left : box.right] = tile
        corners.append((box.top, box.left))
    assert (index >= 0).all()
    assert corners == sorted(corners)
    assert (grid.columns, grid.rows) == (len(set(index[0])), len(set(index[:, 0])))


@given(grids)
def test_only_the_last_row_and_column_are_smaller(grid: TileGrid) -> None:
    for tile in range(grid.count):
        box = grid.box(tile)
        assert box.width == grid.tile or box.right == grid.width
        assert box.height == grid.tile or box.bottom == grid.height


@given(grids, boxes)
def test_the_tiles_that_a_box_touches_are_those_that_share_a_pixel_with_it(grid: TileGrid, box: Box) -> None:
    assert grid.touching(box) == [tile for tile in range(grid.count) if grid.box(tile).intersects(box)]


@given(boxes, boxes)
def test_an_intersection_has_the_pixels_of_both(one: Box, two: Box) -> None:
    both = pixels(one) & pixels(two)
    assert (pixels(one.intersection(two)) == both).all()
    assert one.intersects(two) == two.intersects(one) == bool(both.any())


@given(boxes, st.integers(0, 10), grids)
def test_a_grown_box_stays_within(box: Box, margin: int, grid: TileGrid) -> None:
    grown = box.grown(margin, within=grid.bounds)
    larger = Box(box.left - margin, box.top - margin, box.right + margin, box.bottom + margin)
    assert (pixels(grown) == (pixels(larger) & pixels(grid.bounds))).all()


@given(grids, boxes)
def test_bands_are_whole_rows_and_no_more_of_them_than_eight_tiles_need(grid: TileGrid, box: Box) -> None:
    tiles = grid.touching(box)
    bands = [[tile // grid.columns for tile in band] for band in grid.bands(tiles)]
    assert [tile for band in grid.bands(tiles) for tile in band] == tiles
    assert all(above[-1] < below[0] for above, below in pairwise(bands))
    assert all(len(band) >= 8 for band in bands[:-1])
    assert all(sum(row < band[-1] for row in band) < 8 for band in bands)


def test_the_picture_of_the_docstring_is_right() -> None:
    grid = TileGrid(5, 3, 2)
    assert (grid.columns, grid.rows, grid.count) == (3, 2, 6)
    assert [grid.box(k) for k in (0, 2, 5)] == [Box(0, 0, 2, 2), Box(4, 0, 5, 2), Box(4, 2, 5, 3)]
    assert grid.touching(Box(1, 1, 3, 2)) == [0, 1]
    assert grid.touching(grid.bounds) == [0, 1, 2, 3, 4, 5]


def test_a_picture_within_one_tile_is_one_tile() -> None:
    assert TileGrid(768, 512, 1024).count == TileGrid(1024, 1024, 1024).count == 1
    assert TileGrid(1025, 1024, 1024).count == 2


def test_huge_grids_are_counted_without_being_made() -> None:
    grid = TileGrid(2**32 - 1, 2**32 - 1, 256)
    assert grid.count == 2**48
    assert grid.box(grid.count - 1).right == 2**32 - 1


def test_a_region_is_a_box() -> None:
    assert Box(*Region(3, 4, 10, 20).edges) == Box(3, 4, 13, 24)


@pytest.mark.parametrize("values", [(0, 1, 1), (1, 0, 1), (1, 1, 0), (-1, 1, 1)])
def test_grids_without_pixels_are_our_own_mistake(values: tuple[int, int, int]) -> None:
    with pytest.raises(AssertionError):
        TileGrid(*values)
