"""Picture files to pixels: formats, limits, orientation, frames, damage."""

import re
import struct
import threading
import tracemalloc
import warnings
import zlib
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from model.errors import BrokenImageError, ImageError, LimitError, UnsupportedImageError
from model.images.files import SUFFIXES, read_image
from model.types import Limits, Pixels
from tests.effort import counted_calls
from tests.model.images.samples import read, smooth

LOSSLESS: dict[str, dict[str, object]] = {
    "PNG": {},
    "WEBP": {"lossless": True},
    "TIFF": {},
    "BMP": {},
    "PPM": {},
}
LOSSY: dict[str, dict[str, object]] = {
    "JPEG": {"quality": 95, "subsampling": 0},
    "AVIF": {"quality": 95},
    "GIF": {},
}
FORMATS = {**LOSSLESS, **LOSSY}
ORIENTATION = 0x0112

pictures = st.tuples(st.integers(1, 9), st.integers(1, 9)).flatmap(lambda hw: arrays(np.uint8, (*hw, 3)))


def saved(image: Image.Image | Pixels, format: str, **options: object) -> bytes:
    """The file that Pillow writes."""
    file = BytesIO()
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    image.save(file, format, **{**FORMATS[format], **options})
    return file.getvalue()


@given(picture=pictures, format=st.sampled_from(sorted(LOSSLESS)))
@settings(max_examples=60)
def test_lossless_files_give_exactly_their_pixels(picture: Pixels, format: str) -> None:
    array, notes = read(saved(picture, format))
    np.testing.assert_array_equal(array, picture)
    assert (notes, array.flags.writeable, array.flags.c_contiguous) == ((), True, True)


@pytest.mark.parametrize("format", sorted(FORMATS))
def test_every_format_is_read(format: str) -> None:
    array, notes = read(saved(smooth(), format))
    assert array.shape == (24, 40, 3)
    assert np.abs(array.astype(int) - smooth()).mean() < (8 if format == "GIF" else 2)
    assert notes == ()


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_each_exif_orientation_is_applied(format: str, orientation: int) -> None:
    # EXIF 2.32, table 6: which visual side the stored row 0 and the stored column 0 are.
    row0, column0 = ("top left", "top right", "bottom right", "bottom left",
                     "left top", "right top", "right bottom", "left bottom")[orientation - 1].split()  # fmt: skip
    stored = smooth() if row0 in ("top", "bottom") else smooth().swapaxes(0, 1)
    stored = stored[::-1] if row0 in ("bottom", "right") else stored
    stored = stored[:, ::-1] if column0 in ("bottom", "right") else stored
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    array, notes = read(saved(np.ascontiguousarray(stored), format, exif=exif.tobytes()))
    assert array.shape == smooth().shape
    assert np.abs(array.astype(int) - smooth()).max() < 16
    assert notes == (() if orientation == 1 else ("orientation-applied",))


def test_a_damaged_exif_block_costs_only_the_orientation() -> None:
    array, notes = read(saved(smooth(), "PNG", exif=b"Exif\0\0II*\0" + b"\xff" * 30))
    np.testing.assert_array_equal(array, smooth())
    assert notes in ((), ("exif-ignored",))


@pytest.mark.parametrize("format", sorted(FORMATS))
def test_the_limits_are_exact_and_carry_their_numbers(format: str) -> None:
    data = saved(smooth(10, 20), format)
    assert read_image(data, limits=Limits(max_pixels=200, max_dimension=20)).array.shape == (10, 20, 3)
    with pytest.raises(LimitError) as pixels:
        read_image(data, limits=Limits(max_pixels=199))
    assert (pixels.value.name, pixels.value.limit, pixels.value.actual) == ("max_pixels", 199, 200)
    with pytest.raises(LimitError) as side:
        read_image(data, limits=Limits(max_dimension=19))
    assert (side.value.name, side.value.limit, side.value.actual) == ("max_dimension", 19, 20)


def png_chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


BOMBS = {
    "PNG": b"\x89PNG\r\n\x1a\n"
    + png_chunk(b"IHDR", struct.pack(">IIBBBBB", 225_000, 225_000, 8, 2, 0, 0, 0))
    + png_chunk(b"IDAT", zlib.compress(bytes(1000))),
    "GIF": b"GIF89a" + struct.pack("<HHBBB", 65535, 65535, 0, 0, 0) + b",\0\0\0\0\1\0\1\0\0\2\2D\1\0;",
    "GIF frame larger than its screen": b"GIF89a"
    + struct.pack("<HHBBB", 1, 1, 0, 0, 0)
    + b",\0\0\0\0\xff\xff\xff\xff\0\2\2D\1\0;",
    "WebP": b"RIFF\x1e\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0\xff\x3f\0\xff\x3f\0" + bytes(8),
    "BMP": b"BM" + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, 60000, 60000, 1, 24, 0, 0, 0, 0, 0, 0),
    "PPM": b"P6 60000 60000 255\n",
}


@pytest.mark.parametrize("name", sorted(BOMBS))
def test_a_header_that_claims_too_much_is_refused_before_a_pixel_is_decoded(name: str) -> None:
    with pytest.raises(LimitError) as caught:
        read(BOMBS[name])
    assert caught.value.name == "max_pixels"
    assert caught.value.actual > caught.value.limit


@pytest.mark.parametrize("format", ["PNG", "WEBP", "GIF", "TIFF", "AVIF"])
def test_of_an_animation_the_first_frame_is_read(format: str) -> None:
    frames = [Image.new("RGB", (8, 6), colour) for colour in ("red", "green", "blue")]
    options = {"TIFF": {}, "AVIF": {"duration": 100}}.get(format, {"duration": 100, "loop": 0})
    array, notes = read(saved(frames[0], format, save_all=True, append_images=frames[1:], **options))
    assert np.abs(array.astype(int) - (255, 0, 0)).max() <= 3
    assert notes == ("first-frame-of-3",)


def test_of_a_stereo_pair_the_first_picture_is_read() -> None:
    file = BytesIO()
    left, right = Image.fromarray(smooth()), Image.fromarray(smooth()[::-1])
    left.save(file, "MPO", save_all=True, append_images=[right], quality=95)
    array, notes = read(file.getvalue())
    assert np.abs(array.astype(int) - smooth()).mean() < 2
    assert notes == ()
    assert ".mpo" in SUFFIXES


def test_counting_frames_takes_bounded_time() -> None:
    tiff = bytearray(saved(smooth(), "TIFF"))
    (first,) = struct.unpack_from("<I", tiff, 4)
    (entries,) = struct.unpack_from("<H", tiff, first)
    page = struct.pack("<HHHII", 1, 256, 3, 1, 1)  # one entry; the place of the next page follows
    struct.pack_into("<I", tiff, first + 2 + 12 * entries, len(tiff))
    tiff += b"".join(page + struct.pack("<I", len(tiff) + 18 * (i + 1)) for i in range(50_000))
    assert read(bytes(tiff)).notes == ("first-frame-of-many",)
    gif = b"GIF89a" + struct.pack("<HHBBB", 1, 1, 0, 0, 0) + b",\0\0\0\0\1\0\1\0\0\2\2D\1\0" * 2000 + b";"
    assert read(gif).notes == ("first-frame-of-many",)


def test_a_gif_is_transparent_where_its_frame_does_not_reach() -> None:
    head = b"GIF89a" + struct.pack("<HHBBB", 4, 3, 0x80, 0, 0) + b"\xff\0\0\0\xff\0"  # red, green
    frame = b"," + struct.pack("<HHHHB", 1, 2, 1, 1, 0) + b"\2\2\x4c\1\0"  # one green pixel
    array, notes = read(head + frame + b";")
    assert array.shape == (3, 4, 4)
    assert array[2, 1].tolist() == [0, 255, 0, 255]
    assert array[..., 3].sum() == 255
    assert notes == ()


@pytest.mark.parametrize(
    "data",
    [
        b"P6 #" + b"a" * 8_000_000,
        b"GIF89a" + struct.pack("<HHBBB", 1, 1, 0, 0, 0) + b"!\xfe" + b"\1a" * 4_000_000,
    ],
    ids=["PPM", "GIF"],
)
def test_headers_of_many_pieces_are_refused_after_a_bounded_number(data: bytes) -> None:
    with counted_calls() as calls, pytest.raises(BrokenImageError, match="too many pieces"):
        read(data)
    assert calls.count < 1_000_000  # with every piece read, several times the bytes


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (b"%PDF-1.7\n", "PDF"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", "PostScript"),
        (b'<?xml version="1.0"?><svg/>', "SVG"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
        (b"8BPS\0\1", "Photoshop"),
        (b"P7\nWIDTH 1\nHEIGHT 1\nDEPTH 3\nMAXVAL 255\nTUPLTYPE RGB\nENDHDR\n", "PAM"),
        (b"PF\n1 1\n-1.0\n", "PFM"),
        (b"\0\0\1\0\1\0", "Windows icon"),
        (b"\0\0\2\0" + bytes(8) + b"\4\0\4\0\x18\0", "TGA"),
        (b"CWIC\1", ".cwic"),
        (b"<!DOCTYPE html><html>", "HTML"),
        (b"hello world", "68 65 6c 6c 6f 20 77 6f"),
    ],
)
def test_other_formats_are_refused_by_name(head: bytes, name: str) -> None:
    with pytest.raises(UnsupportedImageError, match=re.escape(name)):
        read(head + bytes(100))


def test_an_empty_file_is_broken() -> None:
    with pytest.raises(BrokenImageError, match="0 bytes"):
        read(b"")


def test_a_jpeg_of_endless_scans_is_refused() -> None:
    data = saved(smooth(), "JPEG", progressive=True)
    scan = data.rindex(b"\xff\xda")
    with pytest.raises(BrokenImageError, match="scans"):
        read(data[:-2] + data[scan:-2] * 300 + data[-2:])


def test_a_jpeg_of_endless_exif_is_refused() -> None:
    data = saved(smooth(), "JPEG")
    segment = b"\xff\xe1" + (2 + 6 + 100).to_bytes(2) + b"Exif\0\0" + bytes(100)
    read(data[:2] + segment * 16 + data[2:])
    with pytest.raises(BrokenImageError, match="segments"):
        read(data[:2] + segment * 17 + data[2:])
    many = data + segment[:10] * 100_000
    tracemalloc.start()
    try:
        with pytest.raises(BrokenImageError, match="segments"):
            read(many)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000  # counted, not kept
    finally:
        tracemalloc.stop()


def test_slow_decoders_take_only_small_files() -> None:
    assert read(b"P3 2 1 255 1 2 3 4 5 6\n").array.tolist() == [[[1, 2, 3], [4, 5, 6]]]
    with pytest.raises(UnsupportedImageError, match="4194304"):
        read(b"P3 1000 1000 255 " + b"255 " * 3_000_000)


def test_hdr_is_refused_and_wide_primaries_are_noted() -> None:
    png = saved(smooth(), "PNG")
    with_code = {
        transfer: png[:33] + png_chunk(b"cICP", bytes((9, transfer, 0, 1))) + png[33:] for transfer in (1, 16)
    }
    assert read(with_code[1]).notes == ("primaries-ignored",)
    with pytest.raises(UnsupportedImageError, match="HDR"):
        read(with_code[16])
    avif = saved(smooth(), "AVIF")
    at = avif.index(b"colrnclx") + 8
    with pytest.raises(UnsupportedImageError, match="HDR"):
        read(avif[:at] + struct.pack(">HH", 9, 16) + avif[at + 4 :])


@pytest.mark.parametrize(
    ("chunks", "notes"),
    [
        ([(b"gAMA", struct.pack(">I", 100_000))], ("transfer-ignored",)),
        ([(b"gAMA", struct.pack(">I", 45_455))], ()),
        ([(b"sRGB", b"\0"), (b"gAMA", struct.pack(">I", 100_000))], ()),
        ([(b"cICP", bytes((1, 8, 0, 1)))], ("transfer-ignored",)),
        ([(b"cICP", bytes((12, 8, 0, 1)))], ("primaries-ignored", "transfer-ignored")),
    ],
)
def test_samples_that_do_not_follow_srgbs_curve_are_noted(
    chunks: list[tuple[bytes, bytes]], notes: tuple[str, ...]
) -> None:
    png = saved(smooth(), "PNG")
    more = b"".join(png_chunk(name, body) for name, body in chunks)
    assert read(png[:33] + more + png[33:]).notes == notes


def hostile_sources() -> dict[str, bytes]:
    """Valid files of every format and of the kinds with the most parsing behind them."""
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    small = Image.fromarray(smooth(9, 12))
    alpha = small.convert("RGBA")
    alpha.putalpha(Image.linear_gradient("L").resize(small.size))
    frames = {"save_all": True, "append_images": [small.rotate(90), small.rotate(180)]}
    sources = {format: saved(small, format) for format in FORMATS}
    sources["JPEG with EXIF"] = saved(small, "JPEG", exif=exif.tobytes(), progressive=True)
    sources["JPEG CMYK"] = saved(small.convert("CMYK"), "JPEG")
    sources["PNG palette"] = saved(alpha.quantize(16), "PNG", exif=exif.tobytes())
    sources["PNG deep"] = saved(Image.fromarray(smooth()[..., 0].astype(np.uint16) * 257), "PNG")
    sources["APNG"] = saved(small, "PNG", **frames)
    sources["GIF frames"] = saved(small, "GIF", **frames)
    sources["WEBP frames"] = saved(alpha, "WEBP", **frames)
    for compression in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"):
        sources[f"TIFF {compression}"] = saved(small, "TIFF", compression=compression)
    return sources


SOURCES = hostile_sources()
MUTATION = st.tuples(
    st.floats(0, 1, exclude_max=True), st.sampled_from(("flip", "set", "cut", "grow", "swap"))
)


def mutated(data: bytes, changes: list[tuple[float, str]], values: bytes) -> bytes:
    """The bytes after some changes behind the first four, most of them early, where the headers are."""
    out = bytearray(data)
    for (place, change), value in zip(changes, values, strict=False):
        at = min(4 + int(place**2 * len(out)), len(out) - 1)
        if change == "cut":
            del out[at + (len(out) - at) // 2 :]
        elif change == "grow":
            out[at:at] = bytes([value]) * 7
        elif change == "swap":
            out[at : at + 4] = out[at : at + 4][::-1]
        else:
            out[at] = value if change == "set" else out[at] ^ (1 << value % 8)
    return bytes(out)


@given(
    source=st.sampled_from(sorted(SOURCES)),
    changes=st.lists(MUTATION, min_size=1, max_size=6),
    values=st.binary(min_size=6, max_size=6),
)
@settings(max_examples=600)
def test_hostile_bytes_give_a_picture_or_our_error(
    source: str, changes: list[tuple[float, str]], values: bytes
) -> None:
    limits = Limits(max_pixels=200_000)
    try:
        picture = read_image(mutated(SOURCES[source], changes, values), limits=limits)
    except (ImageError, LimitError):
        return
    height, width, channels = picture.array.shape
    assert picture.array.dtype == np.uint8
    assert 0 < height * width <= limits.max_pixels
    assert channels in (3, 4)
    assert all(re.fullmatch(r"[a-z0-9-]+", note) for note in picture.notes)


@pytest.mark.parametrize("source", sorted(SOURCES))
def test_every_truncation_is_refused_or_costs_no_pixel(source: str) -> None:
    whole = read(SOURCES[source]).array
    step = max(1, len(SOURCES[source]) // 150)
    for length in range(0, len(SOURCES[source]), step):
        try:
            array = read(SOURCES[source][:length]).array
        except ImageError:
            continue
        np.testing.assert_array_equal(array[..., :3], whole[..., :3], err_msg=f"cut at {length}")


def test_reading_from_many_threads_leaves_the_warning_filters_alone() -> None:
    noisy = saved(smooth(), "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\x20\0" + b"\x12\x01\3\0\xff\xff\xff\0" * 9)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read(noisy)  # from here on, the one filter is there
        before = list(warnings.filters)
        results: list[bytes] = []
        threads = [
            threading.Thread(target=lambda: results.append(read(noisy).array.tobytes())) for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert list(warnings.filters) == before
        with pytest.raises(UserWarning, match="mine"):
            warnings.warn("mine", stacklevel=1)
    assert len(results) == 8
    assert len(set(results)) == 1
