"""Codes to payloads and back: the importance map first, then the channel groups, one payload each.

Encoding and decoding are one walk over the same passes; only the coder's direction differs. Several tiles of one
size are walked together: their predictions are computed at once, their payloads coded in parallel, and none sees
another.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate, pairwise

import torch
from torch import Tensor

from model.config import BLOCK, LEVEL_SCALE, CodecConfig
from model.context.conditions import Conditions
from model.context.haar import DETAILS, FACTOR
from model.context.integer import ACTIVATION_ONE, CodePlanes, IntegerGroup
from model.context.passes import GroupSpec, specs_of
from model.context.quantise import Alphabet
from model.context.walk import Grid, GroupCoder, HaarCoder, Workers, unpadded
from model.entropy.range_coder import Coder, Decoder, Sink
from model.entropy.tables import FRACTIONS, SymbolTables
from model.types import Check

_PIXELS_AT_ONCE = 4 * 2**20  # of the tiles that are walked together: some 100 MiB for each megapixel
_SMALL = 2**18  # pixels: so many of smaller tiles are walked together on a CPU, to share what each pass costs
_MOST = 64  # tiles


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
        self._workers = Workers(torch.get_num_threads())
        self._kept = torch.tensor([0] * config.lowest_level + list(config.kept), device=device)
        order = weights["tables.escape_order"].numpy()
        self.code_tables = SymbolTables(weights["tables.codes"].numpy(), order)
        self.map_tables = SymbolTables(weights["tables.map"].numpy(), order)
        low, high = config.lowest_level - config.level_centre, config.highest_level - config.level_centre
        saturation = weights["saturation"].to(device)
        choosing = torch.stack(list(residual_weights)).float().to(device) if residual_weights else None
        costs = torch.from_numpy(self.code_tables.residual_costs).to(device)

        def coder(spec: GroupSpec, alphabet: Alphabet) -> GroupCoder:
            prefix = f"{spec.name}."
            part = {name.removeprefix(prefix): t for name, t in weights.items() if name.startswith(prefix)}
            predictor = IntegerGroup(spec, part, largest_code=alphabet.largest_code, device=device)
            return GroupCoder(
                predictor=predictor, alphabet=alphabet, saturation=saturation, workers=self._workers
            )

        def codes_alphabet(channels: slice, *, kinds: int = 1, gain: int = 1) -> Alphabet:
            return Alphabet(
                low=gain * config.alphabet[0],
                high=gain * config.alphabet[1],
                tables=self.code_tables,
                codes_of=config.codes_of,
                weights=None if choosing is None else choosing[:, channels].repeat(1, kinds),
                costs=costs,
            )

        specs = specs_of(config)
        ends = list(accumulate(config.groups, initial=0))
        self._parts = [slice(start, end) for start, end in pairwise(ends)]
        self._map = coder(specs.map, Alphabet(low=low, high=high, tables=self.map_tables))
        self._codes = {k: coder(spec, codes_alphabet(self._parts[k])) for k, spec in specs.codes.items()}
        self._haar: HaarCoder | None = None
        if specs.haar:
            averages, details = specs.haar
            self._haar = HaarCoder(
                averages=coder(averages, codes_alphabet(self._parts[0], gain=FACTOR)),
                details=coder(details, codes_alphabet(self._parts[0], kinds=DETAILS, gain=FACTOR)),
                limit=config.alphabet[1] * FRACTIONS,
            )

    def encode(
        self,
        levels: Tensor,
        y: Tensor,
        conditions: Conditions,
        *,
        strictness: Tensor,
        sink: Callable[[], Sink],
        check: Check,
    ) -> tuple[list[list[bytes]], Tensor]:
        """Quantise and code.

        Args:
            levels: importance maps, int64 [B, 1, rows, columns], a place for each cell.
            y: values whose nearest integers are symbols, float32 [B, channels, h, w].
            conditions: of the tiles.
            strictness: of each tile, see `choose`, float32 [B].
            sink: makes what the decisions go to; an encoder, but in calibration.
            check: called before each pass, here and in the other methods.

        Returns:
            For each tile its payloads: the map's and, at least one, those of the groups that have codes. And the
            codes, as `decode_codes` will give them.
        """
        batch = len(levels)
        map_coders = [sink() for _ in range(batch)]
        coders = [[sink() for _ in range(batch)] for _ in self._parts]
        with self._exact():
            self._code_map(map_coders, conditions, levels, check=check)
            codes = self._code_groups(coders, levels, conditions, y, strictness=strictness, check=check)
        most = self._kept[levels.amax((1, 2, 3))].clamp_min(1).tolist()
        payloads = [
            [
                map_coder.finish(),
                *(c.finish() for c, part in zip(own, self._parts, strict=True) if part.start < kept),
            ]
            for map_coder, own, kept in zip(map_coders, zip(*coders, strict=True), most, strict=True)
        ]
        return payloads, codes

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
        check: Check,
    ) -> Tensor:
        """The codes in 1 / FRACTIONS, int16 [B, channels, h, w].

        Args:
            payloads: of each tile, those of the first groups, as many of each; where one is None every residual is
                zero. Codes of the groups after them are zero, as if masked.
            levels: of `decode_map`.
            conditions: of the tiles.
            check: see `encode`.

        Raises:
            PayloadError: a payload that no encoder has written.
        """
        coders = [
            [None if payload is None else Decoder(payload) for payload in group]
            for group in zip(*payloads, strict=True)
        ]
        with self._exact():
            codes = self._code_groups(coders, levels, conditions, None, strictness=None, check=check)
        for coder in (coder for group in coders for coder in group if coder):
            coder.finish()
        return codes

    def parallel(self, pixels: int) -> int:
        """How many tiles of so many pixels are coded at the same time at best.

        Memory bounds it; on a CPU also its threads, but small tiles gain on one thread already.
        """
        useful = max(self._workers.threads, _SMALL // pixels) if self.device.type == "cpu" else _MOST
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
        values = None if levels is None else (levels - self.config.level_centre).float()
        found = self._map.code(coders, grid, [], values)
        symbols = unpadded(found.codes, grid.shape).div(FRACTIONS, rounding_mode="floor")
        return symbols.long() + self.config.level_centre

    def _code_groups(
        self,
        coders: Sequence[Sequence[Coder | None]],
        levels: Tensor,
        conditions: Conditions,
        y: Tensor | None,
        *,
        strictness: Tensor | None,
        check: Check,
    ) -> Tensor:
        each = self.config.map_stride // BLOCK
        level_plane = (levels - self.config.level_centre) * (ACTIVATION_ONE // LEVEL_SCALE)
        planes = torch.cat([level_plane, conditions.activations(self.config.conditions)], 1)
        kept = self._kept[levels]
        fine = (x.repeat_interleave(each, 2).repeat_interleave(each, 3) for x in (planes, kept))
        grid = Grid.of(*fine, tunes=conditions.tunes, check=check, strictness=strictness)
        previous: list[CodePlanes] = []
        batch, height, width = grid.shape
        out = torch.zeros(batch, self.config.channels, height, width, dtype=torch.int16, device=self.device)
        for k, (part, own) in enumerate(zip(self._parts, coders, strict=False)):
            values = None if y is None else y[:, part]
            if self._haar and not k:
                everything = torch.full_like(kept, self.config.channels)
                coarse = Grid.of(
                    planes, everything, tunes=conditions.tunes, check=check, strictness=strictness
                )
                found = self._haar.code(own, coarse, values)
            else:
                found = self._codes[k].code(own, grid, previous, values)
            previous.append(found)
            out[:, part] = unpadded(found.codes, grid.shape)
        return out
