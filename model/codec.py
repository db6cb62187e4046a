"""The public face of the codec: pictures to .cwic files and back."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from model.config import CodecConfig
from model.container.format import Container, unpack
from model.decoder import TileDecoder, decode_picture
from model.encoder import TileEncoder
from model.encoding import encode_picture
from model.entropy.range_coder import Sink
from model.entropy.tables import SymbolTables
from model.errors import ParameterError, TruncatedFileError
from model.hidden import without_hidden
from model.loaded import LoadedModel
from model.options import DecodeOptions, EncodeOptions
from model.protocol import DEFAULT_DECODE_OPTIONS, DEFAULT_ENCODE_OPTIONS, PictureCodec
from model.rate_control import with_plane
from model.steps import Work, results_of, run
from model.targets import encode_to_target
from model.types import Limits, ModelInfo, Pixels


class Codec(PictureCodec):
    """One checkpoint, ready to code. Frozen after construction; safe to use from several threads.

    Everything that feeds a probability is integer arithmetic, so that a file decodes to the same codes on every
    machine. The pixel path is floating point: pixels may differ by one level between machines.

    Where a file is taken, its bytes will do as well as what `read` has made of them.
    """

    def __init__(
        self,
        config: CodecConfig,
        weights: Mapping[str, Tensor],
        info: ModelInfo,
        *,
        limits: Limits,
    ) -> None:
        """Take the tensors of `model.profiles.export.quantise`, onto the device and into the dtype of `info`."""
        self.config = config
        self.limits = limits
        self._model = LoadedModel.of(config, weights, info)

    @property
    def info(self) -> ModelInfo:
        """The checkpoint behind it."""
        return self._model.info

    @property
    def tables(self) -> tuple[SymbolTables, SymbolTables]:
        """The probability tables of importance maps and of codes."""
        return self._model.symbols.map_tables, self._model.symbols.code_tables

    def encoding(self, array: Pixels, options: EncodeOptions = DEFAULT_ENCODE_OPTIONS) -> Work[bytes]:
        """See `PictureCodec.encode`; an array and regions of interest that will not do are refused at once.

        Other options are when the work begins.
        """
        self._check_picture(array)
        encode = encode_picture if options.target is None else encode_to_target
        return encode(self._model, array, with_plane(options, self.config, array))

    def read(self, data: bytes, *, allow_truncated: bool = False) -> Container:
        """See `PictureCodec.read`."""
        return unpack(data, limits=self.limits, allow_truncated=allow_truncated)

    def decoding(
        self, file: bytes | Container, options: DecodeOptions = DEFAULT_DECODE_OPTIONS
    ) -> Work[Pixels]:
        """See `PictureCodec.decode`; what reading the file finds is raised at once."""
        return decode_picture(self._model, self._read(file, options), options)

    def mapping(
        self, source: Pixels | bytes | Container, options: EncodeOptions = DEFAULT_ENCODE_OPTIONS
    ) -> Work[Pixels]:
        """See `PictureCodec.importance_map`; what will not do is refused at once."""
        if isinstance(source, np.ndarray):
            self._check_picture(source)
            height, width = source.shape[:2]
            own = with_plane(options, self.config, source)
            seen = run(without_hidden(source, tile=own.tile))
            tiles: TileEncoder | TileDecoder = TileEncoder(self._model, seen, own)
        else:
            permitted = DecodeOptions(allow_truncated=isinstance(source, Container))
            file = self._read(source, permitted)
            height, width = file.header.height, file.header.width
            tiles = TileDecoder(self._model, file)
        return self._map_of(tiles, height, width)

    def decode_codes(self, file: bytes | Container) -> tuple[Tensor, Tensor]:
        """A file's levels, int64 [1, rows, columns], and codes in 1 / 32, int16 [channels, h, w].

        They are equal on every machine.
        """
        container = file if isinstance(file, Container) else self.read(file)
        tile = run(TileDecoder(self._model, container).whole())
        return tile.levels[0].cpu(), tile.codes[0].cpu()

    def kept_codes(self, file: bytes | Container) -> int:
        """How many codes a file keeps under its mask: raw bits, where codes are binary. 0 for a lossless file."""
        container = self._read(file, DEFAULT_DECODE_OPTIONS)
        if container.header.lossless:
            return 0
        maps = run(results_of(TileDecoder(self._model, container).mapping))
        return sum(map(self._model.symbols.kept_codes, maps))

    def write_to(self, sink: Callable[[], Sink], array: Pixels, options: EncodeOptions) -> None:
        """Code a picture into sinks of the caller's instead of a file; for calibration."""
        self._check_picture(array)
        own = with_plane(options, self.config, array)
        run(TileEncoder(self._model, array, own, sink=sink).encoding())

    def _map_of(self, tiles: TileEncoder | TileDecoder, height: int, width: int) -> Work[Pixels]:
        out = np.empty((height, width), np.uint8)
        maps: Sequence[Tensor] = yield tiles.mapping
        for index, levels in enumerate(maps):
            stride = self.config.map_stride
            grey = (levels[0, 0] * 255 // self.config.levels).to(torch.uint8).cpu().numpy()
            fine = grey.repeat(stride, 0).repeat(stride, 1)
            part = out[tiles.grid.box(index).slices(tiles.grid.bounds, 1)]  # without what pads the picture
            part[:] = fine[: part.shape[0], : part.shape[1]]
        return out

    def _read(self, file: bytes | Container, options: DecodeOptions) -> Container:
        if not isinstance(file, Container):
            return self.read(bytes(file), allow_truncated=options.allow_truncated)
        self.limits.check(file.header.width, file.header.height)
        if file.truncated and not options.allow_truncated:
            raise TruncatedFileError(
                "the file was cut in transfer; allow_truncated decodes it as far as it goes"
            )
        return file

    def _check_picture(self, array: Pixels) -> None:
        if array.ndim != 3 or array.shape[2] not in (3, 4) or array.dtype != np.uint8 or not array.size:
            raise ParameterError(f"expected uint8 HxWx3 or HxWx4, got {array.dtype} {array.shape}")
        self.limits.check(array.shape[1], array.shape[0])
