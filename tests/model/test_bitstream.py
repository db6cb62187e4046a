from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.bitstream import Container, SectionType, inspect, pack, unpack
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

containers = st.builds(
    lambda width, height, quality, alpha, codes: Container(
        width=width,
        height=height,
        profile="cwic",
        model_id=b"abcd",
        quality=quality,
        has_alpha=alpha is not None,
        sections={SectionType.MAP: b"m"}
        | {SectionType.CODES + k: payload for k, payload in enumerate(codes)}
        | ({} if alpha is None else {SectionType.ALPHA: alpha}),
    ),
    st.integers(1, 5000),
    st.integers(1, 5000),
    st.integers(0, 4096),
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
    assert [(s.name, s.length) for s in info.sections] == [("map", 3), ("codes0", 5), ("codes1", 0)]
    assert info.bpp == pytest.approx(8 * info.size / 60000)


def test_the_overhead_of_a_file_is_small() -> None:
    payloads = sum(map(len, CONTAINER.sections.values()))
    assert len(pack(CONTAINER)) - payloads <= 45
