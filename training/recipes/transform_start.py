"""A start for the paper's networks that codes pictures before the first step: a transform coder in their weights.

The networks keep their layers; only the weights that training starts from differ. The encoder's centre taps compute
a Karhunen-Loeve transform of 8x8 blocks, and bits that are a Gray code of each component: bit k is positive where a
zigzag with 2^k zeros is, so that every further bit halves the cells of the bits before it. The decoder's first layer
has one unit for each prefix of such a code, active where all its bits agree, and its later layers the inverse
transform. A masked bit (0) silences the units that need it, which leaves the coarser value. Channels are ordered by
use, so that the mask keeps the most useful ones.

ReLU layers carry a signed value as a pair: relu(v), relu(-v). Structured rows keep a small share of their random
weights, and the units that the coder leaves free keep all of them: they are what training has to work with.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from model.config import BLOCK
from model.profiles.cvpr2018.transforms import Decoder, Encoder, ReleasedResidualBlock
from training.recipes.klt import principal_components

SUB = 4  # pixels across that one position at quarter resolution stands for
SAMPLES = 3 * SUB * SUB
MIN_WIDTH = 2 * SAMPLES  # of the layers at quarter resolution: a pair for each sample
_MAX_BITS = 5
_RANDOM_SHARE = 0.03
_LOGIT_SPREAD = 1.5
_LEAST_SCALE = 1e-3  # of a component: an eighth of a grey level

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class EmbeddedQuantizer:
    """Nested cells of a component scaled to variance 1: each bit halves every cell of the bits before it.

    Attributes:
        splits: for bit 0, 1, 2, ... its 1, 2, 4, ... thresholds, ascending.
        means: of the cells of 0, 1, 2, ... bits, ascending.
        errors: mean squared error with 0, 1, 2, ... bits.
    """

    splits: tuple[Floats, ...]
    means: tuple[Floats, ...]
    errors: tuple[float, ...]

    @classmethod
    def fitted(cls, samples: Floats) -> "EmbeddedQuantizer":
        """Cells fitted to samples, [N]: each is split where two means explain it best."""
        cells = [np.sort(samples)]
        splits, means, errors = [], [np.array([samples.mean()])], [float(samples.var())]
        for _ in range(_MAX_BITS):
            at = [_best_split(cell) for cell in cells]
            splits.append(np.array([(cell[i - 1] + cell[i]) / 2 for cell, i in zip(cells, at, strict=True)]))
            cells = [half for cell, i in zip(cells, at, strict=True) for half in (cell[:i], cell[i:])]
            means.append(np.array([cell.mean() for cell in cells]))
            errors.append(sum(float(cell.var()) * len(cell) for cell in cells) / len(samples))
            if min(map(len, cells)) < 16:
                break
        return cls(tuple(splits), tuple(means), tuple(errors))


@dataclass(frozen=True, eq=False)
class Component:
    """One row of the transform: its basis [192], standard deviation, mean over blocks, and cells."""

    basis: Tensor
    scale: float
    mean: float
    quantizer: EmbeddedQuantizer


def start(encoder: Encoder, decoder: Decoder, blocks: Tensor) -> None:
    """Turn the random weights of both networks into a transform coder, in place.

    Args:
        encoder: of width MIN_WIDTH or more.
        decoder: of the same config.
        blocks: 8x8 blocks of training pictures, -1..1, float32 [N, 192], channels first.
    """
    channels, width = encoder.codes.out_channels, encoder.codes.in_channels // 2
    assert width >= MIN_WIDTH, f"a transform coder needs a width of {MIN_WIDTH}, got {width}"
    components = fitted_components(blocks, channels)
    room = Room(features=2 * width, corners=width * 7 // 8, prefixes=4 * width)
    bits = allocate(components, bits=channels, room=room)
    chosen = sorted({component for component, _ in bits})
    used = [components[index] for index in chosen]
    bits = [(chosen.index(component), bit) for component, bit in bits]
    with torch.no_grad():
        _start_encoder(encoder, used, bits)
        _start_decoder(decoder, used, bits, blocks.mean(0))


def fitted_components(blocks: Tensor, count: int) -> list[Component]:
    """The first components of the Karhunen-Loeve transform of blocks [N, D] that vary, largest variance first."""
    mean = blocks.mean(0)
    centred = blocks - mean
    basis = principal_components(centred)[:count]
    out = []
    for row, samples in zip(basis, (centred @ basis.T).T.double().numpy(), strict=True):
        scale = float(samples.std())
        if scale < _LEAST_SCALE:
            break
        out.append(Component(row, scale, float(row @ mean), EmbeddedQuantizer.fitted(samples / scale)))
    return out


class Room(NamedTuple):
    """Units that the networks have for the coder.

    Attributes:
        features: of the encoder at 1/8 resolution: a pair for each component, one for each further bit.
        corners: of the encoder's hidden layer: as many as the zigzag of each bit needs.
        prefixes: of the decoder's first layer: one for each value of each prefix of a component's code.
    """

    features: int
    corners: int
    prefixes: int

    def after(self, bit: int) -> "Room":
        """What is left when a component gets its bit 0, 1, 2, ..."""
        return Room(
            self.features - (1 if bit else 2), self.corners - _corners(bit), self.prefixes - (2 << bit)
        )


def allocate(components: list[Component], *, bits: int, room: Room) -> list[tuple[int, int]]:
    """The (component, bit) that each channel carries, for up to `bits` channels, as long as there is room.

    The first component's bits, which are mostly the block's mean, come first: every place needs them, and they cost
    least, because their neighbours tell most of them. The others follow by what they save.
    """
    chosen: list[tuple[int, int]] = []
    depth = [0] * len(components)

    def gain(index: int) -> float:
        errors, bit = components[index].quantizer.errors, depth[index]
        if bit + 1 >= len(errors) or min(room.after(bit)) < 0:
            return 0.0
        return components[index].scale ** 2 * (errors[bit] - errors[bit + 1])

    while len(chosen) < bits:
        best = max(range(len(components)), key=gain)
        if gain(best) <= 0:
            break
        room = room.after(depth[best])
        chosen.append((best, depth[best]))
        depth[best] += 1
    return sorted(chosen, key=lambda each: each[0] != 0)


def _start_encoder(encoder: Encoder, components: list[Component], bits: list[tuple[int, int]]) -> None:
    stem, merge, mix = (layer for layer in encoder.features if isinstance(layer, nn.Conv2d))
    _, fold, _ = (_quiet(encoder.features[i]) for i in (2, 5, 8))
    # Quarter resolution: a pair for each sample of the 4x4 sub-block in the middle of the 8x8 window.
    pixels = torch.zeros(SAMPLES, 3, 8, 8)
    pixels[:, :, 2:6, 2:6] = torch.eye(SAMPLES).view(SAMPLES, 3, SUB, SUB)
    _insert(stem, range(2 * SAMPLES), _signed_rows(pixels))
    # Eighth: a pair for each component, of variance 1, from the 2x2 sub-blocks in the middle of the 4x4 window.
    rows = torch.stack([c.basis / c.scale for c in components])
    rows = rows.view(-1, 3, 2, SUB, 2, SUB).permute(0, 1, 3, 5, 2, 4).reshape(-1, SAMPLES, 2, 2)
    window = torch.zeros(len(rows), 2 * SAMPLES, 4, 4)
    window[:, :, 1:3, 1:3] = torch.stack([rows, -rows], 2).flatten(1, 2)
    means = torch.tensor([-c.mean / c.scale for c in components])
    pairs = 2 * len(components)
    _insert(merge, range(pairs), _signed_rows(window), torch.stack([means, -means], 1).flatten())
    # One channel for each further bit: its zigzag, raised above zero.
    channel, corner = pairs, 0
    for index, (component, bit) in enumerate(bits):
        splits = components[component].quantizer.splits[bit]
        plus, minus = 2 * component, 2 * component + 1
        logit = torch.zeros(encoder.codes.in_channels)
        if bit == 0:
            logit[plus], logit[minus] = _LOGIT_SPREAD, -_LOGIT_SPREAD
            _insert(encoder.codes, [index], logit[None], -_LOGIT_SPREAD * torch.tensor(splits).float())
            continue
        zigzag = _Zigzag(splits)
        hidden = torch.zeros(len(zigzag.signs), encoder.codes.in_channels)
        hidden[:, plus], hidden[:, minus] = zigzag.signs, -zigzag.signs
        units = range(corner, corner + len(hidden))
        _insert(fold.first, units, hidden, -zigzag.signs * zigzag.corners)
        out = torch.zeros(fold.second.in_channels)
        out[units.start : units.stop] = zigzag.slopes
        _insert(merge, [channel], torch.zeros(1, 2 * SAMPLES))
        _insert(fold.second, [channel], out[None], torch.tensor([zigzag.centre - zigzag.lowest]))
        gain = _LOGIT_SPREAD / max(-zigzag.lowest, 1e-3)
        logit[channel] = gain
        _insert(encoder.codes, [index], logit[None], torch.tensor([gain * zigzag.lowest]))
        channel, corner = channel + 1, units.stop
    _insert(mix, range(channel), torch.eye(channel, mix.in_channels))


class _Zigzag:
    """A function of slope 1 or -1 with given zeros, positive at both ends, as a sum of ramps from its middle corner.

    f(v) = centre + sum of slopes * relu(signs * (v - corners)); it is nowhere below `lowest`.
    """

    def __init__(self, zeros: Floats) -> None:
        corners = (zeros[1:] + zeros[:-1]) / 2  # an odd number of them
        heights = np.abs(corners - zeros[:-1]) * np.where(np.arange(len(corners)) % 2, 1.0, -1.0)
        middle = len(corners) // 2
        outwards = heights[middle] > 0
        right = [
            (-1.0 if outwards else 1.0) * (2 if k else 1) * (-1) ** k for k in range(len(corners) - middle)
        ]
        self.corners = torch.tensor([*corners[middle:], *corners[middle::-1]]).float()
        self.signs = torch.cat([torch.ones(len(right)), -torch.ones(middle + 1)])
        self.slopes = torch.tensor([*right, *right[: middle + 1]])
        self.centre = float(heights[middle])
        self.lowest = float(heights.min())


def _start_decoder(
    decoder: Decoder, components: list[Component], bits: list[tuple[int, int]], mean: Tensor
) -> None:
    for index in (2, 5, 9):
        _quiet(decoder.layers[index])
    layers = {index: layer for index, layer in enumerate(decoder.layers) if isinstance(layer, nn.Conv2d)}
    # Eighth resolution: one unit for each prefix of a component's code, and what that prefix adds to the block.
    patterns, updates = [], []
    for component, bit in bits:
        own = [index for index, (other, depth) in enumerate(bits) if other == component and depth <= bit]
        quantizer = components[component].quantizer
        for cell, value in enumerate(quantizer.means[bit + 1]):
            pattern = torch.zeros(layers[0].in_channels)
            pattern[own] = torch.tensor(
                [_gray_sign(cell >> (bit - depth), depth) for depth in range(bit + 1)]
            )
            patterns.append(pattern)
            refinement = float(value - quantizer.means[bit][cell >> 1])
            updates.append(components[component].basis * components[component].scale * refinement)
    units = torch.stack(patterns)
    _insert(layers[0], range(len(units)), units, 1 - units.abs().sum(1))
    inverse = _by_sub_block(torch.stack(updates, 1))  # [192, units]
    offset = _by_sub_block(mean[:, None])[:, 0]
    expand = torch.zeros(len(inverse), layers[3].in_channels)
    expand[:, : len(units)] = inverse
    rows = _signed_rows(expand)
    shuffled = [4 * (2 * s + sign) + place for s in range(SAMPLES) for sign in (0, 1) for place in range(4)]
    order = [2 * (4 * s + place) + sign for s in range(SAMPLES) for sign in (0, 1) for place in range(4)]
    _insert(layers[3], shuffled, rows[order], torch.stack([offset, -offset], 1).flatten()[order])
    # Quarter: the samples pass, in the order in which they are spread over the 4x4 pixels of three channels.
    samples = torch.zeros(SAMPLES, layers[7].in_channels)
    samples[:, 0 : 2 * SAMPLES : 2], samples[:, 1 : 2 * SAMPLES : 2] = torch.eye(SAMPLES), -torch.eye(SAMPLES)
    spread = [16 * (2 * (s // 16) + sign) + s % 16 for s in range(SAMPLES) for sign in (0, 1)]
    _insert(layers[7], spread, _signed_rows(samples))
    # Full: pairs of red, green and blue.
    colours = torch.zeros(3, layers[11].in_channels)
    colours[range(3), range(0, 6, 2)], colours[range(3), range(1, 6, 2)] = 1.0, -1.0
    _insert(layers[11], range(6), _signed_rows(colours))
    final = torch.zeros(3, layers[13].in_channels)
    final[range(3), range(0, 6, 2)], final[range(3), range(1, 6, 2)] = 1.0, -1.0
    _insert(layers[13], range(3), final)


def _gray_sign(cell: int, bit: int) -> float:
    """The code of bit 0, 1, ... in a cell of bit + 1 bits."""
    high = cell & 1
    return 1.0 if (high if bit == 0 else high == (cell >> 1 & 1)) else -1.0


def _by_sub_block(blocks: Tensor) -> Tensor:
    """Rows of 3x8x8 blocks, [192, N], in the order sample of a 4x4 sub-block, sub-block."""
    return blocks.view(3, 2, SUB, 2, SUB, -1).permute(0, 2, 4, 1, 3, 5).reshape(3 * BLOCK * BLOCK, -1)


def _signed_rows(weight: Tensor) -> Tensor:
    """Each row followed by its negative."""
    return torch.stack([weight, -weight], 1).flatten(0, 1)


def _insert(layer: nn.Module, rows: range | list[int], weight: Tensor, bias: Tensor | None = None) -> None:
    """Add structure to some output rows of a layer, whose random weights there shrink.

    Args:
        layer: a convolution.
        rows: [N].
        weight: of the first inputs, [N, inputs, height, width]; [N, inputs] for the centre tap alone.
        bias: [N]; zero if None.
    """
    assert isinstance(layer, nn.Conv2d)
    assert layer.bias is not None
    index = list(rows)
    layer.weight[index] *= _RANDOM_SHARE
    if weight.dim() == 2:
        middle = layer.kernel_size[0] // 2
        taps = torch.zeros(*weight.shape, *layer.kernel_size)
        taps[..., middle, middle] = weight
        weight = taps
    layer.weight[index, : weight.shape[1]] += weight
    layer.bias[index] = 0.0 if bias is None else bias.to(layer.bias.dtype)


def _quiet(block: nn.Module) -> ReleasedResidualBlock:
    """Let a residual block start close to the identity."""
    assert isinstance(block, ReleasedResidualBlock)
    block.second.weight *= _RANDOM_SHARE
    return block


def _corners(bit: int) -> int:
    """Hidden units of the zigzag of bit 0, 1, 2, ...; the first is linear and needs none."""
    return 2**bit if bit else 0


def _best_split(cell: Floats) -> int:
    """Where to cut sorted values so that the means of both parts explain most."""
    left = np.cumsum(cell)[:-1]
    sizes = np.arange(1, len(cell))
    return int(np.argmax(left**2 / sizes + (cell.sum() - left) ** 2 / sizes[::-1])) + 1
