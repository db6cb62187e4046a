"""EXIF and colour profiles: what is kept of a picture file, that the rest is told, and that it comes back."""

import struct
import zlib
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image, ImageCms
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from model.codec import Codec
from model.container.format import extensions_of, inspect, pack
from model.errors import InputError, ParameterError
from model.images.files import read_image
from model.images.metadata import Kept, read_metadata
from model.images.writing import write_image
from model.options import EncodeOptions
from model.types import MAX_METADATA, NO_METADATA, Limits, Metadata, Pixels
from tests.conftest import picture
from tests.effort import counted_calls

PROFILES = {
    "sRGB": ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(),
    "LAB": ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes(),
}
CAMERA, TAKEN, LENS = "Kamera Nr. 7", "2026:01:02 03:04:05", "35 mm"
BOTH = {"exif-dropped", "icc-dropped"}


def exif(*, note: bytes = b"the maker's", thumbnail: bool = True) -> bytes:
    """EXIF as a camera writes it: sideways, with sizes, the place, a maker's note and a thumbnail."""
    tags = Image.Exif()
    tags[ExifTags.Base.Orientation] = 6
    tags[ExifTags.Base.Model] = CAMERA
    tags[ExifTags.Base.YCbCrPositioning] = 2
    tags[ExifTags.IFD.Exif] = {
        ExifTags.Base.DateTimeOriginal: TAKEN,
        ExifTags.Base.LensModel: LENS,
        ExifTags.Base.ColorSpace: 65535,
        ExifTags.Base.ExifImageWidth: 4000,
        ExifTags.Base.ExifImageHeight: 3000,
        ExifTags.Base.MakerNote: note,
    }
    tags[ExifTags.IFD.GPSInfo] = {ExifTags.GPS.GPSLatitudeRef: "N"}
    data = tags.tobytes()
    if not thumbnail:
        return data
    body = bytearray(data[6:])
    order = "<" if body[:2] == b"II" else ">"
    (at,) = struct.unpack_from(f"{order}I", body, 4)
    (count,) = struct.unpack_from(f"{order}H", body, at)
    struct.pack_into(
        f"{order}I", body, at + 2 + 12 * count, len(body)
    )  # a second directory: that of the thumbnail
    body += struct.pack(f"{order}HHHII", 1, 513, 4, 1, 8) + bytes(4) + b"THUMBNAIL"
    return b"Exif\0\0" + bytes(body)


def saved(format: str, array: Pixels | None = None, **options: object) -> bytes:
    file = BytesIO()
    Image.fromarray(picture(16, 24) if array is None else array).save(file, format, **options)
    return file.getvalue()


def kept(data: bytes) -> Kept:
    return read_metadata(data, keep=True, limits=Limits())


def tags_of(metadata: Metadata) -> Image.Exif:
    found = Image.Exif()
    found.load(b"Exif\0\0" + metadata.exif)
    return found


def late_exif(data: bytes) -> bytes:
    """A PNG whose EXIF comes behind the pixels, as the specification allows."""
    at = data.index(b"eXIf") - 4
    size = 12 + int.from_bytes(data[at : at + 4])
    return data[:at] + data[at + size : -12] + data[at : at + size] + data[-12:]


@pytest.mark.parametrize("format", ["JPEG", "PNG", "late PNG", "WEBP", "AVIF", "TIFF", "HEIF"])
def test_exif_is_kept_as_far_as_it_holds_of_upright_pixels(format: str) -> None:
    if format == "HEIF":
        heif = pytest.importorskip("pillow_heif").from_pillow(Image.fromarray(picture(64, 64)))
        file = BytesIO()
        heif.save(file, exif=exif())
        data = file.getvalue()
    elif format == "TIFF":
        tags = Image.Exif()
        tags.load(exif())
        data = saved(format, exif=tags)
    else:
        data = saved(format.removeprefix("late "), exif=exif())
        data = late_exif(data) if format.startswith("late") else data
    metadata, notes = kept(data)
    assert notes == ()
    assert not metadata.exif.startswith(b"Exif")
    found = tags_of(metadata)
    inner = found.get_ifd(ExifTags.IFD.Exif)
    assert (found[ExifTags.Base.Model], inner[ExifTags.Base.LensModel]) == (CAMERA, LENS)
    assert (inner[ExifTags.Base.DateTimeOriginal], inner[ExifTags.Base.ColorSpace]) == (TAKEN, 1)
    assert found.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitudeRef] == "N"
    assert inner[ExifTags.Base.MakerNote] == b"the maker's"
    assert set(found) <= {ExifTags.Base.Model, ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo, 282, 283, 296, 305}
    assert not {ExifTags.Base.ExifImageWidth, ExifTags.Base.ExifImageHeight} & set(inner)
    assert b"THUMBNAIL" not in metadata.exif


@pytest.mark.parametrize("format", ["PNG", "WEBP", "AVIF"])
def test_endless_fractions_are_not_read(format: str) -> None:
    at = 8 + 2 + 12 + 4
    packed = (
        b"II*\0" + struct.pack("<IHHHIII", 8, 1, 282, 5, 20_000, at, 0) + struct.pack("<II", 3, 7) * 20_000
    )
    data = saved(format, exif=b"Exif\0\0" + packed)
    with counted_calls() as calls:
        assert kept(data) == (NO_METADATA, ())
    assert calls.count < 20_000


def test_only_tags_that_are_kept_are_decoded() -> None:
    count, at = 200_000, 8 + 2 + 2 * 12 + 4
    packed = b"II*\0" + struct.pack("<IH", 8, 2)
    packed += struct.pack("<HHI4s", 270, 2, 4, b"abc\0") + struct.pack("<HHIII", 64_000, 3, count, at, 0)
    data = saved("PNG", exif=b"Exif\0\0" + packed + bytes(2 * count))
    decoded: list[int] = []
    get = ImageFileDirectory_v2.__getitem__

    def spy(directory: ImageFileDirectory_v2, tag: int) -> object:
        decoded.append(tag)
        return get(directory, tag)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ImageFileDirectory_v2, "__getitem__", spy)
        assert tags_of(kept(data).metadata)[270] == "abc"
    assert 64_000 not in decoded


def test_exif_of_a_megabyte_is_passed_over() -> None:
    packed = b"II*\0" + struct.pack("<IHHHIII", 8, 1, 270, 2, 2**20, 26, 0) + bytes(2**20)
    assert kept(saved("PNG", exif=b"Exif\0\0" + packed)) == (NO_METADATA, ())


def test_endless_chunks_of_a_png_are_not_walked() -> None:
    plain = late_exif(saved("PNG", exif=exif()))
    assert kept(plain).metadata.exif
    empty = struct.pack(">I4sI", 0, b"teSt", zlib.crc32(b"teSt"))
    at = plain.index(b"eXIf") - 4
    many = plain[:at] + empty * 2**17 + plain[at:]
    assert len(many) < 2**21
    assert not kept(many).metadata.exif


def test_no_pixel_is_decoded_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    files = [late_exif(saved("PNG", exif=exif())), saved("PNG"), saved("JPEG", exif=exif()), saved("TIFF")]

    def never(_: object) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", never)
    assert [bool(kept(data).metadata.exif) for data in files] == [True, False, True, False]


def test_what_is_only_about_the_old_file_is_no_metadata() -> None:
    tags = Image.Exif()
    tags[ExifTags.Base.Orientation] = 6
    assert kept(saved("JPEG", exif=tags.tobytes())) == Kept(NO_METADATA, ())
    assert read_metadata(saved("TIFF"), keep=False, limits=Limits()) == Kept(NO_METADATA, ())


def test_a_profile_that_the_pixels_do_not_follow_is_not_kept() -> None:
    srgb = saved("PNG", icc_profile=PROFILES["sRGB"])
    assert kept(srgb) == Kept(Metadata(icc_profile=PROFILES["sRGB"]), ())
    primaries = bytearray(PROFILES["sRGB"])
    red = int.from_bytes(primaries[(at := primaries.index(b"rXYZ", 128) + 4) : at + 4])
    primaries[red + 8 : red + 12] = (0x9000).to_bytes(4)
    wide = saved("PNG", icc_profile=bytes(primaries))
    assert read_image(wide, limits=Limits()).notes == ("icc-converted",)
    for data in (wide, saved("PNG", icc_profile=PROFILES["LAB"]), saved("PNG", icc_profile=b"damaged")):
        assert kept(data) == Kept(NO_METADATA, ())
    inks = saved("JPEG", np.zeros((8, 8, 4), np.uint8)[..., :3])
    file = BytesIO()
    Image.open(BytesIO(inks)).convert("CMYK").save(file, "JPEG", icc_profile=PROFILES["sRGB"])
    assert kept(file.getvalue()) == Kept(NO_METADATA, ())


def test_what_is_dropped_is_told() -> None:
    data = saved("JPEG", exif=exif(), icc_profile=PROFILES["sRGB"])
    metadata, notes = read_metadata(data, keep=False, limits=Limits())
    assert (metadata, set(notes)) == (NO_METADATA, BOTH)
    assert read_metadata(saved("JPEG"), keep=False, limits=Limits()) == Kept(NO_METADATA, ())


def test_long_exif_loses_the_makers_note_or_is_dropped() -> None:
    metadata, notes = kept(saved("PNG", exif=exif(note=bytes(70_000), thumbnail=False)))
    assert notes == ()
    assert ExifTags.Base.MakerNote not in tags_of(metadata).get_ifd(ExifTags.IFD.Exif)
    assert tags_of(metadata)[ExifTags.Base.Model] == CAMERA
    tags = Image.Exif()
    tags[ExifTags.Base.ImageDescription] = "x" * 70_000
    assert kept(saved("PNG", exif=tags.tobytes())) == Kept(NO_METADATA, ("exif-dropped",))


@given(st.data())
@settings(max_examples=60)
def test_damaged_exif_is_no_error(data: st.DataObject) -> None:
    whole = bytearray(exif())
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(6, len(whole) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(6, len(whole)))
    try:
        metadata, _ = kept(saved("PNG", exif=bytes(whole[:cut])))
    except InputError:
        return
    assert len(metadata.exif) <= MAX_METADATA


@pytest.mark.parametrize("lossless", [True, False])
def test_it_goes_through_a_file_into_every_format(lossless: bool, tiny_codec: Codec) -> None:
    array = picture(24, 40)
    metadata, _ = kept(saved("JPEG", exif=exif(), icc_profile=PROFILES["sRGB"]))
    plain = tiny_codec.encode(array, EncodeOptions(lossless=lossless))
    data = tiny_codec.encode(array, EncodeOptions(lossless=lossless, metadata=metadata))
    assert [each.name for each in inspect(data).sections][-2:] == ["exif", "icc"]
    assert len(data) - len(plain) - len(metadata.exif) - len(metadata.icc_profile) < 12
    file = tiny_codec.read(data)
    assert file.metadata == metadata
    np.testing.assert_array_equal(tiny_codec.decode(file), tiny_codec.decode(plain))
    for format in ("png", "jpeg", "webp"):
        written = write_image(array, format=format, metadata=file.metadata)
        assert kept(written) == Kept(metadata, ())
        image = Image.open(BytesIO(written))
        assert image.info["icc_profile"] == PROFILES["sRGB"]
        assert image.getexif()[ExifTags.Base.Model] == CAMERA
        assert read_image(written, limits=Limits()).notes == ()


def test_longer_metadata_is_neither_written_nor_read(tiny_codec: Codec) -> None:
    long = bytes(MAX_METADATA + 1)
    for metadata in (Metadata(exif=long), Metadata(icc_profile=long)):
        with pytest.raises(ParameterError, match="at most 65527 bytes, got 65528"):
            EncodeOptions(metadata=metadata)
    whole = tiny_codec.read(tiny_codec.encode(picture(8, 8), EncodeOptions(lossless=False)))
    foreign = pack(whole.header, whole.payloads, extensions_of(Metadata(exif=long, icc_profile=b"short")))
    assert tiny_codec.read(foreign).metadata == Metadata(icc_profile=b"short")
    longest = Metadata(exif=long[1:], icc_profile=long[1:])
    for format in ("png", "jpeg", "webp"):
        assert len(write_image(picture(8, 8), format=format, metadata=longest))
