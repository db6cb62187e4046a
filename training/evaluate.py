"""`python -m training evaluate FOLDER`: rate and distortion of real files, beside other formats.

Every picture of the folder is coded at every quality. Rates are those of whole files, headers included; the
files are decoded again, and PSNR and MS-SSIM are measured on 8-bit RGB. JPEG, WebP and AVIF go through the same
measurement in the same run, through Pillow; published curves are read from a file. A codec's curve is the mean
rate and the mean quality over the pictures at each of its settings.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from tqdm import tqdm

from model.types import PictureCodec
from training.arguments import add_model_arguments, codec_of, pictures_in, quality
from training.curves import check_floor, compare, reaches, read_floor, read_published
from training.measure import Contender, measure_all
from training.pillow_codecs import PILLOW_CODECS
from training.plot import save_plot
from training.report import Report, command_line, environment, now, to_json, to_text

DEFAULT_QUALITIES = (1.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0, 90.0, 100.0)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="of pictures")
    add_model_arguments(parser)
    parser.add_argument(
        "--qualities",
        type=_qualities,
        default=DEFAULT_QUALITIES,
        metavar="Q,Q,…",
        help="of our codec, 1 to 100 (1, 10, 20 to 100)",
    )
    parser.add_argument(
        "--against",
        type=_formats,
        default=tuple(PILLOW_CODECS),
        metavar="NAME,…",
        help=f"formats to measure beside it: {', '.join(PILLOW_CODECS)} (all), or none",
    )
    parser.add_argument("--anchors", type=Path, metavar="JSON", help="published curves of the same pictures")
    parser.add_argument(
        "--floor",
        type=Path,
        metavar="JSON",
        help="a curve to reach: exit status 1 where one of our points from 0.1 to 1.0 bpp is below it",
    )
    parser.add_argument("--json", type=Path, metavar="OUT", help="write everything that was measured")
    parser.add_argument("--plot", type=Path, metavar="OUT.png", help="draw the curves")


def run(args: argparse.Namespace) -> int:
    """Evaluate, print, write; 1 when a point is below the floor or none can be compared with it, otherwise 0.

    Raises:
        CwicError: pictures, checkpoint or curves cannot be read.
    """
    files = pictures_in(args.folder)
    published = read_published(args.anchors) if args.anchors else ()
    floor = read_floor(args.floor) if args.floor else None
    codec = codec_of(args)
    contenders = contenders_of(codec, args.qualities, args.against)
    with tqdm(total=len(contenders) * len(files), desc="pictures", disable=None) as bar:

        def advance(name: str) -> None:
            bar.set_postfix_str(name)
            bar.update()

        results = measure_all(contenders, files, advance=advance)
    report = Report(
        command=command_line(sys.argv[1:]),
        date=now(),
        versions=environment(),
        threads=torch.get_num_threads(),
        model=codec.info,
        results=results,
        published=published,
        bd_rates=compare(results[0], results[1:], published),
        floor=check_floor(results[0], floor) if floor else None,
    )
    if args.json:
        args.json.write_text(to_json(report))
    if args.plot:
        save_plot(report, args.plot)
    sys.stdout.write(to_text(report))
    return 0 if report.floor is None or reaches(report.floor) else 1


def contenders_of(
    codec: PictureCodec, qualities: Sequence[float], formats: Sequence[str]
) -> tuple[Contender, ...]:
    """Our codec first, then Pillow's formats by name, each at its ladder of qualities."""
    ours = Contender(
        name="cwic", label="cwic (ours)", codec=codec, qualities=tuple(qualities), inspect=codec.inspect
    )
    others = [
        Contender(name=name, label=other.label, codec=other, qualities=other.qualities)
        for name, other in ((name, PILLOW_CODECS[name]) for name in formats)
    ]
    return ours, *others


def _qualities(text: str) -> tuple[float, ...]:
    return tuple(sorted({quality(part) for part in text.split(",")}))


def _formats(text: str) -> tuple[str, ...]:
    names = () if text == "none" else tuple(dict.fromkeys(text.split(",")))
    unknown = [name for name in names if name not in PILLOW_CODECS]
    if unknown:
        raise argparse.ArgumentTypeError(f"known are {', '.join(PILLOW_CODECS)}, got {', '.join(unknown)}")
    return names
