"""Counts of the decisions that real pictures need, to fit a checkpoint's probability tables to them."""

import math
import threading
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from model.codec import Codec
from model.entropy.fit import calibrated_tables
from model.entropy.range_coder import Bits, Index
from model.entropy.tables import SymbolTables
from model.options import EncodeOptions
from model.types import Pixels


class DecisionCounter:
    """A sink that writes nothing and counts the answers to each decision of each set of tables.

    Tiles are coded in several threads, and all of them may share one.
    """

    def __init__(self) -> None:
        self._counts: dict[SymbolTables, NDArray[np.int64]] = {}
        self._lock = threading.Lock()

    def code_bits(self, bits: Bits | None, tables: SymbolTables, row: Index, column: Index) -> Bits:
        """Count decisions."""
        assert bits is not None
        shape = (*tables.floats.shape, 2)
        cell = (np.asarray(row) * shape[1] + column) * 2 + bits
        found = np.bincount(cell, minlength=math.prod(shape)).reshape(shape)
        with self._lock:
            self._counts[tables] = self._counts.get(tables, 0) + found
        return bits

    def code_bypass(self, bits: Bits | None, count: int) -> Bits:
        """Pass over open decisions."""
        assert bits is not None
        assert bits.size == count
        return bits

    def finish(self) -> bytes:
        """Nothing was written."""
        return b""

    def fitted(self, tables: SymbolTables) -> SymbolTables:
        """The tables with probabilities fitted to what was counted for them."""
        counts = self._counts[tables].reshape(*tables.probabilities.shape, 2)
        return calibrated_tables(tables, counts)


def fit_tables(
    codec: Codec, pictures: Iterable[tuple[Pixels, EncodeOptions]]
) -> tuple[SymbolTables, SymbolTables]:
    """The codec's tables for importance maps and for codes, fitted to pictures, each coded with its options."""
    counter = DecisionCounter()
    for picture, options in pictures:
        codec.write_to(lambda: counter, picture, options)
    map_tables, code_tables = codec.tables
    return counter.fitted(map_tables), counter.fitted(code_tables)
