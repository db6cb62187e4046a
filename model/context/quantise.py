"""Which symbol stands for a value: the nearest residual from the mean, or the next towards zero where that pays."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from model.entropy.tables import FRACTIONS, UNARY, SymbolTables


@dataclass(frozen=True, eq=False, kw_only=True)
class Alphabet:
    """The symbols of a group, and what they stand for.

    Attributes:
        low: smallest symbol.
        high: largest symbol.
        tables: probabilities of the decisions.
        codes_of: from symbols to the codes that networks see, where these are not centred; 0 is a masked one.
        weights: of `Transforms.residual_weight` for each tune, float32 [tunes, size]; None where codes are not
            centred.
        costs: bits of residuals, [SCALES, 2 * UNARY + 3]; there where weights are.
    """

    low: int
    high: int
    tables: SymbolTables
    codes_of: Callable[[Tensor], Tensor] = lambda symbols: symbols
    weights: Tensor | None = None
    costs: Tensor | None = None

    @property
    def centred(self) -> bool:
        """Whether a code is the predicted mean plus a whole residual: a symbol counts from the mean's fraction."""
        return self.weights is not None

    @property
    def largest_code(self) -> int:
        """The largest magnitude of a code, in 1 / FRACTIONS."""
        return (max(-self.low, self.high) + 1) * FRACTIONS


@torch.no_grad()
def rdo_quantise(residual: Tensor, price: Callable[[Tensor], Tensor], weight: Tensor) -> Tensor:
    """The nearest integer, or the next one towards zero where that saves more bits than it costs; any shape.

    The one rate-distortion choice of training and coding: they differ in where the prices come from.

    Args:
        residual: values less their predicted means.
        price: bits of integers of the same shape.
        weight: bits that a squared error of 1 is worth; broadcasts.
    """
    nearest = residual.round()
    smaller = nearest - nearest.sign()
    saved = price(nearest) - price(smaller)
    lost = weight * ((residual - smaller) ** 2 - (residual - nearest) ** 2)
    return torch.where(saved > lost, smaller, nearest)


def choose(
    y: Tensor,
    mean: Tensor,
    centre: Tensor,
    scale: Tensor,
    alphabet: Alphabet,
    *,
    tunes: Tensor,
    strictness: Tensor | None,
) -> Tensor:
    """The symbols to write for values [N, size], int32.

    `tunes` [N] says which weight holds where, `strictness` [N] how many times as much, 1 if None; infinite for the
    nearest.
    """
    weights, costs = alphabet.weights, alphabet.costs
    if weights is None or costs is None:
        return y.round().clamp(alphabet.low, alphabet.high).int()

    def price(values: Tensor) -> Tensor:
        return costs[scale, values.long().clamp(-UNARY - 1, UNARY + 1) + UNARY + 1]

    weight = weights[tunes] if strictness is None else weights[tunes] * strictness[:, None]
    whole = rdo_quantise(y - mean / FRACTIONS, price, weight)
    return (centre + whole).clamp(alphabet.low, alphabet.high).int()
