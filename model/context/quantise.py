"""Which symbol stands for a value: the nearest, or the next one towards zero where rate and distortion say so."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.entropy.tables import FRACTIONS, UNARY, Ints, SymbolTables, split_mean

Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False, kw_only=True)
class Alphabet:
    """The symbols of a group, and how they are chosen.

    Attributes:
        low: smallest symbol.
        high: largest symbol.
        tables: probabilities of the decisions.
        weight: bits that a squared error of 1 is worth when choosing, float32 [size]; None rounds to nearest.
        codes_of: from symbols to the codes that networks see; 0 stands for a masked one.
    """

    low: int
    high: int
    tables: SymbolTables
    weight: Floats | None = None
    codes_of: Callable[[Ints], Ints] = lambda symbols: symbols


def rdo_quantise(y: Floats, mean: Ints, scale: Ints, alphabet: Alphabet, weight: Floats | None) -> Ints:
    """The nearest symbol, or the next one towards zero where that saves more bits than it costs, [N]."""
    nearest = np.clip(np.rint(y), alphabet.low, alphabet.high)
    if weight is not None:
        smaller = nearest - np.sign(nearest)
        centre, fraction = split_mean(np.clip(mean, alphabet.low * FRACTIONS, alphabet.high * FRACTIONS))
        row = scale * FRACTIONS + fraction
        bits = alphabet.tables.costs
        saved = bits[row, _column(nearest - centre)] - bits[row, _column(smaller - centre)]
        lost = weight * ((y - smaller) ** 2 - (y - nearest) ** 2)
        nearest = np.where(saved > lost, smaller, nearest)
    return nearest.astype(np.int32)


def _column(distance: NDArray[np.floating]) -> NDArray[np.intp]:
    column: NDArray[np.intp] = np.clip(distance, -UNARY - 1, UNARY + 1).astype(np.intp) + UNARY + 1
    return column
