"""What operations cost."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.options import (
    EFFORT_WORK,
    MAP_STYLES,
    MAX_EFFORT,
    TARGET_WORK,
    TARGETS,
    DecodeOptions,
    EncodeOptions,
    MapOptions,
)
from model.types import Limits, Region
from service.jobs.operations import Compress, Decompress, MapFile
from tests.service.fakes import FakeCodec, picture_array, png

CODEC = FakeCodec()
WIDTH, HEIGHT, TILE = 600, 300, 256
FILE = CODEC.read(CODEC.encode(picture_array(WIDTH, HEIGHT), EncodeOptions(tile=TILE)))


def decompress(**options: object) -> Decompress:
    asked = DecodeOptions(**options)  # type: ignore[arg-type]
    return Decompress(codec=CODEC, file=FILE, options=asked, format="png")


@given(data=st.data())
def test_a_region_costs_the_tiles_that_it_touches(data: st.DataObject) -> None:
    x, y = data.draw(st.integers(0, WIDTH - 1)), data.draw(st.integers(0, HEIGHT - 1))
    width, height = data.draw(st.integers(1, WIDTH - x)), data.draw(st.integers(1, HEIGHT - y))
    touched = {
        (row // TILE, column // TILE)
        for row in (*range(y, y + height, TILE), y + height - 1)
        for column in (*range(x, x + width, TILE), x + width - 1)
    }
    operation = decompress(region=Region(x, y, width, height))
    assert operation.tiles == len(touched)
    assert operation.pixels == sum(
        min(TILE, HEIGHT - TILE * row) * min(TILE, WIDTH - TILE * column) for row, column in touched
    )


def test_a_whole_picture_costs_all_of_it() -> None:
    assert (decompress().pixels, decompress().tiles) == (WIDTH * HEIGHT, 6)


@pytest.mark.parametrize("options", [{"groups": 1}, {"groups": 2}, {"region": Region(0, 0, 9, 9)}])
def test_what_takes_another_time_for_a_megapixel_is_of_another_kind(options: dict[str, object]) -> None:
    assert decompress(**options).kind == decompress(**options).kind != decompress().kind


@pytest.mark.parametrize("name", TARGETS)
def test_a_target_costs_as_many_pixels_as_it_is_coded_and_keeps_the_pace_of_its_kind(name: str) -> None:
    def compress(**options: object) -> Compress:
        asked = EncodeOptions(**options)  # type: ignore[arg-type]
        return Compress.of(png(), codec=CODEC, options=asked, limits=Limits())

    plain, aimed = compress(), compress(**{name: 30})
    assert (plain.work_pixels, plain.pixels) == (24 * 16, 24 * 16)
    assert (aimed.work_pixels, aimed.pixels) == (TARGET_WORK[name] * 24 * 16, 24 * 16)  # type: ignore[index]
    assert aimed.kind == plain.kind != compress(lossless=True).kind


def test_a_mask_takes_room_and_time_and_is_no_part_of_the_picture() -> None:
    asked = EncodeOptions(effort=2)
    plain = Compress.of(png(), codec=CODEC, options=asked, limits=Limits())
    masked = Compress.of(png(), codec=CODEC, options=asked, limits=Limits(), mask=png())
    assert (plain.pixels, plain.held_pixels) == (24 * 16, 24 * 16)
    assert (masked.pixels, masked.held_pixels, masked.work_pixels) == (
        24 * 16,
        2 * 24 * 16,
        2 * plain.work_pixels,
    )


def test_effort_counts_as_the_work_that_it_is_and_twice_beside_the_search_for_a_target() -> None:
    works = [EncodeOptions(effort=effort).work for effort in range(MAX_EFFORT + 1)]
    assert works == list(EFFORT_WORK)
    asked = EncodeOptions(effort=2, target_bytes=900)
    aimed = Compress.of(png(), codec=CODEC, options=asked, limits=Limits())
    assert aimed.work_pixels == (TARGET_WORK["target_bytes"] + 2 * EFFORT_WORK[2]) * 24 * 16


def test_a_map_over_a_files_picture_is_of_another_kind_than_the_map_alone() -> None:
    kinds = [MapFile(codec=CODEC, file=FILE, drawn=MapOptions(style=style)).kind for style in MAP_STYLES]
    grey, heat, over = kinds
    assert grey == heat != over
