"""AVIF and HEIC files that describe more or larger items than a picture has are refused before they are decoded."""

import io
import struct
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from model.errors import BrokenImageError, LimitError
from model.images.boxes import check_boxes
from model.images.files import read_image
from model.types import Limits
from tests.effort import counted_calls

LIMITS = Limits()
FTYP = b"avif\0\0\0\0avifmif1miaf"


def check(data: bytes, *, limits: Limits = LIMITS) -> None:
    check_boxes(data, name="AVIF", limits=limits)


def box(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", 8 + len(content)) + name + content


def full(name: bytes, content: bytes) -> bytes:
    return box(name, b"\0" * 4 + content)


def avif(content: bytes) -> bytes:
    return box(b"ftyp", FTYP) + content


def saved(frames: int, **options: object) -> bytes:
    rng = np.random.default_rng(1)
    images = [Image.fromarray(rng.integers(0, 255, (48, 64, 3), np.uint8)) for _ in range(frames)]
    file = io.BytesIO()
    images[0].save(file, "AVIF", save_all=frames > 1, append_images=images[1:], **options)
    return file.getvalue()


@pytest.mark.parametrize("frames", [1, 40])
def test_pictures_and_sequences_with_metadata_are_read(frames: int) -> None:
    data = saved(frames, xmp=bytes(100_000), icc_profile=bytes(200_000))
    check(data)
    assert read_image(data, limits=Limits()).array.shape[:2] == (48, 64)


@pytest.mark.parametrize("name", [b"iloc", b"iinf", b"iref"])
def test_long_lists_of_items_are_refused(name: bytes) -> None:
    check(avif(full(b"meta", full(name, bytes(30_000)))))
    with pytest.raises(BrokenImageError, match=name.decode()):
        check(avif(full(b"meta", full(name, bytes(40_000)))))


@pytest.mark.parametrize(
    "content",
    [
        full(b"meta", box(b"iprp", full(b"ipma", bytes(40_000)))),
        full(b"meta", box(b"iprp", box(b"ipco", box(b"free", b"") * 300))),
        full(b"meta", box(b"free", b"") * 300),
        box(b"free", b"") * 300,
        box(b"moov", box(b"trak", b"") * 300),
        box(b"moov", box(b"trak", box(b"mdia", box(b"minf", box(b"stbl", full(b"stsz", bytes(300_000))))))),
        struct.pack(">I4sQ", 1, b"meta", 60_036) + b"\0" * 4 + full(b"iloc", bytes(60_000)),
        struct.pack(">I4s", 0, b"meta") + b"\0" * 4 + full(b"iloc", bytes(60_000)),
    ],
    ids=["ipma", "properties", "meta", "top", "tracks", "table", "64 bits", "to the end"],
)
def test_wherever_the_list_is_it_is_found(content: bytes) -> None:
    with pytest.raises(BrokenImageError):
        read_image(avif(content), limits=Limits())


def test_no_item_is_larger_than_a_picture_may_be() -> None:
    size = full(b"ispe", struct.pack(">II", 30, 20))
    content = avif(full(b"meta", box(b"iprp", box(b"ipco", full(b"ispe", struct.pack(">II", 3, 2)) + size))))
    check(content, limits=Limits(max_pixels=600))
    with pytest.raises(LimitError, match="got 600"):
        check(content, limits=Limits(max_pixels=599))


@given(st.binary(max_size=400))
def test_no_bytes_take_long(content: bytes) -> None:
    with counted_calls() as calls, suppress(BrokenImageError, LimitError):
        check(avif(content))
    assert calls.count < 20_000


def test_boxes_in_boxes_are_looked_at_so_often_and_no_deeper() -> None:
    many = box(b"ipco", box(b"free", b"") * 200)
    with pytest.raises(BrokenImageError, match="more than 1024 boxes"):
        check(avif(full(b"meta", many * 200)))
    deep = box(b"free", b"")
    for _ in range(500):
        deep = box(b"ipco", deep)
    check(avif(full(b"meta", deep)))

    wide = box(b"free", b"") * 256
    for _ in range(4):
        wide = box(b"ipco", wide * 8)
    for _ in range(400):
        wide = box(b"ipco", wide)
    with pytest.raises(BrokenImageError), counted_calls() as calls:
        check(avif(full(b"meta", wide)))
    assert calls.count < 2_000_000  # 400 boxes deep; all of them would be some millions
