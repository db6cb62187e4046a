"""The context models in float, as they are trained. `model.context.integer` is what codes with them.

A group of channels is coded in a few passes over a grid; every pass is predicted from the passes before it,
from all earlier groups, and from conditioning planes that both ends know (importance level, quality, tune). The
importance map is a group of one channel on a grid of its own.

What the models see and say is what the integers hold, with straight-through gradients, so that training meets no
surprise at export: means in steps of 1 / FRACTIONS, and for the hidden layers codes in steps of 1 / COARSE.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.config import CodecConfig
from model.context.passes import REACH, GroupSpec, group_specs, pass_grid
from model.entropy.tables import FRACTIONS

LINEAR_SCALE = 8  # codes are divided by this as inputs of the hidden layer
COARSE = 2  # steps of a code between two integers, as an input of the hidden layer
COARSE_LIMIT = 511  # the largest such input, in steps: beyond flat white at the highest quality
LOG_SCALE_LIMIT = 6.0

Coding = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


def straight_through(hard: Tensor, soft: Tensor) -> Tensor:
    """The value of `hard`, exactly, with the gradient of `soft` (Bengio et al. 2013)."""
    return hard.detach() + (soft - soft.detach())


def code_features(codes: Tensor) -> Tensor:
    """Codes as the hidden layer sees them: coarse and saturated, [B, C, H, W] to [B, 2C, H, W]."""
    coarse = (codes * COARSE + 0.5).floor().clamp(-COARSE_LIMIT, COARSE_LIMIT) / COARSE
    return torch.cat([straight_through(coarse, codes) / LINEAR_SCALE, torch.tanh(codes / 2)], 1)


class GroupContext(nn.Module):
    """Predicts mean and scale of each code of a group, pass by pass."""

    def __init__(self, spec: GroupSpec) -> None:
        super().__init__()
        self.spec = spec
        size, width, before = spec.size, spec.width, sum(spec.previous)
        self.conditioning = nn.Conv2d(spec.conditions, width, 5, padding=REACH)
        self.previous = nn.Conv2d(2 * before, width, 3, padding=1) if before else None
        several = spec.passes > 1
        self.local = nn.Conv2d(2 * size, width, 5, padding=REACH) if several else None
        self.linear = nn.Conv2d(size + 1, size, 5, padding=REACH, bias=False) if several else None
        self.hidden = nn.Conv2d(width, width, 1)
        self.out = nn.Conv2d(width, 2 * size, 1)
        if self.linear is not None:
            nn.init.zeros_(self.linear.weight)

    def base(self, conditions: Tensor, previous: Tensor) -> Tensor:
        """What all passes share: from conditioning planes [B, N, H, W] and earlier groups [B, C, H, W]."""
        base: Tensor = self.conditioning(conditions)
        if self.previous is not None:
            base = base + self.previous(code_features(previous))
        return base

    def forward(self, base: Tensor, known: Tensor, seen: Tensor, at: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log scale of the codes at some places, float32 [B, N, size]; right for the pass after those seen.

        The wide layers run in the caller's precision; what becomes a mean or a scale runs in float32.

        Args:
            base: of `base`, [B, width, H, W].
            known: codes of earlier passes, zero elsewhere, [B, size, H, W].
            seen: 1 where a pass has been coded, [1, 1, H, W]; None of it in the first pass.
            at: the places, [N], counted through the rows of the grid.
        """
        mean: Tensor | float = 0.0
        if self.local is not None and self.linear is not None and bool(seen.any()):
            base = base + self.local(code_features(known))
            with _float32(base):
                mean = rows_at(self.linear(torch.cat([known, seen.expand(len(known), -1, -1, -1)], 1)), at)
        here = _rows(base) if self.spec.passes == 1 else rows_at(base, at)
        hidden = torch.relu(_product(self.hidden, torch.relu(here)))
        with _float32(base):
            offset, log_scale = torch.split(_product(self.out, hidden.float()), self.spec.size, 2)
            exact = mean + offset
            stepped = straight_through((exact * FRACTIONS + 0.5).floor() / FRACTIONS, exact)
            return stepped, log_scale.clamp(-LOG_SCALE_LIMIT, LOG_SCALE_LIMIT)

    def walk(self, base: Tensor, coding: Coding) -> tuple[Tensor, Tensor]:
        """Code the group pass by pass, each predicted from the passes before.

        Args:
            base: of `base`, [B, width, H, W].
            coding: from the places of a pass, [N], with their mean and log scale, [B, N, size], to the codes as later
                passes see them, 0 where masked, and to what they cost, of the same shape.

        Returns:
            The codes and their costs, each float32 [B, size, H, W].
        """
        batch, _, height, width = base.shape
        grid = pass_grid(self.spec.pattern, height, width, device=base.device)
        codes = costs = torch.zeros(batch, height * width, self.spec.size, device=base.device)
        for step in range(self.spec.passes):
            at = torch.nonzero((grid == step).flatten())[:, 0]
            seen = (grid < step).to(codes.dtype)[None, None]
            prediction = self(base, _planes(codes, height), seen, at)
            with _float32(base):
                found, cost = coding(at, *prediction)
            codes, costs = codes.index_copy(1, at, found), costs.index_copy(1, at, cost)
        return _planes(codes, height), _planes(costs, height)


def rows_at(planes: Tensor, at: Tensor) -> Tensor:
    """Planes [B, C, H, W] at some places of their grid, [B, N, C]."""
    return _rows(planes)[:, at]


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
    """The context models of the importance map and of all channel groups."""

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        map_spec, code_specs = group_specs(config)
        self.map = GroupContext(map_spec)
        self.codes = nn.ModuleList(GroupContext(spec) for spec in code_specs)

    def groups(self) -> Sequence[GroupContext]:
        """The code groups, typed."""
        return [group for group in self.codes if isinstance(group, GroupContext)]
