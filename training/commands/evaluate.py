"""`python -m training evaluate FOLDER`: rate and distortion of real files, beside other formats.

Every picture of the folder is coded at every quality. Rates are those of whole files, headers included; the
files are decoded again, and PSNR, MS-SSIM and, where asked for, SSIMULACRA2 are measured on 8-bit RGB. JPEG, WebP,
AVIF and JPEG XL go through the same measurement in the same run, through Pillow; published curves are read from a
file. A codec's curve is the mean rate and the mean quality over the pictures at each of its settings; BD-rates are
those of these curves, and beside them the mean of each picture's own. Checkpoints of one rate each are named together
(`--models a,b,c`, in the order of their rates) and make one curve, with 1, 2, 3 for qualities.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from tqdm import tqdm

from model.config import TUNES, Tune
from model.container.format import inspect
from model.errors import ParameterError
from model.options import DEFAULT_EFFORT, MAX_EFFORT, EncodeOptions
from model.protocol import PictureCodec
from model.types import Pixels
from training.commands.arguments import (
    add_model_arguments,
    check_file,
    codecs_of,
    pictures_in,
    quality,
    writing,
)
from training.measure.curves import check_floor, compare, reaches, read_floor, read_published
from training.measure.files import Contender, Result, measure_all
from training.measure.pillow_codecs import PILLOW_CODECS, available_codecs
from training.measure.plot import save_plot
from training.measure.report import Report, command_line, environment, now, to_json, to_text
from training.measure.reuse import earlier_results

DEFAULT_QUALITIES = (1.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0, 90.0, 100.0)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="of pictures")
    add_model_arguments(parser, several=True)
    parser.add_argument(
        "--qualities",
        type=_qualities,
        default=DEFAULT_QUALITIES,
        metavar="Q,Q,…",
        help="of a checkpoint that has several, 1 to 100 (1, 10, 20 to 100)",
    )
    parser.add_argument(
        "--against",
        type=_formats,
        default=available_codecs(),
        metavar="NAME,…",
        help=f"formats to measure beside it: {', '.join(PILLOW_CODECS)} (all that can be written here), or none",
    )
    parser.add_argument(
        "--ssimulacra2", action="store_true", help="measure it too: a second for each picture and setting"
    )
    parser.add_argument(
        "--reuse",
        type=Path,
        metavar="JSON",
        help="an earlier report of the same pictures: other formats are not measured again, their times are its",
    )
    parser.add_argument("--anchors", type=Path, metavar="JSON", help="published curves of the same pictures")
    parser.add_argument(
        "--floor",
        type=Path,
        metavar="JSON",
        help="a curve to reach: exit status 1 where one of our points from 0.1 to 1.0 bpp is below it",
    )
    parser.add_argument("--json", type=Path, metavar="OUT", help="write everything that was measured")
    parser.add_argument(
        "--tune", choices=TUNES, help="what our files are made for (the checkpoint's default)"
    )
    parser.add_argument(
        "--effort",
        type=int,
        choices=range(MAX_EFFORT + 1),
        default=DEFAULT_EFFORT,
        help="that our files are made with (%(default)s)",
    )
    parser.add_argument("--plot", type=Path, metavar="OUT.png", help="draw the curves")


def run(args: argparse.Namespace) -> int:
    """Evaluate, print, write; 1 when a point is below the floor or none can be compared with it, otherwise 0.

    Raises:
        CwicError: pictures, checkpoint or curves cannot be read, or what is to be written cannot be.
    """
    for out in filter(None, (args.json, args.plot)):
        check_file(out)
    files = pictures_in(args.folder)
    published = read_published(args.anchors) if args.anchors else ()
    floor = read_floor(args.floor) if args.floor else None
    codecs = codecs_of(args)
    contenders = contenders_of(codecs, args.qualities, args.against, tune=args.tune, effort=args.effort)
    versions = environment()
    known: dict[str, Result] = {}
    if args.reuse:
        known = earlier_results(
            args.reuse, contenders[1:], files, versions=versions, perceptual=args.ssimulacra2
        )
    new = [contender for contender in contenders if contender.name not in known]
    with tqdm(total=len(new) * len(files), desc="pictures", disable=None) as bar:

        def advance(name: str) -> None:
            bar.set_postfix_str(name)
            bar.update()

        measured = measure_all(new, files, perceptual=args.ssimulacra2, advance=advance)
    known |= {result.name: result for result in measured}
    results = tuple(known[contender.name] for contender in contenders)
    report = Report(
        command=command_line(sys.argv[1:]),
        date=now(),
        versions=versions,
        threads=torch.get_num_threads(),
        models=tuple(codec.info for codec in codecs),
        results=results,
        published=published,
        bd_rates=compare(results[0], results[1:], published),
        floor=check_floor(results[0], floor) if floor else None,
    )
    sys.stdout.write(to_text(report))
    if args.json:
        with writing(args.json):
            args.json.write_text(to_json(report))
    if args.plot:
        with writing(args.plot):
            save_plot(report, args.plot)
    return 0 if report.floor is None or reaches(report.floor) else 1


class Ladder:
    """Checkpoints of one rate each as one codec, whose qualities are 1, 2, 3, ... in the order given.

    No file is without loss: the PSNR of one would make the mean over the pictures infinite.
    """

    def __init__(self, codecs: Sequence[PictureCodec]) -> None:
        self._codecs = codecs
        self._by_id = {codec.info.model_id: codec for codec in codecs}

    def encode(self, array: Pixels, *, quality: float) -> bytes:
        """With the checkpoint of that rank."""
        return self._codecs[round(quality) - 1].encode(array, EncodeOptions(lossless=False))

    def decode(self, data: bytes) -> Pixels:
        """With the checkpoint that made it."""
        return self._of(data).decode(data)

    def kept_codes(self, data: bytes) -> int:
        """See `PictureCodec`."""
        return self._of(data).kept_codes(data)

    def _of(self, data: bytes) -> PictureCodec:
        return self._by_id.get(inspect(data).model_id, self._codecs[0])


class Tuned:
    """One checkpoint of all rates, at one tune and effort; as with `Ladder`, no file is without loss."""

    def __init__(self, codec: PictureCodec, tune: Tune | None, effort: int = DEFAULT_EFFORT) -> None:
        self._codec = codec
        self._options = EncodeOptions(tune=tune, effort=effort, lossless=False)

    def encode(self, array: Pixels, *, quality: float) -> bytes:
        """For the tune, with the effort."""
        return self._codec.encode(array, replace(self._options, quality=quality))

    def decode(self, data: bytes) -> Pixels:
        """Whatever it was tuned for."""
        return self._codec.decode(data)

    def kept_codes(self, data: bytes) -> int:
        """See `PictureCodec`."""
        return self._codec.kept_codes(data)


def contenders_of(
    codecs: Sequence[PictureCodec],
    qualities: Sequence[float],
    formats: Sequence[str],
    *,
    tune: Tune | None = None,
    effort: int = DEFAULT_EFFORT,
) -> tuple[Contender, ...]:
    """Our codec first, then Pillow's formats by name, each at its ladder of qualities.

    Raises:
        ParameterError: several checkpoints, and not each of one rate; or an effort for those.
    """
    codec: Tuned | Ladder = Tuned(codecs[0], tune, effort)
    if all(each.info.fixed_rate for each in codecs):
        if effort != DEFAULT_EFFORT:
            raise ParameterError("checkpoints of one rate have one effort")
        codec, qualities = Ladder(codecs), range(1, len(codecs) + 1)
    elif len(codecs) > 1:
        raise ParameterError("several checkpoints make a curve only where each has one rate")
    profile = codecs[0].info.profile
    ours = Contender(
        name=profile,
        label=f"{profile} (ours)" + f", effort {effort}" * (effort != DEFAULT_EFFORT),
        codec=codec,
        qualities=tuple(qualities),
        inspect=inspect,
        kept=codec.kept_codes,
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
