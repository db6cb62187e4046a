"""Codes to payloads and back: the importance map first, then the channel groups, one payload each.

Encoding and decoding are one walk over the same passes; only the coder's direction differs. Several tiles of one
size are walked together: their predictions are computed at once, their payloads coded in parallel, and none sees
another.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from model.config import BLOCK, LEVEL_SCALE, CodecConfig
from model.context.conditions import Conditions
from model.context.integer import (
    ACTIVATION_ONE,
    CodePlanes,
    IntegerGroup,
    Plane,
    inside_plane,
    padded_rows,
)
from model.context.network import COARSE_LIMIT
from model.context.passes import REACH, GroupSpec, group_specs, pass_grid
from model.context.quantise import Alphabet, choose
from model.entropy.range_coder import Coder, Decoder, Sink
from model.entropy.symbols import code_symbols
from model.entropy.tables import FRACTIONS, SymbolTables
from model.types import Check

_PIXELS_AT_ONCE = 4 * 2**20  # of the tiles that are walked together: some 100 MiB for each megapixel
_SMALL = 2**18  # pixels: so many of smaller tiles are walked together on a CPU, to share what each pass costs
_MOST = 64  # tiles


@dataclass(frozen=True, eq=False, kw_only=True)
class Grid:
    """Where a group is coded, for a batch of tiles.

    Attributes:
        shape: tiles, rows, columns.
        conditions: conditioning planes.
        inside: `inside_plane` of the grid.
        kept: how many channels are kept at each position, int64 [B * rows * columns].
        tunes: of each tile, an index of `TUNES`, int64 [B].
        check: called before each pass.
    """

    shape: tuple[int, int, int]
    conditions: Plane
    inside: Plane
    kept: Tensor
    tunes: Tensor
    check: Check

    @classmethod
    def of(cls, planes: Tensor, kept: Tensor, *, tunes: Tensor, check: Check) -> "Grid":
        """Of conditioning planes [B, N, rows, columns] and how many channels are kept, [B, 1, rows, columns]."""
        batch, _, height, width = planes.shape
        return cls(
            shape=(batch, height, width),
            conditions=Plane.of(planes),
            inside=inside_plane(batch, height, width, device=planes.device),
            kept=kept.flatten(),
            tunes=tunes,
            check=check,
        )


class SymbolCoder:
    """Codes importance maps and codes with one checkpoint's integer models. Frozen after construction."""

    def __init__(
        self,
        config: CodecConfig,
        weights: Mapping[str, Tensor],
        *,
        residual_weights: Sequence[Tensor],
        device: torch.device,
    ) -> None:
        """Take the integer part of a checkpoint; names as `model.profiles.export.quantise` writes them.

        `residual_weights` are what `Transforms.residual_weight` says for each tune; empty where codes are not
        centred.
        """
        self.config = config
        self.device = device
        self._threads = torch.get_num_threads()
        self._pool: tuple[int, ThreadPoolExecutor] | None = None
        self._kept = torch.tensor([0] * config.lowest_level + list(config.kept), device=device)
        self._saturation = weights["saturation"].to(device)
        order = weights["tables.escape_order"].numpy()
        self.code_tables = SymbolTables(weights["tables.codes"].numpy(), order)
        self.map_tables = SymbolTables(weights["tables.map"].numpy(), order)
        map_spec, code_specs = group_specs(config)
        low, high = config.lowest_level - config.level_centre, config.highest_level - config.level_centre
        self._map_alphabet = Alphabet(low=low, high=high, tables=self.map_tables)
        choosing = torch.stack(list(residual_weights)).float().to(device) if residual_weights else None
        costs = torch.from_numpy(self.code_tables.residual_costs).to(device)
        self._alphabets = [
            Alphabet(
                low=config.alphabet[0],
                high=config.alphabet[1],
                tables=self.code_tables,
                codes_of=config.codes_of,
                weights=None if choosing is None else choosing[:, spec.start : spec.start + spec.size],
                costs=costs,
            )
            for spec in code_specs
        ]
        largest = max(COARSE_LIMIT, ACTIVATION_ONE, max(-low, high) * ACTIVATION_ONE // LEVEL_SCALE)

        def group(prefix: str, spec: GroupSpec, alphabet: Alphabet) -> IntegerGroup:
            part = {name.removeprefix(prefix): t for name, t in weights.items() if name.startswith(prefix)}
            return IntegerGroup(
                spec, part, largest=largest, largest_code=alphabet.largest_code, device=device
            )

        self._map = group("map.", map_spec, self._map_alphabet)
        self._codes = [
            group(f"codes.{k}.", spec, alphabet)
            for k, (spec, alphabet) in enumerate(zip(code_specs, self._alphabets, strict=True))
        ]

    def encode(
        self, levels: Tensor, y: Tensor, conditions: Conditions, *, sink: Callable[[], Sink], check: Check
    ) -> list[list[bytes]]:
        """Quantise and code.

        Args:
            levels: importance maps, int64 [B, 1, rows, columns], a place for each cell.
            y: values whose nearest integers are symbols, float32 [B, channels, h, w].
            conditions: of the tiles.
            sink: makes what the decisions go to; an encoder, but in calibration.
            check: called before each pass, here and in the other methods.

        Returns:
            For each tile its payloads: the map's and, at least one, those of the groups that have codes.
        """
        batch = len(levels)
        map_coders = [sink() for _ in range(batch)]
        coders = [[sink() for _ in range(batch)] for _ in self._codes]
        with self._exact():
            self._code_map(map_coders, conditions, levels, check=check)
            values = y.permute(0, 2, 3, 1).reshape(-1, y.shape[1])
            self._code_groups(coders, levels, conditions, values, check=check)
        most = self._kept[levels.amax((1, 2, 3))].clamp_min(1).tolist()
        return [
            [
                map_coder.finish(),
                *(c.finish() for c, g in zip(own, self._codes, strict=True) if g.spec.start < kept),
            ]
            for map_coder, own, kept in zip(map_coders, zip(*coders, strict=True), most, strict=True)
        ]

    def decode_map(self, payloads: Sequence[bytes], conditions: Conditions, *, check: Check) -> Tensor:
        """The importance maps, int64 [B, 1, rows, columns]; raises PayloadError."""
        coders = [Decoder(payload) for payload in payloads]
        with self._exact():
            levels = self._code_map(coders, conditions, None, check=check)
        for coder in coders:
            coder.finish()
        return levels

    def decode_codes(
        self,
        payloads: Sequence[Sequence[bytes | None]],
        levels: Tensor,
        conditions: Conditions,
        *,
        groups: int,
        check: Check,
    ) -> Tensor:
        """The codes in 1 / FRACTIONS, int16 [B, channels, h, w].

        Args:
            payloads: of each tile, those of its groups; where one is None every residual is zero.
            levels: of `decode_map`.
            conditions: of the tiles.
            groups: how many groups are looked at; codes of the others are zero, as if masked.
            check: see `encode`.

        Raises:
            PayloadError: a payload that no encoder has written.
        """
        coders = [
            [None if (payload := own[k]) is None else Decoder(payload) for own in payloads]
            for k in range(len(self._codes))
        ]
        with self._exact():
            codes = self._code_groups(coders[:groups], levels, conditions, None, check=check)
        for coder in (coder for column in coders[:groups] for coder in column if coder):
            coder.finish()
        return codes

    def parallel(self, pixels: int) -> int:
        """How many tiles of so many pixels are coded at the same time at best.

        Memory bounds it; on a CPU also its threads, but small tiles gain on one thread already.
        """
        useful = max(self._threads, _SMALL // pixels) if self.device.type == "cpu" else _MOST
        return max(1, min(useful, _MOST, _PIXELS_AT_ONCE // pixels))

    def kept_codes(self, levels: Tensor) -> int:
        """How many codes maps keep."""
        return int(self._kept[levels].sum()) * (self.config.map_stride // BLOCK) ** 2

    def _exact(self) -> torch.autocast:
        """Products as they are written, whatever precision the caller has asked torch for."""
        return torch.autocast(self.device.type, enabled=False)

    def _code_map(
        self, coders: Sequence[Coder], conditions: Conditions, levels: Tensor | None, *, check: Check
    ) -> Tensor:
        planes = conditions.activations(self.config.conditions)
        grid = Grid.of(planes, torch.ones_like(conditions.quality), tunes=conditions.tunes, check=check)
        values = None if levels is None else (levels - self.config.level_centre).float().reshape(-1, 1)
        found = self._code_group(self._map, self._map_alphabet, coders, grid, [], values)
        symbols = _unpadded(found.codes, grid.shape).div(FRACTIONS, rounding_mode="floor")
        return symbols.long() + self.config.level_centre

    def _code_groups(
        self,
        coders: Sequence[Sequence[Coder | None]],
        levels: Tensor,
        conditions: Conditions,
        y: Tensor | None,
        *,
        check: Check,
    ) -> Tensor:
        each = self.config.map_stride // BLOCK
        level_plane = (levels - self.config.level_centre) * (ACTIVATION_ONE // LEVEL_SCALE)
        planes = torch.cat([level_plane, conditions.activations(self.config.conditions)], 1)
        fine, kept = (
            x.repeat_interleave(each, 2).repeat_interleave(each, 3) for x in (planes, self._kept[levels])
        )
        grid = Grid.of(fine, kept, tunes=conditions.tunes, check=check)
        previous: list[Plane] = []
        batch, height, width = grid.shape
        out = torch.zeros(batch, self.config.channels, height, width, dtype=torch.int16, device=self.device)
        for group, alphabet, own in zip(self._codes, self._alphabets, coders, strict=False):
            part = slice(group.spec.start, group.spec.start + group.spec.size)
            planes_of = self._code_group(
                group, alphabet, own, grid, previous, None if y is None else y[:, part]
            )
            previous.append(planes_of.features)
            out[:, part] = _unpadded(planes_of.codes, grid.shape)
        return out

    def _code_group(
        self,
        group: IntegerGroup,
        alphabet: Alphabet,
        coders: Sequence[Coder | None],
        grid: Grid,
        previous: Sequence[Plane],
        y: Tensor | None,
    ) -> CodePlanes:
        """Code a group's codes; from `y` [B * rows * columns, size] when encoding."""
        spec = group.spec
        batch, height, width = grid.shape
        steps = pass_grid(spec.pattern, height, width, device=self.device).flatten().repeat(batch)
        steps[grid.kept <= spec.start] = -1
        local = CodePlanes.empty(grid.shape, spec.size, device=self.device)
        for step in range(spec.passes):
            grid.check()
            positions = torch.nonzero(steps == step)[:, 0]
            if not len(positions):
                continue
            rows = padded_rows(positions, height, width)
            mean, scale = group.predict(
                step, rows, conditions=grid.conditions, previous=previous, local=local, inside=grid.inside
            )
            tile = positions // (height * width)
            active = torch.arange(spec.size, device=self.device) + spec.start < grid.kept[positions, None]
            mean = mean.clamp(alphabet.low * FRACTIONS, alphabet.high * FRACTIONS)
            centre = (mean + FRACTIONS // 2).div(FRACTIONS, rounding_mode="floor")
            values = None
            if y is not None:
                values = choose(y[positions], mean, centre, scale, alphabet, grid.tunes[tile])
            about = centre * FRACTIONS if alphabet.centred else mean
            symbols = self._code_symbols(coders, alphabet, tile, active, about, scale, centre, values)
            if alphabet.centred:
                codes = (symbols - centre) * FRACTIONS + mean
            else:
                codes = alphabet.codes_of(symbols) * FRACTIONS
            local.put(rows, codes * active, self._saturation)
        return local

    def _code_symbols(
        self,
        coders: Sequence[Coder | None],
        alphabet: Alphabet,
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
            alphabet: of the group.
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
                    alphabet.tables,
                    mean=means[own][here],
                    scale=scales[own][here],
                    low=alphabet.low,
                    high=alphabet.high,
                    values=None if wanted is None else wanted[own][here],
                )

        if len(coders) == 1 or self._threads == 1:
            for index in range(len(coders)):
                code(index)
        else:
            list(self._workers().map(code, range(len(coders))))
        return torch.from_numpy(symbols).to(self.device)

    def _workers(self) -> ThreadPoolExecutor:
        """The threads of this process: after a fork there are none of the parent's."""
        if self._pool is None or self._pool[0] != os.getpid():
            self._pool = os.getpid(), ThreadPoolExecutor(self._threads, thread_name_prefix="cwic-entropy")
        return self._pool[1]


def _unpadded(plane: Plane, shape: tuple[int, int, int]) -> Tensor:
    """A plane's values without its border, [B, C, h, w]."""
    batch, height, width = shape
    padded = plane.rows.view(batch, height + 2 * REACH, width + 2 * REACH, -1)
    return padded[:, REACH:-REACH, REACH:-REACH].permute(0, 3, 1, 2)
