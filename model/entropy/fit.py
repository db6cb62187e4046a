"""Tables fitted to what was counted on real pictures, when a checkpoint is exported."""

import numpy as np
from numpy.typing import NDArray

from model.entropy.tables import PROBABILITY_ONE, SymbolTables


def calibrated_tables(
    tables: SymbolTables, counts: NDArray[np.int64], *, weight: float = 64.0
) -> SymbolTables:
    """Tables that blend the model's probabilities with what was counted on real pictures.

    Args:
        tables: the prior.
        counts: answers no and yes of each decision, int64 [SCALES, FRACTIONS, DECISIONS, 2].
        weight: how many decisions the prior is worth.
    """
    prior = tables.probabilities / np.float64(PROBABILITY_ONE)
    yes = (counts[..., 1] + weight * prior) / (counts.sum(-1) + weight)
    return SymbolTables(to_probabilities(yes), tables.escape_order)


def to_probabilities(answers: NDArray[np.float64]) -> NDArray[np.uint16]:
    """Probabilities in 1 / PROBABILITY_ONE, never 0 or 1; undefined ones (0 / 0 far in a tail) become fair."""
    scaled = np.round(np.nan_to_num(answers, nan=0.5) * PROBABILITY_ONE)
    return np.clip(scaled, 16, PROBABILITY_ONE - 16).astype(np.uint16)
