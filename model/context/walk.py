"""One group of channels coded pass by pass, for a batch of tiles: predicted at once, their payloads in parallel."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from model.context.haar import join, split
from model.context.integer import (
    CodePlanes,
    IntegerGroup,
    Plane,
    conditions_around,
    inside_plane,
    padded_rows,
)
from model.context.passes import REACH, pass_grid
from model.context.quantise import Alphabet, choose
from model.entropy.range_coder import Coder
from model.entropy.symbols import code_symbols
from model.entropy.tables import FRACTIONS
from model.types import Check


@dataclass(frozen=True, eq=False, kw_only=True)
class Grid:
    """Where a group is coded, for a batch of tiles.

    Attributes:
        shape: tiles, rows, columns.
        conditions: of `conditions_around` each position.
        inside: `inside_plane` of the grid.
        kept: how many channels are kept at each position, int64 [B * rows * columns].
        tunes: of each tile, an index of `TUNES`, int64 [B].
        check: called before each pass.
        strictness: of each tile, see `choose`, float32 [B]; None where it is 1.
    """

    shape: tuple[int, int, int]
    conditions: Tensor
    inside: Plane
    kept: Tensor
    tunes: Tensor
    check: Check
    strictness: Tensor | None = None

    @classmethod
    def of(
        cls, planes: Tensor, kept: Tensor, *, tunes: Tensor, check: Check, strictness: Tensor | None = None
    ) -> "Grid":
        """Of conditioning planes [B, N, rows, columns] and how many channels are kept, [B, 1, rows, columns]."""
        batch, _, height, width = planes.shape
        return cls(
            shape=(batch, height, width),
            conditions=conditions_around(planes),
            inside=inside_plane(batch, height, width, device=planes.device),
            kept=kept.flatten(),
            tunes=tunes,
            check=check,
            strictness=strictness,
        )


class Workers:
    """The threads that code the payloads of several tiles; made when they are first needed."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._pool: tuple[int, ThreadPoolExecutor] | None = None

    def each(self, work: Callable[[int], None], count: int) -> None:
        """Do the work of 0, 1, ... count - 1, in any order."""
        if count == 1 or self.threads == 1:
            for index in range(count):
                work(index)
        else:
            list(self._threads().map(work, range(count)))

    def _threads(self) -> ThreadPoolExecutor:
        """Those of this process: after a fork there are none of the parent's."""
        if self._pool is None or self._pool[0] != os.getpid():
            self._pool = os.getpid(), ThreadPoolExecutor(self.threads, thread_name_prefix="cwic-entropy")
        return self._pool[1]


@dataclass(frozen=True, eq=False, kw_only=True)
class GroupCoder:
    """Codes one group.

    Attributes:
        predictor: its context model.
        alphabet: its symbols.
        saturation: see `CodePlanes.put`.
        workers: shared by all groups.
    """

    predictor: IntegerGroup
    alphabet: Alphabet
    saturation: Tensor
    workers: Workers

    def code(
        self,
        coders: Sequence[Coder | None],
        grid: Grid,
        previous: Sequence[CodePlanes],
        y: Tensor | None,
    ) -> CodePlanes:
        """The group's codes: read, or chosen from `y`, [B, size, rows, columns], and written.

        Args:
            coders: of each tile; None where every residual is zero.
            grid: that the group is coded on.
            previous: the groups before, on the same grid.
            y: values whose nearest codes are written when encoding.
        """
        spec, alphabet = self.predictor.spec, self.alphabet
        batch, height, width = grid.shape
        device = grid.kept.device
        steps = pass_grid(spec.pattern, height, width, device=device).flatten().repeat(batch)
        steps[grid.kept <= spec.start] = -1
        local = CodePlanes.empty(grid.shape, spec.size, device=device, gain=spec.gain)
        wanted = None if y is None else _rows(y)
        for step in range(spec.passes):
            grid.check()
            positions = torch.nonzero(steps == step)[:, 0]
            if not len(positions):
                continue
            rows = padded_rows(positions, height, width)
            mean, scale = self.predictor.predict(
                step,
                rows,
                conditions=grid.conditions[positions],
                previous=previous,
                local=local,
                inside=grid.inside,
            )
            tile = positions // (height * width)
            active = torch.arange(spec.size, device=device) + spec.start < grid.kept[positions, None]
            mean = mean.clamp(alphabet.low * FRACTIONS, alphabet.high * FRACTIONS)
            centre = (mean + FRACTIONS // 2).div(FRACTIONS, rounding_mode="floor")
            values = None
            if wanted is not None:
                values = choose(
                    wanted[positions],
                    mean,
                    centre,
                    scale,
                    alphabet,
                    tunes=grid.tunes[tile],
                    strictness=None if grid.strictness is None else grid.strictness[tile],
                )
            about = centre * FRACTIONS if alphabet.centred else mean
            symbols = self._code_symbols(coders, tile, active, about, scale, centre, values)
            if alphabet.centred:
                codes = (symbols - centre) * FRACTIONS + mean
            else:
                codes = alphabet.codes_of(symbols) * FRACTIONS
            local.put(rows, codes * active, self.saturation)
        return local

    def _code_symbols(
        self,
        coders: Sequence[Coder | None],
        tile: Tensor,
        active: Tensor,
        mean: Tensor,
        scale: Tensor,
        centre: Tensor,
        values: Tensor | None,
    ) -> Tensor:
        """The symbols of one pass, int32 [N, size]: read, or `values` written; `centre` where nothing is coded.

        Args:
            coders: of each tile; None where every residual is zero.
            tile: that each position belongs to, ascending, [N].
            active: what is coded, [N, size].
            mean: see `code_symbols`, [N, size], as the following ones.
            scale: see `code_symbols`.
            centre: the nearest symbols to the means.
            values: the symbols when encoding.
        """
        ends = np.searchsorted(tile.cpu().numpy(), np.arange(len(coders) + 1))
        symbols = centre.cpu().numpy().copy()
        kept = active.cpu().numpy()
        means, scales = mean.cpu().numpy(), scale.cpu().numpy()
        wanted = None if values is None else values.cpu().numpy()

        def code(index: int) -> None:
            coder, own = coders[index], slice(ends[index], ends[index + 1])
            if coder is not None:
                here = kept[own]
                symbols[own][here] = code_symbols(
                    coder,
                    self.alphabet.tables,
                    mean=means[own][here],
                    scale=scales[own][here],
                    low=self.alphabet.low,
                    high=self.alphabet.high,
                    values=None if wanted is None else wanted[own][here],
                )

        self.workers.each(code, len(coders))
        return torch.from_numpy(symbols).to(mean.device)


@dataclass(frozen=True, eq=False, kw_only=True)
class HaarCoder:
    """Codes the first group through a Haar level: the averages, then the details, into the same payload.

    Attributes:
        averages: codes the averages.
        details: codes the details.
        limit: of a code's magnitude, in 1 / FRACTIONS.
    """

    averages: GroupCoder
    details: GroupCoder
    limit: int

    def code(self, coders: Sequence[Coder | None], grid: Grid, y: Tensor | None) -> CodePlanes:
        """See `GroupCoder.code`, with the grid of the averages; codes and `y` are on one twice as fine."""
        averages_of, details_of = (None, None) if y is None else split(y)
        averages = self.averages.code(coders, grid, [], averages_of)
        details = self.details.code(coders, grid, [averages], details_of)
        joined = join(*(unpadded(planes.codes, grid.shape) for planes in (averages, details)))
        codes = joined.int().clamp(-self.limit, self.limit)
        batch, channels, height, width = codes.shape
        planes = CodePlanes.empty((batch, height, width), channels, device=codes.device)
        everywhere = padded_rows(torch.arange(batch * height * width, device=codes.device), height, width)
        planes.put(everywhere, _rows(codes), self.averages.saturation)
        return planes


def _rows(planes: Tensor) -> Tensor:
    """[B, C, h, w] as rows, [B * h * w, C]."""
    return planes.permute(0, 2, 3, 1).flatten(0, 2)


def unpadded(plane: Plane, shape: tuple[int, int, int]) -> Tensor:
    """A plane's values without its border, [B, C, h, w]."""
    batch, height, width = shape
    padded = plane.rows.view(batch, height + 2 * REACH, width + 2 * REACH, -1)
    return padded[:, REACH:-REACH, REACH:-REACH].permute(0, 3, 1, 2)
