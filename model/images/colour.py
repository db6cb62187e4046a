"""A file's samples, of any depth and kind, as 8-bit sRGB. Pillow and numpy only; below `images`."""

import struct
import sys
from collections.abc import Callable
from io import BytesIO
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageFile, TiffImagePlugin
from PIL.PngImagePlugin import PngImageFile
from PIL.PpmImagePlugin import PpmImageFile

from model.errors import UnsupportedImageError
from model.images.avif import AvifFile
from model.types import Pixels

_BLOCK_ROWS = 256  # wide samples are scaled in blocks, to keep the temporary copies small


class Planes(NamedTuple):
    """A decoded picture: colour in Pillow's mode L, RGB, CMYK or LAB, and alpha as [H, W] or None."""

    colour: Image.Image
    alpha: Pixels | None


def rawmode_of(image: ImageFile.ImageFile) -> str:
    """The layout of the samples in a file that is not loaded yet, `RGB;16B`, in Pillow's words; or empty."""
    args = image.tile[0].args if image.tile else ""
    first = args if isinstance(args, str) or not args else args[0]
    return first if isinstance(first, str) else ""


def is_deep(image: ImageFile.ImageFile) -> bool:
    """Whether a file that is not loaded yet has more than 8 bits per sample."""
    if isinstance(image, PpmImageFile) and isinstance(args := image.tile[0].args, tuple) and len(args) == 2:
        return isinstance(args[1], int) and args[1] > 255
    rawmode = rawmode_of(image)
    return image.mode.startswith("I") or (";16" in rawmode and not rawmode.startswith("BGR"))  # BGR;16: 5-6-5


def colour_notes(image: ImageFile.ImageFile, data: bytes) -> list[str]:
    """Notes of what a file that is not loaded yet says about its colours, and what nothing here applies.

    An ICC profile goes before that, as in most readers. Raises UnsupportedImageError for HDR.
    """
    primaries, transfer = _colour_code(image, data)
    if transfer in (16, 18):
        raise UnsupportedImageError("HDR pictures (PQ or HLG) are not read; convert to sRGB")
    if "icc_profile" in image.info:
        return []
    other_curve = transfer in (5, 8) or _has_other_gamma(image)  # gamma 2.8, linear light
    return ["primaries-ignored"] * (primaries in (9, 11, 12)) + ["transfer-ignored"] * other_curve


def load(image: ImageFile.ImageFile) -> Planes:
    """The planes of a file that is not loaded yet, of any mode with at most 8 bits per sample.

    Raises:
        UnsupportedImageError: a mode that has no faithful RGB form.
        Exception: whatever Pillow raises on damage.
    """
    scale = {"L;2": 85, "L;4": 17}.get(rawmode_of(image), 1)  # PNG names its transparent grey in file units
    image.load()
    mode, key = image.mode, image.info.get("transparency")
    if mode in ("LA", "La"):
        whole = image.convert("LA")
        return Planes(whole.getchannel("L"), np.asarray(whole.getchannel("A")))
    if mode in ("P", "PA", "RGBA", "RGBa") and image.has_transparency_data:
        whole = image.convert("RGBA")
        return Planes(whole.convert("RGB"), np.asarray(whole)[..., 3])
    if mode in ("1", "L", "RGB"):
        colour = image.convert("L") if mode == "1" else image
        alpha = None if key is None else _alpha_of_key(np.asarray(colour), np.asarray(key) * scale)
        return Planes(colour, alpha)
    if mode in ("CMYK", "LAB"):
        return Planes(image, None)
    if mode in ("P", "RGBX", "YCbCr"):
        return Planes(image.convert("RGB"), None)
    raise UnsupportedImageError(f"pixels of Pillow's mode {mode} are not read")


def load_deep(image: ImageFile.ImageFile, *, reopen: Callable[[], ImageFile.ImageFile]) -> Planes:
    """The planes of a file that is not loaded yet and `is_deep`; samples rounded to 256 levels.

    Pillow has no mode for several 16-bit channels and keeps the high bytes. Reading the file again (`reopen`)
    as if it had the other byte order gives the low ones.
    """
    rawmode, key = rawmode_of(image), image.info.get("transparency")
    if image.mode.startswith("I"):
        return _load_deep_grey(image, top=4095 if rawmode == "I;12" else 65535, key=key)
    if rawmode == "LA;16B":
        _load_as(image, "RGBA")
        pairs = np.asarray(image)  # [H, W, 4]: high and low bytes of grey, then of alpha
        values = _narrow(pairs[..., 0::2], low=pairs[..., 1::2])
        return Planes(Image.fromarray(np.ascontiguousarray(values[..., 0])), values[..., 1])
    if ";16" not in rawmode:
        return load(image)  # PPM with an odd depth: Pillow scales and rounds it itself
    layout, order = rawmode.split(";16")
    little = order == "L" or (order == "N" and sys.byteorder == "little")
    layout, premultiplied = ("RGBA", True) if layout == "RGBa" else (layout, False)
    other = reopen()
    _load_as(image, f"{layout};16{order}")
    _load_as(other, f"{layout};16{'B' if little else 'L'}")
    high, low = np.asarray(image), np.asarray(other)  # [H, W, 3 or 4]
    values = _narrow(high, low=low, premultiplied=premultiplied)
    if image.mode == "CMYK":
        return Planes(Image.frombytes("CMYK", image.size, values.tobytes()), None)
    if image.mode == "RGBA":
        return Planes(Image.fromarray(np.ascontiguousarray(values[..., :3])), values[..., 3])
    alpha = None if key is None else _alpha_of_key(high.astype(np.uint16) * 256 + low, np.asarray(key))
    return Planes(Image.fromarray(values), alpha)


def to_srgb(colour: Image.Image, *, profile: object) -> tuple[Image.Image, tuple[str, ...]]:
    """A picture as RGB in sRGB, and notes of what that took.

    Through the embedded ICC profile where it is sound and belongs to this kind of picture; else by Pillow's
    formulas. A profile that is sRGB itself is not applied: that would only add rounding.
    """
    try:
        converted = _through_profile(colour, profile) if profile else None
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        notes: tuple[str, ...] = ("icc-ignored",)
    else:
        if converted is not None:
            return converted, ("icc-converted",)
        notes = ()
    if colour.mode in ("CMYK", "LAB"):
        notes = (*notes, f"{colour.mode.lower()}-converted")
    return colour if colour.mode == "RGB" else colour.convert("RGB"), notes


def is_srgb(profile: bytes) -> bool:
    """Whether an ICC profile is sound, one of RGB pictures and, as far as 8 bits can tell, sRGB itself."""
    try:
        return _through_profile(Image.new("RGB", (1, 1)), profile) is None
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return False


def _colour_code(image: ImageFile.ImageFile, data: bytes) -> tuple[int, int]:
    """Colour primaries and transfer function (ITU-T H.273) of PNG's cICP or nclx of AVIF and HEIC; 2 is unknown."""
    if isinstance(image, PngImageFile) and (at := data.find(b"cICP", 0, max(data.find(b"IDAT"), 0))) >= 0:
        return data[at + 4], data[at + 5]
    if isinstance(image, AvifFile) and (at := data.find(b"colrnclx", 0, 1 << 16)) >= 0:
        primaries, transfer = struct.unpack_from(">HH", data, at + 8)
        return primaries, transfer
    if nclx := image.info.get("nclx_profile"):  # of HEIC
        return int(nclx["color_primaries"]), int(nclx["transfer_characteristics"])
    return 2, 2


def _has_other_gamma(image: ImageFile.ImageFile) -> bool:
    """Whether a PNG's gAMA is far from that of sRGB, 1 / 2.2, and no sRGB chunk goes before it."""
    if not isinstance(image, PngImageFile) or "srgb" in image.info:
        return False
    return not 0.42 < image.info.get("gamma", 1 / 2.2) < 0.49


def _load_deep_grey(image: ImageFile.ImageFile, *, top: int, key: object) -> Planes:
    """The planes of one channel of 12 or 16 bits."""
    image.load()
    wide = np.asarray(image)  # [H, W] uint16 of either byte order, or int32
    if isinstance(image, TiffImagePlugin.TiffImageFile) and image.tag_v2.get(262) == 0:
        wide = top - wide  # WhiteIsZero, which Pillow leaves to its callers at this depth
    alpha = None if key is None else _alpha_of_key(wide, np.asarray(key))
    return Planes(Image.fromarray(_narrow(wide, top=top)), alpha)


def _load_as(image: ImageFile.ImageFile, rawmode: str) -> None:
    """Load with another layout of the same size per pixel."""
    image.tile = [
        tile._replace(args=(rawmode, *tile.args[1:]) if isinstance(tile.args, tuple) else rawmode)
        for tile in image.tile
    ]
    image.load()


def _narrow(
    wide: NDArray[np.generic], *, low: Pixels | None = None, top: int = 65535, premultiplied: bool = False
) -> Pixels:
    """round(255 x / top) of samples x, any shape; `wide` has only the high bytes where `low` is given."""
    out: Pixels = np.empty(wide.shape, np.uint8)
    for row in range(0, len(wide), _BLOCK_ROWS):
        rows = slice(row, row + _BLOCK_ROWS)
        block = wide[rows].astype(np.int64)
        if low is not None:
            block = block * 256 + low[rows]
        if premultiplied:
            alpha = np.maximum(block[..., 3:], 1)
            block[..., :3] = (block[..., :3] * top + alpha // 2) // alpha
        out[rows] = (block.clip(0, top) * 510 + top) // (2 * top)
    return out


def _alpha_of_key(samples: NDArray[np.generic], key: NDArray[np.generic]) -> Pixels:
    """Alpha, [H, W], of a picture that marks its transparent pixels by their colour."""
    same = np.asarray(samples == key)
    return np.where(same.all(axis=2) if same.ndim == 3 else same, 0, 255).astype(np.uint8)


def _through_profile(colour: Image.Image, profile: object) -> Image.Image | None:
    """As sRGB; None for a profile that is sRGB.

    Raises:
        PyCMSError, OSError, ValueError, TypeError: a profile that is damaged or for another kind of picture.
    """
    if not isinstance(profile, bytes):
        raise TypeError(f"expected a profile as bytes, got {type(profile).__name__}")
    source = ImageCms.ImageCmsProfile(BytesIO(profile))
    space = source.profile.xcolor_space.strip()
    if space == "RGB" and colour.mode == "L":
        colour = colour.convert("RGB")
    if (space, colour.mode) not in (("RGB", "RGB"), ("GRAY", "L"), ("CMYK", "CMYK"), ("Lab", "LAB")):
        raise ValueError(f"a profile for {space} in a picture of mode {colour.mode}")
    transform = ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), colour.mode, "RGB")
    if colour.mode in ("RGB", "L") and _is_identity(transform, colour.mode):
        return None
    converted = transform.apply(colour)
    assert converted.mode == "RGB", f"expected RGB from the transform, got {converted.mode}"
    return converted


def _is_identity(transform: ImageCms.ImageCmsTransform, mode: str) -> bool:
    """Whether a transform to RGB changes no colour of a coarse grid by more than one level."""
    steps = np.linspace(0, 255, 9).round().astype(np.uint8)
    grid = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(27, 27, 3)
    probe = Image.fromarray(grid if mode == "RGB" else np.ascontiguousarray(grid[..., 0]))
    after = np.asarray(transform.apply(probe)).astype(int)
    return bool(np.abs(after - np.asarray(probe.convert("RGB"))).max() <= 1)
