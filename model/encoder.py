"""Pictures to files: tile by tile, so that memory stays bounded whatever the picture's size."""

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from model.config import BLOCK, TUNES
from model.container.format import Header, extensions_of, pack
from model.context.conditions import Conditions
from model.context.offsets import pack_offsets
from model.entropy.range_coder import Encoder, Sink
from model.entropy.tables import Ints
from model.loaded import LoadedModel
from model.options import PLANE_CELL, PLANE_STEPS, REFINEMENTS, EncodeOptions
from model.profiles.cwic.refinement import REFINED_RDO, Latents, View
from model.rate_control import positions, resolve_setting
from model.source import Source
from model.steps import Step, Work
from model.tile_cache import Tile, TileCache
from model.tiling import Box, TileGrid
from model.types import Check, Pixels

# Columns of the importance map that are analysed at least: where a strided convolution has one column of output,
# oneDNN reads past its input in bfloat16 (PyTorch 2.13, AMX), and what lies there comes into the codes.
_MIN_CELLS = 2
_SEEN_BEYOND = 32  # pixels around a tile that are looked at when it is refined; its codes change few beyond
_REFINED_AT_ONCE = 8  # tiles: enough for all cores, few enough to keep their latents in memory


class TileEncoder:
    """One picture on its way to payloads.

    Every tile is analysed with a margin of pixels around it that covers all that its codes depend on; its context
    models see nothing beyond it.
    """

    def __init__(
        self,
        model: LoadedModel,
        array: Pixels,
        options: EncodeOptions,
        *,
        grey: bool = False,
        sink: Callable[[], Sink] = Encoder,
        cache: TileCache | None = None,
    ) -> None:
        """Take a picture, whose first three channels are coded; raises ParameterError, see `resolve_setting`.

        `grey` says whether the decoder makes these equal; `sink` makes what the decisions of coding go to, an encoder
        but in calibration; `cache` keeps what coding the picture again, or decoding it, need not compute.
        """
        height, width = array.shape[:2]
        self.setting = resolve_setting(options, model.config, height=height, width=width)
        self.model = model
        self.sink = sink
        self.refinements = REFINEMENTS[options.effort]
        self.strictness = REFINED_RDO if self.refinements else 1.0 if options.effort else math.inf
        self._grey = grey
        self.cache = cache
        self._array = array
        height, width = model.config.padded_size(height, width)
        self.grid = TileGrid(width, height, options.tile)  # padded: as many tiles as the picture has
        self._positions: Ints | None = None
        if self.setting.offsets is not None:
            cells = PLANE_CELL // model.config.map_stride
            self._positions = positions(self.setting.quality, self.setting.offsets, cells=cells)

    def encoding(self) -> Work[list[list[bytes]]]:
        """The payloads of each tile, map first."""
        coded: list[list[bytes]] = []
        at_once = _REFINED_AT_ONCE if self.refinements else self.grid.count
        for start in range(0, self.grid.count, at_once):
            band = range(start, min(start + at_once, self.grid.count))
            latents: Sequence[Latents | None] = [None for _ in band]
            for done in range(self.refinements):
                pace = 1 - done / self.refinements
                latents = yield [
                    RefineTile(self, index, own, pace) for index, own in zip(band, latents, strict=True)
                ]
            coded += yield [EncodeTile(self, index, own) for index, own in zip(band, latents, strict=True)]
        return coded

    @property
    def mapping(self) -> "list[MapTile]":
        """A step for each tile."""
        return [MapTile(self, index) for index in range(self.grid.count)]

    def analyse(self, box: Box, *, tile: int | None = None, check: Check) -> tuple[Tensor, Tensor]:
        """The values and levels of a box of pixels, see `Transforms.analyse`; `tile` is its index if it is one."""
        check()
        model, stride = self.model, self.model.config.map_stride
        window = box.grown(model.transforms.analysis_margin, within=self.grid.bounds)
        varied = self._positions is not None
        conditions = self.conditions(window).planes(varied=varied)
        narrow = max(_MIN_CELLS - window.width // stride, 0)
        if narrow and varied:
            conditions = functional.pad(conditions, (0, narrow, 0, 0), mode="replicate")
        y, levels = model.transforms.analyse(self._features(tile, window, narrow=narrow), conditions)
        (rows, columns), cells = box.slices(window, BLOCK), box.slices(window, stride)
        return y[:, :, rows, columns], levels[:, :, cells[0], cells[1]]

    def refine(self, index: int, latents: Latents | None, *, pace: float, check: Check) -> Latents:
        """One round for a tile, see `Refinement.improved`; the first starts from None."""
        tile = self.grid.box(index)
        window = tile.grown(_SEEN_BEYOND, within=self.grid.bounds)
        with torch.inference_mode(mode=False), torch.no_grad():
            if latents is None:
                y, levels = self.analyse(window, check=check)
                latents = Latents(y, levels.float())
            view = View(
                x=self._samples(window) + 0.5,
                inside=self._inside(window),
                conditions=self.conditions(window).planes(varied=True),
                tile=tile,
                window=window,
                grey=self._grey,
            )
            check()
            return self.model.refinement.improved(latents, view, pace=pace, check=check)

    def tile_of(self, index: int, latents: Latents) -> tuple[Tensor, Tensor]:
        """A tile's values and levels, as of `analyse`, of latents as of `refine`."""
        tile = self.grid.box(index)
        window = tile.grown(_SEEN_BEYOND, within=self.grid.bounds)
        y, levels = latents.part(tile, window, stride=self.model.config.map_stride)
        return y, levels.round().long()

    def is_kept(self, index: int) -> bool:
        """Whether a tile is one of those that the cache, if there is one, has room for."""
        return self.cache is not None and self.cache.has_room(
            self.grid, index, margin=self.model.transforms.analysis_margin
        )

    def conditions(self, box: Box) -> Conditions:
        """Of a box of pixels."""
        return Conditions.of(self._quality(box), self.setting.tune)

    def plane(self, index: int) -> bytes:
        """The payload of a tile's quality plane."""
        assert self.setting.offsets is not None
        box = self.grid.box(index)
        part = self.setting.offsets[
            box.top // PLANE_CELL : -(-box.bottom // PLANE_CELL),
            box.left // PLANE_CELL : -(-box.right // PLANE_CELL),
        ]
        return pack_offsets(part.astype(np.int32), self.model.symbols.map_tables, limit=PLANE_STEPS)

    def _features(self, tile: int | None, window: Box, *, narrow: int) -> tuple[Tensor, ...]:
        """Of a window, which lacks so many columns of the map; those of a tile's window are kept."""
        kept = None if tile is None or self.cache is None else self.cache.features
        if kept is not None and tile in kept:
            return kept[tile]
        x = self._samples(window)
        if narrow:
            x = functional.pad(x, (0, narrow * self.model.config.map_stride, 0, 0), mode="replicate")
        features = self.model.transforms.features(x)
        if kept is not None and tile is not None and self.is_kept(tile):
            kept[tile] = features
        return features

    def _samples(self, window: Box) -> Tensor:
        """RGB in -0.5..0.5, float32 [1, 3, H, W], channels last; the picture's edge goes on beyond it."""
        height, width = self._array.shape[:2]
        own = self._array[window.top : min(window.bottom, height), window.left : min(window.right, width), :3]
        beyond = (window.height - own.shape[0], window.width - own.shape[1])
        padded = np.pad(own, ((0, beyond[0]), (0, beyond[1]), (0, 0)), mode="edge")
        x = torch.from_numpy(padded).to(self.model.device)
        return (x.float() / 255 - 0.5).permute(2, 0, 1)[None]

    def _inside(self, window: Box) -> Tensor:
        """1 where a pixel belongs to the picture, 0 where it pads it, float32 [1, 1, H, W]."""
        height, width = self._array.shape[:2]
        inside = torch.zeros(1, 1, window.height, window.width, device=self.model.device)
        inside[:, :, : height - window.top, : width - window.left] = 1
        return inside

    def _quality(self, box: Box) -> Tensor:
        """Positions on the quality axis at the map's resolution, int64 [1, 1, rows, columns]."""
        stride = self.model.config.map_stride
        if self._positions is None:
            shape = (1, 1, box.height // stride, box.width // stride)
            return torch.full(shape, self.setting.quality, device=self.model.device)
        rows, columns = box.slices(self.grid.bounds, stride)
        part = self._positions[rows, columns].astype(np.int64)
        return torch.from_numpy(part).to(self.model.device)[None, None]


@dataclass(frozen=True, eq=False)
class RefineTile(Step[TileEncoder]):
    """One round of improving what is coded of a tile and of what is seen around it.

    Attributes:
        latents: of the round before; None before the first.
        pace: see `Refinement.improved`.
    """

    latents: Latents | None
    pace: float

    @classmethod
    def run(cls, steps: Sequence[Self], check: Check) -> list[Latents]:
        """One by one, so that no result depends on the batch."""
        return [each.owner.refine(each.index, each.latents, pace=each.pace, check=check) for each in steps]


@dataclass(frozen=True, eq=False)
class EncodeTile(Step[TileEncoder]):
    """Code a tile: to its payloads, map first.

    Attributes:
        latents: what is coded; None for what the analysis gives.
    """

    latents: Latents | None = None

    @property
    def key(self) -> Hashable:
        """Tiles of one size are walked together."""
        return type(self), self.owner.model, self.owner.sink, self.box.size

    @property
    def most(self) -> int:
        """See `SymbolCoder.parallel`."""
        return self.owner.model.symbols.parallel(self.box.pixels)

    @classmethod
    def run(cls, steps: Sequence[Self], check: Check) -> list[list[bytes]]:
        """Analyse one by one, so that no result depends on the batch; code together, which is exact."""
        first = steps[0].owner
        with torch.inference_mode():
            values, levels = zip(*(each.coded(check) for each in steps), strict=True)
            conditions = Conditions.cat([each.owner.conditions(each.box) for each in steps])
            strictness = torch.tensor([each.owner.strictness for each in steps], device=first.model.device)
            maps = torch.cat(levels)
            payloads, codes = first.model.symbols.encode(
                maps,
                torch.cat(values),
                conditions,
                strictness=strictness,
                sink=first.sink,
                check=check,
            )
            parts = (torch.split(part, 1) for part in (maps, maps, conditions.quality, codes))
            for each, *tile in zip(steps, *parts, strict=True):
                cache = each.owner.cache
                if cache is not None and each.owner.is_kept(each.index):
                    cache.tiles[each.index] = Tile(*tile)
            return payloads

    def coded(self, check: Check) -> tuple[Tensor, Tensor]:
        """Values and levels; see `Transforms.analyse`."""
        if self.latents is None:
            return self.owner.analyse(self.box, tile=self.index, check=check)
        return self.owner.tile_of(self.index, self.latents)


class MapTile(Step[TileEncoder]):
    """Analyse a tile: to its levels, int64 [1, 1, rows, columns]."""

    @classmethod
    def run(cls, steps: Sequence[Self], check: Check) -> list[Tensor]:
        """See `Step`."""
        with torch.inference_mode():
            return [each.owner.analyse(each.box, check=check)[1] for each in steps]


def coded_file(
    model: LoadedModel, source: Source, options: EncodeOptions, *, cache: TileCache | None = None
) -> Work[bytes]:
    """The file of a picture at a quality."""
    height, width, _ = source.array.shape
    tiles = TileEncoder(model, source.coded, options, grey=source.grey, cache=cache)
    setting = tiles.setting
    header = Header(
        width=width,
        height=height,
        profile=model.config.profile,
        tile=options.tile,
        model_id=bytes.fromhex(model.info.model_id),
        quality=setting.quality,
        tune=TUNES[setting.tune],
        alpha=bool(source.alpha),
        grey=source.grey,
        plane=setting.offsets is not None,
        patches=bool(source.patches),
        lowest_level=model.config.lowest_level,
    )
    coded = yield from tiles.encoding()
    order = range(header.grid.count)
    payloads = [tiles.plane(index) for index in order] if header.plane else []
    payloads += [coded[index][0] for index in order]
    payloads += [*source.alpha, *source.patches]
    groups = max(len(own) for own in coded) - 1
    for group in range(1, groups + 1):
        payloads += [coded[index][group] if group < len(coded[index]) else b"" for index in order]
    last = max(index for index in order if len(coded[index]) > groups)
    whole = payloads[: len(payloads) - (header.grid.count - 1 - last)]
    return pack(header, whole, extensions_of(options.metadata))
