"""Colour profiles that pictures carry: applied, or ignored and said."""

import struct

import numpy as np
import pytest
from PIL import Image, ImageCms

from tests.model.images.samples import read, saved

INKS = {"white": (0, 0, 0, 0), "black": (0, 0, 0, 255), "red": (0, 255, 255, 0), "cyan": (255, 0, 0, 0)}


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
