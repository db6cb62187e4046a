"""The quality plane of a tile to bytes and back: offsets from the file's quality, from coarse to fine.

Each is predicted as the median of its nearest neighbours from earlier passes, which keeps the borders of regions;
one scale holds for the whole tile. There is nothing to learn: integers only.
"""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from model.context.passes import COARSE_TO_FINE, REACH, pass_grid, passes_of, seen_taps
from model.entropy.range_coder import Coder, Decoder, Encoder
from model.entropy.symbols import code_symbols
from model.entropy.tables import FRACTIONS, SCALES, Ints, SymbolTables
from model.errors import PayloadError

_SCALE_STEP = 4  # between the scales that are tried
Index = NDArray[np.intp]


def pack_offsets(offsets: Ints, tables: SymbolTables, *, limit: int) -> bytes:
    """The payload of offsets, int32 [h, w], of at most `limit` each; nothing where all are zero."""
    if not offsets.any():
        return b""
    passes: list[tuple[Ints, Ints]] = []  # means and offsets: the same whatever the scale

    def known(means: Ints, rows: Index, columns: Index) -> Ints:
        passes.append((means, offsets[rows, columns]))
        return passes[-1][1]

    _walk(offsets.shape, known)
    payloads = []
    for scale in range(0, SCALES, _SCALE_STEP):
        coder = Encoder()
        for means, values in passes:
            _code(coder, tables, means, values, scale=scale, limit=limit)
        payloads.append(bytes([scale]) + coder.finish())
    return min(payloads, key=len)


def unpack_offsets(payload: bytes, tables: SymbolTables, shape: tuple[int, int], *, limit: int) -> Ints:
    """The offsets, int32 [h, w]; raises PayloadError for what `pack_offsets` does not write."""
    if not payload:
        return np.zeros(shape, np.int32)
    if payload[0] >= SCALES:
        raise PayloadError(f"a plane has scale {payload[0]} of {SCALES}")
    coder = Decoder(payload[1:])

    def read(means: Ints, rows: Index, columns: Index) -> Ints:
        del rows, columns
        return _code(coder, tables, means, None, scale=payload[0], limit=limit)

    offsets = _walk(shape, read)
    coder.finish()
    return offsets


def _code(
    coder: Coder, tables: SymbolTables, means: Ints, values: Ints | None, *, scale: int, limit: int
) -> Ints:
    scales = np.full(len(means), scale, np.int32)
    return code_symbols(coder, tables, mean=means, scale=scales, low=-limit, high=limit, values=values)


def _walk(shape: tuple[int, ...], coding: Callable[[Ints, Index, Index], Ints]) -> Ints:
    """The offsets of all passes; `coding` takes a pass's means, rows and columns, [N], and says its offsets."""
    height, width = shape
    grid = pass_grid(COARSE_TO_FINE, height, width, device=torch.device("cpu")).numpy()
    padded = np.zeros((height + 2 * REACH, width + 2 * REACH), np.int32)
    there = np.zeros(padded.shape, bool)
    inside = np.s_[REACH : REACH + height, REACH : REACH + width]
    for step in range(passes_of(COARSE_TO_FINE)):
        rows, columns = np.nonzero(grid == step)
        means = _means(padded, there, rows + REACH, columns + REACH, step)
        padded[inside][rows, columns] = coding(means, rows, columns)
        there[inside][rows, columns] = True
    return padded[inside].copy()


def _means(known: Ints, there: NDArray[np.bool_], rows: Index, columns: Index, step: int) -> Ints:
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
