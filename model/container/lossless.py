"""Samples kept as they are: zlib over differences to the row above, modulo 256. Bytes and numpy only."""

import zlib

import numpy as np

from model.errors import PayloadError
from model.types import Pixels

_LEVEL = 6
_CHUNK_ROWS = 16


def pack(samples: Pixels) -> bytes:
    """The payload of samples, uint8 [H, W, C]."""
    payload = pack_below(samples, limit=None)
    assert payload is not None
    return payload


def pack_below(samples: Pixels, *, limit: int | None) -> bytes | None:
    """As `pack`, but None, and early, once the payload reaches `limit` bytes."""
    coder = zlib.compressobj(_LEVEL)
    parts: list[bytes] = []
    size = 0
    above = np.zeros_like(samples[:1])
    for top in range(0, len(samples), _CHUNK_ROWS):
        rows = samples[top : top + _CHUNK_ROWS]
        parts.append(coder.compress((rows - np.concatenate([above, rows[:-1]])).tobytes()))
        above = rows[-1:]
        size += len(parts[-1])
        if limit is not None and size >= limit:
            return None
    payload = b"".join([*parts, coder.flush()])
    return None if limit is not None and len(payload) >= limit else payload


def unpack(payload: bytes, shape: tuple[int, int, int]) -> Pixels:
    """The samples, uint8 [H, W, C]; raises PayloadError unless the payload holds exactly so many."""
    expected = shape[0] * shape[1] * shape[2]
    decoder = zlib.decompressobj()
    try:
        data = decoder.decompress(payload, expected + 1)
    except zlib.error as exc:
        raise PayloadError(f"samples cannot be decompressed: {exc}") from exc
    if len(data) != expected or not decoder.eof or decoder.unused_data:
        raise PayloadError(f"expected {expected} samples, got {len(data)}{'' if decoder.eof else ' or more'}")
    differences = np.frombuffer(data, np.uint8).reshape(shape)
    samples: Pixels = np.cumsum(differences, axis=0, dtype=np.uint8)
    return samples
