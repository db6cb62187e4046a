"""Files to pictures: only the tiles that are needed, each with what its neighbours' codes add at its borders."""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Self

import numpy as np
import torch
from torch import Tensor

from model.config import BLOCK, TUNES, CodecConfig
from model.container import lossless
from model.container.format import Container, Section
from model.context.conditions import Conditions
from model.context.offsets import unpack_offsets
from model.entropy.tables import FRACTIONS
from model.errors import HeaderError, NoImportanceMapError, PayloadError, WrongModelError
from model.loaded import LoadedModel
from model.options import PLANE_CELL, PLANE_STEPS, DecodeOptions, plane_shape
from model.rate_control import positions
from model.steps import Step, Work
from model.tile_cache import Tile
from model.tiling import Box, TileGrid
from model.types import Check, Pixels

NOTHING_KNOWN: Mapping[int, Tile] = MappingProxyType({})


def decode_picture(
    model: LoadedModel | None,
    file: Container,
    options: DecodeOptions,
    *,
    known: Mapping[int, Tile] = NOTHING_KNOWN,
) -> Work[Pixels]:
    """The picture of a file, or a region of it, uint8 [H, W, 3] or [H, W, 4]; raises FileError, ParameterError.

    A lossless file needs no model. Tiles that are known from coding the file are not decoded again.
    """
    header = file.header
    region = options.box(header.grid.bounds)
    channels = 4 if header.alpha else 3
    out = np.empty((region.height, region.width, channels), np.uint8)
    tiles = None
    if not header.lossless:
        assert model is not None, "only a lossless file is decoded without a model"
        tiles = TileDecoder(model, file, groups=options.groups, known=known)
    for band in header.grid.bands(header.grid.touching(region)):
        coloured: Sequence[Pixels] = [] if tiles is None else (yield from tiles.pixels(band))
        for place, index in enumerate(band):
            yield ()
            box = header.grid.box(index)
            size = (box.height, box.width)
            if header.lossless:
                samples = lossless.unpack(_there(file, Section.SAMPLES, index), (*size, channels))
            else:
                samples = coloured[place][: box.height, : box.width]
                if header.patches:
                    _put_patches(samples, _there(file, Section.SAMPLES, index))
                if header.alpha:
                    alpha = lossless.unpack(_there(file, Section.ALPHA, index), (*size, 1))
                    samples = np.concatenate([samples, alpha], 2)
            both = box.intersection(region)
            out[both.slices(region, 1)] = samples[both.slices(box, 1)]
    return out


class TileDecoder:
    """One file on its way to pixels; keeps the tiles that later ones still need."""

    def __init__(
        self,
        model: LoadedModel,
        file: Container,
        *,
        groups: int | None = None,
        known: Mapping[int, Tile] = NOTHING_KNOWN,
    ) -> None:
        """Take a file of this model, and those of its tiles that are known.

        Raises:
            NoImportanceMapError, WrongModelError, HeaderError: see `_check_model`.
        """
        _check_model(model, file)
        self.model = model
        self.file = file
        self.groups = min(groups or len(model.config.groups), len(model.config.groups))
        if file.groups > len(model.config.groups):
            raise HeaderError(
                f"{file.groups} channel groups in a file of a model of {len(model.config.groups)}"
            )
        height, width = model.config.padded_size(file.header.height, file.header.width)
        self.grid = TileGrid(width, height, file.header.tile)
        self._tune = TUNES.index(file.header.tune)
        self._tiles = dict(known)

    def pixels(self, band: Sequence[int]) -> Work[Sequence[Pixels]]:
        """The pixels of some tiles, uint8 [H, W, 3], padded to whole cells; of later bands, in ascending order."""
        needed = {index for each in band for index in self.grid.touching(self.window(each))}
        self._tiles = {index: tile for index, tile in self._tiles.items() if index >= min(needed)}
        yield from self._decode(sorted(needed))
        found: Sequence[Pixels] = yield [SynthesiseTile(self, index) for index in band]
        return found

    def whole(self) -> Work[Tile]:
        """All tiles as one, for files that are small enough for it."""
        yield from self._decode(range(self.grid.count))
        return self.assembled(self.grid.bounds)

    @property
    def mapping(self) -> "list[MapTile]":
        """A step for each tile."""
        return [MapTile(self, index) for index in range(self.grid.count)]

    def window(self, index: int) -> Box:
        """The pixels of a tile and those around it whose codes can change it."""
        return self.grid.box(index).grown(self.model.transforms.synthesis_margin, within=self.grid.bounds)

    def assembled(self, window: Box) -> Tile:
        """What lies in a window, of the tiles that it touches, which have been decoded."""
        touched = self.grid.touching(window)
        if touched == [0] and self.grid.box(0) == window:
            return self._tiles[0]
        parts = []
        for field, stride in enumerate((self.model.config.map_stride,) * 3 + (BLOCK,)):
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

    def synthesise(self, index: int) -> Pixels:
        """The pixels of a tile, uint8 [H, W, 3], padded to whole cells; all that its window touches is decoded."""
        window = self.window(index)
        with torch.inference_mode():
            whole = self.assembled(window)
            x_hat = self.model.transforms.synthesise(
                whole.codes.float() / FRACTIONS,
                whole.shown,
                Conditions.of(whole.quality, self._tune).planes(varied=self.file.header.plane),
            )
            rows, columns = self.grid.box(index).slices(window, 1)
            x_hat = x_hat[0, :, rows, columns]
            if self.file.header.grey:
                x_hat = x_hat.mean(0, keepdim=True).expand(3, -1, -1)
            pixels = (x_hat * 255).round_().clamp_(0, 255).to(torch.uint8)
            found: Pixels = pixels.permute(1, 2, 0).cpu().contiguous().numpy()
        return found

    def conditions(self, index: int) -> Conditions:
        """Of a tile."""
        return Conditions.of(self._quality(index).to(self.model.device), self._tune)

    def _decode(self, indices: Iterable[int]) -> Work[None]:
        missing = [index for index in indices if index not in self._tiles]
        decoded: Sequence[Tile] = yield [DecodeTile(self, index) for index in missing]
        self._tiles |= zip(missing, decoded, strict=True)

    def _quality(self, index: int) -> Tensor:
        """Positions on the quality axis, int64 [1, 1, rows, columns]."""
        box, stride, header = self.grid.box(index), self.model.config.map_stride, self.file.header
        shape = (box.height // stride, box.width // stride)
        if not header.plane:
            return torch.full((1, 1, *shape), header.quality)
        offsets = unpack_offsets(
            _there(self.file, Section.PLANE, index),
            self.model.symbols.map_tables,
            plane_shape(box.height, box.width),
            limit=PLANE_STEPS,
        )
        at = positions(header.quality, offsets, cells=PLANE_CELL // stride)[: shape[0], : shape[1]]
        return torch.from_numpy(at.astype(np.int64))[None, None]


class MapTile(Step[TileDecoder]):
    """Decode a tile's map: to its levels, int64 [1, 1, rows, columns]."""

    @property
    def key(self) -> Hashable:
        """Tiles of one size are walked together."""
        return type(self), self.owner.model, self.box.size

    @property
    def most(self) -> int:
        """See `SymbolCoder.parallel`."""
        return self.owner.model.symbols.parallel(self.box.pixels)

    @classmethod
    def run(cls, steps: Sequence[Self], check: Check) -> list[Tensor]:
        """See `Step`."""
        with torch.inference_mode():
            conditions = Conditions.cat([each.owner.conditions(each.index) for each in steps])
            return list(torch.split(_levels(steps, conditions, check=check), 1))


class DecodeTile(Step[TileDecoder]):
    """Decode a tile's map and codes."""

    @property
    def key(self) -> Hashable:
        """Tiles of one size are walked together."""
        return type(self), self.owner.model, self.owner.groups, self.box.size

    @property
    def most(self) -> int:
        """See `SymbolCoder.parallel`."""
        return self.owner.model.symbols.parallel(self.box.pixels)

    @classmethod
    def run(cls, steps: Sequence[Self], check: Check) -> list[Tile]:
        """See `Step`."""
        first = steps[0].owner
        with torch.inference_mode():
            conditions = Conditions.cat([each.owner.conditions(each.index) for each in steps])
            levels = _levels(steps, conditions, check=check)
            payloads = [
                [each.owner.file.payload(Section.CODES, each.index, k) for k in range(first.groups)]
                for each in steps
            ]
            codes = first.model.symbols.decode_codes(payloads, levels, conditions, check=check)
            most = [_highest_level(first.model.config, own) for own in payloads]
            shown = levels.minimum(torch.tensor(most, device=levels.device).view(-1, 1, 1, 1))
            parts = (torch.split(part, 1) for part in (levels, shown, conditions.quality, codes))
            return [Tile(*own) for own in zip(*parts, strict=True)]


class SynthesiseTile(Step[TileDecoder]):
    """A tile's codes, and those around it, to its pixels, uint8 [H, W, 3]."""

    @classmethod
    def run(cls, steps: Sequence[Self], check: Check) -> list[Pixels]:
        """One by one, so that no result depends on the batch."""
        found = []
        for each in steps:
            check()
            found.append(each.owner.synthesise(each.index))
        return found


def _levels(steps: Sequence[Step[TileDecoder]], conditions: Conditions, *, check: Check) -> Tensor:
    payloads = [_there(each.owner.file, Section.MAP, each.index) for each in steps]
    return steps[0].owner.model.symbols.decode_map(payloads, conditions, check=check)


def _highest_level(config: CodecConfig, payloads: Sequence[bytes | None]) -> int:
    """Of a tile that has these of its channel groups: in a file that was cut, no level keeps what is missing."""
    return config.level_within(sum(payload is not None for payload in payloads))


def _put_patches(pixels: Pixels, payload: bytes) -> None:
    """Put the patches of a tile in their places, in uint8 [H, W, 3]."""
    if payload:
        samples = lossless.unpack(payload, (*pixels.shape[:2], 4))
        shown = samples[..., 3] == 255
        if not (shown | (samples[..., 3] == 0)).all():
            raise PayloadError("a pixel of a patch is there or not, but some have an alpha between")
        pixels[shown] = samples[shown, :3]


def _check_model(model: LoadedModel, file: Container) -> None:
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
