from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.container.format import Header, inspect, pack, unpack
from model.container.header import _paired, _unpaired, read_header, write_header
from model.container.reader import Reader
from model.errors import (
    HeaderError,
    LimitError,
    SectionError,
    TruncatedFileError,
    UnsupportedVersionError,
)
from model.types import Limits
from tests.model.container.files import HEADER, PAYLOADS, forge, headers, leb128, paired

LIMITS = Limits()
WIDE = Limits(max_pixels=2**40, max_dimension=2**20)
PAPER = {"kind": 0b01010, "quality": 0}
USUAL = 1 << 15
sides = st.integers(0, 2**32 - 1) | st.integers(0, 50) | st.just(2**32 - 1)
LOSSLESS: dict[str, Any] = {"kind": 0b01000, "quality": USUAL, "model_id": b"", "payloads": [b"samples"]}


@given(headers())
def test_a_header_survives(header: Header) -> None:
    for extended in (False, True):
        data = write_header(header, header.required, extended=extended) + bytes(header.required)
        assert read_header(Reader(data), limits=WIDE) == (header, header.required, extended)


def test_the_forged_files_of_these_tests_are_right_where_nothing_is_wrong() -> None:
    for values in ({}, PAPER, LOSSLESS):
        unpack(forge(**values), limits=LIMITS)


@pytest.mark.parametrize(
    ("usual", "values"),
    [
        (7, {"quality": USUAL | 512}),
        (7, PAPER | {"quality": USUAL}),
        (8, {"quality": USUAL | 512, "kind": 0b0010_1001}),
        (8, {"quality": USUAL | 1 << 11 | 512}),
        (9, {"quality": USUAL | 512, "kind": 0b1010_1001}),
        (18, {"quality": USUAL | 512, "kind": 0b1010_0001}),
        (1, LOSSLESS),
        (6, LOSSLESS | {"kind": 0b00000, "width": 600, "height": 300}),
    ],
)
def test_the_usual_number_of_payloads_is_not_said(usual: int, values: dict[str, Any]) -> None:
    payloads = [bytes([k]) for k in range(usual)]
    data = forge(**values | {"payloads": payloads})
    file = unpack(data, limits=LIMITS)
    assert file.payloads == tuple(payloads)
    assert pack(file.header, file.payloads) == data
    with pytest.raises(HeaderError, match=f"{usual} payloads are announced, which is not said"):
        unpack(forge(**values | {"payloads": payloads, "quality": values["quality"] ^ USUAL}), limits=LIMITS)


@pytest.mark.parametrize(
    ("match", "values"),
    [
        ("kind 3 of picture", {"kind": 0b01011}),
        ("quality 1025 of 1024", {"quality": 1025}),
        ("quality 2047 of 1024", {"quality": 2047}),
        ("tune 2", {"quality": 2 << 12}),
        ("tune 3", {"quality": 3 << 12}),
        ("quality 1 in a file of profile cvpr2018", PAPER | {"quality": 1}),
        ("tune visual in a file of profile cvpr2018", PAPER | {"quality": 1 << 12}),
        ("a quality plane in a file of profile cvpr2018", PAPER | {"kind": 0b1000_1010}),
        ("tolerance 1024 of 255 in a file of profile lossless", LOSSLESS | {"quality": 1024}),
        ("tolerance 256 of 255 in a file of profile lossless", LOSSLESS | {"quality": USUAL | 256}),
        ("tune visual in a file of profile lossless", LOSSLESS | {"quality": 1 << 12}),
        ("a quality plane in a file of profile lossless", LOSSLESS | {"kind": 0b1000_1000}),
        ("a level 0 in a file of profile lossless", LOSSLESS | {"quality": 1 << 11}),
        ("34 payloads where 33 can be", {"quality": 512, "kind": 0b01001, "payloads": [b""] * 34}),
        ("35 payloads where 34 can be", {"quality": 1 << 11 | 512, "payloads": [b""] * 35}),
        ("tiles of 16384 pixels; at most 8192", LOSSLESS | {"kind": 0b11000}),
        ("tiles of 32768 pixels; at most 2048", {"kind": 0b0011_1101}),
        ("tiles of 4096 pixels; at most 2048", {"kind": 0b0001_0001}),
        ("the number that ends at byte 18 is not in its shortest 64-bit", {"width": 2**32 + 1}),
        ("7 payloads are announced, which is not said", {"payloads": [b""] * 7}),
        ("1 payloads are announced, which is not said", LOSSLESS | {"quality": 0}),
        ("35 payloads where 34 can be", {"kind": 0b0010_1001, "payloads": [b""] * 35}),
        ("2 payloads where 1 can be", LOSSLESS | {"quality": 0, "payloads": [b"", b""]}),
    ],
)
def test_fields_out_of_range_are_refused_under_a_right_checksum(match: str, values: dict[str, Any]) -> None:
    for read in (inspect, lambda data: unpack(data, limits=LIMITS)):
        with pytest.raises(HeaderError, match=match):
            read(forge(**values))


@pytest.mark.parametrize(
    ("needed", "values"),
    [
        (2, {}),
        (3, {"kind": 0b0010_1001}),
        (3, {"quality": 1 << 11 | 512}),
        (4, {"kind": 0b1010_1001}),
        (8, {"kind": 0b1010_0001, "width": 257}),
        (1, LOSSLESS),
        (6, LOSSLESS | {"kind": 0b00000, "width": 600, "height": 300}),
    ],
)
def test_files_that_end_before_the_first_group_are_refused(needed: int, values: dict[str, Any]) -> None:
    unpack(forge(**values | {"payloads": [b"x"] * needed}), limits=LIMITS)
    said = values | {"quality": values.get("quality", 0) & 1 << 11}
    for count in range(needed):
        with pytest.raises(SectionError, match=f"{count} payloads where {needed} are needed"):
            unpack(forge(**said | {"payloads": [b"x"] * count}), limits=LIMITS, allow_truncated=True)


def test_files_of_version_1_are_refused_by_name() -> None:
    with pytest.raises(UnsupportedVersionError, match="pre-release, in format version 1"):
        unpack(b"CWIC\x01\x01\x00", limits=LIMITS)
    with pytest.raises(UnsupportedVersionError, match="format version 3; this program reads version 2"):
        unpack(forge(version=3), limits=LIMITS)


def test_numbers_that_are_not_in_their_shortest_form_are_refused() -> None:
    for number in (b"\x80\x00", b"\x81\x80\x00", b"\xff\xff\xff\xff\x10", b"\xff" * 9):
        with pytest.raises(HeaderError, match="shortest 32-bit form"):
            Reader(number).varint()
    with pytest.raises(TruncatedFileError):
        Reader(b"\xff\xff").varint()
    assert Reader(b"\xff\xff\xff\xff\x0f").varint() == 2**32 - 1


@pytest.mark.parametrize(
    ("width", "height"),
    [(1, 1), (2, 1), (1, 2), (2, 2), (1024, 1023), (65537, 65536), (2**32, 1), (1, 2**32)],
)
def test_sides_of_all_sizes_survive(width: int, height: int) -> None:
    header = Header(width=width, height=height, profile="lossless", tile=8192)
    limits = Limits(max_pixels=2**64, max_dimension=2**32)
    data = write_header(header, header.required, extended=False) + bytes(header.required)
    assert read_header(Reader(data), limits=limits) == (header, header.required, False)


@given(sides, sides)
def test_every_size_is_one_number_and_back(x: int, y: int) -> None:
    number = _paired(x, y)
    assert number == paired(x, y) < 2**64
    assert _unpaired(number) == (x, y)
    assert Reader(leb128(number)).varint(bits=64) == number


def test_each_number_is_one_size() -> None:
    sizes = [_unpaired(number) for number in range(100)]
    assert sorted(sizes) == [(x, y) for x in range(10) for y in range(10)]


def test_sizes_above_the_limits_are_refused_with_the_numbers() -> None:
    with pytest.raises(LimitError) as caught:
        unpack(forge(width=9000, height=9000), limits=LIMITS)
    assert (caught.value.name, caught.value.limit, caught.value.actual) == (
        "max_pixels",
        40_000_000,
        81_000_000,
    )
    with pytest.raises(LimitError, match="max_dimension is 65535, got 65536"):
        unpack(forge(width=65536, height=1), limits=LIMITS)


def test_limits_come_before_all_that_follows_the_size() -> None:
    whole = forge(width=9000, height=9000)
    for cut in range(12, len(whole)):
        with pytest.raises(LimitError):
            unpack(whole[:cut], limits=LIMITS)


def test_a_directory_needs_as_many_bytes_as_it_has_entries() -> None:
    sizes: dict[str, Any] = {"width": 2**17, "height": 2**17, "kind": 1}
    with pytest.raises(TruncatedFileError, match="1000000 payloads are announced, 16 bytes follow"):
        unpack(forge(count=1_000_000, **sizes), limits=WIDE)


@pytest.mark.parametrize(
    "header",
    [
        replace(HEADER, quality=1025),
        replace(HEADER, tolerance=1),
        replace(HEADER, lowest_level=0),
        replace(HEADER, model_id=b""),
        replace(HEADER, profile="cvpr2018"),
        replace(HEADER, tile=4096),
        replace(HEADER, tile=1000),
        replace(HEADER, tile=128),
        replace(HEADER, tile=65536),
        replace(HEADER, profile="lossless", quality=0),
    ],
)
def test_headers_that_nobody_can_read_are_not_written(header: Header) -> None:
    with pytest.raises(AssertionError):
        pack(header, PAYLOADS)


def test_files_with_too_few_or_too_many_payloads_are_not_written() -> None:
    for payloads in ([b"map"], [b""] * 34):
        with pytest.raises(AssertionError):
            pack(HEADER, payloads)
    for extensions in ([(5, b"")], [(129, b""), (128, b"")], [(128, b""), (128, b"")], [(256, b"")]):
        with pytest.raises(AssertionError):
            pack(HEADER, PAYLOADS, extensions)
