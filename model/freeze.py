"""A trained network's floats to the integers that the codec runs on. Used when a checkpoint is exported."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from model.context import GroupContext
from model.entropy import (
    DECISIONS,
    FRACTIONS,
    PROBABILITY_ONE,
    SCALE_ZERO,
    SCALES,
    SCALES_PER_OCTAVE,
    UNARY,
    SymbolTables,
    above,
)
from model.integer import ACTIVATION_ONE, CODE_LIMIT, WEIGHT_MAX
from model.network import Network, scale_of

_EXPONENT_MAX = 20


def freeze(network: Network, *, map_tables: SymbolTables, code_tables: SymbolTables) -> dict[str, Tensor]:
    """All tensors of a checkpoint: the pixel path in float16, everything that makes probabilities in integers."""
    out = {"log_gain": network.log_gain.detach().cpu().float()}
    for part in ("analysis", "synthesis"):
        state = getattr(network, part).state_dict()
        out |= {f"{part}.{name}": tensor.cpu().half().contiguous() for name, tensor in state.items()}
    groups = {"map": network.context.map}
    groups |= {f"codes.{k}": group for k, group in enumerate(network.context.groups())}
    for prefix, group in groups.items():
        out |= {f"{prefix}.{name}": tensor for name, tensor in freeze_group(group).items()}
    out["saturation"] = saturation_table()
    out["tables.map"] = torch.from_numpy(map_tables.probabilities).clone()
    out["tables.codes"] = torch.from_numpy(code_tables.probabilities).clone()
    out["tables.escape_order"] = torch.from_numpy(code_tables.escape_order)
    return out


def freeze_group(group: GroupContext) -> dict[str, Tensor]:
    """A context model as integers: int16 weights, int64 biases, int64 exponents, by name."""
    first = {"side": _parameters(group.side), "local": _parameters(group.local)}
    width = group.spec.width
    first["previous"] = (
        _parameters(group.previous) if group.previous else (torch.zeros(width, 0, 3, 3), torch.zeros(width))
    )
    out = {
        "first.exponent": _exponent(*(weight for weight, _ in first.values())),
        "linear.exponent": _exponent(group.linear.weight),
    }
    out["linear.weight"] = _weight(group.linear.weight, out["linear.exponent"])
    for name, (weight, bias) in first.items():
        out[f"{name}.weight"] = _weight(weight, out["first.exponent"])
        out[f"{name}.bias"] = _bias(bias, out["first.exponent"])
    for name, (weight, bias) in {"hidden": _parameters(group.hidden), "out": _parameters(group.out)}.items():
        out[f"{name}.exponent"] = _exponent(weight)
        out[f"{name}.weight"] = _weight(weight, out[f"{name}.exponent"])[:, :, 0, 0]
        out[f"{name}.bias"] = _bias(bias, out[f"{name}.exponent"])
    return {name: tensor.cpu().contiguous() for name, tensor in out.items()}


def saturation_table() -> Tensor:
    """tanh(c / 2) of the codes c = -CODE_LIMIT..CODE_LIMIT as activations, int16."""
    codes = torch.arange(-CODE_LIMIT, CODE_LIMIT + 1, dtype=torch.float64)
    return torch.round(torch.tanh(codes / 2) * ACTIVATION_ONE).to(torch.int16)


def logistic_tables() -> SymbolTables:
    """The decisions' probabilities under the logistic distributions that training assumes."""
    index = torch.arange(SCALES, dtype=torch.float64) - SCALE_ZERO
    scale = scale_of(index / SCALES_PER_OCTAVE).numpy()[:, None]
    mean = (np.arange(FRACTIONS) / FRACTIONS - 0.5)[None]
    answers = np.empty((SCALES, FRACTIONS, DECISIONS))
    below = [_sigmoid((-k - 0.5 - mean) / scale) for k in range(UNARY + 1)]  # P(d < -k), d from the centre
    over = [_sigmoid((mean - k - 0.5) / scale) for k in range(UNARY + 1)]  # P(d > k)
    answers[..., 0] = below[0] + over[0]
    answers[..., 1] = over[0] / answers[..., 0]
    for k in range(1, UNARY + 1):
        answers[..., above(k, positive=0)] = below[k] / below[k - 1]
        answers[..., above(k, positive=1)] = over[k] / over[k - 1]
    order = np.clip(np.round(np.log2(np.maximum(scale[:, 0], 1))), 0, 10)
    return SymbolTables(to_probabilities(answers), order.astype(np.uint8))


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


def _sigmoid(x: NDArray[np.float64]) -> NDArray[np.float64]:
    y: NDArray[np.float64] = torch.sigmoid(torch.from_numpy(x)).numpy()
    return y


def _exponent(*weights: Tensor) -> Tensor:
    """The largest power of two at which all weights fit 16 bits."""
    largest = max(float(weight.detach().abs().max()) for weight in weights if weight.numel())
    exponent = next((e for e in range(_EXPONENT_MAX, -1, -1) if largest * 2**e <= WEIGHT_MAX), None)
    assert exponent is not None, f"a weight of {largest} does not fit 16 bits"
    return torch.tensor(exponent)


def _integers(values: Tensor, one: float) -> Tensor:
    return torch.round(values.detach().double() * one)


def _parameters(layer: nn.Conv2d) -> tuple[Tensor, Tensor]:
    assert layer.bias is not None
    return layer.weight, layer.bias


def _weight(weight: Tensor, exponent: Tensor) -> Tensor:
    return _integers(weight, 2.0 ** int(exponent)).to(torch.int16)


def _bias(bias: Tensor, exponent: Tensor) -> Tensor:
    return _integers(bias, 2.0 ** int(exponent) * ACTIVATION_ONE).to(torch.int64)
