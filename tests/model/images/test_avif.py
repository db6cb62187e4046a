"""AVIF: the file's boxes turn it, and its EXIF is looked at within the bounds of every format's."""

import struct
from contextlib import suppress
from functools import partial
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image
from PIL.AvifImagePlugin import AvifImageFile

from model.errors import InputError, UnsupportedImageError
from model.images import avif
from model.images.avif import AvifFile
from model.images.files import read_image, read_size
from model.images.metadata import read_metadata
from model.types import NO_METADATA, Limits
from tests.conftest import picture
from tests.effort import counted_calls
from tests.model.images.samples import read, saved

LIMITS = Limits()
MOST_READ = 2**20  # bytes of EXIF
PICTURE = Image.fromarray(picture(24, 40))
UPRIGHT, SIDEWAYS = (24, 40, 3), (40, 24, 3)  # of arrays
CAMERA, OTHER = "Kamera Nr. 7", 0x9999  # a tag that nothing has a use for


def tags(*, orientation: int = 1, size: int = 8) -> bytes:
    """EXIF with an orientation, a camera, and a tag of so many bytes."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    exif[ExifTags.Base.Model] = CAMERA
    exif[OTHER] = b"\1" * size
    return exif.tobytes()


def with_fractions(*, orientation: int, size: int) -> bytes:
    """A file that its boxes turn, with EXIF of so many bytes, which are fractions and say nothing of that turn."""
    data = saved(PICTURE, "AVIF", exif=tags(orientation=orientation, size=size))  # Pillow takes the tag out
    (before,) = (order + "HHI" for order in "<>" if struct.pack(order + "HHI", OTHER, 1, size) in data)
    return data.replace(struct.pack(before, OTHER, 1, size), struct.pack(before, OTHER, 5, size // 8))


def with_own_orientation(value: int, *, boxes: int) -> bytes:
    """A file whose EXIF says one orientation, and whose boxes another one."""
    exif = b"II*\0" + struct.pack("<IH", 8, 2)
    exif += (
        struct.pack("<HHIHH", 0x0112, 3, 1, boxes, 0)
        + struct.pack("<HHIHH", 0x0113, 3, 1, value, 0)
        + bytes(4)
    )
    data = saved(PICTURE, "AVIF", exif=exif)
    (order,) = (order for order in "<>" if struct.pack(order + "HHIH", 0x0113, 3, 1, value) in data)
    return data.replace(struct.pack(order + "HHI", 0x0113, 3, 1), struct.pack(order + "HHI", 0x0112, 3, 1))


@pytest.mark.parametrize("size", [MOST_READ // 2, MOST_READ + 8, 4 * MOST_READ])
def test_large_exif_costs_no_steps_and_the_picture_is_upright(
    monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    data = with_fractions(orientation=6, size=size)
    looked_at: list[int] = []
    load = Image.Exif.load

    def spy(exif: Image.Exif, content: bytes) -> None:
        looked_at.append(len(content))
        load(exif, content)

    monkeypatch.setattr(Image.Exif, "load", spy)
    with counted_calls() as calls:
        assert read_size(data, limits=LIMITS) == (40, 24)
        array, notes = read(data)
        assert read_metadata(data, keep=True, limits=LIMITS) == (NO_METADATA, ())
    assert (array.shape, notes) == (SIDEWAYS, ("exif-ignored", "orientation-applied"))
    assert looked_at == []
    assert calls.count < 2_000


def test_a_turned_picture_keeps_its_exif() -> None:
    data = saved(PICTURE, "AVIF", exif=tags(orientation=6), quality=100, subsampling="4:4:4")
    array, notes = read(data)
    assert notes == ("orientation-applied",)
    assert np.abs(array.astype(int) - np.rot90(picture(24, 40), -1)).max() < 16
    metadata, notes = read_metadata(data, keep=True, limits=LIMITS)
    exif = Image.Exif()
    exif.load(b"Exif\0\0" + metadata.exif)
    assert (dict(exif), notes) == ({ExifTags.Base.Model: CAMERA}, ())


@pytest.mark.parametrize(("boxes", "shape"), [(1, UPRIGHT), (3, UPRIGHT), (6, SIDEWAYS)])
def test_the_boxes_turn_a_picture_whatever_exif_and_xmp_say(boxes: int, shape: tuple[int, ...]) -> None:
    expected = (shape, ("orientation-applied",) if boxes > 1 else ())
    array, notes = read(with_own_orientation(8, boxes=boxes))
    assert (array.shape, notes) == expected
    exif = b"" if boxes == 1 else tags(orientation=boxes)
    array, notes = read(saved(PICTURE, "AVIF", exif=exif, xmp=b'<x tiff:Orientation="8"/>'))
    assert (array.shape, notes) == expected


def test_damaged_exif_leaves_the_boxes_turn() -> None:
    data = saved(PICTURE, "AVIF", exif=tags(orientation=6))
    (head,) = (head for head in (b"II*\0\x08\0\0\0", b"MM\0*\0\0\0\x08") if head in data)
    array, notes = read(data.replace(head, head[:4] + b"\xff" * 4))
    assert array.shape == SIDEWAYS
    assert notes in (("orientation-applied",), ("exif-ignored", "orientation-applied"))


@pytest.mark.parametrize("frames", [1, 3])
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_pictures_are_opened_as_pillow_opens_them(mode: str, frames: int) -> None:
    image = PICTURE.convert(mode)
    options = {"save_all": True, "append_images": [image.rotate(180)] * (frames - 1)}
    # EXIF that says no other turn than the boxes: Pillow leaves it alone as well.
    data = saved(image, "AVIF", exif=tags(), xmp=b"<x/>", icc_profile=b"profile", **options)
    with AvifFile(BytesIO(data)) as ours, AvifImageFile(BytesIO(data)) as theirs:
        assert {"exif", "xmp", "icc_profile"} <= set(ours.info)
        assert ours.n_frames == frames
        for frame in range(frames):
            ours.seek(frame)
            theirs.seek(frame)
            assert (ours.tobytes(), ours.info) == (theirs.tobytes(), theirs.info)
        assert (ours.size, ours.mode, ours.is_animated) == (theirs.size, theirs.mode, theirs.is_animated)


def test_a_pillow_without_avif_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    data = saved(PICTURE, "AVIF")
    monkeypatch.setattr(avif, "SUPPORTED", False)
    with pytest.raises(UnsupportedImageError, match="AVIF"):
        read(data)


def checked(data: bytes) -> None:
    """Read a damaged file by all ways: it is read or refused, in few steps."""
    with counted_calls() as calls:
        for look in (read_size, read_image, partial(read_metadata, keep=True)):
            with suppress(InputError):
                look(data, limits=LIMITS)
    assert calls.count < 5_000


@pytest.mark.parametrize("name", [b"iloc", b"iinf", b"infe"])
@pytest.mark.parametrize("version", range(5))
def test_other_versions_of_the_lists_of_items_are_read_or_refused(name: bytes, version: int) -> None:
    data = bytearray(saved(PICTURE, "AVIF", exif=tags(orientation=6)))
    data[data.index(name) + 4] = version
    checked(bytes(data))


def with_locations(data: bytes, *, version: int, method: int = 0, pieces: int = 1, more: int = 0) -> bytes:
    """The file with another version of `iloc`, whose EXIF lies elsewhere, in several pieces, or is longer."""
    at, meta = data.index(b"iloc") - 4, data.index(b"meta") - 4
    end = at + int.from_bytes(data[at : at + 4])
    colour, exif = struct.iter_unpack(">HHHII", data[at + 16 : end])
    assert colour[:3] + exif[:3] == (1, 0, 1, 2, 0, 1)  # number, file, pieces: as Pillow writes them
    number = ">H" if version < 2 else ">I"

    def locations(grown: int) -> bytes:
        content = bytes((version, 0, 0, 0, 0x44, 0)) + struct.pack(number, 2)
        for item, where, position, length, count in (
            (1, 0, *colour[3:], 1),
            (2, method, exif[3], exif[4] + more, pieces),
        ):
            content += struct.pack(number, item) + (struct.pack(">H", where) if version else b"")
            content += struct.pack(">HH", 0, count) + struct.pack(">II", position + grown, length) * count
        return struct.pack(">I4s", 8 + len(content), b"iloc") + content

    grown = len(locations(0)) - (end - at)
    size = int.from_bytes(data[meta : meta + 4]) + grown
    return data[:meta] + struct.pack(">I", size) + data[meta + 4 : at] + locations(grown) + data[end:]


@pytest.mark.parametrize("version", range(3))
def test_exif_is_found_by_every_version_of_locations(version: int) -> None:
    data = with_locations(saved(PICTURE, "AVIF", exif=tags(orientation=6)), version=version)
    array, notes = read(data)
    assert (array.shape, notes) == (SIDEWAYS, ("orientation-applied",))
    assert CAMERA.encode() in read_metadata(data, keep=True, limits=LIMITS).metadata.exif


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("method", range(4))
@pytest.mark.parametrize("more", [-16, MOST_READ, 2**31])
def test_exif_that_lies_where_it_cannot_is_read_or_refused(version: int, method: int, more: int) -> None:
    data = saved(PICTURE, "AVIF", exif=tags(orientation=6))
    checked(with_locations(data, version=version, method=method, more=more))


def test_exif_of_many_pieces_is_no_larger_than_its_file() -> None:
    data = saved(PICTURE, "AVIF", exif=tags(orientation=6, size=MOST_READ))
    with pytest.raises(InputError):
        read(with_locations(data, version=0, pieces=1000))


@settings(max_examples=40)
@given(st.data())
def test_damaged_lists_of_items_are_read_or_refused(draw: st.DataObject) -> None:
    data = bytearray(saved(PICTURE, "AVIF", exif=tags(orientation=6)))
    start, end = data.index(b"iloc") - 4, data.index(b"iprp")  # iinf as well
    for at, value in draw.draw(
        st.dictionaries(st.integers(start, end), st.integers(0, 255), min_size=1)
    ).items():
        data[at] = value
    checked(bytes(data))
