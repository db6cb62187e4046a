"""`python -m training importance FOLDER OUT`: pictures beside their importance maps, as in the paper's figures.

OUT gets `NAME.png` for each picture, `picture | map` at full size, and `sheet.png` with all of them in small.
With `--models A,B` each picture has a map of each checkpoint. `--samples` takes built-in pictures, which may be
shown anywhere, instead of a folder.

The paper shows its maps in grey. Here a perceptual colour scale tells more levels apart, and is as dark where
little is kept: black is no channel, pale yellow is all of them, the scale is at the top. Below each map are the
rate of the whole file and the mean of the map, which is the share of the channels that is kept where every level adds
as many (profile `cvpr2018`). "lossless" says that the file
has the picture losslessly, because coding it did not pay; the map is then of what coding would have kept.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from matplotlib.cbook import get_sample_data
from PIL import Image
from tqdm import tqdm

from model.container.format import inspect
from model.errors import ParameterError
from model.options import DEFAULT_QUALITY, EncodeOptions
from model.protocol import PictureCodec
from model.types import Pixels
from training.commands.arguments import add_model_arguments, check_folder, codecs_of, pictures_in, quality
from training.data.pictures import read_rgb
from training.data.synthetic import NAMES, synthetic_picture
from training.measure.sheet import Panel, Tile, coloured, compose, fitted, save

SHEET = "sheet.png"
MAX_ON_SHEET = 36

_PANEL_HEIGHT = 264  # on the sheet; two of the samples with three maps are then just below the largest width
_PHOTOGRAPH = "grace_hopper.jpg"  # comes with matplotlib; by the US Navy, in the public domain


@dataclass(frozen=True)
class Source:
    """A picture to draw: its file's name, what reads it as [H, W, 3], and where it is if it is a file."""

    name: str
    read: Callable[[], Pixels]
    path: Path | None = None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument(
        "sources", type=Path, nargs="*", metavar="FOLDER", help="of pictures; or several picture files"
    )
    parser.add_argument(
        "out", type=Path, metavar="OUT", help="folder for what is drawn, made where there is none"
    )
    add_model_arguments(parser, several=True)
    parser.add_argument(
        "--quality", type=quality, help=f"of the checkpoints that have a choice ({DEFAULT_QUALITY:g})"
    )
    parser.add_argument("--samples", action="store_true", help="draw built-in pictures")


def run(args: argparse.Namespace) -> int:
    """Draw every picture, and the sheet.

    Raises:
        ParameterError: nothing to draw, OUT cannot be written, or a quality where there is none to choose.
        CwicError: pictures or checkpoints cannot be read.
    """
    if args.samples == bool(args.sources):
        raise ParameterError("give a folder of pictures, picture files or --samples, and then OUT")
    sources = samples() if args.samples else sources_of(args.sources)
    targets = targets_of(sources, args.out)
    check_folder(args.out)
    codecs = codecs_of(args)
    if args.quality is not None and all(codec.info.fixed_rate for codec in codecs):
        raise ParameterError(f"{', '.join(args.models)}: one rate only, no quality to choose")
    headings = ("picture", *(heading(codec, args.quality) for codec in codecs))
    small: list[Tile] = []
    for source, target in zip(tqdm(sources, desc="pictures", disable=None), targets, strict=True):
        tile = tile_of(source, codecs, quality=args.quality)
        save(compose([tile], headings, title="importance map"), target, optimize=True)
        if len(small) < MAX_ON_SHEET:
            small.append(_shrunk(tile))
    plural = "" if len(sources) == 1 else "s"
    share = f"{len(small)} of " if len(small) < len(sources) else ""
    count = f"{share}{len(sources)} picture{plural}"
    save(compose(small, headings, title=f"importance maps of {count}"), args.out / SHEET, optimize=True)
    sys.stdout.write(f"{args.out / SHEET}: {count}\n")
    return 0


def samples() -> tuple[Source, ...]:
    """The synthetic pictures, and a portrait where matplotlib brings it."""
    drawn = [Source(name, partial(synthetic_picture, name)) for name in NAMES]
    path = Path(get_sample_data(_PHOTOGRAPH, asfileobj=False))
    return (*drawn, Source(path.stem, partial(read_rgb, path), path)) if path.exists() else tuple(drawn)


def sources_of(paths: Sequence[Path]) -> tuple[Source, ...]:
    """Picture files, and those of folders; raises ParameterError where one is missing or a folder has none."""
    missing = [str(path) for path in paths if not path.exists()]
    if missing:
        raise ParameterError(f"no such file or folder: {', '.join(missing)}")
    files = [file for path in paths for file in (pictures_in(path) if path.is_dir() else (path,))]
    return tuple(Source(file.name, partial(read_rgb, file), file) for file in dict.fromkeys(files))


def targets_of(sources: Sequence[Source], out: Path) -> tuple[Path, ...]:
    """A file in `out` for each picture: `NAME.png`, or `NAME.SUFFIX.png` where two would have one name.

    Raises:
        ParameterError: two pictures have the same name and suffix, or a picture itself would be overwritten.
    """
    stems = Counter([Path(SHEET).stem, *(Path(source.name).stem for source in sources)])
    names = [
        source.name if stems[Path(source.name).stem] > 1 else Path(source.name).stem for source in sources
    ]
    targets = tuple(out / f"{name}.png" for name in names)
    twice = [path.name for path, times in Counter(targets).items() if times > 1]
    if twice:
        raise ParameterError(f"two pictures would be drawn into {twice[0]}; rename one")
    written = {path.resolve() for path in (*targets, out / SHEET)}
    for source in sources:
        if source.path and source.path.resolve() in written:
            raise ParameterError(f"{source.path} would be overwritten; choose another OUT")
    return targets


def heading(codec: PictureCodec, quality: float | None) -> str:
    """A codec's name, and the quality where there is one."""
    chosen = DEFAULT_QUALITY if quality is None else quality
    return codec.info.name if codec.info.fixed_rate else f"{codec.info.name}, quality {chosen:g}"


def tile_of(source: Source, codecs: Sequence[PictureCodec], *, quality: float | None) -> Tile:
    """A picture and its map by each codec, at full size; `quality` is for the codecs that have a choice."""
    array = source.read()
    panels = [Panel(Image.fromarray(array), source.name)]
    for codec in codecs:
        options = EncodeOptions(quality=None if codec.info.fixed_rate else quality)
        info = inspect(codec.encode(array, options))
        importance = codec.importance_map(array, options)
        lossless = "lossless, " if info.profile == "lossless" else ""
        mean = 100 * float(importance.mean()) / 255
        panels.append(Panel(coloured(importance), f"{lossless}{info.bpp:.3f} bpp, {mean:.0f} % kept"))
    return tuple(panels)


def _shrunk(tile: Tile) -> Tile:
    """For the sheet."""
    return tuple(
        Panel(
            fitted(panel.image, panels=len(tile), height=_PANEL_HEIGHT, smooth=index == 0),
            panel.caption,
        )
        for index, panel in enumerate(tile)
    )
