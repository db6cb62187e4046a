"""Pictures to .cwic files and back."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from model.config import BLOCK, CodecConfig
from model.container import format as file_format
from model.container import lossless
from model.container.format import QUALITY_STEPS, Container, SectionType
from model.context.coder import SymbolCoder
from model.entropy.range_coder import Encoder, Sink
from model.entropy.tables import SymbolTables
from model.errors import HeaderError, NoImportanceMapError, ParameterError, WrongModelError
from model.profiles.registry import transforms_of
from model.types import DEFAULT_QUALITY, Check, FileInfo, Limits, ModelInfo, Pixels, unchecked

_BAND_PIXELS = 1_500_000  # pictures are transformed in bands of about this size, to bound memory
# Columns of the importance map that are analysed at least: where a strided convolution has one column of output,
# oneDNN reads past its input in bfloat16 (PyTorch 2.13, AMX), and what lies there comes into the codes.
_MIN_CELLS = 2


class Codec:
    """One checkpoint, ready to code. Frozen after construction; safe to use from several threads.

    Everything that feeds a probability is integer arithmetic, so that a file decodes to the same codes on every
    machine. The pixel path is floating point: pixels may differ by one level between machines.
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
        self._info = info
        self._device = torch.device(info.device)
        self._transforms = transforms_of(config)
        self._transforms.load_state_dict({name: weights[name] for name in self._transforms.state_dict()})
        self._transforms.requires_grad_(False).eval().to(self._device)
        self._transforms.run_in(getattr(torch, info.dtype))
        for parameter in self._transforms.parameters():
            if parameter.dim() == 4:
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
        weight = self._transforms.symbol_weight()
        self._symbols = SymbolCoder(config, weights, weight=weight, device=self._device)

    @property
    def info(self) -> ModelInfo:
        """The checkpoint behind it."""
        return self._info

    @property
    def tables(self) -> tuple[SymbolTables, SymbolTables]:
        """The probability tables of importance maps and of codes."""
        return self._symbols.map_tables, self._symbols.code_tables

    def encode(self, array: Pixels, *, quality: float | None = None, check: Check = unchecked) -> bytes:
        """A .cwic file of a picture, uint8 [H, W, 3] or [H, W, 4].

        Quality is 1 to 100; None means DEFAULT_QUALITY, or nothing where the checkpoint has one rate.

        Raises:
            ParameterError: quality or array out of range, or a quality where there is none to choose.
            LimitError: the picture is larger than the codec's limits.
        """
        return self.encode_batch([array], quality=quality, check=check)[0]

    def encode_batch(
        self, arrays: Sequence[Pixels], *, quality: float | None = None, check: Check = unchecked
    ) -> list[bytes]:
        """As `encode`, for pictures of one size at once."""
        position = self._quality_position(quality)
        for array in arrays:
            self._check_picture(array)
        if len({array.shape[:2] for array in arrays}) != 1:
            raise ParameterError("pictures of a batch must have one size")
        payloads = self._payloads(arrays, position, Encoder, check=check)
        return [
            self._smallest_file(array, parts, position) for array, parts in zip(arrays, payloads, strict=True)
        ]

    def write_to(self, sink: Callable[[], Sink], array: Pixels, *, quality: float | None) -> None:
        """Code a picture into sinks of the caller's instead of a file; for calibration."""
        self._check_picture(array)
        self._payloads([array], self._quality_position(quality), sink, check=unchecked)

    def decode(self, data: bytes, *, check: Check = unchecked) -> Pixels:
        """The picture of a .cwic file, uint8 [H, W, 3] or [H, W, 4].

        Raises:
            FileError: the file is damaged, or was made with another checkpoint.
            LimitError: the picture is larger than the codec's limits.
        """
        return self.decode_batch([data], check=check)[0]

    def decode_batch(self, files: Sequence[bytes], *, check: Check = unchecked) -> list[Pixels]:
        """As `decode`, for files of one size and quality at once; each picture has the codes it has on its own."""
        containers = [file_format.unpack(data, limits=self.limits) for data in files]
        if len({(c.width, c.height, c.quality, c.profile) for c in containers}) != 1:
            raise ParameterError("files of a batch must have one size, quality and profile")
        height, width = containers[0].height, containers[0].width
        alphas = [_alpha(container) for container in containers]
        if containers[0].profile == "stored":
            samples = [
                lossless.unpack(c.sections[SectionType.STORED], (height, width, 3)) for c in containers
            ]
            return [np.concatenate(planes, 2) for planes in zip(samples, alphas, strict=True)]
        with torch.inference_mode():
            levels, codes = self._decode_codes(containers, check=check)
            x_hat = self._synthesise(codes, levels, containers[0].quality, check=check)
            pixels = x_hat[:, :, :height, :width].mul_(255).round_().clamp_(0, 255).to(torch.uint8)
            pictures = pixels.permute(0, 2, 3, 1).cpu().contiguous().numpy()
        return [np.concatenate(planes, 2) for planes in zip(pictures, alphas, strict=True)]

    def decode_codes(self, data: bytes, *, limits: Limits | None = None) -> tuple[Tensor, Tensor]:
        """A file's levels, int64 [1, rows, columns], and codes, int64 [channels, h, w]: equal on every machine."""
        container = file_format.unpack(data, limits=limits or self.limits)
        with torch.inference_mode():
            levels, codes = self._decode_codes([container], check=unchecked)
        return levels[0].cpu(), codes[0].cpu()

    def importance_map(
        self, source: Pixels | bytes, *, quality: float | None = None, check: Check = unchecked
    ) -> Pixels:
        """How many channels are kept where, uint8 [H, W] of the picture's size; 255 means all.

        Of a picture, with quality as in `encode`; or of a .cwic file, where it is read without decoding the codes.

        Raises:
            FileError: see `decode`; NoImportanceMapError for a picture that was stored as it is.
            ParameterError, LimitError: see `encode`.
        """
        with torch.inference_mode():
            if isinstance(source, bytes):
                container = file_format.unpack(source, limits=self.limits)
                self._check_model(container)
                height, width = container.height, container.width
                levels = self._decode_maps([container], check=check)
            else:
                self._check_picture(source)
                height, width = source.shape[:2]
                position = self._quality_position(quality)
                _, levels = self._analyse(self._to_tensor([source]), position, check=check)
            grey = (levels[0, 0] * 255 // self.config.levels).to(torch.uint8)
            cell = self.config.cell
            full = grey.repeat_interleave(cell, 0).repeat_interleave(cell, 1)[:height, :width]
        out: Pixels = full.cpu().contiguous().numpy()
        return out

    def kept_codes(self, data: bytes) -> int:
        """How many codes a file keeps under its mask: raw bits, where codes are binary. 0 for a stored picture."""
        container = file_format.unpack(data, limits=self.limits)
        if container.profile == "stored":
            return 0
        self._check_model(container)
        with torch.inference_mode():
            levels = self._decode_maps([container], check=unchecked)
        return int(levels.sum()) * self.config.step * (self.config.cell // BLOCK) ** 2

    def inspect(self, data: bytes) -> FileInfo:
        """The facts of a file's header; every checksum is verified, nothing is decoded. Raises FileError."""
        return file_format.inspect(data)

    def _check_picture(self, array: Pixels) -> None:
        if array.ndim != 3 or array.shape[2] not in (3, 4) or array.dtype != np.uint8 or not array.size:
            raise ParameterError(f"expected uint8 HxWx3 or HxWx4, got {array.dtype} {array.shape}")
        file_format.check_size(array.shape[1], array.shape[0], limits=self.limits)

    def _check_model(self, container: Container) -> None:
        if container.profile == "stored":
            raise NoImportanceMapError("a stored picture has no importance map")
        if container.model_id.hex() != self._info.model_id:
            raise WrongModelError(
                f"the file needs model {container.model_id.hex()}, this is {self._info.model_id} ({self._info.name})"
            )
        if (container.profile, container.lowest_level) != (self.config.profile, self.config.lowest_level):
            raise HeaderError(
                f"profile {container.profile} with levels from {container.lowest_level} in a file of model "
                f"{self._info.model_id}, which is {self.config.profile} from {self.config.lowest_level}"
            )

    def _quality_position(self, quality: float | None) -> int:
        """Where a quality of 1 to 100 lies on the quality axis; raises ParameterError."""
        if self.config.fixed_rate:
            if quality is not None:
                raise ParameterError(f"model {self._info.name} has one rate: there is no quality to choose")
            return 0
        quality = DEFAULT_QUALITY if quality is None else quality
        if not 1 <= quality <= 100:
            raise ParameterError(f"quality is 1 to 100, got {quality}")
        return round((quality - 1) / 99 * QUALITY_STEPS)

    def _to_tensor(self, arrays: Sequence[Pixels]) -> Tensor:
        """Padded RGB in -0.5..0.5, float32 [B, 3, H, W], channels last."""
        height, width = self.config.padded_size(*arrays[0].shape[:2])
        stack = np.stack(
            [
                np.pad(a[..., :3], ((0, height - a.shape[0]), (0, width - a.shape[1]), (0, 0)), mode="edge")
                for a in arrays
            ]
        )
        return (torch.from_numpy(stack).to(self._device).float() / 255 - 0.5).permute(0, 3, 1, 2)

    def _payloads(
        self, arrays: Sequence[Pixels], position: int, sink: Callable[[], Sink], *, check: Check
    ) -> list[list[bytes]]:
        """The payloads of each picture, map first."""
        with torch.inference_mode():
            x = self._to_tensor(arrays)
            y, levels = self._analyse(x, position, check=check)
            return self._symbols.encode(levels, y, self._quality_grid(x, position), sink=sink, check=check)

    def _quality_grid(self, x: Tensor, position: int) -> Tensor:
        """The quality plane as integers, one value for each cell of the importance map."""
        shape = (len(x), 1, x.shape[2] // self.config.cell, x.shape[3] // self.config.cell)
        return torch.full(shape, position, dtype=torch.int64, device=self._device)

    def _quality(self, position: int) -> Tensor:
        """0..1, as transforms take it."""
        return torch.full((1, 1, 1, 1), position / QUALITY_STEPS, dtype=torch.float64, device=self._device)

    def _analyse(self, x: Tensor, position: int, *, check: Check) -> tuple[Tensor, Tensor]:
        """See `Transforms.analyse`; in bands, and of narrow pictures with more columns than they have."""
        quality = self._quality(position)
        width, cell = x.shape[3], self.config.cell
        if width < _MIN_CELLS * cell:
            x = functional.pad(x, (0, _MIN_CELLS * cell - width, 0, 0), mode="replicate")
        values, levels = _in_bands(
            lambda part: self._transforms.analyse(part, quality),
            [x],
            [1],
            margin=self._transforms.analysis_margin,
            scales=(BLOCK, cell),
            check=check,
        )
        return values[..., : width // BLOCK], levels[..., : width // cell]

    def _decode_maps(self, containers: Sequence[Container], *, check: Check) -> Tensor:
        height, width = self.config.padded_size(containers[0].height, containers[0].width)
        shape = (len(containers), 1, height // self.config.cell, width // self.config.cell)
        quality = torch.full(shape, containers[0].quality, dtype=torch.int64, device=self._device)
        return self._symbols.decode_map(
            [c.sections[SectionType.MAP] for c in containers], quality, check=check
        )

    def _decode_codes(self, containers: Sequence[Container], *, check: Check) -> tuple[Tensor, Tensor]:
        """Levels, int64 [B, 1, rows, columns], and codes, int64 [B, channels, h, w]."""
        for container in containers:
            self._check_model(container)
        levels = self._decode_maps(containers, check=check)
        quality = torch.full_like(levels, containers[0].quality)
        payloads = [c.codes() for c in containers]
        return levels, self._symbols.decode_codes(payloads, levels, quality, check=check)

    def _synthesise(self, codes: Tensor, levels: Tensor, position: int, *, check: Check) -> Tensor:
        """See `Transforms.synthesise`; in bands."""
        quality = self._quality(position)
        return _in_bands(
            lambda part, level_part: (self._transforms.synthesise(part, level_part, quality),),
            [codes, levels],
            [BLOCK, self.config.cell],
            margin=self._transforms.synthesis_margin,
            scales=(1,),
            check=check,
        )[0]

    def _smallest_file(self, array: Pixels, payloads: Sequence[bytes], position: int) -> bytes:
        """The coded file, or the stored one where that is smaller."""
        height, width, channels = array.shape
        alpha = {} if channels == 3 else {SectionType.ALPHA: lossless.pack(array[..., 3:])}
        coded = {SectionType.MAP: payloads[0], **alpha}
        coded |= {SectionType.CODES + k: payload for k, payload in enumerate(payloads[1:])}
        file = file_format.pack(
            Container(
                width=width,
                height=height,
                profile=self.config.profile,
                model_id=bytes.fromhex(self._info.model_id),
                quality=position,
                has_alpha=channels == 4,
                lowest_level=self.config.lowest_level,
                sections=coded,
            )
        )
        samples = lossless.pack_below(array[..., :3], limit=len(file))
        if samples is None:
            return file
        stored = file_format.pack(
            Container(
                width=width,
                height=height,
                profile="stored",
                model_id=bytes(4),
                quality=0,
                has_alpha=channels == 4,
                sections={SectionType.STORED: samples, **alpha},
            )
        )
        return min(file, stored, key=len)


def _in_bands(
    transform: Callable[..., tuple[Tensor, ...]],
    inputs: Sequence[Tensor],
    units: Sequence[int],
    *,
    margin: int,
    scales: Sequence[int],
    check: Check,
) -> tuple[Tensor, ...]:
    """Apply a transform to bands across the longer side and join the results, so that memory stays bounded.

    Every band is computed with `margin` more pixels on each side, which cover all that it depends on.

    Args:
        transform: from a band of each input to a band of each output.
        inputs: [B, C, H / unit, W / unit], H and W in pixels.
        units: pixels for one place of each input.
        margin: in pixels.
        scales: pixels for one place of each output.
        check: called before each band.
    """
    check()
    axis = 2 if inputs[0].shape[2] >= inputs[0].shape[3] else 3
    length, across = inputs[0].shape[axis] * units[0], inputs[0].shape[5 - axis] * units[0]
    unit = max(*units, *scales)  # a cell: bands begin and end between cells
    band = max(_BAND_PIXELS // (across * unit), 8) * unit
    if length <= band + margin:
        return transform(*inputs)

    def cut(x: Tensor, start: int, stop: int) -> Tensor:
        return x.narrow(axis, start, stop - start)

    bands = []
    for start in range(0, length, band):
        check()
        stop = min(start + band, length)
        first, last = max(start - margin, 0), min(stop + margin, length)
        parts = transform(*(cut(x, first // u, last // u) for x, u in zip(inputs, units, strict=True)))
        kept = [((start - first) // scale, (stop - first) // scale) for scale in scales]
        bands.append([cut(part, *own).clone() for part, own in zip(parts, kept, strict=True)])
    return tuple(torch.cat(column, axis) for column in zip(*bands, strict=True))


def _alpha(container: Container) -> Pixels:
    """A file's alpha plane, uint8 [H, W, 1], or [H, W, 0] where there is none."""
    if not container.has_alpha:
        return np.empty((container.height, container.width, 0), np.uint8)
    return lossless.unpack(container.sections[SectionType.ALPHA], (container.height, container.width, 1))
