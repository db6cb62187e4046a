"""TIFF directories: what decodes in time is left alone, what would not is refused before anything is decoded."""

import struct
import zlib
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from model.errors import BrokenImageError
from model.images.files import read_image
from model.images.tiff import check_counts, check_tiff
from model.types import Limits
from tests.effort import counted_calls

BYTE, SHORT, LONG, RATIONAL = 1, 3, 4, 5
SIZES = {BYTE: "B", SHORT: "H", LONG: "I", RATIONAL: "Q"}
Tag = tuple[int, int, list[int]]


def tiff(tags: list[Tag], pixels: bytes = b"", *, order: str = "<") -> bytes:
    """A file with one directory; the value -1 stands for where `pixels` begin."""
    start = 8 + 2 + 12 * len(tags) + 4
    start += sum(len(v) * struct.calcsize(SIZES[t]) for _, t, v in tags)
    entries, values, at = b"", b"", 8 + 2 + 12 * len(tags) + 4
    for tag, kind, given in tags:
        packed = struct.pack(f"{order}{len(given)}{SIZES[kind]}", *(start if v == -1 else v for v in given))
        entries += struct.pack(f"{order}HHI", tag, kind, len(given))
        if len(packed) <= 4:
            entries += packed.ljust(4, b"\0")
        else:
            entries += struct.pack(f"{order}I", at + len(values))
            values += packed
        if len(packed) <= 4:
            values += bytes(len(packed))
    head = b"II*\0" if order == "<" else b"MM\0*"
    directory = struct.pack(f"{order}H", len(tags)) + entries + struct.pack(f"{order}I", 0)
    return head + struct.pack(f"{order}I", 8) + directory + values + pixels


def grey(width: int, height: int, *tags: Tag) -> list[Tag]:
    """The directory of a deflated grey picture, with more tags."""
    fixed = {256: [width], 257: [height], 258: [8], 259: [8], 262: [1], 277: [1]}
    return sorted([*((tag, LONG if tag < 258 else SHORT, value) for tag, value in fixed.items()), *tags])


def tiles(width: int, height: int, size: int) -> list[Tag]:
    return [(322, LONG, [width]), (323, LONG, [height]), (324, LONG, [-1]), (325, LONG, [size])]


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_tile_may_be_larger_than_a_small_picture(order: str) -> None:
    packed = zlib.compress(bytes([77]) * (256 * 256))
    file = tiff(grey(20, 10, *tiles(256, 256, len(packed))), packed, order=order)
    array = read_image(file, limits=Limits()).array
    assert array.shape == (10, 20, 3)
    assert (array == 77).all()


def test_what_pillow_writes_is_read() -> None:
    rng = np.random.default_rng(0)
    for mode, compression in (
        ("RGB", "raw"),
        ("RGB", "tiff_lzw"),
        ("L", "tiff_adobe_deflate"),
        ("1", "group4"),
    ):
        file = BytesIO()
        Image.fromarray(rng.integers(0, 255, (300, 200, 3), np.uint8)).convert(mode).save(
            file, "TIFF", compression=compression, tiffinfo={278: 1}
        )
        check_tiff(file.getvalue())


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        (grey(16, 16, *tiles(40_000, 40_000, 99)), "tiles of 40000x40000 in a picture of 16x16"),
        (grey(16, 16, *tiles(80_000, 16, 99)), "tiles of 80000x16"),
        (grey(16, 16, *tiles(16, 80_000, 99)), "tiles of 16x80000"),
        (grey(700, 700, *tiles(1, 1, 1)), "tiles of 1x1"),
        (grey(64, 9, (273, LONG, [8] * 10), (279, LONG, [1] * 10)), "10 TIFF strips or tiles"),
        (grey(64, 900, (273, LONG, [8] * 900), (279, LONG, [500_000] * 900)), "strips or tiles of 450000000 bytes"),
        (grey(64, 9, (257, LONG, [9])), "tag 257 comes twice"),
        (grey(64, 9, (322, RATIONAL, [64])), "has no whole numbers"),
    ],
)  # fmt: skip
def test_more_to_decode_than_there_is_is_refused_at_once(tags: list[Tag], message: str) -> None:
    with counted_calls() as calls, pytest.raises(BrokenImageError, match=message):
        read_image(tiff(tags, bytes(100)), limits=Limits())
    assert calls.count < 10_000  # nothing was decoded, and no value looked at twice


@pytest.mark.parametrize("order", ["<", ">"])
def test_endless_fractions_are_refused_in_the_picture_and_in_what_it_says_of_the_camera(order: str) -> None:
    fractions = (282, RATIONAL, [(3 << 32) + 7] * 5000)
    within = tiff([fractions], order=order)
    check_counts(tiff([(282, RATIONAL, [1] * 4000)], order=order))
    with pytest.raises(BrokenImageError, match="fractions"):
        check_counts(tiff([(tag, RATIONAL, [1] * 500) for tag in range(282, 292)], order=order))
    for pointer in (34665, 34853):
        # The inner directory of `within` has the same values; it lies behind an outer one of 26 bytes.
        outer = struct.pack(f"{order}HHHIII", 1, pointer, LONG, 1, 8 + 18, 0)
        inner = struct.pack(f"{order}HHHIII", 1, *fractions[:2], 5000, 0, 0)
        with pytest.raises(BrokenImageError, match="fractions"):
            check_counts(within[:8] + outer + inner)
        with pytest.raises(BrokenImageError, match="fractions"):  # one entry of 1000 is there
            check_counts(within[:8] + outer + struct.pack(f"{order}H", 1000) + inner[2:])
    with pytest.raises(BrokenImageError, match="names 20 others"):
        check_counts(tiff([(34665, LONG, [8])] * 20, order=order))
    data = tiff([*grey(64, 64, (273, LONG, [-1])), fractions], bytes(64 * 64), order=order)
    with counted_calls() as calls, pytest.raises(BrokenImageError, match="fractions"):
        read_image(data, limits=Limits())
    assert calls.count < 1000


@pytest.mark.parametrize("tag", [258, 338, 339, 282, 283, 274])
@pytest.mark.parametrize("kind", [SHORT, LONG])
def test_endless_numbers_are_refused(tag: int, kind: int) -> None:
    many, within = (tag, kind, [1] * (2**20 + 1)), (tag, kind, [1] * 2**19)
    with pytest.raises(BrokenImageError, match="TIFF tags of 1048577 numbers"):
        check_counts(tiff([many]))
    with pytest.raises(BrokenImageError, match="TIFF tags of"):
        read_image(
            tiff([*(t for t in grey(64, 64, (273, LONG, [-1])) if t[0] != tag), many], bytes(64 * 64)),
            limits=Limits(),
        )
    check_counts(tiff([within]))
    outer = struct.pack("<HHHIII", 1, 34665, LONG, 1, 8 + 18, 0)  # the same values of the camera's directory
    for inner in (many, (324, kind, many[2])):
        data = tiff([inner])
        with pytest.raises(BrokenImageError, match="numbers"):
            check_counts(data[:8] + outer + data[8:])
    check_counts(tiff([(273, LONG, many[2])]))  # strips are counted by the size of the picture


def big_directory(*entries: bytes) -> bytes:
    """One of BigTIFF."""
    return struct.pack("<Q", len(entries)) + b"".join(entries)


def test_each_sample_may_have_strips_of_its_own() -> None:
    def planar(strips: int) -> bytes:
        own = [(277, SHORT, [3]), (273, LONG, [-1] * strips), (279, LONG, [1] * strips)]
        return tiff(sorted([*(tag for tag in grey(64, 9) if tag[0] != 277), *own]), bytes(9))

    check_tiff(planar(27))
    with pytest.raises(BrokenImageError, match="28 TIFF strips"):
        check_tiff(planar(28))


@pytest.mark.parametrize("inner", [False, True])
def test_endless_entries_are_refused(inner: bool) -> None:
    """In the first directory, and in one that it names, which as many of its entries may name."""
    check_counts(tiff([(60_000, LONG, [1])] * 4000))
    many = big_directory(*[struct.pack("<HHQQ", 60_000, BYTE, 1, 0)] * 50_000)
    names = big_directory(*[struct.pack("<HHQQ", 34665, LONG, 1, 16 + 8 + 8 * 20)] * 8)
    data = b"II" + struct.pack("<HHHQ", 43, 8, 0, 16) + (names if inner else b"") + many
    for read in (check_counts, lambda data: read_image(data, limits=Limits())):
        with counted_calls() as calls, pytest.raises(BrokenImageError, match="50000 entries"):
            read(data)
        assert calls.count < 1000


def test_directories_that_are_cut_short_are_refused() -> None:
    whole = tiff(grey(64, 90, (273, LONG, [-1] * 90), (279, LONG, [1] * 90)), bytes(100))
    check_tiff(whole)
    for length in range(8, len(whole) - 100):
        with pytest.raises(BrokenImageError):
            check_tiff(whole[:length])
