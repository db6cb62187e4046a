"""`python -m training crops FOLDER OUT`: what files look like, as sheets of crops; FOLDER has Kodak's pictures.

OUT gets `crops-RATE.webp` for three rates: crops of the picture, of our files in both tunes, and of AVIF, WebP and
JPEG files that have at least as many bytes as the larger of ours. `prefixes.webp` is one file cut at each of its
borders, `regions.webp` a picture with and without a region of interest in as many bytes, `targets.webp` one picture
at sizes and at PSNRs that were asked for. Below each crop are the exact size of the whole file and its PSNR.
"""

import argparse
import bisect
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from PIL import Image, ImageDraw

from model.config import TUNES, Tune
from model.container.format import truncate
from model.errors import ParameterError, TargetError
from model.options import EncodeOptions
from model.protocol import PictureCodec
from model.types import Pixels, Roi
from training.commands.arguments import add_model_arguments, check_folder, codec_of
from training.data.pictures import read_rgb
from training.data.synthetic import NAMES, synthetic_picture
from training.measure.metrics import psnr
from training.measure.pillow_codecs import PILLOW_CODECS, PillowCodec
from training.measure.prefixes import cut_sizes
from training.measure.regions import psnr_of_parts
from training.measure.sheet import Panel, Tile, compose, save

RATES = {"low": 0.15, "middle": 0.35, "high": 0.8}  # bits per pixel
Read = Callable[[str], Pixels]
Corner = tuple[int, int]  # of a crop: left and top

_WIDTH, _HEIGHT = 240, 160  # of a crop
_CROPS: dict[str, tuple[str, Corner]] = {
    "face": ("kodim04.png", (166, 250)),
    "face paint": ("kodim15.png", (412, 90)),
    "houses, lettering": ("kodim08.png", (516, 232)),
    "foliage": ("kodim13.png", (282, 98)),
    "sky": ("kodim16.png", (373, 98)),
    "print": ("page", (136, 60)),
}
_OTHERS = {"AVIF": "avif", "WebP": "webp", "JPEG": "jpeg-optimized"}
_CUT_QUALITY = 90.0
_FACE, _ELSEWHERE = Roi(190, 262, 190, 136, 8), (20, 560)
_SIZES, _PSNRS = (8_000, 16_000, 32_000, 64_000), (24.0, 28.0, 32.0, 36.0)
_SHEET_QUALITY = 88  # of WebP: a sheet has a few hundred kilobytes


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument(
        "folder", type=Path, metavar="FOLDER", help="with kodim04.png and the others of Kodak"
    )
    parser.add_argument(
        "out", type=Path, metavar="OUT", help="folder for the sheets, made where there is none"
    )
    add_model_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Draw every sheet.

    Raises:
        ParameterError: a picture is missing, the checkpoint has not both tunes, or OUT cannot be written.
        CwicError: a picture or the checkpoint cannot be read.
    """
    codec = codec_of(args)
    if set(codec.info.tunes) != set(TUNES):
        raise ParameterError(f"{args.model} has not both tunes, {' and '.join(TUNES)}")
    check_folder(args.out)
    read = partial(_read, args.folder)
    sheets = {f"crops-{name}": partial(rate_sheet, codec, read, rate) for name, rate in RATES.items()}
    sheets["prefixes"] = partial(prefix_sheet, codec, read)
    sheets["regions"] = partial(region_sheet, codec, read)
    sheets["targets"] = partial(target_sheet, codec, read)
    for name, draw in sheets.items():
        path = args.out / f"{name}.webp"
        save(draw(), path, quality=_SHEET_QUALITY, method=6)
        sys.stdout.write(f"{path}: {path.stat().st_size} bytes\n")
    return 0


def rate_sheet(codec: PictureCodec, read: Read, rate: float) -> Image.Image:
    """A row for each crop: the picture, both tunes at a rate, and the other formats in no fewer bytes."""
    tiles = []
    for what, (name, corner) in _CROPS.items():
        array = read(name)
        most = round(rate * array.shape[0] * array.shape[1] / 8)
        squared = _sized(codec, array, most, tune="psnr")
        files = [_sized(codec, array, len(squared), tune="visual"), squared]
        least = max(map(len, files))
        decoded = [(file, codec.decode(file)) for file in files]
        for other in (PILLOW_CODECS[each] for each in _OTHERS.values()):
            file = smallest_from(other, array, least)
            decoded.append((file, other.decode(file)))
        panels = [_coded(array, pixels, corner, len(file)) for file, pixels in decoded]
        tiles.append((Panel(_crop(array, corner), what), *panels))
    headings = ("picture", "cwic, visual", "cwic, psnr", *_OTHERS)
    return compose(tiles, headings, title=f"{rate:g} bits per pixel", scale=False)


def prefix_sheet(codec: PictureCodec, read: Read) -> Image.Image:
    """One file, cut at each border that it can be cut at, and whole."""
    name, corner = _CROPS["face paint"]
    array = read(name)
    file = codec.encode(array, EncodeOptions(quality=_CUT_QUALITY, tune="psnr", lossless=False))
    panels = [Panel(_crop(array, corner), "")]
    sizes = cut_sizes(codec, file)
    panels += [_coded(array, codec.decode(truncate(file, size)), corner, size) for size in sizes]
    headings = ["picture", *(f"the first {size / len(file):.0%}" for size in sizes[:-1]), "the whole file"]
    return compose([tuple(panels)], headings, title=f"A file of quality {_CUT_QUALITY:g}, cut", scale=False)


def region_sheet(codec: PictureCodec, read: Read) -> Image.Image:
    """A face in a portrait, and another place of it: without and with a region of interest, in as many bytes."""
    name, corner = _CROPS["face"]
    array = read(name)
    most = round(RATES["middle"] * array.shape[0] * array.shape[1] / 8)
    files = [_sized(codec, array, most, tune="psnr", roi=roi) for roi in ((), (_FACE,))]
    decoded = [codec.decode(file) for file in files]
    parts = [psnr_of_parts(array, pixels, _FACE) for pixels in decoded]
    tiles: list[Tile] = []
    for index, (what, place) in enumerate((("in the region", corner), ("elsewhere", _ELSEWHERE))):
        captions = [
            f"{len(file)} bytes, {part[index]:.2f} dB" for file, part in zip(files, parts, strict=True)
        ]
        pictures = zip((array, *decoded), (what, *captions), strict=True)
        tiles.append(tuple(Panel(_marked(pixels, place), caption) for pixels, caption in pictures))
    headings = ("picture", "without a region", f"region of weight {_FACE.weight:g}")
    return compose(tiles, headings, title="A region of interest, PSNR in it and elsewhere", scale=False)


def target_sheet(codec: PictureCodec, read: Read) -> Image.Image:
    """One picture at sizes that were asked for, and at PSNRs."""
    name, corner = _CROPS["houses, lettering"]
    array = read(name)
    asked = [[EncodeOptions(target_bytes=size, tune="psnr", lossless=False) for size in _SIZES]]
    asked.append([EncodeOptions(target_psnr=value, tune="psnr", lossless=False) for value in _PSNRS])
    tiles = []
    for row in asked:
        panels = []
        for options in row:
            file = _encoded(codec, array, options)
            assert options.target is not None
            unit = "B" if options.target_bytes else "dB"
            before = f"{options.target.value:g} {unit}: "
            panels.append(_coded(array, codec.decode(file), corner, len(file), before=before))
        tiles.append(tuple(panels))
    return compose(tiles, [""] * len(_SIZES), title="Asked for a size, and for a PSNR", scale=False)


def smallest_from(other: PillowCodec, array: Pixels, least: int) -> bytes:
    """The file of the lowest quality that has so many bytes at least; of the highest, where none has."""
    qualities = range(1, 101)
    found = bisect.bisect_left(
        qualities, least, key=lambda quality: len(other.encode(array, quality=quality))
    )
    return other.encode(array, quality=qualities[min(found, len(qualities) - 1)])


def _sized(codec: PictureCodec, array: Pixels, most: int, *, tune: Tune, roi: tuple[Roi, ...] = ()) -> bytes:
    return _encoded(codec, array, EncodeOptions(target_bytes=most, tune=tune, roi=roi))


def _encoded(codec: PictureCodec, array: Pixels, options: EncodeOptions) -> bytes:
    """The file that reaches the target, or is next to it."""
    try:
        return codec.encode(array, options)
    except TargetError as error:
        assert options.target is not None
        quality = 1 if options.target.value < error.lowest else 100
        return codec.encode(array, options.at_quality(quality))


def _coded(array: Pixels, pixels: Pixels, corner: Corner, size: int, *, before: str = "") -> Panel:
    return Panel(_crop(pixels, corner), f"{before}{size} bytes, {psnr(array, pixels):.2f} dB")


def _crop(array: Pixels, corner: Corner) -> Image.Image:
    left, top = corner
    return Image.fromarray(array[top : top + _HEIGHT, left : left + _WIDTH])


def _marked(array: Pixels, corner: Corner) -> Image.Image:
    """A crop with the outline of the region, as far as it is in it."""
    crop = _crop(array, corner)
    left, top, right, bottom = _FACE.edges
    edges = (left - corner[0], top - corner[1], right - corner[0] - 1, bottom - corner[1] - 1)
    ImageDraw.Draw(crop).rectangle(edges, outline="white", width=2)
    return crop


def _read(folder: Path, name: str) -> Pixels:
    if name in NAMES:
        return synthetic_picture(name)
    path = folder / name
    if not path.exists():
        raise ParameterError(f"{folder} has no {name}, one of Kodak's pictures")
    return read_rgb(path)
