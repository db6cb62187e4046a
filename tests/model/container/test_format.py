import tracemalloc
from dataclasses import replace
from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.container.directory import checksum
from model.container.format import Container, Section, inspect, pack, unpack
from model.errors import (
    ChecksumError,
    FileError,
    HeaderError,
    InputError,
    LimitError,
    NotCwicError,
    SectionError,
    TrailingDataError,
    TruncatedFileError,
    UnsupportedVersionError,
)
from model.types import Limits
from tests.model.container.files import HEADER, PAYLOADS, File, crc16, files, forge

LIMITS = Limits(max_pixels=2**34, max_dimension=2**17)
TWO_TILES = replace(HEADER, width=400, tile=256, alpha=True, plane=True, grey=True, tune="visual")
SMALL = [
    File(HEADER, PAYLOADS, ()),
    File(HEADER, PAYLOADS, ((0x90, b"later"), (0xFF, b""))),
    File(TWO_TILES, (b"p", b"q", b"maps", b"", b"alpha", b"a", b"zero", b"0", b"one"), ()),
    File(replace(HEADER, profile="cvpr2018", quality=0, lowest_level=0), (b"m", b"", b"c"), ()),
    File(replace(HEADER, profile="lossless", quality=0, model_id=b""), (b"samples",), ((128, b"x"),)),
    File(replace(HEADER, patches=True), (b"map", b"patches", b"codes"), ()),
]


def flips(data: bytes) -> list[bytes]:
    number = int.from_bytes(data, "little")
    return [(number ^ 1 << bit).to_bytes(len(data), "little") for bit in range(8 * len(data))]


@given(files())
def test_unpack_returns_what_was_packed(file: File) -> None:
    container = unpack(file.data, limits=LIMITS)
    assert container == Container(
        header=file.header, payloads=file.payloads, extensions=file.extensions, size=len(file.data)
    )
    assert unpack(file.data, limits=LIMITS, allow_truncated=True) == container


@given(files())
def test_each_payload_is_found_by_its_section_tile_and_group(file: File) -> None:
    container = unpack(file.data, limits=LIMITS)
    header, tiles = file.header, range(file.header.grid.count)
    before = [
        (Section.PLANE, header.plane),
        (Section.MAP, True),
        (Section.ALPHA, header.alpha),
        (Section.SAMPLES, header.patches),
    ]
    order = [(section, 0) for section, present in before if present] + [(Section.CODES, k) for k in range(32)]
    if header.lossless:
        order = [(Section.SAMPLES, 0)]
    found = [container.payload(section, tile, group) for section, group in order for tile in tiles]
    assert found == [*file.payloads] + [None] * (len(found) - len(file.payloads))
    assert container.groups == sum(
        container.payload(Section.CODES, 0, group) is not None for group in range(32)
    )
    absent = set(Section) - {section for section, _ in order}
    assert {container.payload(section, tile) for section in absent for tile in tiles} <= {None}


def test_files_are_written_as_they_are_specified() -> None:
    assert checksum(b"123456789") == crc16(b"123456789") == 0x29B1
    assert pack(HEADER, PAYLOADS) == forge()
    assert SMALL[1].data == forge(quality=512 | 1 << 14, extensions=SMALL[1].extensions)
    kind = 0b1110_0001
    assert SMALL[2].data == forge(kind=kind, quality=512 | 1 << 12, width=400, payloads=SMALL[2].payloads)
    assert SMALL[3].data == forge(kind=0b01010, quality=1 << 11, payloads=SMALL[3].payloads)
    assert SMALL[4].data == forge(
        kind=0b01000, quality=3 << 14, model_id=b"", payloads=[b"samples"], extensions=[(128, b"x")]
    )
    assert SMALL[5].data == forge(quality=512 | 1 << 11, payloads=SMALL[5].payloads)


@given(files(), st.data())
def test_every_truncation_is_refused(file: File, data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(file.data) - 1))
    with pytest.raises(TruncatedFileError if cut else NotCwicError):
        unpack(file.data[:cut], limits=LIMITS)


@given(files(), st.data())
def test_a_permitted_prefix_gives_exactly_the_payloads_that_are_whole(
    file: File, data: st.DataObject
) -> None:
    whole = file.data
    ends = [*accumulate(map(len, file.parts), initial=len(whole) - sum(map(len, file.parts)))]
    cut = data.draw(st.integers(0, len(whole) - 1) | st.sampled_from(ends[:-1]))
    if cut < ends[file.header.required]:
        with pytest.raises(TruncatedFileError if cut else NotCwicError):
            unpack(whole[:cut], limits=LIMITS, allow_truncated=True)
        return
    container = unpack(whole[:cut], limits=LIMITS, allow_truncated=True)
    if cut == len(whole):  # parts without bytes at the end
        assert container == unpack(whole, limits=LIMITS)
        return
    kept = sum(end <= cut for end in ends) - 1
    assert (container.header, container.payloads) == (file.header, file.payloads[:kept])
    assert (container.truncated, container.extensions, container.size) == (True, (), cut)
    assert container.info().truncated


@pytest.mark.parametrize("file", SMALL)
@pytest.mark.parametrize("allow_truncated", [False, True])
def test_every_single_bit_flip_is_refused(file: File, allow_truncated: bool) -> None:
    for flipped in flips(file.data):
        with pytest.raises(InputError):
            unpack(flipped, limits=LIMITS, allow_truncated=allow_truncated)


@given(st.integers(0, 2**32), st.integers(1, 0xFFFF), st.data())
def test_every_burst_within_a_payload_is_refused(seed: int, burst: int, data: st.DataObject) -> None:
    payloads = [b"map", seed.to_bytes(5, "little") * data.draw(st.integers(1, 5000)), b"more"]
    whole = pack(HEADER, payloads)
    last = 8 * len(payloads[1]) - burst.bit_length()
    at = 8 * len(b"more") + data.draw(st.integers(0, last))
    damaged = (int.from_bytes(whole, "big") ^ burst << at).to_bytes(len(whole), "big")
    with pytest.raises(ChecksumError):
        unpack(damaged, limits=LIMITS)


def test_the_payloads_of_a_cut_file_are_proven() -> None:
    whole = pack(HEADER, [b"map", b"first", b"second"])
    cut = whole[:-1]
    assert unpack(cut, limits=LIMITS, allow_truncated=True).payloads == (b"map", b"first")
    with pytest.raises(ChecksumError, match="codes0 of tile 0: checksum does not match"):
        unpack(cut.replace(b"first", b"First"), limits=LIMITS, allow_truncated=True)


def test_payloads_that_change_places_are_noticed_even_where_their_checks_are_equal() -> None:
    pairs = {crc16(bytes([k, j])) & 0xFF: bytes([k, j]) for k in range(9) for j in range(250)}
    other = next(
        bytes([k, j])
        for k in range(9, 20)
        for j in range(250)
        if pairs[crc16(bytes([k, j])) & 0xFF] != bytes([k, j])
    )
    one = pairs[crc16(other) & 0xFF]
    whole = pack(HEADER, [b"map", one, other])
    with pytest.raises(ChecksumError, match="all payloads together"):
        unpack(whole[:-4] + other + one, limits=LIMITS)


@given(st.binary(max_size=200))
def test_random_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(FileError):
        unpack(data, limits=LIMITS)


@given(st.binary(max_size=120))
def test_random_bytes_behind_the_magic_are_refused(data: bytes) -> None:
    for allow_truncated in (False, True):
        with pytest.raises((FileError, LimitError)):
            unpack(b"CWIC\x02" + data, limits=LIMITS, allow_truncated=allow_truncated)


def test_each_kind_of_damage_has_its_own_error() -> None:
    whole = forge()
    damage = {
        NotCwicError: b"JPEG" + whole[4:],
        UnsupportedVersionError: forge(version=3),
        TruncatedFileError: whole[:-1],
        TrailingDataError: whole + b"\0",
        ChecksumError: whole.replace(b"first", b"First"),
        SectionError: forge(payloads=[b"map"]),
        HeaderError: forge(quality=1025),
    }
    for error, data in damage.items():
        with pytest.raises(error) as caught:
            unpack(data, limits=LIMITS)
        assert type(caught.value) is error


def test_bytes_after_the_end_are_refused_with_permission_too() -> None:
    with pytest.raises(TrailingDataError, match="2 bytes after the end"):
        unpack(forge() + b"\0\0", limits=LIMITS, allow_truncated=True)


def test_lossless_files_need_all_tiles() -> None:
    header = replace(SMALL[4].header, width=300, tile=256)
    whole = pack(header, [b"left", b"right"])
    with pytest.raises(TruncatedFileError, match=f"byte {len(whole) - 1} of {len(whole)}"):
        unpack(whole[:-1], limits=LIMITS, allow_truncated=True)
    with pytest.raises(SectionError, match="1 payloads where 2 are needed"):
        unpack(forge(kind=0, quality=0, model_id=b"", payloads=[b"left"]), limits=LIMITS)


def test_unknown_ancillary_extensions_are_passed_over() -> None:
    assert unpack(SMALL[1].data, limits=LIMITS).extensions == ((0x90, b"later"), (0xFF, b""))
    assert [s.name for s in inspect(SMALL[1].data).sections[-2:]] == ["extension144", "extension255"]


def test_damage_in_an_extension_is_named() -> None:
    with pytest.raises(ChecksumError, match="extension 144: checksum"):
        unpack(SMALL[1].data.replace(b"later", b"Later"), limits=LIMITS)


@pytest.mark.parametrize(
    ("error", "match", "kinds", "count"),
    [
        (SectionError, "critical extensions of unknown types \\[5\\]", [5, 144], None),
        (SectionError, "\\[144, 144\\] are repeated", [144, 144], None),
        (SectionError, "\\[145, 144\\] are repeated or out of order", [145, 144], None),
        (HeaderError, "there are 0", [], None),
        (TruncatedFileError, "1000 extensions are announced", [144], 1000),
        (SectionError, "257 extensions of 256 types", [128] * 257, None),
    ],
)
def test_extensions_that_cannot_be_read_are_refused(
    error: type[FileError], match: str, kinds: list[int], count: int | None
) -> None:
    data = forge(quality=512 | 1 << 14, extensions=[(kind, b"x") for kind in kinds], extension_count=count)
    for allow_truncated in (False, True):
        with pytest.raises(error, match=match):
            unpack(data, limits=LIMITS, allow_truncated=allow_truncated)


def test_hostile_directories_are_refused_without_allocating() -> None:
    hostile = [
        forge(count=2**31, width=2**32 - 1, height=2**32 - 1, kind=1),
        forge(count=2**32 - 1, width=2**32 - 1, height=2**32 - 1, kind=1),
        forge(count=33, lengths=[2**32 - 1] * 33, payloads=()),
        forge(lengths=[2**32 - 1, 0, 0], payloads=[b"x"]),
        forge(quality=1 << 14, extension_count=2**32 - 1),
        forge(quality=1 << 14, extensions=[(128, b"")] * 20_000),
    ]
    tracemalloc.start()
    try:
        for data in hostile:
            for read in (inspect, lambda data: unpack(data, limits=LIMITS)):
                with pytest.raises(InputError):
                    read(data)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_inspect_reports_the_header() -> None:
    info = inspect(forge())
    assert (info.version, info.width, info.height, info.channels) == (2, 300, 200, 3)
    assert (info.profile, info.model_id, info.quality, info.tune) == ("cwic", "01020304", 50.5, "psnr")
    assert (info.lowest_level, info.grey, info.plane, info.truncated) == (1, False, False, False)
    assert (info.tile, info.tiles) == (1024, 1)
    assert [(s.name, s.length) for s in info.sections] == [("map", 3), ("codes0", 5), ("codes1", 0)]
    assert info.bpp == pytest.approx(8 * info.size / 60000)


def test_inspect_sums_sections_over_tiles() -> None:
    info = inspect(SMALL[2].data)
    assert (info.channels, info.tune, info.grey, info.plane, info.tiles) == (4, "visual", True, True, 2)
    expected = [("plane", 2), ("map", 4), ("alpha", 6), ("codes0", 5), ("codes1", 3)]
    assert [(s.name, s.length) for s in info.sections] == expected


def test_inspect_reports_patches_as_samples() -> None:
    sections = inspect(SMALL[5].data).sections
    assert [(s.name, s.length) for s in sections] == [("map", 3), ("samples", 7), ("codes0", 5)]


def test_inspect_reads_a_file_that_was_cut() -> None:
    info = inspect(SMALL[2].data[:-1])
    assert info.truncated
    assert info.size == len(SMALL[2].data) - 1
    assert [s.name for s in info.sections] == ["plane", "map", "alpha", "codes0"]


def test_inspect_reports_neither_quality_nor_tune_nor_levels_where_there_are_none() -> None:
    paper, lossless = inspect(SMALL[3].data), inspect(SMALL[4].data)
    assert (paper.profile, paper.model_id, paper.quality, paper.tune) == ("cvpr2018", "01020304", None, None)
    assert paper.lowest_level == 0
    assert (lossless.profile, lossless.model_id, lossless.quality, lossless.tune) == (
        "lossless",
        "",
        None,
        None,
    )
    assert lossless.lowest_level is None
    assert [s.name for s in lossless.sections] == ["samples", "exif"]


@pytest.mark.parametrize(
    ("length", "side", "overhead"),
    [
        (127, 128, 31),
        (127, 129, 32),
        (127, 1024, 32),
        (127, 1449, 33),
        (128, 1024, 39),
        (16384, 1024, 46),
        (2**21 - 1, 2048, 47),
    ],
)
def test_the_overhead_of_one_tile_is_small(length: int, side: int, overhead: int) -> None:
    header = replace(HEADER, width=side, height=side, tile=2048)
    payloads = [bytes(length)] * 7
    assert len(pack(header, payloads)) - 7 * length == overhead
    assert len(pack(header, [*payloads[:-1], b""])) - 6 * length < overhead
