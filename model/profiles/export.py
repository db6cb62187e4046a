"""A trained network's floats to the integers that the codec runs on. Used when a checkpoint is exported."""

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from model.config import CodecConfig
from model.context.integer import (
    ACTIVATION_ONE,
    FLOAT32_EXACT,
    WEIGHT_MAX,
    FirstProducts,
    absent_layers,
    first_products,
)
from model.context.network import COARSE, LINEAR_SCALE, GroupContext
from model.context.passes import specs_of
from model.context.rates import scale_of
from model.entropy.fit import to_probabilities
from model.entropy.tables import (
    DECISIONS,
    FRACTIONS,
    SCALE_ZERO,
    SCALES,
    SCALES_PER_UNIT,
    UNARY,
    SymbolTables,
    above,
)
from model.profiles.cvpr2018.network import Cvpr2018Network
from model.profiles.cwic.network import CwicNetwork

_EXPONENT_MAX = 30
_LINEAR = ("along.weight", "linear.weight")  # whose products make means directly; they share an exponent
_SATURATED = 8  # tanh of half of it is 1 in all digits of an activation


def quantise(
    network: CwicNetwork | Cvpr2018Network, *, map_tables: SymbolTables, code_tables: SymbolTables
) -> dict[str, Tensor]:
    """All tensors of a checkpoint: the pixel path in float16, everything that makes probabilities in integers."""
    transforms = network.transforms
    out = {
        name: (tensor.float() if name in transforms.full_precision else tensor.half()).cpu().contiguous()
        for name, tensor in transforms.state_dict().items()
    }
    for prefix, group in network.context.named().items():
        out |= {f"{prefix}.{name}": tensor for name, tensor in quantise_group(group).items()}
    out["saturation"] = saturation_table()
    out["tables.map"] = torch.from_numpy(map_tables.probabilities).clone()
    out["tables.codes"] = torch.from_numpy(code_tables.probabilities).clone()
    out["tables.escape_order"] = torch.from_numpy(code_tables.escape_order)
    return out


def dequantise(tensors: Mapping[str, Tensor], config: CodecConfig) -> dict[str, Tensor]:
    """Float weights of a network from a checkpoint, to train on from; the inverse of `quantise` up to rounding."""
    specs = specs_of(config).named()
    integers = (*(f"{prefix}." for prefix in specs), "tables.", "saturation")
    out = {
        f"transforms.{name}": tensor.float()
        for name, tensor in tensors.items()
        if not name.startswith(integers)
    }
    for prefix, spec in specs.items():
        part = {
            name.removeprefix(f"{prefix}."): tensor.double()
            for name, tensor in tensors.items()
            if name.startswith(f"{prefix}.")
        }
        exponents = {
            name.removesuffix(".exponent"): 2.0**-exponent
            for name, exponent in part.items()
            if name.endswith(".exponent")
        }
        units = {"conditioning": _saturated(spec.conditions)}
        floats = {name: part[name] * exponents["linear"] for name in _LINEAR if name in part}
        if spec.passes > 1:
            units["local"] = _code_units(spec.size)
        if spec.previous:
            units["previous"] = _code_units(sum(spec.previous))
        for name, unit in units.items():
            floats[f"{name}.weight"] = part[f"{name}.weight"] * exponents["first"].view(-1, 1, 1, 1) / unit
            floats[f"{name}.bias"] = part[f"{name}.bias"] * exponents["first"]
        for name in ("hidden", "out"):
            floats[f"{name}.weight"] = (
                part[f"{name}.weight"][:, :, None, None] * exponents[name] * ACTIVATION_ONE
            )
            floats[f"{name}.bias"] = part[f"{name}.bias"] * exponents[name]
        out |= {f"context.{prefix}.{name}": tensor.float() for name, tensor in floats.items()}
    return out


def quantise_group(group: GroupContext) -> dict[str, Tensor]:
    """A context model as integers: int16 weights per unit of activation, int64 biases and exponents, by name."""
    spec = group.spec
    layers = {
        "conditioning": (group.conditioning, _saturated(spec.conditions)),
        "local": (group.local, _code_units(spec.size)),
        "previous": (group.previous, _code_units(sum(spec.previous))),
    }
    first = {
        name: (layer, layer.weight.detach().double().cpu() * units)
        for name, (layer, units) in layers.items()
        if layer is not None
    }
    scaled = {f"{name}.weight": weight for name, (_, weight) in first.items()}
    exponent = _exponent_of_products(first_products(spec, {**absent_layers(spec), **scaled}))
    out = {"first.exponent": exponent}
    for name, (layer, weight) in first.items():
        out[f"{name}.weight"] = _integers(weight, exponent.view(-1, 1, 1, 1)).to(torch.int16)
        out[f"{name}.bias"] = _bias(layer, exponent)
    for name, layer in {"hidden": group.hidden, "out": group.out}.items():
        weight = layer.weight.detach().double()[:, :, 0, 0] / ACTIVATION_ONE
        out[f"{name}.exponent"] = _exponent(weight)
        out[f"{name}.weight"] = _integers(weight, out[f"{name}.exponent"]).to(torch.int16)
        out[f"{name}.bias"] = _bias(layer, out[f"{name}.exponent"])
    linear = zip(_LINEAR, (group.along, group.linear), strict=True)
    means = {name: layer.weight for name, layer in linear if layer is not None}
    if means:
        out["linear.exponent"] = _exponent(*means.values())
        out |= {name: _integers(w, out["linear.exponent"]).to(torch.int16) for name, w in means.items()}
    return {name: tensor.cpu().contiguous() for name, tensor in out.items()}


def saturation_table() -> Tensor:
    """tanh(c / 2) of codes c = -L..L in steps of 1 / FRACTIONS as activations, int16; beyond L it is 1."""
    limit = _SATURATED * FRACTIONS
    codes = torch.arange(-limit, limit + 1, dtype=torch.float64) / FRACTIONS
    return torch.round(torch.tanh(codes / 2) * ACTIVATION_ONE).to(torch.int16)


def logistic_tables(*, binary: bool = False) -> SymbolTables:
    """The decisions' probabilities under the logistic distributions that training assumes.

    `binary` is for an alphabet of two symbols, where all of the far tail belongs to the other one.
    """
    index = torch.arange(SCALES, dtype=torch.float64) - SCALE_ZERO
    scale = scale_of(index / SCALES_PER_UNIT).numpy()[:, None]
    mean = (np.arange(FRACTIONS) / FRACTIONS - 0.5)[None]
    answers = np.empty((SCALES, FRACTIONS, DECISIONS))
    below = [_sigmoid((-k - 0.5 - mean) / scale) for k in range(UNARY + 1)]  # P(d < -k), d from the centre
    over = [_sigmoid((mean - k - 0.5) / scale) for k in range(UNARY + 1)]  # P(d > k)
    answers[..., 0] = np.maximum(below[0], over[0]) if binary else below[0] + over[0]
    answers[..., 1] = over[0] / answers[..., 0]
    for k in range(1, UNARY + 1):
        answers[..., above(k, positive=0)] = below[k] / below[k - 1]
        answers[..., above(k, positive=1)] = over[k] / over[k - 1]
    order = np.clip(np.round(np.log2(np.maximum(scale[:, 0], 1))), 0, 10)
    return SymbolTables(to_probabilities(answers), order.astype(np.uint8))


def _sigmoid(x: NDArray[np.float64]) -> NDArray[np.float64]:
    y: NDArray[np.float64] = torch.sigmoid(torch.from_numpy(x)).numpy()
    return y


def _saturated(channels: int) -> Tensor:
    """The float value of one unit of activation of each input channel, [channels, 1, 1]."""
    return torch.full((channels, 1, 1), 1 / ACTIVATION_ONE, dtype=torch.float64)


def _code_units(channels: int) -> Tensor:
    """The same for codes as `model.context.network.code_features` lays them out: coarse, then saturated."""
    coarse = torch.full((channels, 1, 1), 1 / (COARSE * LINEAR_SCALE), dtype=torch.float64)
    return torch.cat([coarse, _saturated(channels)])


def _exponent(*weights: Tensor) -> Tensor:
    """The largest power of two at which all weights fit 16 bits."""
    largest = max(float(weight.detach().abs().max()) for weight in weights)
    exponent = next((e for e in range(_EXPONENT_MAX, -1, -1) if largest * 2**e <= WEIGHT_MAX), None)
    assert exponent is not None, f"a weight of {largest} does not fit 16 bits"
    return torch.tensor(exponent)


def _exponent_of_products(products: FirstProducts) -> Tensor:
    """Of each output, the largest at which its weights fit 16 bits and each product is exact in float32."""
    every = (products.conditioning, *products.previous, products.local)
    largest = torch.stack([weight.double().abs().amax(0) for weight, _ in every]).amax(0)
    exponents = [WEIGHT_MAX / largest]
    for weight, inputs in every:
        rounded = inputs.sum() / 2  # what rounding the weights can add to a sum
        exponents.append((FLOAT32_EXACT - 1 - rounded) / (inputs.double() @ weight.double().abs()))
    exponent = torch.stack(exponents).amin(0).log2().floor().clamp_max(_EXPONENT_MAX).long()
    assert exponent.min() >= 0, f"weights of {float(largest.max())} do not fit"
    return exponent


def _integers(values: Tensor, exponent: Tensor) -> Tensor:
    return torch.round(values.detach().double() * 2.0 ** exponent.to(values.device).double())


def _bias(layer: nn.Conv2d, exponent: Tensor) -> Tensor:
    assert layer.bias is not None
    return _integers(layer.bias, exponent).to(torch.int64)
