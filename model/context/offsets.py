"""The quality plane of a tile to bytes and back: offsets from the file's quality, from coarse to fine.

Each is predicted as the median of its nearest neighbours from earlier passes, which keeps the borders of regions;
one scale holds for the whole tile. There is nothing to learn: integers only.
"""

import numpy as np
import torch
from numpy.typing import NDArray

from model.context.passes import COARSE_TO_FINE, REACH, pass_grid, seen_taps
from model.entropy.range_coder import Coder, Decoder, Encoder
from model.entropy.symbols import code_symbols
from model.entropy.tables import FRACTIONS, SCALES, Ints, SymbolTables
from model.errors import PayloadError

_PASSES = 5
_SCALE_STEP = 4  # between the scales that are tried


def pack_offsets(offsets: Ints, tables: SymbolTables, *, limit: int) -> bytes:
    """The payload of offsets, int32 [h, w], of at most `limit` each; nothing where all are zero."""
    if not offsets.any():
        return b""
    payloads = []
    for scale in range(0, SCALES, _SCALE_STEP):
        coder = Encoder()
        _walk(coder, tables, offsets.shape, scale, limit, offsets)
        payloads.append(bytes([scale]) + coder.finish())
    return min(payloads, key=len)


def unpack_offsets(payload: bytes, tables: SymbolTables, shape: tuple[int, int], *, limit: int) -> Ints:
    """The offsets, int32 [h, w]; raises PayloadError for what `pack_offsets` does not write."""
    if not payload:
        return np.zeros(shape, np.int32)
    if payload[0] >= SCALES:
        raise PayloadError(f"a plane has scale {payload[0]} of {SCALES}")
    coder = Decoder(payload[1:])
    offsets = _walk(coder, tables, shape, payload[0], limit, None)
    coder.finish()
    return offsets


def _walk(
    coder: Coder,
    tables: SymbolTables,
    shape: tuple[int, ...],
    scale: int,
    limit: int,
    offsets: Ints | None,
) -> Ints:
    height, width = shape
    grid = pass_grid(COARSE_TO_FINE, height, width, device=torch.device("cpu")).numpy()
    padded = np.zeros((height + 2 * REACH, width + 2 * REACH), np.int32)
    there = np.zeros(padded.shape, bool)
    inside = np.s_[REACH : REACH + height, REACH : REACH + width]
    for step in range(_PASSES):
        rows, columns = np.nonzero(grid == step)
        means = _means(padded, there, rows + REACH, columns + REACH, step)
        found = code_symbols(
            coder,
            tables,
            mean=means,
            scale=np.full(len(rows), scale, np.int32),
            low=-limit,
            high=limit,
            values=None if offsets is None else offsets[rows, columns],
        )
        padded[inside][rows, columns] = found
        there[inside][rows, columns] = True
    return padded[inside].copy()


def _means(
    known: Ints, there: NDArray[np.bool_], rows: NDArray[np.intp], columns: NDArray[np.intp], step: int
) -> NDArray[np.int32]:
    """Medians of the nearest neighbours, in 1 / FRACTIONS, [N]; 0 where there are none."""
    taps = seen_taps(COARSE_TO_FINE, step)
    nearest = min((dy * dy + dx * dx for dy, dx in taps), default=0)
    ring = [(dy, dx) for dy, dx in taps if dy * dy + dx * dx == nearest]
    means = np.zeros(len(rows), np.int32)
    if ring:
        values = np.stack([known[rows + dy, columns + dx] for dy, dx in ring]) * FRACTIONS
        absent = np.stack([~there[rows + dy, columns + dx] for dy, dx in ring])
        means[:] = np.ma.median(np.ma.array(values, mask=absent), axis=0).filled(0)  # type: ignore[no-untyped-call]
    return means
