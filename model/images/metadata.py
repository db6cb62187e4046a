"""What a picture file says besides its pixels, as far as it still holds once they are upright and in sRGB.

    EXIF            the picture's description, author and rights, software, times, camera, lens and exposure, place;
                    without its orientation, sizes, thumbnail and whatever tells how the old file was stored
    ICC profile     only one that is sRGB in effect: pixels of any other one were converted and follow it no more

Everything else is dropped: XMP, IPTC, comments.
"""

import struct
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from PIL import ExifTags, Image, ImageFile
from PIL.PngImagePlugin import PngImageFile

from model.images.colour import is_srgb
from model.images.exif import exif_of
from model.images.files import look_at
from model.types import MAX_METADATA, Limits, Metadata

# Tags of the first directory; the others there are about how a TIFF or JPEG file is stored.
# Description, make, model, software, time, artist, host, rights.
_DESCRIPTION = (270, 271, 272, 305, 306, 315, 316, 33432)
_RESOLUTION = (282, 283, 296)
_RATING = (18246, 18249)
_WINDOWS = (40091, 40092, 40093, 40094, 40095)  # title, comment, author, keywords, subject
_KEPT = frozenset((*_DESCRIPTION, *_RESOLUTION, *_RATING, *_WINDOWS))
_DIRECTORIES = (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo)
_SIZES, _INTEROPERABILITY, _MAKER_NOTE, _COLOUR_SPACE = (40962, 40963), 40965, 37500, 40961
_SRGB = 1
_PREFIX = b"Exif\0\0"
_MOST_CHUNKS = 2**16  # of a PNG that are passed on the way to its EXIF


class Kept(NamedTuple):
    """Metadata, and notes of what was dropped: `exif-dropped`, `icc-dropped`."""

    metadata: Metadata
    notes: tuple[str, ...]


def read_metadata(data: bytes, *, keep: bool, limits: Limits) -> Kept:
    """A picture file's metadata if it is to be kept, or else notes of what there was; no pixel is decoded.

    EXIF of more than `MAX_METADATA` bytes is kept without the maker's note, and not at all where it is larger still.
    Raises what `read_image` raises.
    """
    found = look_at(data, lambda image: _found(image, data), limits=limits)
    dropped = [name for name, part in found.items() if part and not (keep and len(part) <= MAX_METADATA)]
    kept = {name: part for name, part in found.items() if name not in dropped}
    notes = tuple(f"{name}-dropped" for name in dropped)
    return Kept(Metadata(exif=kept.get("exif", b""), icc_profile=kept.get("icc", b"")), notes)


def _found(image: ImageFile.ImageFile, data: bytes) -> Mapping[str, bytes]:
    profile = image.info.get("icc_profile")
    if not isinstance(profile, bytes) or image.mode in ("CMYK", "LAB") or not is_srgb(profile):
        profile = b""
    return MappingProxyType({"exif": _exif(image, data), "icc": profile})


def _exif(image: ImageFile.ImageFile, data: bytes) -> bytes:
    """What is kept of the EXIF, without its prefix; empty where that is nothing, or where it is damaged."""
    if isinstance(image, PngImageFile) and "Raw profile type exif" not in image.info:
        image.info.setdefault("exif", _png_exif(data))  # or Pillow decodes the picture, to look behind it
    try:
        exif = exif_of(image)
        tags: dict[int, Any] = {tag: exif[tag] for tag in _KEPT if tag in exif}
        for directory in _DIRECTORIES:
            values = dict(exif.get_ifd(directory))
            for tag in (*_SIZES, _INTEROPERABILITY):
                values.pop(tag, None)
            if _COLOUR_SPACE in values:
                values[_COLOUR_SPACE] = _SRGB
            if values:
                tags[directory] = values
        found = _packed(tags)
        if len(found) > MAX_METADATA and _MAKER_NOTE in tags.get(ExifTags.IFD.Exif, {}):
            del tags[ExifTags.IFD.Exif][_MAKER_NOTE]
            found = _packed(tags)
    except Exception:  # noqa: BLE001 - a parser of untrusted bytes that raises nearly every type
        return b""
    return found


def _packed(tags: Mapping[int, Any]) -> bytes:
    if not tags:
        return b""
    exif = Image.Exif()
    exif.update(tags)
    return exif.tobytes().removeprefix(_PREFIX)


def _png_exif(data: bytes) -> bytes:
    """The contents of a PNG's eXIf chunk, wherever it is."""
    at = 8
    for _ in range(_MOST_CHUNKS):
        if at + 8 > len(data):
            break
        length, name = struct.unpack_from(">I4s", data, at)
        if name == b"eXIf":
            return data[at + 8 : at + 8 + length]
        at += length + 12
    return b""
