import zlib
from dataclasses import replace
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.container.format import Container, SectionType, inspect, pack, unpack
from model.errors import (
    ChecksumError,
    FileError,
    HeaderError,
    LimitError,
    NotCwicError,
    SectionError,
    TrailingDataError,
    TruncatedFileError,
    UnsupportedVersionError,
)
from model.types import Limits

LIMITS = Limits()
CONTAINER = Container(
    width=300,
    height=200,
    profile="cwic",
    model_id=b"\x01\x02\x03\x04",
    quality=2048,
    has_alpha=False,
    sections={SectionType.MAP: b"map", SectionType.CODES: b"first", SectionType.CODES + 1: b""},
)

PAPER = replace(CONTAINER, profile="cvpr2018", quality=0)
STORED = replace(PAPER, profile="stored", model_id=bytes(4), sections={SectionType.STORED: b"samples"})

containers = st.builds(
    lambda width, height, profile, quality, lowest_level, alpha, codes: Container(
        width=width,
        height=height,
        profile=profile,
        model_id=b"abcd",
        quality=quality if profile == "cwic" else 0,
        has_alpha=alpha is not None,
        lowest_level=lowest_level if profile == "cvpr2018" else 1,
        sections={SectionType.MAP: b"m"}
        | {SectionType.CODES + k: payload for k, payload in enumerate(codes)}
        | ({} if alpha is None else {SectionType.ALPHA: alpha}),
    ),
    st.integers(1, 5000),
    st.integers(1, 5000),
    st.sampled_from(["cwic", "cvpr2018"]),
    st.integers(0, 4096),
    st.sampled_from([0, 1]),
    st.none() | st.binary(max_size=300),
    st.lists(st.binary(max_size=200), max_size=6),
)


@given(containers)
def test_unpack_returns_what_was_packed(container: Container) -> None:
    assert unpack(pack(container), limits=LIMITS) == container


@given(containers, st.data())
def test_every_truncation_is_refused(container: Container, data: st.DataObject) -> None:
    whole = pack(container)
    cut = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(TruncatedFileError if cut else NotCwicError):
        unpack(whole[:cut], limits=LIMITS)


def test_every_single_bit_flip_is_refused() -> None:
    whole = pack(CONTAINER)
    for bit in range(8 * len(whole)):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(FileError):
            unpack(bytes(flipped), limits=LIMITS)


@given(st.binary(max_size=200))
def test_random_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(FileError):
        unpack(data, limits=LIMITS)


@given(st.binary(max_size=120))
def test_random_bytes_behind_the_magic_are_refused(data: bytes) -> None:
    with pytest.raises((FileError, LimitError)):
        unpack(b"CWIC\x01" + data, limits=LIMITS)


def test_each_kind_of_damage_has_its_own_error() -> None:
    whole = pack(CONTAINER)
    damage = {
        NotCwicError: b"JPEG" + whole[4:],
        UnsupportedVersionError: whole[:4] + b"\x02" + whole[5:],
        TruncatedFileError: whole[:-1],
        TrailingDataError: whole + b"\0",
        ChecksumError: whole.replace(b"first", b"First"),
        SectionError: pack(replace(CONTAINER, sections={**CONTAINER.sections, 99: b""})),
        HeaderError: pack(replace(CONTAINER, quality=4097)),
    }
    for error, data in damage.items():
        with pytest.raises(error) as caught:
            unpack(data, limits=LIMITS)
        assert type(caught.value) is error


@pytest.mark.parametrize(
    "container",
    [
        replace(PAPER, quality=1),
        replace(PAPER, quality=4096),
        replace(STORED, quality=1),
        replace(STORED, lowest_level=0),
        replace(CONTAINER, lowest_level=0),
        replace(STORED, model_id=b"\0\0\0\1"),
    ],
)
def test_headers_that_contradict_themselves_are_refused(container: Container) -> None:
    for read in (inspect, partial(unpack, limits=LIMITS)):
        with pytest.raises(HeaderError):
            read(pack(container))


@pytest.mark.parametrize(("position", "value"), [(5, 3), (5, 255), *((6, 1 << bit) for bit in range(2, 8))])
def test_unknown_profiles_and_flags_are_refused_under_a_right_checksum(position: int, value: int) -> None:
    whole = bytearray(pack(PAPER))
    header = len(whole) - sum(1 + 1 + 4 + len(payload) for payload in PAPER.sections.values())
    whole[position] = value
    whole[header - 4 : header] = zlib.crc32(whole[: header - 4]).to_bytes(4, "little")
    with pytest.raises(HeaderError, match=f"profile {whole[5]}, flags {whole[6]:#04x}"):
        unpack(bytes(whole), limits=LIMITS)


def test_unknown_ancillary_sections_are_passed_over() -> None:
    extended = replace(CONTAINER, sections={**CONTAINER.sections, 0x90: b"later"})
    assert unpack(pack(extended), limits=LIMITS).sections[0x90] == b"later"
    assert inspect(pack(extended)).sections[-1].name == "unknown144"


@pytest.mark.parametrize(
    "sections",
    [
        {},
        {SectionType.CODES: b""},
        {SectionType.MAP: b"", SectionType.CODES + 1: b""},
        {SectionType.MAP: b"", SectionType.STORED: b""},
        {SectionType.MAP: b"", SectionType.ALPHA: b""},
    ],
)
def test_sections_that_do_not_fit_together_are_refused(sections: dict[int, bytes]) -> None:
    with pytest.raises(SectionError):
        unpack(pack(replace(CONTAINER, sections=sections)), limits=LIMITS)


def test_sizes_above_the_limits_are_refused_with_the_numbers() -> None:
    with pytest.raises(LimitError) as caught:
        unpack(pack(replace(CONTAINER, width=9000, height=9000)), limits=LIMITS)
    assert (caught.value.name, caught.value.limit, caught.value.actual) == (
        "max_pixels",
        40_000_000,
        81_000_000,
    )
    with pytest.raises(LimitError, match="max_dimension is 65535, got 65536"):
        unpack(pack(replace(CONTAINER, width=65536, height=1)), limits=LIMITS)


@pytest.mark.parametrize("size", [(0, 5), (5, 0)])
def test_empty_pictures_are_refused(size: tuple[int, int]) -> None:
    with pytest.raises(HeaderError):
        unpack(pack(replace(CONTAINER, width=size[0], height=size[1])), limits=LIMITS)


def test_inspect_reports_the_header() -> None:
    info = inspect(pack(CONTAINER))
    assert (info.width, info.height, info.channels, info.profile, info.model_id, info.quality) == (
        300,
        200,
        3,
        "cwic",
        "01020304",
        50.5,
    )
    assert info.lowest_level == 1
    assert [(s.name, s.length) for s in info.sections] == [("map", 3), ("codes0", 5), ("codes1", 0)]
    assert info.bpp == pytest.approx(8 * info.size / 60000)


def test_inspect_reports_neither_quality_nor_levels_where_there_are_none() -> None:
    empty = inspect(pack(replace(PAPER, lowest_level=0)))
    assert (empty.profile, empty.model_id, empty.quality, empty.lowest_level) == (
        "cvpr2018",
        "01020304",
        None,
        0,
    )
    stored = inspect(pack(STORED))
    assert (stored.profile, stored.model_id, stored.quality, stored.lowest_level) == (
        "stored",
        "",
        None,
        None,
    )


def test_the_overhead_of_a_file_is_small() -> None:
    payloads = sum(map(len, CONTAINER.sections.values()))
    assert len(pack(CONTAINER)) - payloads <= 45
