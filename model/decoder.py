"""Files to pictures: only the tiles that are needed, each with what its neighbours' codes add at its borders."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from model.config import BLOCK, TUNES
from model.container import lossless
from model.container.format import Container, Section
from model.context.conditions import Conditions
from model.context.offsets import unpack_offsets
from model.entropy.tables import FRACTIONS
from model.errors import HeaderError, NoImportanceMapError, ParameterError, WrongModelError
from model.loaded import LoadedModel
from model.options import PLANE_CELL, PLANE_STEPS, DecodeOptions
from model.rate_control import positions
from model.tiling import Box, TileGrid
from model.types import Check, Pixels


class Tile(NamedTuple):
    """A decoded tile: levels int64 [1, 1, rows, columns], quality of that shape, codes int16 [1, channels, h, w]."""

    levels: Tensor
    quality: Tensor
    codes: Tensor


def decode_picture(model: LoadedModel, file: Container, options: DecodeOptions, *, check: Check) -> Pixels:
    """The picture of a file, or a region of it, uint8 [H, W, 3] or [H, W, 4]; raises FileError, ParameterError."""
    header = file.header
    region = region_box(options, header.grid)
    channels = 4 if header.alpha else 3
    out = np.empty((region.height, region.width, channels), np.uint8)
    tiles = None if header.lossless else TileDecoder(model, file, groups=options.groups)
    wanted = header.grid.touching(region)
    for index in wanted:
        check()
        box = header.grid.box(index)
        size = (box.height, box.width)
        if tiles is None:
            samples = lossless.unpack(_there(file, Section.SAMPLES, index), (*size, channels))
        else:
            samples = tiles.pixels(index, wanted, check=check)[: box.height, : box.width]
            if header.alpha:
                alpha = lossless.unpack(_there(file, Section.ALPHA, index), (*size, 1))
                samples = np.concatenate([samples, alpha], 2)
        both = box.intersection(region)
        out[both.slices(region, 1)] = samples[both.slices(box, 1)]
    return out


def region_box(options: DecodeOptions, grid: TileGrid) -> Box:
    """The pixels that are wanted; raises ParameterError for a region that is not inside the picture."""
    region = options.region
    if region is None:
        return grid.bounds
    box = Box(*region.edges)
    if min(region.width, region.height) < 1 or box.intersection(grid.bounds) != box:
        raise ParameterError(
            f"region {region.width}x{region.height} at {region.x},{region.y} is not inside {grid.width}x{grid.height}"
        )
    return box


class TileDecoder:
    """One file on its way to pixels; keeps the tiles that later ones still need."""

    def __init__(self, model: LoadedModel, file: Container, *, groups: int | None = None) -> None:
        """Take a file of this model; raises NoImportanceMapError, WrongModelError, HeaderError."""
        check_model(model, file)
        self._model = model
        self._file = file
        self._groups = min(groups or len(model.config.groups), len(model.config.groups))
        if file.groups > len(model.config.groups):
            raise HeaderError(
                f"{file.groups} channel groups in a file of a model of {len(model.config.groups)}"
            )
        height, width = model.config.padded_size(file.header.height, file.header.width)
        self.grid = TileGrid(width, height, file.header.tile)
        self._tune = TUNES.index(file.header.tune)
        self._tiles: dict[int, Tile] = {}

    def pixels(self, index: int, wanted: list[int], *, check: Check) -> Pixels:
        """The pixels of a tile, uint8 [H, W, 3], padded to whole cells.

        Args:
            index: of the tile.
            wanted: all tiles that are asked for one after the other, ascending.
            check: called between the steps of the work.
        """
        window = self.grid.box(index).grown(self._model.transforms.synthesis_margin, within=self.grid.bounds)
        with torch.inference_mode():
            whole = self._assembled(window, self._ahead(index, wanted), check=check)
            x_hat = self._model.transforms.synthesise(
                whole.codes.float() / FRACTIONS,
                whole.levels,
                Conditions.of([whole.quality], self._tune).planes(varied=self._file.header.plane),
            )
            rows, columns = self.grid.box(index).slices(window, 1)
            x_hat = x_hat[0, :, rows, columns]
            if self._file.header.grey:
                x_hat = x_hat.mean(0, keepdim=True).expand(3, -1, -1)
            pixels = (x_hat * 255).round_().clamp_(0, 255).to(torch.uint8)
            found: Pixels = pixels.permute(1, 2, 0).cpu().contiguous().numpy()
        self._forget(index, wanted)
        return found

    def whole(self, *, check: Check) -> Tile:
        """All tiles as one, for files that are small enough for it."""
        with torch.inference_mode():
            return self._assembled(self.grid.bounds, list(range(self.grid.count)), check=check)

    def maps(self, *, check: Check) -> Iterator[tuple[int, Tensor]]:
        """Each tile with its levels, int64 [1, 1, rows, columns]; no codes are decoded."""
        with torch.inference_mode():
            for batch in self.grid.batches(range(self.grid.count), self._model.symbols.parallel):
                conditions = self._tile_conditions(batch)
                yield from zip(
                    batch, torch.split(self._levels(batch, conditions, check=check), 1), strict=True
                )

    def _assembled(self, window: Box, ahead: list[int], *, check: Check) -> Tile:
        """What lies in a window, of the tiles that it touches; those that are missing are decoded."""
        touched = self.grid.touching(window)
        missing = [index for index in ahead if index not in self._tiles]
        for batch in self.grid.batches(missing, self._model.symbols.parallel):
            if not all(index in self._tiles for index in touched):
                self._decode(batch, check=check)
        if touched == [0] and self.grid.box(0) == window:
            return self._tiles[0]
        parts = []
        for field, stride in enumerate((self._model.config.map_stride,) * 2 + (BLOCK,)):
            first = self._tiles[touched[0]][field]
            shape = (1, first.shape[1], window.height // stride, window.width // stride)
            whole = torch.empty(shape, dtype=first.dtype, device=first.device)
            for index in touched:
                box = self.grid.box(index)
                both = box.intersection(window)
                rows, columns = both.slices(window, stride)
                own_rows, own_columns = both.slices(box, stride)
                whole[:, :, rows, columns] = self._tiles[index][field][:, :, own_rows, own_columns]
            parts.append(whole)
        return Tile(*parts)

    def _ahead(self, index: int, wanted: list[int]) -> list[int]:
        """The tiles that this and later tiles need, in the order in which they are needed."""
        margin = self._model.transforms.synthesis_margin
        near = [i for i in wanted if index <= i <= index + 2 * self.grid.columns]
        needed = {
            each: None
            for i in near
            for each in self.grid.touching(self.grid.box(i).grown(margin, within=self.grid.bounds))
        }
        return list(needed)

    def _forget(self, index: int, wanted: list[int]) -> None:
        """Let go of the tiles that no later tile needs."""
        later = [i for i in wanted if i > index]
        oldest = min(later, default=self.grid.count) - self.grid.columns - 1
        self._tiles = {i: tile for i, tile in self._tiles.items() if i >= oldest}

    def _decode(self, batch: list[int], *, check: Check) -> None:
        conditions = self._tile_conditions(batch)
        levels = self._levels(batch, conditions, check=check)
        payloads = [
            [
                self._file.payload(Section.CODES, index, group)
                for group in range(len(self._model.config.groups))
            ]
            for index in batch
        ]
        codes = self._model.symbols.decode_codes(
            payloads, levels, conditions, groups=self._groups, check=check
        )
        parts = (torch.split(part, 1) for part in (levels, conditions.quality, codes))
        self._tiles |= {index: Tile(*own) for index, own in zip(batch, zip(*parts, strict=True), strict=True)}

    def _levels(self, batch: list[int], conditions: Conditions, *, check: Check) -> Tensor:
        payloads = [_there(self._file, Section.MAP, index) for index in batch]
        return self._model.symbols.decode_map(payloads, conditions, check=check)

    def _tile_conditions(self, batch: list[int]) -> Conditions:
        return Conditions.of([self._quality(index).to(self._model.device) for index in batch], self._tune)

    def _quality(self, index: int) -> Tensor:
        """Positions on the quality axis, int64 [1, 1, rows, columns]."""
        box, stride, header = self.grid.box(index), self._model.config.map_stride, self._file.header
        shape = (box.height // stride, box.width // stride)
        if not header.plane:
            return torch.full((1, 1, *shape), header.quality)
        offsets = unpack_offsets(
            _there(self._file, Section.PLANE, index),
            self._model.symbols.map_tables,
            (-(-box.height // PLANE_CELL), -(-box.width // PLANE_CELL)),
            limit=PLANE_STEPS,
        )
        at = positions(header.quality, offsets, cells=PLANE_CELL // stride)[: shape[0], : shape[1]]
        return torch.from_numpy(at.astype(np.int64))[None, None]


def check_model(model: LoadedModel, file: Container) -> None:
    """Raise NoImportanceMapError, WrongModelError or HeaderError unless the model can decode the file."""
    header, info = file.header, model.info
    if header.lossless:
        raise NoImportanceMapError("a lossless file has no importance map")
    if header.model_id.hex() != info.model_id:
        raise WrongModelError(
            f"the file needs model {header.model_id.hex()}, this is {info.model_id} ({info.name})"
        )
    found, own = (header.profile, header.lowest_level), (model.config.profile, model.config.lowest_level)
    if found != own:
        raise HeaderError(
            f"profile {found[0]} with levels from {found[1]} in a file of model {info.model_id}, which is "
            f"{own[0]} from {own[1]}"
        )


def _there(file: Container, section: Section, index: int) -> bytes:
    payload = file.payload(section, index)
    assert payload is not None  # the container guarantees what no file can do without
    return payload
