"""The context models in float, as they are trained. `model.context.integer` is what codes with them.

A group of channels is coded in a few passes over a grid; every pass is predicted from the passes before it,
from all earlier groups, and from conditioning planes that both ends know (importance level, quality, tune). The
importance map is a group of one channel on a grid of its own. Where a codec has a Haar level, its first group is two:
the averages of 2x2 latents, and their details, which are predicted from the averages linearly too.

What the models see and say is what the integers hold, with straight-through gradients, so that training meets no
surprise at export: means in steps of 1 / FRACTIONS, and for the hidden layers codes in steps of 1 / COARSE.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.config import CodecConfig
from model.context.passes import REACH, GroupSpec, pass_grid, specs_of
from model.entropy.tables import FRACTIONS

LINEAR_SCALE = 8  # codes are divided by this as inputs of the hidden layer
COARSE = 2  # steps of a code between two integers, as an input of the hidden layer
COARSE_LIMIT = 511  # the largest such input, in steps: beyond flat white at the highest quality
LOG_SCALE_LIMIT = 6.0

Coding = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


def straight_through(hard: Tensor, soft: Tensor) -> Tensor:
    """The value of `hard`, exactly, with the gradient of `soft` (Bengio et al. 2013)."""
    return hard.detach() + (soft - soft.detach())


def code_features(codes: Tensor, gain: int = 1) -> Tensor:
    """Codes as the hidden layer sees them: coarse and saturated, [B, C, H, W] to [B, 2C, H, W].

    `gain` is that of their `GroupSpec`.
    """
    soft = codes / gain
    coarse = (soft * COARSE + 0.5).floor().clamp(-COARSE_LIMIT, COARSE_LIMIT) / COARSE
    return torch.cat([straight_through(coarse, soft) / LINEAR_SCALE, torch.tanh(codes / 2)], 1)


class Base(NamedTuple):
    """What all passes of a group share: the hidden layer's input [B, width, H, W], and of means [B, size, H, W]."""

    hidden: Tensor
    mean: Tensor | None


class GroupContext(nn.Module):
    """Predicts mean and scale of each code of a group, pass by pass."""

    def __init__(self, spec: GroupSpec) -> None:
        super().__init__()
        self.spec = spec
        size, width, before = spec.size, spec.width, sum(spec.previous)
        self.conditioning = nn.Conv2d(spec.conditions, width, 5, padding=REACH)
        near = 2 * spec.near + 1
        self.previous = nn.Conv2d(2 * before, width, near, padding=spec.near) if before else None
        self.along = nn.Conv2d(before + 1, size, 5, padding=REACH, bias=False) if spec.refines else None
        several = spec.passes > 1
        self.local = nn.Conv2d(2 * size, width, 5, padding=REACH) if several else None
        self.linear = nn.Conv2d(size + 1, size, 5, padding=REACH, bias=False) if several else None
        self.hidden = nn.Conv2d(width, width, 1)
        self.out = nn.Conv2d(width, 2 * size, 1)
        for layer in (self.along, self.linear):
            if layer is not None:
                nn.init.zeros_(layer.weight)

    def base(self, conditions: Tensor, previous: Tensor) -> Base:
        """What all passes share: from conditioning planes [B, N, H, W] and earlier groups [B, C, H, W]."""
        hidden: Tensor = self.conditioning(conditions)
        if self.previous is not None:
            hidden = hidden + self.previous(code_features(previous, self.spec.previous_gain))
        if self.along is None:
            return Base(hidden, None)
        with _float32(hidden):
            return Base(hidden, self.along(_with_inside(previous, torch.ones_like(previous[:, :1]))))

    def forward(self, base: Base, known: Tensor, seen: Tensor, at: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log scale of the codes at some places, float32 [B, N, size]; right for the pass after those seen.

        The wide layers run in the caller's precision; what becomes a mean or a scale runs in float32.

        Args:
            base: of `base`.
            known: codes of earlier passes, zero elsewhere, [B, size, H, W].
            seen: 1 where a pass has been coded, [1, 1, H, W]; None of it in the first pass.
            at: the places, [N], counted through the rows of the grid.
        """
        hidden = base.hidden
        with _float32(hidden):
            mean = 0.0 if base.mean is None else rows_at(base.mean, at)
        if self.local is not None and self.linear is not None and bool(seen.any()):
            hidden = hidden + self.local(code_features(known, self.spec.gain))
            with _float32(hidden):
                mean = mean + rows_at(self.linear(_with_inside(known, seen)), at)
        here = _rows(hidden) if self.spec.passes == 1 else rows_at(hidden, at)
        hidden = torch.relu(_product(self.hidden, torch.relu(here)))
        with _float32(hidden):
            offset, log_scale = torch.split(_product(self.out, hidden.float()), self.spec.size, 2)
            exact = mean + offset
            stepped = straight_through((exact * FRACTIONS + 0.5).floor() / FRACTIONS, exact)
            return stepped, log_scale.clamp(-LOG_SCALE_LIMIT, LOG_SCALE_LIMIT)

    def walk(self, base: Base, coding: Coding) -> tuple[Tensor, Tensor]:
        """Code the group pass by pass, each predicted from the passes before.

        Args:
            base: of `base`.
            coding: from the places of a pass, [N], with their mean and log scale, [B, N, size], to the codes as later
                passes see them, 0 where masked, and to what they cost, of the same shape.

        Returns:
            The codes and their costs, each float32 [B, size, H, W].
        """
        batch, _, height, width = base.hidden.shape
        device = base.hidden.device
        grid = pass_grid(self.spec.pattern, height, width, device=device)
        codes = costs = torch.zeros(batch, height * width, self.spec.size, device=device)
        for step in range(self.spec.passes):
            at = torch.nonzero((grid == step).flatten())[:, 0]
            seen = (grid < step).to(codes.dtype)[None, None]
            prediction = self(base, _planes(codes, height), seen, at)
            with _float32(base.hidden):
                found, cost = coding(at, *prediction)
            codes, costs = codes.index_copy(1, at, found), costs.index_copy(1, at, cost)
        return _planes(codes, height), _planes(costs, height)


def rows_at(planes: Tensor, at: Tensor) -> Tensor:
    """Planes [B, C, H, W] at some places of their grid, [B, N, C]."""
    return _rows(planes)[:, at]


def _with_inside(codes: Tensor, inside: Tensor) -> Tensor:
    """Codes [B, C, H, W] and a plane that tells those there from the others, [., 1, H, W]."""
    return torch.cat([codes, inside.expand(len(codes), -1, -1, -1)], 1)


def _rows(planes: Tensor) -> Tensor:
    return planes.flatten(2).transpose(1, 2)  # [B, H * W, C]


def _planes(rows: Tensor, height: int) -> Tensor:
    return rows.transpose(1, 2).reshape(len(rows), rows.shape[2], height, -1)  # [B, C, H, W]


def _product(layer: nn.Conv2d, rows: Tensor) -> Tensor:
    """A 1x1 convolution of rows [B, N, C]."""
    return functional.linear(rows, layer.weight[:, :, 0, 0], layer.bias)


def _float32(like: Tensor) -> torch.autocast:
    return torch.autocast(like.device.type, enabled=False)


class ContextModel(nn.Module):
    """The context models of the importance map and of all channel groups.

    Attributes:
        map: of the importance map.
        averages: of the first channel group's averages; None where it has no Haar level, as `details`.
        details: of its details.
        codes: of the other groups, by the group's number.
    """

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        specs = specs_of(config)
        self.map = GroupContext(specs.map)
        averages, details = specs.haar or (None, None)
        self.averages = GroupContext(averages) if averages else None
        self.details = GroupContext(details) if details else None
        self.codes = nn.ModuleDict({str(k): GroupContext(spec) for k, spec in specs.codes.items()})

    def groups(self) -> dict[int, GroupContext]:
        """The groups of `codes`, typed."""
        return {int(k): group for k, group in self.codes.items() if isinstance(group, GroupContext)}

    def named(self) -> dict[str, GroupContext]:
        """All, by the names of their specs."""
        every = (self.map, self.averages, self.details, *self.groups().values())
        return {group.spec.name: group for group in every if group is not None}
