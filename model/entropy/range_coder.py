"""Binary decisions to bytes and back, with the range coder of `constriction` (Bamler 2022, arXiv 2201.01741)."""

from typing import Protocol

import constriction
import numpy as np
from numpy.typing import NDArray

from model.entropy.tables import Floats, SymbolTables
from model.errors import PayloadError

Bits = NDArray[np.int32]
Index = NDArray[np.integer] | int


class Coder(Protocol):
    """Writes or reads binary decisions, N at a time; `bits` are given when writing and None when reading."""

    def code_bits(self, bits: Bits | None, tables: SymbolTables, row: Index, column: Index) -> Bits:
        """Decisions whose probabilities stand at [row, column] of the tables."""

    def code_bypass(self, bits: Bits | None, count: int) -> Bits:
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

    def code_bits(self, bits: Bits | None, tables: SymbolTables, row: Index, column: Index) -> Bits:
        """Append decisions."""
        return self._code(bits, tables.floats[row, column])

    def code_bypass(self, bits: Bits | None, count: int) -> Bits:
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

    def code_bits(self, bits: Bits | None, tables: SymbolTables, row: Index, column: Index) -> Bits:
        """The next decisions."""
        assert bits is None
        return self._code(tables.floats[row, column])

    def code_bypass(self, bits: Bits | None, count: int) -> Bits:
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
