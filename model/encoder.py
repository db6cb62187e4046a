"""Pictures to files: tile by tile, so that memory stays bounded whatever the picture's size."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from model.config import BLOCK, TUNES
from model.container import lossless
from model.container.format import LOSSLESS_TILE, Header, pack
from model.context.conditions import Conditions
from model.context.offsets import pack_offsets
from model.entropy.range_coder import Encoder, Sink
from model.entropy.tables import Ints
from model.loaded import LoadedModel
from model.options import PLANE_CELL, PLANE_STEPS, EncodeOptions
from model.rate_control import positions, resolve_target
from model.tiling import Box, TileGrid
from model.types import Check, Pixels

# Columns of the importance map that are analysed at least: where a strided convolution has one column of output,
# oneDNN reads past its input in bfloat16 (PyTorch 2.13, AMX), and what lies there comes into the codes.
_MIN_CELLS = 2


def encode_picture(model: LoadedModel, array: Pixels, options: EncodeOptions, *, check: Check) -> bytes:
    """A file of a picture, uint8 [H, W, 3] or [H, W, 4], as the options ask; lossless where that is smaller."""
    grey = _is_grey(array)
    if options.lossless:
        file = _lossless_file(array, grey=grey, limit=None, check=check)
        assert file is not None
        return file
    coded = _coded_file(model, array, options, grey=grey, check=check)
    if options.lossless is False:
        return coded
    return _lossless_file(array, grey=grey, limit=len(coded), check=check) or coded


class TileEncoder:
    """One picture on its way to payloads.

    Every tile is analysed with a margin of pixels around it that covers all that its codes depend on; its context
    models see nothing beyond it.
    """

    def __init__(self, model: LoadedModel, array: Pixels, options: EncodeOptions) -> None:
        """Take a picture, whose first three channels are coded; raises ParameterError, see `resolve_target`."""
        height, width = array.shape[:2]
        self.target = resolve_target(options, model.config, height=height, width=width)
        self._model = model
        self._array = array
        height, width = model.config.padded_size(height, width)
        self.grid = TileGrid(width, height, options.tile)  # padded: as many tiles as the picture has
        self._positions: Ints | None = None
        if self.target.offsets is not None:
            cells = PLANE_CELL // model.config.map_stride
            self._positions = positions(self.target.quality, self.target.offsets, cells=cells)

    def batches(self) -> Iterator[list[int]]:
        """Tiles of one size, as many as are coded in parallel."""
        by_size = sorted(range(self.grid.count), key=lambda index: self.grid.box(index).size)
        return self.grid.batches(by_size, self._model.symbols.parallel)

    @torch.inference_mode()
    def encode(
        self, tiles: Sequence[int], *, sink: Callable[[], Sink] = Encoder, check: Check
    ) -> list[list[bytes]]:
        """The payloads of some tiles of one size, map first; see `SymbolCoder.encode`."""
        values, levels = zip(*(self.analyse(index, check=check) for index in tiles), strict=True)
        conditions = self._conditions(*(self.grid.box(index) for index in tiles))
        return self._model.symbols.encode(
            torch.cat(levels), torch.cat(values), conditions, sink=sink, check=check
        )

    def analyse(self, index: int, *, check: Check) -> tuple[Tensor, Tensor]:
        """A tile's values and levels; see `Transforms.analyse`."""
        check()
        model, stride = self._model, self._model.config.map_stride
        box = self.grid.box(index)
        window = box.grown(model.transforms.analysis_margin, within=self.grid.bounds)
        varied = self._positions is not None
        x, conditions = self._samples(window), self._conditions(window).planes(varied=varied)
        narrow = max(_MIN_CELLS - window.width // stride, 0)
        if narrow:
            x = functional.pad(x, (0, narrow * stride, 0, 0), mode="replicate")
            if varied:
                conditions = functional.pad(conditions, (0, narrow, 0, 0), mode="replicate")
        y, levels = model.transforms.analyse(x, conditions)
        (rows, columns), cells = box.slices(window, BLOCK), box.slices(window, stride)
        return y[:, :, rows, columns], levels[:, :, cells[0], cells[1]]

    def maps(self, *, check: Check) -> Iterator[tuple[int, Tensor]]:
        """Each tile with its levels, int64 [1, 1, rows, columns]."""
        with torch.inference_mode():
            for index in range(self.grid.count):
                yield index, self.analyse(index, check=check)[1]

    def plane(self, index: int) -> bytes:
        """The payload of a tile's quality plane."""
        assert self.target.offsets is not None
        box = self.grid.box(index)
        part = self.target.offsets[
            box.top // PLANE_CELL : -(-box.bottom // PLANE_CELL),
            box.left // PLANE_CELL : -(-box.right // PLANE_CELL),
        ]
        return pack_offsets(part.astype(np.int32), self._model.symbols.map_tables, limit=PLANE_STEPS)

    def _samples(self, window: Box) -> Tensor:
        """RGB in -0.5..0.5, float32 [1, 3, H, W], channels last; the picture's edge goes on beyond it."""
        height, width = self._array.shape[:2]
        own = self._array[window.top : min(window.bottom, height), window.left : min(window.right, width), :3]
        beyond = (window.height - own.shape[0], window.width - own.shape[1])
        padded = np.pad(own, ((0, beyond[0]), (0, beyond[1]), (0, 0)), mode="edge")
        x = torch.from_numpy(padded).to(self._model.device)
        return (x.float() / 255 - 0.5).permute(2, 0, 1)[None]

    def _quality(self, box: Box) -> Tensor:
        """Positions on the quality axis at the map's resolution, int64 [1, 1, rows, columns]."""
        stride = self._model.config.map_stride
        if self._positions is None:
            shape = (1, 1, box.height // stride, box.width // stride)
            return torch.full(shape, self.target.quality, device=self._model.device)
        rows, columns = box.slices(self.grid.bounds, stride)
        part = self._positions[rows, columns].astype(np.int64)
        return torch.from_numpy(part).to(self._model.device)[None, None]

    def _conditions(self, *boxes: Box) -> Conditions:
        """Of boxes of one size."""
        return Conditions.of([self._quality(box) for box in boxes], self.target.tune)


def _coded_file(
    model: LoadedModel, array: Pixels, options: EncodeOptions, *, grey: bool, check: Check
) -> bytes:
    height, width, channels = array.shape
    tiles = TileEncoder(model, array, options)
    target = tiles.target
    header = Header(
        width=width,
        height=height,
        profile=model.config.profile,
        tile=options.tile,
        model_id=bytes.fromhex(model.info.model_id),
        quality=target.quality,
        tune=TUNES[target.tune],
        alpha=channels == 4,
        grey=grey,
        plane=target.offsets is not None,
        lowest_level=model.config.lowest_level,
    )
    coded: dict[int, list[bytes]] = {}
    for batch in tiles.batches():
        coded |= zip(batch, tiles.encode(batch, check=check), strict=True)
    order = range(header.grid.count)
    sections = [[coded[index][0] for index in order]]
    if header.plane:
        sections.insert(0, [tiles.plane(index) for index in order])
    if header.alpha:
        sections.append([])
        for index in order:
            check()
            part = array[header.grid.box(index).slices(header.grid.bounds, 1)]
            sections[-1].append(lossless.pack(part[..., 3:]))
    payloads = [payload for section in sections for payload in section]
    groups = max(len(own) for own in coded.values()) - 1
    for group in range(1, groups + 1):
        payloads += [coded[index][group] if group < len(coded[index]) else b"" for index in order]
    last = max(index for index in order if len(coded[index]) > groups)
    return pack(header, payloads[: len(payloads) - (header.grid.count - 1 - last)])


def _lossless_file(array: Pixels, *, grey: bool, limit: int | None, check: Check) -> bytes | None:
    """The file of a picture as it is; None, and early, where it has `limit` bytes or more."""
    height, width, channels = array.shape
    header = Header(
        width=width,
        height=height,
        profile="lossless",
        tile=LOSSLESS_TILE,
        alpha=channels == 4,
        grey=grey,
    )
    payloads, left = [], limit
    for index in range(header.grid.count):
        check()
        part = array[header.grid.box(index).slices(header.grid.bounds, 1)]
        payload = lossless.pack(part) if left is None else lossless.pack_below(part, limit=left)
        if payload is None:
            return None
        payloads.append(payload)
        left = None if left is None else left - len(payload)
    file = pack(header, payloads)
    return file if limit is None or len(file) < limit else None


def _is_grey(array: Pixels) -> bool:
    return bool((array[..., 0] == array[..., 1]).all() and (array[..., 0] == array[..., 2]).all())
