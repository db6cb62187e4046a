"""The probabilities of all decisions about a symbol, as integers that were made when the checkpoint was exported.

A symbol is an integer with a predicted mean (in steps of 1 / FRACTIONS) and a scale index; `model.entropy.symbols`
says which decisions it is written as.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

FRACTIONS = 32  # steps of the mean between two integers
SCALES_PER_UNIT = 8  # scale index i stands for a log scale of (i - SCALE_ZERO) / SCALES_PER_UNIT
SCALE_ZERO = 48
SCALES = 2 * SCALE_ZERO + 1
UNARY = 14  # distances up to here have decisions of their own
DECISIONS = 2 + 2 * UNARY  # d != 0, d > 0, then |d| > k for d < 0 and d > 0, k = 1..UNARY
PROBABILITY_ONE = 65536
MAX_ESCAPE_BITS = 24
Ints = NDArray[np.int32]
Floats = NDArray[np.float64]


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
        if order.shape != (SCALES,) or order.dtype != np.uint8 or order.max() >= MAX_ESCAPE_BITS:
            raise ValueError(
                f"escape orders are uint8 below {MAX_ESCAPE_BITS}, got {order.dtype} {order.shape}"
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
    def residual_costs(self) -> NDArray[np.float32]:
        """The costs of distances from a mean that is an integer, [SCALES, 2 * UNARY + 3]."""
        return self.costs.reshape(SCALES, FRACTIONS, -1)[:, FRACTIONS // 2].copy()

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
