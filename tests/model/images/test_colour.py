"""Depths, colour spaces and profiles: every kind of sample gives the right 8-bit sRGB or a clear refusal."""

import struct
import zlib
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from PIL import Image, ImageCms

from model.errors import UnsupportedImageError
from model.images.files import Picture, read_image
from model.types import Limits, Pixels

Deep = NDArray[np.uint16]


def read(data: bytes) -> Picture:
    return read_image(data, limits=Limits())


def saved(image: Image.Image, format: str, **options: object) -> bytes:
    """The file that Pillow writes."""
    file = BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def png(array: NDArray[np.generic], colour_type: int, *, depth: int, key: bytes = b"") -> bytes:
    """A PNG of any depth: Pillow writes none with several channels of 16 bits."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    height, width = array.shape[:2]
    if depth == 16:
        rows = [row.astype(">u2").tobytes() for row in array]
    else:
        bits = (array.astype(np.uint8)[..., None] >> np.arange(depth - 1, -1, -1)) & 1
        rows = [np.packbits(row).tobytes() for row in bits.reshape(height, -1).astype(np.uint8)]
    out = b"\x89PNG\r\n\x1a\n" + chunk(
        b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    )
    out += chunk(b"tRNS", key) if key else b""
    return out + chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows))) + chunk(b"IEND", b"")


def tiff(
    array: NDArray[np.generic],
    photometric: int,
    *,
    order: str = "<",
    planar: bool = False,
    extra: int | None = None,
) -> bytes:
    """A plain TIFF of unsigned, signed or float samples of any width and byte order."""
    height, width, count = array.shape
    samples = array.astype(array.dtype.newbyteorder("<" if order == "<" else ">"))
    body = (samples.transpose(2, 0, 1) if planar else samples).tobytes()
    kind = {"u": 1, "i": 2, "f": 3}[array.dtype.kind]
    plane = len(body) // count
    tags: dict[int, tuple[str, list[int]]] = {
        256: ("I", [width]),
        257: ("I", [height]),
        258: ("H", [array.dtype.itemsize * 8] * count),
        259: ("H", [1]),
        262: ("H", [photometric]),
        273: ("I", [8 + plane * i for i in range(count)] if planar else [8]),
        277: ("H", [count]),
        278: ("I", [height]),
        279: ("I", [plane] * count if planar else [len(body)]),
        284: ("H", [2 if planar else 1]),
        339: ("H", [kind] * count),
    }
    if extra is not None:
        tags[338] = ("H", [extra])
    start = 8 + len(body) + len(body) % 2
    entries, tail = b"", b""
    for tag, (code, values) in sorted(tags.items()):
        packed = struct.pack(f"{order}{len(values)}{code}", *values)
        if len(packed) > 4:
            place = start + 2 + 12 * len(tags) + 4 + len(tail)
            tail += packed
            packed = struct.pack(f"{order}I", place)
        entries += struct.pack(f"{order}HHI", tag, 3 if code == "H" else 4, len(values)) + packed.ljust(
            4, b"\0"
        )
    head = struct.pack(f"{order}2sHI", b"II" if order == "<" else b"MM", 42, start)
    return (
        head + body + bytes(len(body) % 2) + struct.pack(f"{order}H", len(tags)) + entries + bytes(4) + tail
    )


def rounded(deep: NDArray[np.generic]) -> NDArray[np.float64]:
    """The definition: x * 255 / 65535, to the nearest."""
    return np.floor(deep.astype(float) * 255 / 65535 + 0.5)


def deep_pictures(channels: int) -> st.SearchStrategy[Deep]:
    shape = st.tuples(st.integers(1, 7), st.integers(1, 7), st.just(channels))
    return shape.flatmap(lambda shape: arrays(np.uint16, shape))


@given(
    deep=deep_pictures(1), case=st.sampled_from(("PNG", "TIFF <", "TIFF >", "PGM", "inverted TIFF", "LZW"))
)
@settings(max_examples=120)
def test_deep_grey_is_scaled_not_clipped(deep: Deep, case: str) -> None:
    expected = rounded(deep)
    if case == "PNG":
        data = png(deep, 0, depth=16)
    elif case == "PGM":
        data = b"P5 %d %d 65535\n" % (deep.shape[1], deep.shape[0]) + deep.astype(">u2").tobytes()
    elif case == "LZW":
        data = saved(Image.fromarray(deep[..., 0]), "TIFF", compression="tiff_lzw")
    elif case == "inverted TIFF":
        data, expected = tiff(deep, 0), rounded(65535 - deep)
    else:
        data = tiff(deep, 1, order=case[-1])
    array, notes = read(data)
    np.testing.assert_array_equal(array, np.repeat(expected, 3, axis=2))
    assert notes == ("depth-16-to-8",)


@given(deep=deep_pictures(3), case=st.sampled_from(("PNG", "TIFF <", "TIFF >", "PPM")))
@settings(max_examples=80)
def test_deep_colour_is_rounded_not_cut(deep: Deep, case: str) -> None:
    if case == "PNG":
        data = png(deep, 2, depth=16)
    elif case == "PPM":
        data = b"P6 %d %d 65535\n" % (deep.shape[1], deep.shape[0]) + deep.astype(">u2").tobytes()
    else:
        data = tiff(deep, 2, order=case[-1])
    array, notes = read(data)
    np.testing.assert_array_equal(array, rounded(deep))
    assert notes == ("depth-16-to-8",)


@given(deep=deep_pictures(4), case=st.sampled_from(("PNG", "TIFF <", "TIFF >")))
@settings(max_examples=60)
def test_deep_colour_keeps_its_alpha(deep: Deep, case: str) -> None:
    deep[0, 0, 3] = 0
    array, notes = read(png(deep, 6, depth=16) if case == "PNG" else tiff(deep, 2, order=case[-1], extra=2))
    np.testing.assert_array_equal(array, rounded(deep))
    assert notes == ("depth-16-to-8",)


@given(deep=deep_pictures(2))
@settings(max_examples=30)
def test_deep_grey_keeps_its_alpha(deep: Deep) -> None:
    deep[0, 0, 1] = 0
    array, _ = read(png(deep, 4, depth=16))
    np.testing.assert_array_equal(array, rounded(deep[..., (0, 0, 0, 1)]))


@pytest.mark.parametrize("order", ["<", ">"])
def test_premultiplied_deep_colour_is_divided_by_its_alpha(order: str) -> None:
    deep = np.array([[[10000, 20000, 40000, 40000], [0, 0, 0, 0]]], np.uint16)
    array, _ = read(tiff(deep, 2, order=order, extra=1))
    assert array[0, 0].tolist() == [64, 128, 255, 156]
    assert array[0, 1, 3] == 0


@pytest.mark.parametrize("order", ["<", ">"])
def test_compressed_deep_tiff_is_rounded_too(order: str) -> None:
    ramp = np.arange(0, 65536, 97, dtype=np.uint16)[:660].reshape(20, 11, 3)
    data = tiff(ramp, 2, order=order)
    body = zlib.compress(data[8 : 8 + ramp.nbytes])  # a new strip at the end, in the place of the plain one
    changes = [
        ("HHIH", (259, 3, 1, 1), 8),
        ("HHII", (273, 4, 1, 8), len(data)),
        ("HHII", (279, 4, 1, ramp.nbytes), len(body)),
    ]
    for layout, entry, value in changes:
        old = struct.pack(order + layout, *entry)
        assert data.count(old) == 1
        data = data.replace(old, struct.pack(order + layout, *entry[:3], value))
    np.testing.assert_array_equal(read(data + body).array, rounded(ramp))


@pytest.mark.parametrize(
    ("array", "photometric", "message"),
    [
        (np.ones((2, 2, 1), np.float32), 1, "float"),
        (np.ones((2, 2, 1), np.uint32), 1, "integer"),
        (np.ones((2, 2, 1), np.int16), 1, "integer"),
        (np.ones((2, 2, 3), np.float32), 2, "TIFF"),
    ],
)
def test_samples_without_a_white_point_are_refused(
    array: NDArray[np.generic], photometric: int, message: str
) -> None:
    with pytest.raises(UnsupportedImageError, match=message):
        read(tiff(array, photometric))


def test_deep_samples_in_separate_planes_are_refused() -> None:
    with pytest.raises(UnsupportedImageError, match="planes"):
        read(tiff(np.ones((4, 4, 3), np.uint16), 2, planar=True))
    eight = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    np.testing.assert_array_equal(read(tiff(eight, 2, planar=True)).array, eight)


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_shallow_grey_and_its_transparent_level_are_scaled(depth: int) -> None:
    top = 2**depth - 1
    levels = np.arange(top + 1, dtype=np.uint8)[None]
    array, notes = read(png(levels, 0, depth=depth, key=struct.pack(">H", top)))
    assert array[0, :, 0].tolist() == [255 * level // top for level in range(top + 1)]
    assert array[0, :, 3].tolist() == [255] * top + [0]
    assert notes == ()


def test_a_transparent_colour_is_compared_at_full_depth() -> None:
    deep = np.array([[[0x1234, 0, 0], [0x1235, 0, 0]]], np.uint16)
    array, _ = read(png(deep, 2, depth=16, key=struct.pack(">HHH", 0x1234, 0, 0)))
    assert array[0, :, 3].tolist() == [0, 255]
    grey, _ = read(png(deep[..., 0], 0, depth=16, key=struct.pack(">H", 0x1235)))
    assert grey[0, :, 3].tolist() == [255, 0]
    shallow = np.array([[[1, 2, 3], [1, 2, 4]]], np.uint8)
    array, _ = read(saved(Image.fromarray(shallow), "PNG", transparency=(1, 2, 3)))
    assert array[0, :, 3].tolist() == [0, 255]


@given(
    array=st.tuples(st.integers(1, 6), st.integers(1, 6)).flatmap(lambda hw: arrays(np.uint8, (*hw, 4))),
    format=st.sampled_from(("PNG", "TIFF", "WEBP")),
)
@settings(max_examples=60)
def test_alpha_is_kept_only_where_something_is_transparent(array: Pixels, format: str) -> None:
    options = {"WEBP": {"lossless": True, "exact": True}}.get(format, {})
    got, notes = read(saved(Image.fromarray(array), format, **options))
    np.testing.assert_array_equal(got[..., :3], array[..., :3])
    opaque = bool((array[..., 3] == 255).all())
    assert got.shape[2] == (3 if opaque else 4)
    assert notes in (((), ("alpha-opaque-dropped",)) if opaque else ((),))  # WebP has dropped it itself
    if not opaque:
        np.testing.assert_array_equal(got, array)


def test_palettes_give_their_colours_and_their_transparency() -> None:
    image = Image.new("P", (3, 1))
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    image.putdata([0, 1, 2])
    colours = [[255, 0, 0], [0, 255, 0], [0, 0, 255]]
    for format in ("PNG", "GIF", "BMP", "TIFF"):
        assert read(saved(image, format)).array.tolist() == [colours]
    for format in ("PNG", "GIF"):
        array = read(saved(image, format, transparency=1)).array
        assert array[0, :, 3].tolist() == [255, 0, 255]
        assert array[0, ::2, :3].tolist() == colours[::2]
    array = read(saved(image, "PNG", transparency=bytes((255, 128, 0)))).array
    assert array[0, :, 3].tolist() == [255, 128, 0]


def test_grey_with_alpha_and_bilevel_pictures_become_rgb() -> None:
    grey = Image.new("LA", (2, 1))
    grey.putdata([(9, 255), (200, 3)])
    assert read(saved(grey, "PNG")).array.tolist() == [[[9, 9, 9, 255], [200, 200, 200, 3]]]
    bits = Image.new("1", (2, 1))
    bits.putdata([0, 255])
    for format in ("PNG", "TIFF", "BMP", "PPM"):
        assert read(saved(bits, format)).array.tolist() == [[[0, 0, 0], [255, 255, 255]]]


INKS = {"white": (0, 0, 0, 0), "black": (0, 0, 0, 255), "red": (0, 255, 255, 0), "cyan": (255, 0, 0, 0)}
LIGHT = {"white": (255, 255, 255), "black": (0, 0, 0), "red": (255, 0, 0), "cyan": (0, 255, 255)}


@pytest.mark.parametrize("ink", sorted(INKS))
@pytest.mark.parametrize("format", ["JPEG", "TIFF"])
def test_cmyk_is_not_inverted(format: str, ink: str) -> None:
    data = saved(Image.new("CMYK", (16, 16), INKS[ink]), format)
    if format == "JPEG":
        assert b"Adobe" in data, "this is the inverted kind"
    array, notes = read(data)
    assert np.abs(array.astype(int) - LIGHT[ink]).max() <= 3
    assert notes == ("cmyk-converted",)


@pytest.mark.parametrize("order", ["<", ">"])
def test_deep_cmyk_is_read(order: str) -> None:
    inks = np.array([[INKS["red"], INKS["white"]]], np.uint16) * 257
    array, notes = read(tiff(inks, 5, order=order))
    assert array.tolist() == [[[255, 0, 0], [255, 255, 255]]]
    assert notes == ("depth-16-to-8", "cmyk-converted")


def test_ycbcr_tiff_is_read() -> None:
    colours = np.array([[[255, 0, 0], [0, 128, 255]]], np.uint8)
    data = saved(Image.fromarray(colours).convert("YCbCr"), "TIFF")
    assert np.abs(read(data).array.astype(int) - colours).max() <= 2


def test_lab_tiff_has_the_colours_that_it_names() -> None:
    lab = np.array([[[100, 0, 0], [0, 0, 0], [54.29, 80.81, 69.89]]])  # D50: white, black, sRGB's red
    packed = (lab * (2.55, 1, 1)).round().astype(int).astype(np.uint8)  # a and b are signed bytes
    array, notes = read(tiff(packed, 8))
    assert np.abs(array.astype(int) - [[[255] * 3, [0] * 3, [255, 0, 0]]]).max() <= 6
    assert notes == ("lab-converted",)


def icc(space: bytes, tags: dict[bytes, bytes], *, kind: bytes = b"mntr", pcs: bytes = b"XYZ ") -> bytes:
    """A version 2 ICC profile of these tags."""
    table, body = struct.pack(">I", len(tags)), b""
    for name, data in tags.items():
        padded = data + bytes(-len(data) % 4)
        table += struct.pack(">4sII", name, 132 + 12 * len(tags) + len(body), len(data))
        body += padded
    head = struct.pack(">I4sI4s4s4s", 0, b"\0" * 4, 0x02400000, kind, space, pcs)
    head += struct.pack(">6H4s", 2025, 1, 1, 0, 0, 0, b"acsp").ljust(32, b"\0")
    head = head.ljust(68, b"\0") + struct.pack(">3i", 63190, 65536, 54061)
    out = head.ljust(128, b"\0") + table + body
    return struct.pack(">I", len(out)) + out[4:]


def text(words: bytes) -> bytes:
    return b"desc" + bytes(4) + struct.pack(">I", len(words) + 1) + words + bytes(1 + 78)


def curve(gamma: float) -> bytes:
    return b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256))


def xyz(*values: float) -> bytes:
    return b"XYZ " + bytes(4) + struct.pack(">3i", *(round(value * 65536) for value in values))


COMMON = {b"desc": text(b"test"), b"cprt": b"text\0\0\0\0none\0", b"wtpt": xyz(0.9642, 1, 0.8249)}
DISPLAY_P3 = icc(
    b"RGB ",
    COMMON
    | {b"rXYZ": xyz(0.5151, 0.2412, -0.0011), b"gXYZ": xyz(0.2920, 0.6922, 0.0419)}
    | {b"bXYZ": xyz(0.1571, 0.0666, 0.7841)}
    | dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve(2.2)),
)
LINEAR_GREY = icc(b"GRAY", COMMON | {b"kTRC": curve(1.0)})


def cmyk_profile() -> bytes:
    """Inks on a two-point grid: cyan prints as mid grey, whatever the formula says; the others print black."""
    identity = struct.pack(">2H", 0, 65535)
    nodes = []
    for node in range(16):
        c, others = node >> 3, node & 7
        lightness = 0 if others else 0x8000 if c else 0xFF00
        nodes.append(struct.pack(">3H", lightness, 0x8000, 0x8000))
    matrix = struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 65536)
    lut = b"mft2" + bytes(4) + bytes((4, 3, 2, 0)) + matrix + struct.pack(">2H", 2, 2)
    lut += identity * 4 + b"".join(nodes) + identity * 3
    return icc(b"CMYK", COMMON | {b"A2B0": lut}, kind=b"prtr", pcs=b"Lab ")


SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "TIFF", "AVIF"])
def test_an_embedded_profile_is_applied(format: str) -> None:
    image = Image.new("RGB", (16, 16), (100, 200, 100))
    array, notes = read(saved(image, format, icc_profile=DISPLAY_P3))
    assert notes == ("icc-converted",)
    red, green, blue = (int(x) for x in array[8, 8])
    assert red < 60, "Display P3's green is outside of what the same numbers mean in sRGB"
    assert 195 < green < 210
    assert 80 < blue < 100


def test_a_profile_leaves_alpha_alone() -> None:
    array, notes = read(saved(Image.new("RGBA", (4, 4), (100, 200, 100, 77)), "PNG", icc_profile=DISPLAY_P3))
    assert notes == ("icc-converted",)
    assert (array[..., 3] == 77).all()
    assert array[0, 0, 0] < 60


def test_an_srgb_profile_changes_nothing() -> None:
    grid = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    array, notes = read(saved(Image.fromarray(grid), "PNG", icc_profile=SRGB))
    np.testing.assert_array_equal(array, grid)
    assert notes == ()


def test_a_grey_profile_is_applied_to_grey_and_an_rgb_profile_too() -> None:
    grey = Image.new("L", (4, 4), 55)
    array, notes = read(saved(grey, "PNG", icc_profile=LINEAR_GREY))
    assert notes == ("icc-converted",)
    assert np.abs(array.astype(int) - 128).max() <= 2, "linear 55/255 is sRGB 128"
    transparent = Image.merge("LA", (grey, Image.new("L", (4, 4), 9)))
    array, notes = read(saved(transparent, "PNG", icc_profile=LINEAR_GREY))
    assert notes == ("icc-converted",)
    assert np.abs(array[..., :3].astype(int) - 128).max() <= 2
    assert (array[..., 3] == 9).all()
    array, notes = read(saved(grey, "PNG", icc_profile=SRGB))
    assert (array == 55).all()
    assert notes == ()


@pytest.mark.parametrize("format", ["JPEG", "TIFF"])
def test_cmyk_goes_through_its_profile(format: str) -> None:
    for ink, expected in (("white", 255), ("cyan", 119), ("black", 0)):
        data = saved(Image.new("CMYK", (16, 16), INKS[ink]), format, icc_profile=cmyk_profile())
        array, notes = read(data)
        assert notes == ("icc-converted",)
        assert np.abs(array.astype(int) - expected).max() <= 4, ink


@pytest.mark.parametrize(
    "profile", [b"not a profile", DISPLAY_P3[:200], LINEAR_GREY, SRGB[:128] + bytes(400)]
)
def test_a_profile_that_is_broken_or_unfitting_is_ignored_and_said(profile: bytes) -> None:
    image = Image.new("RGB", (4, 4), (100, 200, 100))
    array, notes = read(saved(image, "PNG", icc_profile=profile))
    assert (array == (100, 200, 100)).all()
    assert notes == ("icc-ignored",)


def test_a_camera_raw_file_is_not_read_as_its_thumbnail() -> None:
    data = tiff(np.ones((4, 4, 3), np.uint8), 2)
    # The tag SamplesPerPixel stays; RowsPerStrip (278), which has a default, makes room for DNGVersion.
    entry = struct.pack("<HHII", 278, 4, 1, 4)
    assert entry in data
    with pytest.raises(UnsupportedImageError, match="raw"):
        read(data.replace(entry, struct.pack("<HHII", 50706, 1, 4, 0x00000401)))
