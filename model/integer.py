"""The context models in integers: the same numbers on every device, batch, thread count and torch version.

Weights are 16-bit integers with one power-of-two exponent per layer, activations at most 20-bit ones. They are
carried in float64, where every product and sum below is an integer under 2^53 and so exact in any order of
summation: at most 2^12 terms of 2^15 * 2^20. Rescaling multiplies by powers of two and floors.

Only the positions of the current pass that have codes under the mask are computed, each from the rows that its
taps pick out of a padded plane: gathers and matrix products, no convolution algorithm to depend on.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from model.context import LINEAR_SCALE, REACH, GroupSpec, Tap, seen_taps
from model.entropy import FRACTIONS, SCALE_ZERO, SCALES, SCALES_PER_OCTAVE

CODE_LIMIT = 2047  # codes are -CODE_LIMIT..CODE_LIMIT
ACTIVATION_ONE = 4096
WEIGHT_MAX = (1 << 15) - 1
_ACTIVATION_MAX = (1 << 20) - 1
_LINEAR_ONE = ACTIVATION_ONE // LINEAR_SCALE  # a code of 1 as a linear input
_CHUNK = 8192  # positions computed at once, to bound memory

ALL_TAPS: tuple[Tap, ...] = tuple(
    (dy, dx) for dy in range(-REACH, REACH + 1) for dx in range(-REACH, REACH + 1)
)
NEAR_TAPS: tuple[Tap, ...] = tuple((dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1))


@dataclass(frozen=True, eq=False)
class Plane:
    """Integer activations of a batch of grids as padded rows, float32 [B * (h + 2 R) * (w + 2 R), C], exact.

    Attributes:
        rows: the activations, zero outside the grids.
        stride: rows from one grid line to the next.
    """

    rows: Tensor
    stride: int

    @classmethod
    def of(cls, values: Tensor) -> "Plane":
        """Of integer values [B, C, h, w]."""
        padded = functional.pad(values.float(), (REACH,) * 4).permute(0, 2, 3, 1)
        return cls(padded.reshape(-1, values.shape[1]).contiguous(), padded.shape[2])

    def gather(self, centres: Tensor, taps: Sequence[Tap]) -> Tensor:
        """The activations at all taps around each centre row, float64 [N, len(taps), C]."""
        offsets = torch.tensor([dy * self.stride + dx for dy, dx in taps], device=centres.device)
        index = (centres[:, None] + offsets).reshape(-1)
        return self.rows.index_select(0, index).reshape(len(centres), len(taps), -1).double()


def padded_rows(positions: Tensor, height: int, width: int) -> Tensor:
    """The rows of a Plane that flat positions in [B, height, width] stand in."""
    line, column = positions // width, positions % width
    line = line + 2 * REACH * (line // height) + REACH
    return line * (width + 2 * REACH) + column + REACH


class IntegerGroup:
    """One group's context model in integers. Frozen after construction."""

    def __init__(self, spec: GroupSpec, weights: Mapping[str, Tensor], *, device: torch.device) -> None:
        """Take the integers that `model.freeze.freeze_group` made."""
        self.spec = spec
        size, width = spec.size, spec.width
        wide = {name: tensor.to(device).double() for name, tensor in weights.items()}
        self._rescale = {
            name: 2.0 ** -int(weights[f"{name}.exponent"]) for name in ("first", "linear", "hidden", "out")
        }
        self._first_bias = wide["side.bias"] + wide["previous.bias"]
        self._local_bias = wide["local.bias"]
        self._hidden, self._hidden_bias = wide["hidden.weight"].T.contiguous(), wide["hidden.bias"]
        self._out, self._out_bias = wide["out.weight"].T.contiguous(), wide["out.bias"]
        # [out, in, rows, columns] -> [taps, in, out]: the order in which Plane.gather lays out its columns
        self._side = wide["side.weight"].permute(2, 3, 1, 0).reshape(-1, width)
        previous = wide["previous.weight"].permute(2, 3, 1, 0).reshape(9, 2, -1, width)
        self._previous = [part.reshape(-1, width) for part in torch.split(previous, list(spec.previous), 2)]
        local = wide["local.weight"].permute(2, 3, 1, 0).reshape(len(ALL_TAPS), 2 * size, width)
        linear = wide["linear.weight"].permute(2, 3, 1, 0).reshape(len(ALL_TAPS), size + 1, size)
        self._taps = [seen_taps(spec.pattern, step) for step in range(spec.passes)]
        rows = [[ALL_TAPS.index(tap) for tap in taps] for taps in self._taps]
        self._local = [local[r].reshape(-1, width) for r in rows]
        self._linear = [linear[r, :size].reshape(-1, size) for r in rows]
        self._linear_inside = [linear[r, size] for r in rows]

    def predict(
        self,
        step: int,
        centres: Tensor,
        *,
        side: Plane,
        previous: Sequence[Plane],
        local: Plane,
        inside: Plane,
    ) -> tuple[Tensor, Tensor]:
        """Mean (in 1 / FRACTIONS) and scale index of the codes at some positions, each int32 [N, size].

        Args:
            step: pass that the positions belong to.
            centres: their rows in the planes, int64 [N].
            side: side planes.
            previous: activations of the earlier groups.
            local: activations of this group's codes, zero where not coded yet.
            inside: `inside_plane` of the grid.
        """
        if not len(centres):
            empty = torch.empty(0, self.spec.size, dtype=torch.int32, device=centres.device)
            return empty, empty
        chunks = [
            self._predict_chunk(step, chunk, side, previous, local, inside)
            for chunk in torch.split(centres, _CHUNK)
        ]
        return torch.cat([mean for mean, _ in chunks]), torch.cat([scale for _, scale in chunks])

    def _predict_chunk(
        self, step: int, centres: Tensor, side: Plane, previous: Sequence[Plane], local: Plane, inside: Plane
    ) -> tuple[Tensor, Tensor]:
        hidden = side.gather(centres, ALL_TAPS).flatten(1) @ self._side + self._first_bias
        for plane, weight in zip(previous, self._previous, strict=True):
            hidden += plane.gather(centres, NEAR_TAPS).flatten(1) @ weight
        linear: Tensor | int = 0
        if self._taps[step]:
            seen = local.gather(centres, self._taps[step])
            hidden += seen.flatten(1) @ self._local[step] + self._local_bias
            linear = seen[..., : self.spec.size].flatten(1) @ self._linear[step]
            linear += inside.gather(centres, self._taps[step]).flatten(1) @ self._linear_inside[step]
            linear = torch.floor(linear * (self._rescale["linear"] / _LINEAR_ONE * FRACTIONS) + 0.5)
        hidden = self._activate(hidden, "first")
        hidden = self._activate(hidden @ self._hidden + self._hidden_bias, "hidden")
        out = (hidden @ self._out + self._out_bias) * (self._rescale["out"] / ACTIVATION_ONE)
        offset, log_scale = torch.split(out, self.spec.size, 1)
        mean = torch.floor(offset * FRACTIONS + 0.5) + linear
        scale = torch.floor(log_scale * SCALES_PER_OCTAVE + 0.5) + SCALE_ZERO
        limit = (CODE_LIMIT + 1) * FRACTIONS
        return mean.clamp(-limit, limit).int(), scale.clamp(0, SCALES - 1).int()

    def _activate(self, sums: Tensor, layer: str) -> Tensor:
        return torch.floor(sums * self._rescale[layer]).clamp(0, _ACTIVATION_MAX)


def inside_plane(batch: int, height: int, width: int, *, device: torch.device) -> Plane:
    """Ones inside the grid, as a linear input."""
    return Plane.of(torch.full((batch, 1, height, width), _LINEAR_ONE, device=device))


def code_activations(codes: Tensor, saturation: Tensor) -> Tensor:
    """Codes as activations, linear and saturated, float32 [N, 2 C]; `saturation` is the checkpoint's table."""
    return torch.cat([codes * _LINEAR_ONE, saturation[codes + CODE_LIMIT]], 1).float()
