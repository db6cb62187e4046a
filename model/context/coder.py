"""Codes to payloads and back: the importance map first, then the channel groups, one payload each.

Encoding and decoding are one walk over the same passes; only the coder's direction differs.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.config import BLOCK, LEVEL_SCALE, CodecConfig
from model.container.format import QUALITY_STEPS
from model.context.integer import (
    ACTIVATION_ONE,
    IntegerGroup,
    Plane,
    code_activations,
    inside_plane,
    padded_rows,
)
from model.context.passes import group_specs, pass_grid
from model.context.quantise import Alphabet, Floats, rdo_quantise
from model.entropy.range_coder import Coder, Decoder, Sink
from model.entropy.symbols import code_symbols
from model.entropy.tables import Ints, SymbolTables
from model.errors import SectionError
from model.types import Check


@dataclass(frozen=True, eq=False, kw_only=True)
class Grid:
    """Where a group is coded, for a batch of pictures.

    Attributes:
        shape: pictures, rows, columns.
        side: side planes.
        inside: `inside_plane` of the grid.
        kept: how many channels are kept at each position, int64 [B * rows * columns].
        check: called before each pass.
    """

    shape: tuple[int, int, int]
    side: Plane
    inside: Plane
    kept: Tensor
    check: Check


class SymbolCoder:
    """Codes importance maps and codes with one checkpoint's integer models. Frozen after construction."""

    def __init__(
        self,
        config: CodecConfig,
        weights: Mapping[str, Tensor],
        *,
        weight: Tensor | None,
        device: torch.device,
    ) -> None:
        """Take the integer part of a checkpoint; names as `model.profiles.export.quantise` writes them.

        `weight` is what `Transforms.symbol_weight` says.
        """
        self.config = config
        self.device = device
        map_spec, code_specs = group_specs(config)
        level_one = ACTIVATION_ONE // LEVEL_SCALE
        low, high = config.lowest_level - config.level_centre, config.highest_level - config.level_centre
        largest = max(config.input_limit, ACTIVATION_ONE, max(-low, high) * level_one)
        self._map = IntegerGroup(map_spec, _part(weights, "map."), largest=largest, device=device)
        self._codes = [
            IntegerGroup(spec, _part(weights, f"codes.{k}."), largest=largest, device=device)
            for k, spec in enumerate(code_specs)
        ]
        self._saturation = weights["saturation"].to(device)
        order = weights["tables.escape_order"].numpy()
        self.code_tables = SymbolTables(weights["tables.codes"].numpy(), order)
        self.map_tables = SymbolTables(weights["tables.map"].numpy(), order)
        self._map_alphabet = Alphabet(low=low, high=high, tables=self.map_tables)
        weights_of = None if weight is None else weight.float().cpu().numpy()
        self._code_alphabets = [
            Alphabet(
                low=config.alphabet[0],
                high=config.alphabet[1],
                tables=self.code_tables,
                weight=None if weights_of is None else weights_of[spec.start : spec.start + spec.size],
                codes_of=config.codes_of,
            )
            for spec in code_specs
        ]

    def encode(
        self, levels: Tensor, y: Tensor, quality: Tensor, *, sink: Callable[[], Sink], check: Check
    ) -> list[list[bytes]]:
        """Quantise and code.

        Args:
            levels: the importance map, int64 [B, 1, rows, columns], a place for each cell of the picture.
            y: values whose nearest integers are symbols, float32 [B, channels, h, w].
            quality: 0..4096, int64 [B, 1, rows, columns].
            sink: makes what the decisions go to; an encoder, but in calibration.
            check: called before each pass, here and in the other methods.

        Returns:
            For each picture its payloads, map first.
        """
        batch = len(levels)
        map_coders = [sink() for _ in range(batch)]
        coders = [[sink() for _ in range(batch)] for _ in self._codes]
        with self._exact():
            self._code_map(map_coders, quality, levels, check=check)
            self._code_groups(coders, levels, quality, y.permute(0, 2, 3, 1).cpu().numpy(), check=check)
        return [[coder.finish() for coder in column] for column in zip(map_coders, *coders, strict=True)]

    def decode_map(self, payloads: Sequence[bytes], quality: Tensor, *, check: Check) -> Tensor:
        """The importance maps, int64 [B, 1, rows, columns]; raises PayloadError."""
        coders = [Decoder(payload) for payload in payloads]
        with self._exact():
            levels = self._code_map(coders, quality, None, check=check)
        for coder in coders:
            coder.finish()
        return levels

    def decode_codes(
        self, payloads: Sequence[Sequence[bytes]], levels: Tensor, quality: Tensor, *, check: Check
    ) -> Tensor:
        """The codes, int64 [B, channels, h, w], of each picture's group payloads; raises FileError."""
        groups = len(self._codes)
        if any(len(parts) != groups for parts in payloads):
            raise SectionError(
                f"expected {groups} sections of codes, got {[len(parts) for parts in payloads]}"
            )
        coders = [[Decoder(parts[k]) for parts in payloads] for k in range(groups)]
        with self._exact():
            codes = self._code_groups(coders, levels, quality, None, check=check)
        for coder in (coder for column in coders for coder in column):
            coder.finish()
        return codes

    def _exact(self) -> torch.autocast:
        """Products as they are written, whatever precision the caller has asked torch for."""
        return torch.autocast(self.device.type, enabled=False)

    def _code_map(
        self, coders: Sequence[Coder], quality: Tensor, levels: Tensor | None, *, check: Check
    ) -> Tensor:
        batch, _, height, width = quality.shape
        grid = Grid(
            shape=(batch, height, width),
            side=Plane.of(quality_activation(quality)),
            inside=inside_plane(batch, height, width, device=self.device),
            kept=torch.ones(quality.numel(), dtype=torch.int64, device=self.device),
            check=check,
        )
        values = None
        if levels is not None:
            values = (levels - self.config.level_centre).permute(0, 2, 3, 1).float().cpu().numpy()
        codes, _ = self._code_group(self._map, self._map_alphabet, coders, grid, [], values)
        return codes + self.config.level_centre

    def _code_groups(
        self,
        coders: Sequence[Sequence[Coder]],
        levels: Tensor,
        quality: Tensor,
        y: Floats | None,
        *,
        check: Check,
    ) -> Tensor:
        each = self.config.cell // BLOCK
        levels8, quality8 = (
            x.repeat_interleave(each, 2).repeat_interleave(each, 3) for x in (levels, quality)
        )
        batch, _, height, width = levels8.shape
        level_plane = (levels8 - self.config.level_centre) * (ACTIVATION_ONE // LEVEL_SCALE)
        grid = Grid(
            shape=(batch, height, width),
            side=Plane.of(torch.cat([level_plane, quality_activation(quality8)], 1)),
            inside=inside_plane(batch, height, width, device=self.device),
            kept=levels8.flatten() * self.config.step,
            check=check,
        )
        previous: list[Plane] = []
        out = []
        for group, alphabet, group_coders in zip(self._codes, self._code_alphabets, coders, strict=True):
            start = group.spec.start
            values = None if y is None else y[..., start : start + group.spec.size]
            codes, plane = self._code_group(group, alphabet, group_coders, grid, previous, values)
            previous.append(plane)
            out.append(codes)
        return torch.cat(out, 1)

    def _code_group(
        self,
        group: IntegerGroup,
        alphabet: Alphabet,
        coders: Sequence[Coder],
        grid: Grid,
        previous: Sequence[Plane],
        y: Floats | None,
    ) -> tuple[Tensor, Plane]:
        """The codes, int64 [B, size, rows, columns], and their activations; from `y` [B, rows, columns, size]."""
        spec = group.spec
        batch, height, width = grid.shape
        steps = pass_grid(spec.pattern, height, width, device=self.device).flatten().repeat(batch)
        steps[grid.kept <= spec.start] = -1
        out = torch.zeros(batch * height * width, spec.size, dtype=torch.int64, device=self.device)
        local = Plane.of(torch.zeros(batch, 2 * spec.size, height, width, device=self.device))
        for step in range(spec.passes):
            grid.check()
            positions = torch.nonzero(steps == step)[:, 0]
            rows = padded_rows(positions, height, width)
            mean, scale = group.predict(
                step, rows, side=grid.side, previous=previous, local=local, inside=grid.inside
            )
            active = torch.arange(spec.size, device=self.device) + spec.start < grid.kept[positions, None]
            at = positions.cpu().numpy()
            codes = _code_pass(
                coders,
                alphabet,
                picture=at // (height * width),
                active=active.cpu().numpy(),
                mean=mean.cpu().numpy(),
                scale=scale.cpu().numpy(),
                y=None if y is None else y.reshape(-1, spec.size)[at],
            )
            found = torch.from_numpy(codes).to(self.device)
            out[positions] = found
            local.rows[rows] = code_activations(found, self._saturation)
        return out.reshape(batch, height, width, -1).permute(0, 3, 1, 2), local


def _code_pass(
    coders: Sequence[Coder],
    alphabet: Alphabet,
    *,
    picture: NDArray[np.int64],
    active: NDArray[np.bool_],
    mean: Ints,
    scale: Ints,
    y: Floats | None,
) -> NDArray[np.int64]:
    """Code one pass of all pictures: codes [N, size], zero where not active; inputs [N] and [N, size]."""
    codes = np.zeros(mean.shape, np.int64)
    for index, coder in enumerate(coders):
        own = slice(*np.searchsorted(picture, [index, index + 1]))
        kept = active[own]
        means, scales = mean[own][kept], scale[own][kept]
        values = None
        if y is not None:
            weight = None if alphabet.weight is None else np.broadcast_to(alphabet.weight, kept.shape)[kept]
            values = rdo_quantise(y[own][kept], means, scales, alphabet, weight)
        symbols = code_symbols(
            coder,
            alphabet.tables,
            mean=means,
            scale=scales,
            low=alphabet.low,
            high=alphabet.high,
            values=values,
        )
        codes[own][kept] = alphabet.codes_of(symbols)
    return codes


def quality_activation(quality: Tensor) -> Tensor:
    """The quality plane, 0..QUALITY_STEPS, as activations."""
    return quality // (QUALITY_STEPS // ACTIVATION_ONE)


def _part(weights: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in weights.items() if name.startswith(prefix)}
