"""Arrays to picture files: PNG, JPEG or WebP."""

from collections.abc import Mapping
from io import BytesIO
from types import MappingProxyType

import numpy as np
from PIL import Image

from model.errors import ParameterError
from model.types import NO_METADATA, Metadata, Pixels

MEDIA_TYPES: Mapping[str, str] = MappingProxyType(
    {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp"}
)
"""What `write_image` can write: format name to media type."""
_LONGEST_SIDE: Mapping[str, int] = MappingProxyType({"jpeg": 65500, "webp": 16383})  # PNG has no such limit


def formats_for(shape: tuple[int, ...]) -> Mapping[str, str]:
    """Those of `MEDIA_TYPES` that can hold a picture of this shape, [H, W] or [H, W, channels]."""
    return {
        name: media_type
        for name, media_type in MEDIA_TYPES.items()
        if max(shape[:2]) <= _LONGEST_SIDE.get(name, max(shape[:2]))
        and not (name == "jpeg" and shape[2:] == (4,))
    }


def write_image(array: Pixels, *, format: str, metadata: Metadata = NO_METADATA) -> bytes:
    """The file of a picture: `png` and `webp` lossless, `jpeg` at quality 95 without chroma subsampling.

    Takes [H, W, 3], [H, W, 4] or grey [H, W]. JPEG has no alpha: a picture with alpha is refused rather than
    put on a background that nobody chose. Each format takes `metadata`.

    Raises:
        ParameterError: an unknown format, another shape or type, alpha for JPEG, or a side above the
            format's own limit (WebP 16383, JPEG 65500).
    """
    if format not in MEDIA_TYPES:
        raise ParameterError(f"format is one of {', '.join(MEDIA_TYPES)}, got {format!r}")
    channels = array.shape[2:] if array.ndim == 3 else (1,) if array.ndim == 2 else ()
    if (
        array.dtype != np.uint8
        or channels not in ((1,), (3,), (4,))
        or 0 in array.shape
        or array.shape[2:] == (1,)
    ):
        raise ParameterError(f"expected HxW, HxWx3 or HxWx4 uint8, got {array.shape} {array.dtype}")
    if format not in formats_for(array.shape):
        if channels == (4,) and format == "jpeg":
            raise ParameterError("jpeg has no transparency and the picture has some; ask for png or webp")
        longest, most = max(array.shape[:2]), _LONGEST_SIDE[format]
        raise ParameterError(f"{format} sides are at most {most} pixels, got {longest}; ask for png")
    image, file = Image.fromarray(array), BytesIO()
    exif, icc_profile = metadata.exif and b"Exif\0\0" + metadata.exif, metadata.icc_profile
    options: dict[str, bytes] = {"exif": exif} if exif else {}
    if icc_profile:
        options["icc_profile"] = icc_profile
    if format == "png":
        # Level 6 takes 3.5 times as long, for no smaller photographs.
        image.save(file, "PNG", compress_level=1, **options)
    elif format == "jpeg":
        image.save(file, "JPEG", quality=95, subsampling="4:4:4", **options)
    else:
        image.save(file, "WEBP", lossless=True, quality=20, method=0, exact=True, **options)
    return file.getvalue()
