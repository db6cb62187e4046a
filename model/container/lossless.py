"""Samples kept as they are: WebP lossless through Pillow. Pillow and numpy only.

A payload is the bitstream alone, which starts with its own signature and size: of the 20 bytes that a WebP file has
before it, the reader makes its own. One channel is coded as three that are equal, which costs nothing. A payload
that is cut short by more than a few bytes is refused as a rule: decoders take what is missing for zeros, and 64 bits
of these may be all that they still need. Bytes behind its end are not noticed, because decoders do not tell where
they stopped. The container's lengths and checks are there for both.
"""

import math
import zlib
from io import BytesIO

import numpy as np
from PIL import Image
from PIL.WebPImagePlugin import WebPImageFile

from model.errors import PayloadError
from model.types import Pixels

MAX_SIDE = 16383  # of a WebP picture

_METHOD, _EFFORT = 4, 90  # at 75 screenshots are 5 % larger; at 100, or by method 5 or 6, the time doubles
_SIGNATURE = 0x2F
_HEADS = 20

_ALWAYS_TRIED = 1 << 16  # pixels, which take at most 40 ms
_BLOCK_ROWS, _BLOCK_COLUMNS, _SAMPLED = 4, 128, 64  # blocks that an estimate looks at, one pixel of 64
_PALETTE = 256  # colours, that WebP codes as one channel
# What WebP makes of the blocks' deflated differences, at least: where few of them are zero, and where most are, so
# that there is much to find again. Seen: 0.39 to 0.79 of photographs, 0.09 to 0.65 of drawn ones (sharp text 0.12).
_ZEROS, _SHARES = (0.4, 0.65, 0.9, 1.0), (0.3, 0.06, 0.06, 0.0)


def pack(samples: Pixels) -> bytes:
    """The payload of samples, uint8 [H, W, C] of 1, 3 or 4 channels and at most MAX_SIDE pixels a side."""
    height, width, channels = samples.shape
    assert 0 < min(height, width) <= max(height, width) <= MAX_SIDE, f"{width}x{height} pixels"
    assert channels in (1, 3, 4), f"{channels} channels"
    coloured = np.repeat(samples, 3, axis=2) if channels == 1 else samples
    file = BytesIO()
    Image.fromarray(coloured).save(file, "WEBP", lossless=True, quality=_EFFORT, method=_METHOD, exact=True)
    return _bitstream(file.getvalue())


def pack_below(samples: Pixels, *, limit: int) -> bytes | None:
    """As `pack`, but None unless the payload is below `limit` bytes, and early where that is out of reach."""
    if not worth_trying(samples, limit=limit):
        return None
    payload = pack(samples)
    return payload if len(payload) < limit else None


def worth_trying(samples: Pixels, *, limit: int) -> bool:
    """A cheap guess whether the payload may come out below `limit` bytes; rather wrongly true than wrongly false."""
    pixels = samples.shape[0] * samples.shape[1]
    if pixels < _ALWAYS_TRIED:
        return True
    blocks = _blocks(samples)
    colours = blocks.reshape(-1, blocks.shape[3])
    packed = np.zeros((len(colours), 4), np.uint8)
    packed[:, : colours.shape[1]] = colours
    palette = len(np.unique(packed.view(np.uint32)))
    differences = _differences(blocks)
    zeros = float((differences == 0).all(axis=1).mean())
    deflated = len(zlib.compress(differences.tobytes(), 1))
    size = pixels * deflated / (differences.size // differences.shape[1])
    if palette <= _PALETTE:
        size = min(size, pixels * math.log2(palette) / 8)
    return bool(np.interp(zeros, _ZEROS, _SHARES) * size < limit)


def _blocks(samples: Pixels) -> Pixels:
    """Some blocks from all over a picture, [N, rows, columns, C]."""
    height, width, _ = samples.shape
    rows, columns = min(height, _BLOCK_ROWS), min(width, _BLOCK_COLUMNS)
    count = max(8, height * width // (rows * columns * _SAMPLED))
    tops = [(2 * k + 1) * (height - rows) // (2 * count) for k in range(count)]
    # By the golden ratio: no two in line.
    lefts = [int(k * 0.618034 % 1 * (width - columns + 1)) for k in range(count)]
    return np.stack(
        [samples[top : top + rows, left : left + columns] for top, left in zip(tops, lefts, strict=True)]
    )


def _differences(blocks: Pixels) -> Pixels:
    """Second differences, of red and blue those to green, [N, C, rows, columns]: slopes and greys become zeros."""
    channels = np.moveaxis(blocks, 3, 1).copy()
    if channels.shape[1] > 1:
        channels[:, [0, 2]] -= channels[:, [1]]
    across = channels[..., 1:] - channels[..., :-1] if channels.shape[3] > 1 else channels
    return across[:, :, 1:] - across[:, :, :-1] if channels.shape[2] > 1 else across


def unpack(payload: bytes, shape: tuple[int, int, int]) -> Pixels:
    """The samples, uint8 [H, W, C]; raises PayloadError unless the payload holds exactly these."""
    _check_head(payload, shape)
    samples = _decoded(payload)
    if samples is None:
        raise PayloadError(f"{len(payload)} bytes of lossless samples cannot be decoded")
    height, width, channels = shape
    if samples.shape not in ((height, width, 3), (height, width, max(channels, 3))):
        raise PayloadError(f"expected {width}x{height} samples of {channels} channels, got {samples.shape}")
    if channels == 4 and samples.shape[2] == 3:
        opaque = np.full((height, width, 1), 255, np.uint8)
        return np.concatenate([samples, opaque], axis=2)
    if channels == 1:
        if not (samples == samples[..., :1]).all():
            raise PayloadError("a single channel was coded as channels that are not equal")
        return np.ascontiguousarray(samples[..., :1])
    return samples


def _bitstream(file: bytes) -> bytes:
    """The bitstream of a WebP file that has nothing else."""
    length = int.from_bytes(file[16:_HEADS], "little")
    assert (file[:4], file[8:16]) == (b"RIFF", b"WEBPVP8L"), f"no simple WebP file: {file[:16]!r}"
    assert len(file) == _HEADS + length + length % 2, f"{len(file)} bytes for {length} of bitstream"
    return file[_HEADS : _HEADS + length]


def _file(payload: bytes) -> bytes:
    """The WebP file of a bitstream; chunks have even lengths."""
    chunk = b"VP8L" + len(payload).to_bytes(4, "little") + payload + bytes(len(payload) % 2)
    return b"RIFF" + (4 + len(chunk)).to_bytes(4, "little") + b"WEBP" + chunk


def _check_head(payload: bytes, shape: tuple[int, int, int]) -> None:
    """Signature, 14 bits of width - 1, 14 of height - 1, one of alpha, three of version."""
    if len(payload) < 6 or payload[0] != _SIGNATURE:
        raise PayloadError(f"no lossless samples: {payload[:5].hex() or 'nothing'}")
    bits = int.from_bytes(payload[1:5], "little")
    width, height, alpha, version = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1, bits >> 28 & 1, bits >> 29
    if (height, width) != shape[:2] or version or (alpha and shape[2] != 4):
        raise PayloadError(
            f"expected {shape[1]}x{shape[0]} samples of {shape[2]} channels, got {width}x{height} of"
            f" {4 if alpha else 3}, version {version}"
        )


def _decoded(payload: bytes) -> Pixels | None:
    """[H, W, 3 or 4], or None."""
    try:
        with WebPImageFile(BytesIO(_file(payload))) as image:
            image.load()
            return np.array(image)
    except (EOFError, OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return None
