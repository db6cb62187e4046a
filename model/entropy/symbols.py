"""Symbols to range-coded bytes and back, with probabilities from integer tables only.

A symbol is an integer with a predicted mean (in steps of 1 / FRACTIONS) and a scale index. It is written as
binary decisions about its distance d from the rounded mean: is d not zero? positive? is |d| above 1, 2, ...,
UNARY? and the rest as an Exp-Golomb number in bypass bits. Bounds of the alphabet settle decisions for free: a
two-valued code costs one decision at most. The probability of each decision comes from a table of 16-bit
integers that was made when the checkpoint was exported, so every machine uses the same numbers.
"""

import numpy as np
from numpy.typing import NDArray

from model.entropy.range_coder import Bits, Coder
from model.entropy.tables import FRACTIONS, MAX_ESCAPE_BITS, UNARY, Ints, SymbolTables, split_mean
from model.errors import PayloadError


def code_symbols(
    coder: Coder, tables: SymbolTables, *, mean: Ints, scale: Ints, low: int, high: int, values: Ints | None
) -> Ints:
    """Write `values` (encoder) or read them (decoder).

    Args:
        coder: where the decisions go to or come from.
        tables: their probabilities.
        mean: predicted means in steps of 1 / FRACTIONS, [N].
        scale: scale indices, 0 to SCALES - 1, [N].
        low: smallest symbol of the alphabet.
        high: largest symbol.
        values: the symbols, [N], within the alphabet; None when decoding.

    Returns:
        The symbols, [N].

    Raises:
        PayloadError: a decoded symbol is outside the alphabet.
    """
    centre, fraction = split_mean(np.clip(mean, low * FRACTIONS, high * FRACTIONS))
    row = scale * FRACTIONS + fraction
    out = centre.copy()
    offset = None if values is None else values - centre

    if low == high:
        return out
    moved = coder.code_bits(None if offset is None else _bits(offset != 0), tables, row, 0)
    at = np.flatnonzero(moved)
    centre, row = centre[at], row[at]
    offset = None if offset is None else offset[at]
    positive = _bits(centre < high)
    unknown = np.flatnonzero((centre > low) & (centre < high))  # at a bound of the alphabet it is known
    positive[unknown] = coder.code_bits(
        None if offset is None else _bits(offset[unknown] > 0), tables, row[unknown], 1
    )
    room = np.where(positive, high - centre, centre - low)
    distance = None if offset is None else np.abs(offset)
    found = np.ones(at.size, np.int32)
    more = np.flatnonzero(room > 1)
    for k in range(1, UNARY + 1):
        further = coder.code_bits(
            None if distance is None else _bits(distance[more] > k), tables, row[more], 2 * k + positive[more]
        )
        more = more[further != 0]
        found[more] = k + 1
        more = more[room[more] > k + 1]
    order = tables.escape_order[scale[at[more]]].astype(np.int32)
    found[more] += _code_escape(coder, order, None if distance is None else distance[more] - UNARY - 1)
    if np.any(found > room):
        raise PayloadError("a symbol is outside its alphabet")
    out[at] += np.where(positive, found, -found)
    return out


def _bits(condition: NDArray[np.bool_]) -> Bits:
    return condition.astype(np.int32)


def _code_escape(coder: Coder, order: Ints, rest: Ints | None) -> Ints:
    """Exp-Golomb numbers of the given orders, [N], in bypass bits: unary length, then the digits."""
    length = np.zeros_like(order)
    at = np.arange(order.size)
    target = None if rest is None else np.frexp((rest >> order) + 1)[1] - 1  # the binary logarithm, exactly
    while at.size:
        longer = coder.code_bypass(None if target is None else _bits(target[at] > length[at]), at.size)
        at = at[longer != 0]
        length[at] += 1
        if np.any(length[at] + order[at] > MAX_ESCAPE_BITS):
            raise PayloadError("a symbol is outside its alphabet")
    digits = length + order
    base = ((np.int32(1) << length) - 1) << order
    value = np.zeros_like(order)
    for bit in range(int(digits.max(initial=0)) - 1, -1, -1):
        at = np.flatnonzero(digits > bit)
        known = None if rest is None else ((rest[at] - base[at]) >> bit) & 1
        value[at] |= coder.code_bypass(known, at.size) << bit
    return base + value
