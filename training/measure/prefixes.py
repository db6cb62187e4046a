"""What is left of files that are cut: how good each prefix is, and how far behind a file encoded for its size."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace

from model.container.format import pack, truncate
from model.options import DecodeOptions, EncodeOptions
from model.protocol import PictureCodec
from model.types import Pixels
from training.measure.metrics import psnr

_TRIALS = 9  # encodings to find a quality by its size: to a fifth of a step of quality


@dataclass(frozen=True, kw_only=True)
class PrefixUse:
    """So many groups of some pictures' files; of a file that has fewer, all.

    Attributes:
        groups: how many.
        share: mean share of the bytes.
        cut: mean PSNR of the files cut there, in dB: what is missing is predicted.
        preview: mean PSNR of the whole files decoded with so many groups, in dB: what is missing is left out.
    """

    groups: int
    share: float
    cut: float
    preview: float


@dataclass(frozen=True, kw_only=True)
class HalfUse:
    """Files cut at the border nearest to half of their bytes.

    Attributes:
        share: mean share of the bytes.
        behind: mean PSNR that they are behind a file encoded for that many bytes, in dB.
        most: of one picture, at most.
    """

    share: float
    behind: float
    most: float


def measure_prefixes(
    codec: PictureCodec, arrays: Sequence[Pixels], *, quality: float
) -> tuple[tuple[PrefixUse, ...], HalfUse]:
    """Code pictures at a quality, and cut the files."""
    files = [codec.encode(array, _at(quality)) for array in arrays]
    most = max(codec.read(file).groups for file in files)
    rows = tuple(_first(codec, files, arrays, groups=n) for n in range(1, most + 1))
    halves = [_half(codec, file, array, quality=quality) for file, array in zip(files, arrays, strict=True)]
    shares, behind = zip(*halves, strict=True)
    return rows, HalfUse(share=statistics.fmean(shares), behind=statistics.fmean(behind), most=max(behind))


def _at(quality: float) -> EncodeOptions:
    return EncodeOptions(quality=quality, lossless=False)


def _first(
    codec: PictureCodec, files: Sequence[bytes], arrays: Sequence[Pixels], *, groups: int
) -> PrefixUse:
    shares, cuts, previews = [], [], []
    for file, array in zip(files, arrays, strict=True):
        sizes, tiles = cut_sizes(codec, file), codec.read(file).header.grid.count
        size = sizes[min((groups - 1) * tiles, len(sizes) - 1)]
        shares.append(size / len(file))
        cuts.append(psnr(array, codec.decode(truncate(file, size))))
        previews.append(psnr(array, codec.decode(file, DecodeOptions(groups=groups))))
    cut, preview = statistics.fmean(cuts), statistics.fmean(previews)
    return PrefixUse(groups=groups, share=statistics.fmean(shares), cut=cut, preview=preview)


def _half(codec: PictureCodec, file: bytes, array: Pixels, *, quality: float) -> tuple[float, float]:
    """The share of the bytes, and dB behind."""
    size = min(cut_sizes(codec, file), key=lambda size: abs(size - len(file) / 2))
    cut = psnr(array, codec.decode(truncate(file, size)))
    same = largest_file(codec, array, size, options=_at(quality), below=quality)
    return size / len(file), psnr(array, codec.decode(same)) - cut


def cut_sizes(codec: PictureCodec, file: bytes) -> list[int]:
    """Of all files that it can be cut to, ascending, and its own."""
    whole = codec.read(file)
    counts = range(whole.header.required, len(whole.payloads) + 1)
    return [len(pack(whole.header, whole.payloads[:count])) for count in counts]


def largest_file(
    codec: PictureCodec, array: Pixels, size: int, *, options: EncodeOptions, below: float = 100.0
) -> bytes:
    """The file of the highest quality of those that are no larger; that of the lowest where all are larger."""
    best, low, high = codec.encode(array, replace(options, quality=1)), 1.0, below
    for _ in range(_TRIALS):
        middle = (low + high) / 2
        found = codec.encode(array, replace(options, quality=middle))
        if len(found) <= size:
            best, low = found, middle
        else:
            high = middle
    return best
