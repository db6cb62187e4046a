"""The context models in integers: the same numbers on every device, batch, thread count and torch version.

Weights are integers of 16 bits with one power-of-two exponent per layer, activations integers of at most 16
bits. Every product and every partial sum is an integer that the floating-point type holds exactly, so that the
order of summation does not matter: float64 up to 2^53, which always suffices; on a CPU float32 up to 2^24, which
is several times as fast, after splitting the weights into digits until the largest sum that can occur fits.
Rescaling multiplies by powers of two and floors.

Only the positions of the current pass that have codes under the mask are computed, each from the rows that its
taps pick out of a padded plane: gathers and matrix products, no convolution algorithm to depend on.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from model.config import LEVEL_SCALE
from model.context.network import COARSE, COARSE_LIMIT
from model.context.passes import REACH, GroupSpec, Tap, seen_taps
from model.entropy.tables import FRACTIONS, SCALE_ZERO, SCALES, SCALES_PER_UNIT

ACTIVATION_ONE = 256
WEIGHT_MAX = (1 << 15) - 1
HIDDEN_MAX = (1 << 13) - 1  # largest activation of a hidden layer
FLOAT32_EXACT = 1 << 24
_CHUNK = 8192  # positions computed at once, to bound memory
_MAX_DIGITS = 3
_LONG = 800  # terms of a sum from which three products in float32 are faster than one in float64
_MEAN_LIMIT = 1 << 20

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

    @classmethod
    def zeros(cls, shape: tuple[int, int, int], channels: int, *, device: torch.device) -> "Plane":
        """For batch, rows and columns."""
        batch, height, width = shape
        stride = width + 2 * REACH
        rows = torch.zeros(batch * (height + 2 * REACH) * stride, channels, device=device)
        return cls(rows, stride)

    def gather(self, centres: Tensor, taps: Sequence[Tap]) -> Tensor:
        """The activations at all taps around each centre row, float32 [N, len(taps), C]."""
        offsets = torch.tensor([dy * self.stride + dx for dy, dx in taps], device=centres.device)
        index = (centres[:, None] + offsets).reshape(-1)
        return self.rows.index_select(0, index).reshape(len(centres), len(taps), -1)


def padded_rows(positions: Tensor, height: int, width: int) -> Tensor:
    """The rows of a Plane that flat positions in [B, height, width] stand in."""
    line, column = positions // width, positions % width
    line = line + 2 * REACH * (line // height) + REACH
    return line * (width + 2 * REACH) + column + REACH


def conditions_around(planes: Tensor) -> Tensor:
    """Conditioning planes, [B, N, h, w], at all taps around each position, float32 [B * h * w, len(ALL_TAPS) * N]."""
    batch, _, height, width = planes.shape
    centres = padded_rows(torch.arange(batch * height * width, device=planes.device), height, width)
    return Plane.of(planes).gather(centres, ALL_TAPS).flatten(1)


class ExactLinear:
    """A matrix product of integers, exact whatever the order of summation."""

    def __init__(self, weight: Tensor, *, largest: Tensor, device: torch.device) -> None:
        """Take integer weights [K, N] and the largest magnitudes of the activations, [K]."""
        self._weight = weight.to(device).double()
        self._digits = _split(self._weight, largest.double()) if device.type == "cpu" else None

    def add_to(self, sums: Tensor, x: Tensor) -> Tensor:
        """Add the product of integer activations, float32 or float64 [M, K], to sums, float64 [M, N], in place."""
        if self._digits is None or not _float32_is_exact():
            return sums.addmm_(x.double(), self._weight)
        x = x.float()
        base, digits = self._digits
        for power, digit in enumerate(digits):
            sums.add_(x @ digit, alpha=base**power)
        return sums


def _float32_is_exact() -> bool:
    """Whether the process leaves float32 products alone, or lets torch round their factors."""
    try:
        return torch.get_float32_matmul_precision() == "highest"
    except RuntimeError:  # set through the newer interface; its answers are not comparable
        return False


def _split(weight: Tensor, largest: Tensor) -> tuple[int, list[Tensor]] | None:
    """Weights as float32 digits and their base, so that no sum leaves what float32 holds exactly; else None."""
    for count in range(1, _MAX_DIGITS + (len(weight) >= _LONG)):
        base = 1 << -(-16 // count)
        digits = [weight]
        for _ in range(count - 1):
            low = torch.remainder(digits[-1] + base // 2, base) - base // 2
            digits[-1:] = [low, (digits[-1] - low) / base]
        if all(bool((largest @ digit.abs() < FLOAT32_EXACT).all()) for digit in digits):
            return base, [digit.float() for digit in digits]
    return None


class FirstProducts(NamedTuple):
    """The first layer's products: each its weights [taps * in, width], and its inputs' largest magnitudes.

    Attributes:
        conditioning: on the conditioning planes.
        previous: on the features of each group before.
        local: on the features of the group's own earlier passes.
    """

    conditioning: tuple[Tensor, Tensor]
    previous: Sequence[tuple[Tensor, Tensor]]
    local: tuple[Tensor, Tensor]


def first_products(spec: GroupSpec, weights: Mapping[str, Tensor]) -> FirstProducts:
    """From kernels [width, in, rows, columns]; rows of a product lie as `Plane.gather` lays out its columns."""
    conditioning, previous, local = (
        weights[f"{name}.weight"].permute(2, 3, 1, 0) for name in ("conditioning", "previous", "local")
    )
    level_max = max(ACTIVATION_ONE, spec.largest_level * ACTIVATION_ONE // LEVEL_SCALE)
    # Features are coarse codes, then saturated ones.
    feature_max = torch.tensor([[COARSE_LIMIT], [ACTIVATION_ONE]])

    def on_features(kernel: Tensor) -> tuple[Tensor, Tensor]:
        """Of [rows, columns, 2, channels, width]."""
        largest = feature_max.expand(*kernel.shape[:-1])
        return kernel.reshape(-1, spec.width), largest.flatten()

    near, before = previous.shape[0], sum(spec.previous)
    by_group = torch.split(previous.reshape(near, near, 2, before, spec.width), list(spec.previous), 3)
    matrix = conditioning.reshape(-1, spec.width)
    return FirstProducts(
        conditioning=(matrix, torch.full((len(matrix),), level_max)),
        previous=[on_features(kernel) for kernel in by_group],
        local=on_features(local.reshape(*local.shape[:2], 2, spec.size, -1)),
    )


class IntegerGroup:
    """One group's context model in integers. Frozen after construction."""

    def __init__(
        self,
        spec: GroupSpec,
        weights: Mapping[str, Tensor],
        *,
        largest_code: int,
        device: torch.device,
    ) -> None:
        """Take the integers of `model.profiles.export.quantise_group`, and the largest code in 1 / FRACTIONS."""
        self.spec = spec
        size = spec.size
        weights = {**absent_layers(spec), **weights}
        self._rescale = {
            name: 2.0 ** -weights[f"{name}.exponent"].to(device).double()
            for name in ("first", "linear", "hidden", "out")
        }
        bias = {name: t.to(device).double() for name, t in weights.items() if name.endswith(".bias")}
        self._first_bias = bias["conditioning.bias"] + bias["previous.bias"]
        self._local_bias, self._hidden_bias, self._out_bias = (
            bias[f"{name}.bias"] for name in ("local", "hidden", "out")
        )

        def linear(weight: Tensor, largest: Tensor) -> ExactLinear:
            matrix = weight.reshape(-1, weight.shape[-1])
            return ExactLinear(matrix, largest=largest.expand(len(matrix)), device=device)

        hidden_max, code_max, inside_max = map(torch.tensor, (HIDDEN_MAX, largest_code, FRACTIONS))
        self._hidden = linear(weights["hidden.weight"].T, hidden_max)
        self._out = linear(weights["out.weight"].T, hidden_max)
        first = first_products(spec, weights)
        self._conditioning = linear(*first.conditioning)
        self._near = ALL_TAPS if spec.near == REACH else NEAR_TAPS
        self._previous = [linear(*product) for product in first.previous]
        self._along = []
        if spec.refines:
            *along, inside = torch.split(weights["along.weight"].permute(2, 3, 1, 0), [*spec.previous, 1], 2)
            self._along = [*(linear(part, code_max) for part in along), linear(inside, inside_max)]
        mean = weights["linear.weight"].permute(2, 3, 1, 0).reshape(len(ALL_TAPS), size + 1, size)
        self._taps = [seen_taps(spec.pattern, step) for step in range(spec.passes)]
        rows = [[ALL_TAPS.index(tap) for tap in taps] for taps in self._taps]
        local, local_max = first.local
        by_tap, max_by_tap = local.view(len(ALL_TAPS), 2 * size, -1), local_max.view(len(ALL_TAPS), -1)
        self._local = [linear(by_tap[r], max_by_tap[r].flatten()) for r in rows]
        self._mean = [linear(mean[r, :size], code_max) for r in rows]
        self._mean_inside = [linear(mean[r, size], inside_max) for r in rows]

    def predict(
        self,
        step: int,
        centres: Tensor,
        *,
        conditions: Tensor,
        previous: Sequence["CodePlanes"],
        local: "CodePlanes",
        inside: Plane,
    ) -> tuple[Tensor, Tensor]:
        """Mean (in 1 / FRACTIONS) and scale index of the codes at some positions, each int32 [N, size].

        Args:
            step: pass that the positions belong to.
            centres: their rows in the planes, int64 [N], one at least.
            conditions: what `conditions_around` has of the positions, [N, K].
            previous: the earlier groups' codes.
            local: this group's codes, zero where not coded yet.
            inside: `inside_plane` of the grid.
        """
        chunks = [
            self._predict_chunk(step, *chunk, previous, local, inside)
            for chunk in zip(torch.split(centres, _CHUNK), torch.split(conditions, _CHUNK), strict=True)
        ]
        return torch.cat([mean for mean, _ in chunks]), torch.cat([scale for _, scale in chunks])

    def _predict_chunk(
        self,
        step: int,
        centres: Tensor,
        conditions: Tensor,
        previous: Sequence["CodePlanes"],
        local: "CodePlanes",
        inside: Plane,
    ) -> tuple[Tensor, Tensor]:
        count, size, taps = len(centres), self.spec.size, self._taps[step]
        sums = self._first_bias.repeat(count, 1)
        self._conditioning.add_to(sums, conditions)
        for planes, product in zip(previous, self._previous, strict=True):
            product.add_to(sums, planes.features.gather(centres, self._near).flatten(1))
        mean = torch.zeros(count, size, dtype=torch.float64, device=centres.device)
        if self._along:
            for plane, product in zip([*(p.codes for p in previous), inside], self._along, strict=True):
                product.add_to(mean, plane.gather(centres, ALL_TAPS).flatten(1))
        if taps:
            self._local[step].add_to(
                sums.add_(self._local_bias), local.features.gather(centres, taps).flatten(1)
            )
            self._mean[step].add_to(mean, local.codes.gather(centres, taps).flatten(1))
            self._mean_inside[step].add_to(mean, inside.gather(centres, taps).flatten(1))
        mean.mul_(self._rescale["linear"])
        hidden = self._hidden.add_to(self._hidden_bias.repeat(count, 1), self._activate(sums, "first"))
        out = self._out.add_to(self._out_bias.repeat(count, 1), self._activate(hidden, "hidden"))
        offset, log_scale = torch.split(out.mul_(self._rescale["out"]), size, 1)
        mean.add_(offset, alpha=FRACTIONS).add_(0.5).floor_()
        scale = torch.floor(log_scale * SCALES_PER_UNIT + 0.5) + SCALE_ZERO
        return mean.clamp_(-_MEAN_LIMIT, _MEAN_LIMIT).int(), scale.clamp_(0, SCALES - 1).int()

    def _activate(self, sums: Tensor, layer: str) -> Tensor:
        """The next layer's input; overwrites the sums."""
        return sums.mul_(self._rescale[layer] * ACTIVATION_ONE).floor_().clamp_(0, HIDDEN_MAX)


@dataclass(frozen=True, eq=False)
class CodePlanes:
    """The codes of a group while they are being coded, zero where they are not yet.

    Attributes:
        codes: in 1 / FRACTIONS, [B * (h + 2 R) * (w + 2 R), C].
        features: as hidden layers see them, coarse and saturated, of twice as many channels.
        gain: of the group's spec.
    """

    codes: Plane
    features: Plane
    gain: int = 1

    @classmethod
    def empty(
        cls, shape: tuple[int, int, int], channels: int, *, device: torch.device, gain: int = 1
    ) -> "CodePlanes":
        """For batch, rows and columns."""
        codes, features = (Plane.zeros(shape, n, device=device) for n in (channels, 2 * channels))
        return cls(codes, features, gain)

    def put(self, rows: Tensor, codes: Tensor, saturation: Tensor) -> None:
        """Enter codes [N, C] at some rows; `saturation` is the checkpoint's table of tanh, int16 [2 L + 1]."""
        self.codes.rows[rows] = codes.float()
        step = FRACTIONS * self.gain
        coarse = (codes * COARSE + step // 2).div(step, rounding_mode="floor")
        limit = len(saturation) // 2
        saturated = saturation[codes.clamp(-limit, limit) + limit]
        self.features.rows[rows] = torch.cat(
            [coarse.clamp(-COARSE_LIMIT, COARSE_LIMIT), saturated], 1
        ).float()


def absent_layers(spec: GroupSpec) -> dict[str, Tensor]:
    """Zeros for the layers that only some groups have: on earlier groups, and on earlier passes."""
    size, width = spec.size, spec.width
    near = 2 * spec.near + 1
    return {
        "previous.weight": torch.zeros(width, 2 * sum(spec.previous), near, near),
        "previous.bias": torch.zeros(width),
        "local.weight": torch.zeros(width, 2 * size, 5, 5),
        "local.bias": torch.zeros(width),
        "linear.weight": torch.zeros(size, size + 1, 5, 5),
        "linear.exponent": torch.tensor(0),
    }


def inside_plane(batch: int, height: int, width: int, *, device: torch.device) -> Plane:
    """One, in 1 / FRACTIONS, inside the grid."""
    return Plane.of(torch.full((batch, 1, height, width), FRACTIONS, device=device))
