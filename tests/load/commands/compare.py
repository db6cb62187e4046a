"""Pictures per second through HTTP: one source tree against another, and against the codec in one process."""

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.load import in_process
from tests.load.pictures import kodak_like
from tests.load.plan import Item
from tests.load.process import ROOT, THREADS, started
from tests.load.report import Report
from tests.load.session import CONCURRENCY, add_settings_option, settings_of, source_tree, throughput


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options."""
    parser.add_argument("a", type=source_tree, nargs="?", default=ROOT, help="source tree (%(default)s)")
    parser.add_argument("b", type=source_tree, nargs="?", help="another one")
    add_settings_option(parser)
    parser.add_argument(
        "--pictures", type=Path, help="folder of pictures; by default drawn ones of Kodak's size"
    )
    parser.add_argument("--count", type=int, default=8, help="of drawn pictures (%(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="of all measurements, in turn (%(default)s)")
    parser.add_argument("--seconds", type=float, default=20, help="of each measurement (%(default)s)")
    parser.add_argument("--concurrency", type=int, default=CONCURRENCY, help="clients at once (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the pictures (%(default)s)")
    parser.add_argument("--min-ratio", type=float, default=0.95, help="bound for B / A (%(default)s)")
    parser.add_argument(
        "--min-of-in-process",
        type=float,
        default=0.8,
        help="bound for the last tree's throughput through HTTP / in process (%(default)s)",
    )


def run(args: argparse.Namespace) -> Report:
    """Measure."""
    report = Report(f"{args.concurrency} clients, {args.rounds} rounds of {args.seconds:g} s")
    pictures = kodak_like(args.pictures, count=args.count, seed=args.seed)
    trees = {"A": args.a} if args.b is None else {"A": args.a, "B": args.b}
    last = list(trees)[-1]
    served: dict[str, list[float]] = {name: [] for name in trees}
    direct: dict[str, list[float]] = {name: [] for name in in_process.WAYS}
    with TemporaryDirectory(prefix="cwic-load-") as name:
        folder = Path(name)
        for number, picture in enumerate(pictures):
            (folder / f"{number:04}").write_bytes(picture)
        for number in range(args.rounds):
            # forwards, then backwards: what drifts meets all of them alike
            for tree in list(trees) if number % 2 == 0 else list(trees)[::-1]:
                served[tree].append(through_http(args, trees[tree], pictures))
            for way, speed in without_http(trees[last], folder, args.seconds / 2).items():
                direct[way].append(speed)
    for name, tree in trees.items():
        add_speeds(report, f"{name} ({tree}) through HTTP", served[name])
    for way, speeds in direct.items():
        add_speeds(report, f"{last} in process, {way}", speeds)
    medians = {name: statistics.median(speeds) for name, speeds in served.items()}
    if args.b is not None:
        ratio = medians["B"] / medians["A"] if medians["A"] else None
        report.add("B / A", ratio, at_least=args.min_ratio)
    best = max(statistics.median(speeds) for speeds in direct.values())
    report.add("through HTTP / in process", medians[last] / best, at_least=args.min_of_in_process)
    report.details |= {"served": served, "in process": direct, "trees": trees}
    return report


def add_speeds(report: Report, name: str, speeds: Sequence[float]) -> None:
    """The median of the rounds, and how far they lie apart."""
    report.add(name, statistics.median(speeds), "pictures/s")
    report.add(f"{name}, slowest to fastest round", min(speeds) / max(speeds) if max(speeds) else None)


def through_http(args: argparse.Namespace, tree: Path, pictures: Sequence[bytes]) -> float:
    """Pictures per second of a server of that tree; raises AssertionError where one is not done."""
    items = itertools.cycle(
        Item(f"picture {number}", "/compress", picture, {"quality": "50"})
        for number, picture in enumerate(pictures)
    )
    with started(tree=tree, settings=settings_of(args)) as server:
        return throughput(server.url, items, concurrency=args.concurrency, seconds=args.seconds)


def without_http(tree: Path, pictures: Path, seconds: float) -> dict[str, float]:
    """Pictures per second of that tree's codec in a process of its own, each way."""
    environment = {name: value for name, value in os.environ.items() if name not in THREADS}
    done = subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, str(Path(in_process.__file__)), str(pictures), str(seconds)],
        cwd=tree,
        env={**environment, "PYTHONPATH": str(tree.resolve())},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    speeds: dict[str, float] = json.loads(done.stdout)
    return speeds
