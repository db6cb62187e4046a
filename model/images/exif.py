"""EXIF of a picture that was opened, looked at before Pillow parses it: a few bytes may stand for seconds of work."""

import re

from PIL import Image, ImageFile

from model.errors import BrokenImageError
from model.images.tiff import check_counts

_MOST_READ = 2**20  # bytes that are parsed: JPEG's segments hold 64 KiB
_PREFIX = re.compile(rb"^(Exif\0\0){1,2}")
_PNG_TEXT = "Raw profile type exif"  # hexadecimal, behind three lines of head


def exif_of(image: ImageFile.ImageFile) -> Image.Exif:
    """A picture's EXIF, of which no value is decoded yet.

    Raises BrokenImageError where it has more bytes, fractions or numbers than anything has a use for, and whatever
    Pillow raises for damaged bytes. A TIFF's own directory was looked at with the file.
    """
    if image.info.get("exif") is None and _PNG_TEXT in image.info:
        image.info["exif"] = bytes.fromhex("".join(image.info[_PNG_TEXT].split("\n")[3:]))
    packed = image.info.get("exif")
    if isinstance(packed, bytes):
        if len(packed) > _MOST_READ:
            raise BrokenImageError(f"EXIF of {len(packed)} bytes, at most {_MOST_READ}")
        check_counts(_PREFIX.sub(b"", packed))
    return image.getexif()
