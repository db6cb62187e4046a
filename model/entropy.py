"""Symbols to range-coded bytes and back, with probabilities from integer tables only.

A symbol is an integer with a predicted mean (in steps of 1 / FRACTIONS) and a scale index. It is written as
binary decisions about its distance d from the rounded mean: is d zero? positive? is |d| above 1, 2, ...,
UNARY? and the rest as an Exp-Golomb number of fair bits. Bounds of the alphabet settle decisions for free: a
two-valued code costs one decision at most. The probability of each decision comes from a table of 16-bit
integers that was made when the checkpoint was exported, so every machine uses the same numbers.

The range coder itself is `constriction` (Bamler 2022, arXiv 2201.01741).
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import constriction
import numpy as np
from numpy.typing import NDArray

from model.errors import PayloadError

FRACTIONS = 32  # steps of the mean between two integers
SCALES_PER_OCTAVE = 8  # scale index i stands for exp((i - SCALE_ZERO) / SCALES_PER_OCTAVE)
SCALE_ZERO = 48
SCALES = 2 * SCALE_ZERO + 1
UNARY = 14  # distances up to here have decisions of their own
DECISIONS = 2 + 2 * UNARY  # zero?, positive?, then |d| > k for d < 0 and d > 0, k = 1..UNARY
PROBABILITY_ONE = 65536
_MAX_ESCAPE_BITS = 24

Ints = NDArray[np.int32]
Bits = NDArray[np.int32]
Floats = NDArray[np.float64]
Index = NDArray[np.integer] | int


class Coder(Protocol):
    """Writes or reads binary decisions, N at a time; `bits` are given when writing and None when reading."""

    def decide(self, bits: Bits | None, tables: "SymbolTables", row: Index, column: Index) -> Bits:
        """Decisions whose probabilities stand at [row, column] of the tables."""

    def fair(self, bits: Bits | None, count: int) -> Bits:
        """Decisions that are open."""


class Sink(Coder, Protocol):
    """A coder that writes."""

    def finish(self) -> bytes:
        """The payload."""


class Encoder:
    """Writes decisions to bytes."""

    def __init__(self) -> None:
        self._coder = constriction.stream.queue.RangeEncoder()
        self._model = constriction.stream.model.Bernoulli(perfect=False)

    def decide(self, bits: Bits | None, tables: "SymbolTables", row: Index, column: Index) -> Bits:
        """Append decisions."""
        return self._code(bits, tables.floats[row, column])

    def fair(self, bits: Bits | None, count: int) -> Bits:
        """Append open decisions."""
        return self._code(bits, np.full(count, 0.5))

    def _code(self, bits: Bits | None, probabilities: Floats) -> Bits:
        assert bits is not None
        if bits.size:
            self._coder.encode(bits, self._model, probabilities)
        return bits

    def finish(self) -> bytes:
        """The payload."""
        return _payload(self._coder)


class Decoder:
    """Reads decisions from a payload, and proves at the end that they account for all of it."""

    def __init__(self, payload: bytes) -> None:
        padded = payload + bytes(-len(payload) % 4)
        self._payload = payload
        self._coder = constriction.stream.queue.RangeDecoder(np.frombuffer(padded, ">u4").astype(np.uint32))
        self._model = constriction.stream.model.Bernoulli(perfect=False)
        self._mirror = constriction.stream.queue.RangeEncoder()

    def decide(self, bits: Bits | None, tables: "SymbolTables", row: Index, column: Index) -> Bits:
        """The next decisions."""
        assert bits is None
        return self._code(tables.floats[row, column])

    def fair(self, bits: Bits | None, count: int) -> Bits:
        """The next open decisions."""
        assert bits is None
        return self._code(np.full(count, 0.5))

    def _code(self, probabilities: Floats) -> Bits:
        if not probabilities.size:
            return np.empty(0, np.int32)
        try:
            decoded: Bits = self._coder.decode(self._model, probabilities)
        except AssertionError as exc:  # how constriction reports a state that no encoder reaches
            raise PayloadError("a payload cannot have been written by an encoder") from exc
        self._mirror.encode(decoded, self._model, probabilities)
        return decoded

    def finish(self) -> None:
        """Raise PayloadError unless encoding what was read gives the same payload."""
        if _payload(self._mirror) != self._payload:
            raise PayloadError(f"a payload of {len(self._payload)} bytes does not end where its symbols do")


def _payload(encoder: constriction.stream.queue.RangeEncoder) -> bytes:
    words: NDArray[np.uint32] = encoder.get_compressed()
    return words.astype(">u4").tobytes().rstrip(b"\0")


@dataclass(frozen=True, eq=False)
class SymbolTables:
    """The probabilities of all decisions, and how long the rest of an escaped symbol is expected to be.

    Attributes:
        probabilities: uint16 [SCALES, FRACTIONS, DECISIONS], of the answer yes, in 1 / PROBABILITY_ONE.
        escape_order: uint8 [SCALES], order of the Exp-Golomb number.
    """

    probabilities: NDArray[np.uint16]
    escape_order: NDArray[np.uint8]

    def __post_init__(self) -> None:
        """Raise ValueError for what a damaged checkpoint could break."""
        table, order = self.probabilities, self.escape_order
        if table.shape != (SCALES, FRACTIONS, DECISIONS) or table.dtype != np.uint16 or not table.all():
            raise ValueError(f"probabilities are uint16 above 0, got {table.dtype} {table.shape}")
        if order.shape != (SCALES,) or order.dtype != np.uint8 or order.max() >= _MAX_ESCAPE_BITS:
            raise ValueError(
                f"escape orders are uint8 below {_MAX_ESCAPE_BITS}, got {order.dtype} {order.shape}"
            )

    @cached_property
    def floats(self) -> Floats:
        """The probabilities as exact float64, one row for each scale and fraction."""
        return self.probabilities.reshape(-1, DECISIONS) / np.float64(PROBABILITY_ONE)

    @cached_property
    def costs(self) -> NDArray[np.float32]:
        """Bits of distance d at column d + UNARY + 1, [SCALES * FRACTIONS, 2 * UNARY + 3]; ends escape."""
        p = self.floats
        yes, no = -np.log2(p), -np.log2(1 - p)
        costs = np.zeros((len(p), 2 * UNARY + 3), np.float32)
        costs[:, UNARY + 1] = no[:, 0]
        for positive in (0, 1):
            total = yes[:, 0] + (yes if positive else no)[:, 1]
            for k in range(1, UNARY + 2):
                stop = no[:, above(k, positive=positive)] if k <= UNARY else 2.0 * self._escape_bits
                costs[:, UNARY + 1 + (k if positive else -k)] = total + stop
                if k <= UNARY:
                    total = total + yes[:, above(k, positive=positive)]
        return costs

    @property
    def _escape_bits(self) -> NDArray[np.float64]:
        return np.repeat(self.escape_order.astype(np.float64) / 2 + 0.5, FRACTIONS)


def above(k: int, *, positive: int) -> int:
    """The column of the decision |d| > k."""
    return 2 * k + positive


def split_mean(mean: Ints) -> tuple[Ints, Ints]:
    """A mean in steps of 1 / FRACTIONS as the nearest integer and the remainder, 0 to FRACTIONS - 1."""
    shifted = mean + FRACTIONS // 2
    return shifted // FRACTIONS, shifted % FRACTIONS


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
    moved = coder.decide(None if offset is None else _bits(offset != 0), tables, row, 0)
    at = np.flatnonzero(moved)
    centre, row = centre[at], row[at]
    offset = None if offset is None else offset[at]
    positive = _bits(centre < high)
    unknown = np.flatnonzero((centre > low) & (centre < high))  # at a bound of the alphabet it is known
    positive[unknown] = coder.decide(
        None if offset is None else _bits(offset[unknown] > 0), tables, row[unknown], 1
    )
    room = np.where(positive, high - centre, centre - low)
    distance = None if offset is None else np.abs(offset)
    found = np.ones(at.size, np.int32)
    more = np.flatnonzero(room > 1)
    for k in range(1, UNARY + 1):
        further = coder.decide(
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
    """Exp-Golomb numbers of the given orders, [N], in fair bits: unary length, then the digits."""
    length = np.zeros_like(order)
    at = np.arange(order.size)
    target = None if rest is None else np.floor(np.log2((rest >> order) + 1)).astype(np.int32)
    while at.size:
        longer = coder.fair(None if target is None else _bits(target[at] > length[at]), at.size)
        at = at[longer != 0]
        length[at] += 1
        if np.any(length[at] + order[at] > _MAX_ESCAPE_BITS):
            raise PayloadError("a symbol is outside its alphabet")
    digits = length + order
    base = ((np.int32(1) << length) - 1) << order
    value = np.zeros_like(order)
    for bit in range(int(digits.max(initial=0)) - 1, -1, -1):
        at = np.flatnonzero(digits > bit)
        known = None if rest is None else ((rest[at] - base[at]) >> bit) & 1
        value[at] |= coder.fair(known, at.size) << bit
    return base + value
