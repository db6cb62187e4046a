"""Picture files to pixels: any common format in. Pillow and numpy only, and pillow-heif where it is installed.

What happens to a picture on its way in, in this order; each step that changed something leaves a note:

    identified by its first bytes; size checked against the limits before a pixel is decoded
    first frame of an animation             first-frame-of-12, first-frame-of-many
    samples of more than 8 bits scaled      depth-16-to-8
    embedded ICC profile applied            icc-converted; icc-ignored for a damaged or unfitting one
    CMYK or Lab without a profile           cmyk-converted, lab-converted
    colour primaries that we cannot apply   primaries-ignored
    a curve unlike sRGB's, without ICC      transfer-ignored
    alpha that hides nothing                alpha-opaque-dropped
    turned upright                          orientation-applied, or exif-ignored: damaged, or too many values

The plugins are called directly, not through `Image.open`: only the formats listed here can ever run, and
our size check comes before Pillow's, whose limit is a global that we must not set.
"""

import re
import warnings
from collections.abc import Callable
from io import BytesIO
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, TiffImagePlugin
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.PpmImagePlugin import PpmImageFile
from PIL.WebPImagePlugin import WebPImageFile

from model.errors import BrokenImageError, InputError, LimitError, UnsupportedImageError
from model.images.avif import AvifFile
from model.images.boxes import check_boxes
from model.images.colour import colour_notes, is_deep, load, load_deep, rawmode_of, to_srgb
from model.images.exif import exif_of
from model.images.tiff import check_tiff, count_tiff_pages
from model.types import Limits, Pixels

T = TypeVar("T")

_MAX_JPEG_SCANS = 256  # encoders write about 10; every scan is a pass over the whole picture, in a few bytes
# Segments of 64 KB, which Pillow joins and looks into when it opens a file; cameras write one.
_MAX_JPEG_EXIF = 16
_MAX_PYTHON_DECODED = 4 << 20  # bytes; Pillow's Python decoders (plain PPM, RLE BMP) take 1 s per MB
_MAX_COUNTED_FRAMES = 1000
# Plugins that read a header byte by byte take seconds for each MB.
_READS, _BYTES_A_READ = 100_000, 64
_MAX_COUNTED_GIF = 8 << 20  # bytes; counting walks the whole file


class Picture(NamedTuple):
    """A picture as the codec takes it.

    Attributes:
        array: [H, W, 3] RGB, or [H, W, 4] RGB and alpha where something is transparent; sRGB, upright.
        notes: what was changed on the way, as short ASCII tokens (see the module's docstring).
    """

    array: Pixels
    notes: tuple[str, ...]


class _File(BytesIO):
    """A file in memory that may be read in so many pieces; raises BrokenImageError above."""

    def __init__(self, data: bytes, *, reads: int) -> None:
        super().__init__(data)
        self._left = reads

    def read(self, size: int | None = -1, /) -> bytes:
        """See `BytesIO`."""
        self._left -= 1
        if self._left < 0:
            raise BrokenImageError(
                f"a header of too many pieces, in a picture of {len(self.getbuffer())} bytes"
            )
        return super().read(size)


class _Kind(NamedTuple):
    """A format that we read: its name, the pattern of its first bytes, Pillow's class for it, and its suffixes."""

    name: str
    magic: re.Pattern[bytes]
    open: Callable[[BytesIO], ImageFile.ImageFile]
    suffixes: tuple[str, ...]


def _open_heic(file: BytesIO) -> ImageFile.ImageFile:
    try:
        from pillow_heif import HeifImageFile
    except ImportError as exc:
        raise UnsupportedImageError("this is HEIC, which is read with the extra `heif` of cwic") from exc
    image: ImageFile.ImageFile = HeifImageFile(file)
    return image


# JpegImageFile itself, not Pillow's factory: a phone's second picture (a gain map) is no second frame.
_KINDS = (
    _Kind("PNG", re.compile(rb"\x89PNG\r\n\x1a\n"), PngImageFile, (".png", ".apng")),
    _Kind("JPEG", re.compile(rb"\xff\xd8\xff"), JpegImageFile, (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo")),
    _Kind("WebP", re.compile(rb"RIFF.{4}WEBP", re.DOTALL), WebPImageFile, (".webp",)),
    _Kind(
        "AVIF",
        re.compile(rb".{4}ftyp(avif|avis|.{8}(.{4}){0,12}?(avif|avis))", re.DOTALL),
        AvifFile,
        (".avif",),
    ),
    _Kind(
        "HEIC",
        re.compile(rb".{4}ftyp(hei[cxms]|hev[cxms]|mif1|msf1)", re.DOTALL),
        _open_heic,
        (".heic", ".heif", ".hif"),
    ),
    _Kind("GIF", re.compile(rb"GIF8[79]a"), GifImageFile, (".gif",)),
    _Kind("TIFF", re.compile(rb"II[*+]\0|MM\0[*+]"), TiffImagePlugin.TiffImageFile, (".tif", ".tiff")),
    _Kind("BMP", re.compile(rb"BM"), BmpImageFile, (".bmp", ".dib")),
    _Kind("PPM", re.compile(rb"P[1-6][\s#]"), PpmImageFile, (".ppm", ".pgm", ".pbm", ".pnm")),
)

SUFFIXES = frozenset(suffix for kind in _KINDS for suffix in kind.suffixes)
"""How names of pictures that are read end, in small letters."""

_JPEG_EXIF = re.compile(rb"\xff\xe1..Exif\0\0", re.DOTALL)

# Named in the refusal, so that people know what they sent.
_NOT_READ = (
    ("a .cwic file, which is decompressed, not compressed", re.compile(rb"CWIC")),
    ("PDF", re.compile(rb"%PDF")),
    ("PostScript", re.compile(rb"%!|\xc5\xd0\xd3\xc6")),
    ("SVG or XML", re.compile(rb"\s*<(\?xml|svg|!DOCTYPE svg)", re.IGNORECASE)),
    ("HTML", re.compile(rb"\s*<(!DOCTYPE html|html)", re.IGNORECASE)),
    ("JPEG XL", re.compile(rb"\xff\x0a|\0\0\0\x0cJXL ")),
    ("JPEG 2000", re.compile(rb"\xff\x4f\xff\x51|\0\0\0\x0cjP  ")),
    ("MP4 or MOV video", re.compile(rb".{4}ftyp", re.DOTALL)),
    ("Matroska or WebM video", re.compile(rb"\x1aE\xdf\xa3")),
    ("Photoshop", re.compile(rb"8BPS")),
    ("OpenEXR", re.compile(rb"\x76\x2f\x31\x01")),
    ("Radiance HDR", re.compile(rb"#\?")),
    ("Windows icon", re.compile(rb"\0\0[\x01\x02]\0(?!\0)")),
    ("TGA", re.compile(rb"\0\0[\x02\x03\x0a\x0b]\0\0")),
    ("QOI", re.compile(rb"qoif")),
    ("PAM", re.compile(rb"P7\s")),
    ("PFM, samples of floats", re.compile(rb"P[fF]\s")),
    ("DDS", re.compile(rb"DDS ")),
    ("ZIP", re.compile(rb"PK\x03\x04")),
    ("gzip", re.compile(rb"\x1f\x8b")),
)


def read_image(data: bytes, *, limits: Limits) -> Picture:
    """The first picture in a file's bytes, as 8-bit sRGB pixels, upright; safe from several threads at once.

    Reads PNG, JPEG, WebP, AVIF, GIF, TIFF, BMP and PPM, and HEIC with the extra `heif`. Nothing is decoded before the
    header's width and height are known to be within `limits`.

    Raises:
        LimitError: more pixels than `limits.max_pixels`, or a side longer than `limits.max_dimension`.
        UnsupportedImageError: another format, HEIC without the extra, or samples that have no faithful 8-bit form
            (float, HDR).
        BrokenImageError: damaged or cut short.
    """
    return _guarded(_read, data, limits)


def read_size(data: bytes, *, limits: Limits) -> tuple[int, int]:
    """Width and height by the header, before a possible turn; nothing is decoded. Raises what `read_image` raises."""
    return look_at(data, lambda image: image.size, limits=limits)


def look_at(data: bytes, look: Callable[[ImageFile.ImageFile], T], *, limits: Limits) -> T:
    """What a function finds in a picture of which nothing is decoded yet. Raises what `read_image` raises."""
    return _guarded(lambda data, kind, limits: look(_open(data, kind, limits)), data, limits)


def _guarded(read: Callable[[bytes, "_Kind", Limits], T], data: bytes, limits: Limits) -> T:
    """Call a function of a file of a known format; raises InputError for whatever Pillow raises."""
    _quieten_pillow()
    kind = _identify(data)
    try:
        return read(data, kind, limits)
    except InputError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as exc:
        found = re.search(r"\((\d+) pixels\)", str(exc))
        actual = int(found[1]) if found else limits.max_pixels + 1
        limit = min(limits.max_pixels, actual - 1)
        raise LimitError("max_pixels", limit=limit, actual=actual) from exc
    except MemoryError:
        raise
    except Exception as exc:  # Pillow's plugins raise nearly every type on hostile bytes
        text = f"{exc}"[:200] or type(exc).__name__
        if re.search(r"unsupported|not supported|unknown pixel mode", text, re.IGNORECASE):
            raise UnsupportedImageError(f"this kind of {kind.name} is not read: {text}") from exc
        raise BrokenImageError(f"{kind.name} of {len(data)} bytes cannot be decoded: {text}") from exc


def _quieten_pillow() -> None:
    """Ignore what Pillow's modules warn about, from any thread.

    They warn about metadata that we do not need, and about sizes that we have checked. `catch_warnings`
    would swap the process's filters under other threads; one filter that only names Pillow's modules, added
    once and left there, is safe. (A test runner that resets the filters gets it again.)
    """
    pattern = re.compile(r"PIL\.")
    if not any(entry[0] == "ignore" and entry[3] == pattern for entry in tuple(warnings.filters)):
        warnings.filterwarnings("ignore", category=Warning, module=pattern.pattern)


def _identify(data: bytes) -> _Kind:
    """The format by the first bytes; raises UnsupportedImageError with the name of what it is instead."""
    head = bytes(data[:64])
    if not head:
        raise BrokenImageError("the picture is empty: 0 bytes")
    for kind in _KINDS:
        if kind.magic.match(head):
            return kind
    known = "reads " + ", ".join(kind.name for kind in _KINDS)
    for name, magic in _NOT_READ:
        if magic.match(head):
            raise UnsupportedImageError(f"this is {name}; cwic {known}")
    raise UnsupportedImageError(f"no picture format begins with {head[:8].hex(' ')}; cwic {known}")


def _open(data: bytes, kind: _Kind, limits: Limits) -> ImageFile.ImageFile:
    """A picture of a known format, of which nothing is decoded; raises what Pillow raises."""
    if kind.name == "TIFF":
        check_tiff(data)
    if kind.name in ("AVIF", "HEIC"):
        check_boxes(data, name=kind.name, limits=limits)
    if kind.name == "JPEG" and (segments := sum(1 for _ in _JPEG_EXIF.finditer(data))) > _MAX_JPEG_EXIF:
        raise BrokenImageError(f"a JPEG has at most {_MAX_JPEG_EXIF} segments of EXIF, got {segments}")
    image = kind.open(_file(data, kind))
    width, height = image.size
    if width < 1 or height < 1:
        raise BrokenImageError(f"a picture has at least 1x1 pixels, got {width}x{height}")
    limits.check(width, height)
    return image


def _read(data: bytes, kind: _Kind, limits: Limits) -> Picture:
    """`read_image` of a known format; raises what Pillow raises."""
    image = _open(data, kind, limits)
    notes = _inspect(image, data)
    if frames := _frames(image, data):
        notes.append(f"first-frame-of-{frames}")
    size, turned = image.size, _turned_by_plugin(image)
    uncovered = _uncovered(image)
    if is_deep(image):
        notes.append("depth-16-to-8")
        colour, alpha = load_deep(image, reopen=lambda: kind.open(_file(data, kind)))
    else:
        if image.info.get("bit_depth", 8) > 8:  # of HEIC, which comes scaled
            notes.append("depth-16-to-8")
        colour, alpha = load(image)
    # The decoder's word against the header's, whose size has been checked.
    if sorted(image.size) != sorted(size):
        raise BrokenImageError(f"{kind.name} of {size} pixels by its header and {image.size} by its samples")
    colour, colour_notes = to_srgb(colour, profile=image.info.get("icc_profile"))
    notes += colour_notes
    array: Pixels = np.array(colour)  # [H, W, 3]; a copy, because Pillow's own view is read-only
    if uncovered is not None:
        alpha = np.where(uncovered, 0, 255 if alpha is None else alpha).astype(np.uint8)
    if alpha is not None and alpha.min() < 255:
        array = np.concatenate((array, alpha[..., None]), axis=2)
    elif alpha is not None:
        notes.append("alpha-opaque-dropped")
    orientation = _orientation(image, notes)
    if turned or orientation != 1:
        notes.append("orientation-applied")
    return Picture(np.ascontiguousarray(_turn(array, orientation)), tuple(notes))


def _file(data: bytes, kind: _Kind) -> _File:
    # Run-length BMP is decoded byte by byte; `_MAX_PYTHON_DECODED` bounds it.
    return _File(data, reads=_READS + len(data) // (1 if kind.name == "BMP" else _BYTES_A_READ))


def _inspect(image: ImageFile.ImageFile, data: bytes) -> list[str]:
    """Refuse by the header what would decode to wrong pixels or never end; notes of what it says."""
    if image.mode == "F":
        raise UnsupportedImageError("32-bit float samples have no fixed white point; convert to 8 or 16 bits")
    if image.mode == "I" and not isinstance(image, PpmImageFile):
        raise UnsupportedImageError("32-bit and signed integer samples are not read; convert to 8 or 16 bits")
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        if image.tag_v2.get(254, 0) & 1 or 50706 in image.tag_v2 or data[8:10] == b"CR":
            raise UnsupportedImageError(
                "this is a camera's raw file (a TIFF whose first picture is a thumbnail)"
            )
        if rawmode_of(image) in "RGBACMYKX" and max(image.tag_v2.get(258, (8,))) > 8:
            raise UnsupportedImageError(
                "TIFF with 16-bit samples in separate uncompressed planes is not read"
            )
    if len(data) > _MAX_PYTHON_DECODED and image.tile and image.tile[0].codec_name in Image.DECODERS:
        raise UnsupportedImageError(
            "plain or odd-depth PPM and run-length BMP are read up to "
            f"{_MAX_PYTHON_DECODED} bytes, got {len(data)}"
        )
    # Entropy-coded data never holds this marker, so the count is exact but for embedded thumbnails.
    if isinstance(image, JpegImageFile) and (scans := data.count(b"\xff\xda")) > _MAX_JPEG_SCANS:
        raise BrokenImageError(f"a JPEG has at most {_MAX_JPEG_SCANS} scans, got {scans}")
    return colour_notes(image, data)


def _frames(image: ImageFile.ImageFile, data: bytes) -> str:
    """How many frames, in bounded time; empty for one."""
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        count = count_tiff_pages(data, most=_MAX_COUNTED_FRAMES)
    elif isinstance(image, GifImageFile) and len(data) > _MAX_COUNTED_GIF:
        count = _MAX_COUNTED_FRAMES + 1 if image.is_animated else 1
    else:
        count = getattr(image, "n_frames", 1)
    return "" if count <= 1 else str(count) if count <= _MAX_COUNTED_FRAMES else "many"


def _uncovered(image: ImageFile.ImageFile) -> NDArray[np.bool_] | None:
    """Where a GIF that is not loaded yet has screen but no frame, [H, W]: nothing is there, as browsers show it."""
    if not isinstance(image, GifImageFile) or not image.tile or image.tile[0].extents == (0, 0, *image.size):
        return None
    left, top, right, bottom = image.tile[0].extents or (0, 0, *image.size)
    uncovered = np.ones(image.size[::-1], np.bool_)
    uncovered[top:bottom, left:right] = False
    return uncovered


def _is_turn(orientation: object) -> bool:
    """Whether this is an EXIF orientation that moves pixels."""
    return isinstance(orientation, int) and 2 <= orientation <= 8


def _turned_by_plugin(image: ImageFile.ImageFile) -> bool:
    """Whether a picture that is not loaded yet will come upright from Pillow although it is not stored so."""
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        return _is_turn(image.tag_v2.get(0x0112))
    return image.format == "HEIF" and _is_turn(image.info.get("original_orientation"))


def _orientation(image: ImageFile.ImageFile, notes: list[str]) -> int:
    """The orientation, 1 to 8, of AVIF's boxes, or else of EXIF (or XMP); after loading: PNG may have them last."""
    if isinstance(image, TiffImagePlugin.TiffImageFile) or image.format == "HEIF":
        return 1  # the plugin has turned it
    try:
        value = exif_of(image).get(0x0112, 1)
    except Exception:  # noqa: BLE001 - a parser of untrusted bytes that raises nearly every type
        notes.append("exif-ignored")
        value = 1
    if isinstance(image, AvifFile):
        value = image.orientation
    return value if _is_turn(value) else 1


def _turn(array: Pixels, orientation: int) -> Pixels:
    """The upright view of a picture stored with this EXIF orientation (tag 0x0112)."""
    match orientation:
        case 2:
            return array[:, ::-1]
        case 3:
            return array[::-1, ::-1]
        case 4:
            return array[::-1]
        case 5:
            return array.swapaxes(0, 1)
        case 6:
            return np.rot90(array, -1)
        case 7:
            return array[::-1, ::-1].swapaxes(0, 1)
        case 8:
            return np.rot90(array)
        case _:
            return array
