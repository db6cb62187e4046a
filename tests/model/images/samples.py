"""Picture files of every kind of sample, and how the tests read them."""

import struct
import zlib
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from model.images.files import Picture, read_image
from model.types import Limits, Pixels


def read(data: bytes) -> Picture:
    return read_image(data, limits=Limits())


def smooth(height: int = 24, width: int = 40) -> Pixels:
    """A picture that every codec keeps well, and that no flip or turn maps to itself."""
    y, x = np.mgrid[0:height, 0:width]
    return np.stack((x * 200 // width, y * 180 // height + 30, 255 - x * 120 // width), axis=-1).astype(
        np.uint8
    )


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
