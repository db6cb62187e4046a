"""`python -m training benchmark FOLDER`: speed beside CompressAI's hyperprior, as a Markdown table.

Both codecs run in this process, with the same threads, on the same pictures, in turns: whatever else the
machine does hits both. Compressing is from a uint8 array to bytes, decompressing from bytes to a uint8 array.
Medians over the pictures, of each picture's median over the rounds. `--memory` measures peak memory, `--tiles`
what tiles cost in bytes and what they save where a region is decoded, `--prefixes` how good cut files are, and
`--targets` how close files come to what is asked for, and in what time, `--roi` how much better a region of
interest is in files of the same size, `--effort` how many bytes each effort saves, and in what time, and `--screens`
what files of the size of a JPEG or AVIF make of screens and text.
"""

import argparse
import math
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from model.checkpoints import load_codec
from model.config import TUNES
from model.errors import ParameterError
from model.options import EncodeOptions
from model.protocol import PictureCodec
from model.types import Limits, Pixels
from training.commands.arguments import add_model_arguments, codec_of, pictures_in, quality
from training.data.pictures import read_rgb
from training.measure.compressai_reference import NAME, Hyperprior
from training.measure.efforts import EffortUse, measure_efforts
from training.measure.memory import MemoryUse, measure_memory
from training.measure.prefixes import HalfUse, PrefixUse, measure_prefixes
from training.measure.regions import RegionUse, measure_regions
from training.measure.screens import Screen, ScreenUse, drawn_screens, measure_screens
from training.measure.targets import TargetUse, measure_targets
from training.measure.tiles import TileUse, measure_tiles

DEFAULT_QUALITY = 50.0  # 0.66 bpp on Kodak, about the published rate of the hyperprior at its quality 5
_WEIGHTS = (2.0, 4.0, 8.0, 16.0)  # of regions of interest
_LARGE = Limits(max_pixels=2**32)  # whatever one wants to measure


@dataclass(frozen=True)
class Timing:
    """Medians over the pictures, in seconds.

    Attributes:
        name: of the codec.
        compress: array to bytes.
        decompress: bytes to array.
    """

    name: str
    compress: float
    decompress: float


@dataclass(frozen=True)
class Subject:
    """A codec to time; `decompress` takes what `compress` returned."""

    name: str
    compress: Callable[[Pixels], object]
    decompress: Callable[..., object]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument("folder", type=Path, nargs="?", metavar="FOLDER", help="of pictures, for speed")
    add_model_arguments(parser)
    parser.add_argument(
        "--rounds", type=_positive, default=3, help="times each picture is coded (%(default)s)"
    )
    parser.add_argument("--quality", type=quality, default=DEFAULT_QUALITY, help="of our codec (%(default)g)")
    parser.add_argument("--threads", type=_positive, help="of torch, for both codecs (torch's own choice)")
    parser.add_argument(
        "--memory",
        type=_source,
        metavar="PIXELS|FILE",
        help="measure peak memory on a synthetic picture of that many pixels, or on a picture file",
    )
    parts = parser.add_mutually_exclusive_group()
    parts.add_argument(
        "--tiles", action="store_true", help="measure tile sizes on the pictures of FOLDER, not speed"
    )
    parts.add_argument(
        "--prefixes", action="store_true", help="measure cut files of the pictures of FOLDER, not speed"
    )
    parts.add_argument(
        "--targets", action="store_true", help="measure targets on the pictures of FOLDER, not speed"
    )
    parts.add_argument(
        "--roi", action="store_true", help="measure regions of interest in the pictures of FOLDER, not speed"
    )
    parts.add_argument(
        "--effort", action="store_true", help="measure efforts on the pictures of FOLDER, not speed"
    )
    parts.add_argument(
        "--screens",
        action="store_true",
        help="measure the pictures of FOLDER, or drawn screens where there is none, beside JPEG and AVIF",
    )


def run(args: argparse.Namespace) -> int:
    """Measure what was asked for and print it.

    Raises:
        ParameterError: neither a folder nor --memory was given.
        CwicError: pictures, checkpoint or CompressAI are missing.
    """
    if args.folder is None and args.memory is None and not args.screens:
        raise ParameterError(
            "give a folder of pictures to measure speed, --tiles, --prefixes, --targets, --roi or --effort, or "
            "--memory or both, or --screens"
        )
    if args.threads:
        torch.set_num_threads(args.threads)
    if args.screens:
        sys.stdout.write(screen_table(measure_screens(codec_of(args), _screens(args.folder))))
    elif args.folder:
        sys.stdout.write(_of_pictures(args, [read_rgb(path) for path in pictures_in(args.folder)]))
    if args.memory:
        load = partial(load_codec, args.model, model_dir=args.model_dir, device=args.device, limits=_LARGE)
        sys.stdout.write(memory_table(measure_memory(load, args.memory, quality=args.quality)))
    return 0


def _of_pictures(args: argparse.Namespace, arrays: Sequence[Pixels]) -> str:
    """The table that was asked for."""
    codec = codec_of(args)
    if args.tiles:
        return tile_table(measure_tiles(codec, arrays, quality=args.quality))
    if args.prefixes:
        return prefix_table(*measure_prefixes(codec, arrays, quality=args.quality))
    if args.targets:
        return target_table(measure_targets(codec, arrays))
    if args.roi:
        return region_table(measure_regions(codec, arrays, quality=args.quality, weights=_WEIGHTS))
    if args.effort:
        return "\n".join(effort_table(measure_efforts(codec, arrays, tune=tune)) for tune in TUNES)
    subjects = [subject_of(codec, args.quality), _hyperprior(args.device)]
    return speed_table(time_all(subjects, arrays, rounds=args.rounds), arrays, args.rounds, args.device)


def subject_of(codec: PictureCodec, quality: float) -> Subject:
    """Our codec at one quality."""
    return Subject(
        f"cwic, quality {quality:g}",
        partial(codec.encode, options=EncodeOptions(quality=quality, lossless=False)),
        codec.decode,
    )


def time_all(subjects: Sequence[Subject], arrays: Sequence[Pixels], *, rounds: int) -> tuple[Timing, ...]:
    """Time every subject on every picture, in turns, after one round that is not counted.

    Shapes differ between pictures, and first calls with a shape allocate: so each picture is warmed.
    """
    compress: dict[str, list[float]] = {subject.name: [] for subject in subjects}
    decompress: dict[str, list[float]] = {subject.name: [] for subject in subjects}
    for array in arrays:
        spent: dict[str, list[tuple[float, float]]] = {subject.name: [] for subject in subjects}
        for number in range(rounds + 1):
            for subject in subjects:
                timed = _time_one(subject, array)
                if number:
                    spent[subject.name].append(timed)
        for name, pairs in spent.items():
            compress[name].append(statistics.median(first for first, _ in pairs))
            decompress[name].append(statistics.median(second for _, second in pairs))
    return tuple(
        Timing(s.name, statistics.median(compress[s.name]), statistics.median(decompress[s.name]))
        for s in subjects
    )


def _markdown(head: str, rows: Iterable[str], *after: str) -> str:
    """A table of a head and rows, each `| ... | ... |`, and lines behind it."""
    rule = f"|{'---|' * (head.count('|') - 1)}"
    return "\n".join([head, rule, *rows, "", *(line for text in after for line in (text, ""))])


def speed_table(timings: Sequence[Timing], arrays: Sequence[Pixels], rounds: int, device: str) -> str:
    """Markdown: milliseconds, and the share of the last one's time that the first takes."""
    ours, reference = timings
    rows = (
        ("compress", ours.compress, reference.compress),
        ("decompress", ours.decompress, reference.decompress),
    )
    load = f", load average {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    megapixels = statistics.median(array.shape[0] * array.shape[1] for array in arrays) / 1e6
    return _markdown(
        f"| median over {len(arrays)} pictures | {ours.name} | {reference.name} | ratio |",
        (f"| {what} | {1000 * a:.0f} ms | {1000 * b:.0f} ms | {a / b:.2f} |" for what, a, b in rows),
        f"{megapixels:.2f} megapixels, {rounds} rounds, {device}, {torch.get_num_threads()} threads, "
        f"torch {torch.__version__}{load}.",
    )


def memory_table(use: MemoryUse) -> str:
    """Markdown: the process's peak after each step."""
    steps = (("codec and picture loaded", use.loaded), ("encoded", use.encoded), ("decoded", use.decoded))
    return _markdown(
        f"| {use.width}x{use.height}, {use.width * use.height / 1e6:.1f} megapixels | peak resident memory |",
        (f"| {step} | {size / 2**20:.0f} MiB |" for step, size in steps),
    )


def tile_table(rows: Sequence[TileUse]) -> str:
    """Markdown: each tile size beside the last one."""
    one = rows[-1]
    return _markdown(
        "| tile | bytes | PSNR | decode the whole | decode 256x256 in the middle |",
        (
            f"| {row.tile} | {100 * (row.size / one.size - 1):+.2f} % | {row.psnr - one.psnr:+.3f} dB "
            f"| {1000 * row.whole:.0f} ms | {1000 * row.region:.0f} ms |"
            for row in rows
        ),
    )


def prefix_table(rows: Sequence[PrefixUse], half: HalfUse) -> str:
    """Markdown: each number of groups, and a line on files that are cut in half."""
    return _markdown(
        "| groups | share of the bytes | PSNR, cut there | PSNR, `groups` of the whole file |",
        (f"| {r.groups} | {r.share:.0%} | {r.cut:.2f} dB | {r.preview:.2f} dB |" for r in rows),
        f"Cut at the border nearest to half of the bytes ({half.share:.0%}): {half.behind:.2f} dB behind a file "
        f"encoded for that size, at most {half.most:.2f} dB.",
    )


def target_table(rows: Sequence[TargetUse]) -> str:
    """Markdown: each target."""
    return _markdown(
        "| target | pictures | farthest from it | bytes | PSNR | time | beside a fixed quality | at most |",
        (
            f"| {_asked(row)} | {row.pictures} | {_farthest(row)} | {row.size:.0f} | {row.psnr:.2f} dB "
            f"| {1000 * row.seconds:.0f} ms | {row.ratio:.1f}x | {row.longest:.1f}x |"
            for row in rows
        ),
    )


def region_table(rows: Sequence[RegionUse]) -> str:
    """Markdown: each weight of a region in the middle."""
    return _markdown(
        f"| weight, at {rows[0].bpp:.2f} bpp | PSNR inside | of the least picture | PSNR outside |",
        (f"| {r.weight:g} | {r.inside:+.2f} dB | {r.least:+.2f} dB | {r.outside:+.2f} dB |" for r in rows),
    )


def screen_table(screens: Sequence[Screen]) -> str:
    """Markdown: each picture beside files of the same size in other formats, and how often it is no worse."""
    columns = [f"{use.format}, {use.quality}" for use in screens[0].uses]
    lines = []
    for each in screens:
        size, kept = each.half
        half = "lossless" if kept else f"{size} B"
        lines.append(f"| {each.name} | {each.lossless} B | {half} | {' | '.join(map(_gain, each.uses))} |")
    counts = []
    for name in dict.fromkeys(use.format for use in screens[0].uses):
        uses = [use for each in screens for use in each.uses if use.format == name]
        good = sum(use.ours is not None and use.ours >= use.psnr for use in uses)
        counts.append(f"{name} in {good} of {len(uses)} cases")
    return _markdown(
        f"| | lossless | quality 50 | {' | '.join(columns)} |",
        lines,
        f"No worse at the size of {', '.join(counts)}.",
    )


def _gain(use: ScreenUse) -> str:
    """What our file of the size has, beside the other."""
    if use.ours is None:
        return "out of reach"
    return "lossless" if math.isinf(use.ours) else f"{use.ours - use.psnr:+.1f} dB"


def effort_table(rows: Sequence[EffortUse]) -> str:
    """Markdown: each effort beside the default one, of one tune."""
    equal = "SSIMULACRA2" if rows[0].tune == "visual" else "PSNR"
    return _markdown(
        f"| effort, `{rows[0].tune}` | bytes at equal {equal} | of the least picture | time | beside the default |",
        (
            f"| {row.effort} | {row.bd_rate:+.1f} % | {row.worst:+.1f} % | {row.seconds:.1f} s | {row.ratio:.1f}x |"
            for row in rows
        ),
    )


def _asked(row: TargetUse) -> str:
    name, value = row.target
    return f"{value:g} {'dB' if name == 'target_psnr' else 'bpp'}"


def _farthest(row: TargetUse) -> str:
    return f"+{row.farthest:.2f} dB" if row.target.name == "target_psnr" else f"{100 * row.farthest:.1f} %"


def _screens(folder: Path | None) -> dict[str, Pixels]:
    """The pictures of a folder by their names, or those that are drawn."""
    if folder is None:
        return drawn_screens()
    return {path.stem: read_rgb(path) for path in pictures_in(folder)}


def _hyperprior(device: str) -> Subject:
    network = Hyperprior(device=device)
    return Subject(f"CompressAI {NAME}, quality 5", network.compress, network.decompress)


def _time_one(subject: Subject, array: Pixels) -> tuple[float, float]:
    """Seconds to compress and to decompress; both end with bytes or an array on the CPU: nothing is pending."""
    started = time.perf_counter()
    data = subject.compress(array)
    compressed = time.perf_counter()
    subject.decompress(data)
    return compressed - started, time.perf_counter() - compressed


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"at least 1, got {text}")
    return value


def _source(text: str) -> int | Path:
    return _positive(text) if text.isdecimal() else Path(text)
