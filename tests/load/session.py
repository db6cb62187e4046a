"""What the commands share: options, a server to test, its capacity, one phase of load with everything watched."""

import argparse
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

from tests.load.generator import closed_loop, open_loop
from tests.load.memory import MB, Sample, watched
from tests.load.outcomes import Percentiles, Summary, rate_between, summarise
from tests.load.pictures import files
from tests.load.plan import SIZES, Item, Planned, catalogue, drawn_items
from tests.load.probe import Probes, probed
from tests.load.process import ROOT, Server, started
from tests.load.report import Report

CONCURRENCY = 8  # clients at once, to measure what the server can do
WARM = 2.0  # seconds before it is measured
DEFAULT_TIMEOUT = 60.0  # seconds; the service's own default of CWIC_REQUEST_TIMEOUT


@dataclass(frozen=True)
class Phase:
    """One phase of load: what came of the requests, of the probes beside them, and the server's memory meanwhile."""

    summary: Summary
    probes: Probes
    memory: list[Sample]


def add_server_options(parser: argparse.ArgumentParser) -> None:
    """Which server, with what settings."""
    parser.add_argument("--url", help="a server that runs already; by default one is started")
    parser.add_argument("--pid", type=int, help="its process, to watch the memory of")
    parser.add_argument(
        "--tree", type=source_tree, default=ROOT, help="source tree that the server runs from (%(default)s)"
    )
    add_settings_option(parser)


def source_tree(text: str) -> Path:
    """A folder that the service can be run from, for a command line."""
    tree = Path(text)
    if not (tree / "service/__main__.py").exists():
        raise argparse.ArgumentTypeError(f"no service to run in {text}")
    return tree


def add_settings_option(parser: argparse.ArgumentParser) -> None:
    """Settings for the servers that are started."""
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="CWIC_NAME=VALUE",
        help="a setting of the server, as often as you like",
    )


def add_load_options(parser: argparse.ArgumentParser) -> None:
    """What is sent."""
    parser.add_argument("--seed", type=int, default=1, help="of plan and pictures (%(default)s)")
    parser.add_argument("--bad", type=float, default=0.05, help="share of bad input (%(default)s)")
    parser.add_argument(
        "--largest", type=int, default=2000, help="width of the largest drawn picture (%(default)s)"
    )
    parser.add_argument("--pictures", type=Path, help="folder of pictures to send in the place of drawn ones")
    parser.add_argument(
        "--capacity-seconds", type=float, default=10, help="to measure the capacity (%(default)s)"
    )


def settings_of(args: argparse.Namespace) -> dict[str, str]:
    """The settings that were given."""
    pairs = [text.partition("=") for text in args.set]
    return {name: value for name, _, value in pairs}


def timeout_of(settings: Mapping[str, str]) -> float:
    """The deadline of each request, in seconds."""
    return float(settings.get("CWIC_REQUEST_TIMEOUT", DEFAULT_TIMEOUT))


@contextmanager
def server_of(args: argparse.Namespace, *, defaults: Mapping[str, str] | None = None) -> Iterator[Server]:
    """The server that the options name, or one that is started for the block."""
    if args.url:
        yield Server(args.url.rstrip("/"), args.pid)
        return
    with started(tree=args.tree, settings={**(defaults or {}), **settings_of(args)}) as server:
        yield server


def items_of(args: argparse.Namespace, server: Server) -> list[Item]:
    """What is sent: drawn pictures of several sizes, or those of a folder, and bad input."""
    sizes = [size for size in SIZES if size[0] <= args.largest]
    photos = files(args.pictures) if args.pictures else ()
    return catalogue(server.compress, bad_share=args.bad, seed=args.seed, sizes=sizes, photos=photos)


class Capacity(NamedTuple):
    """What the server can do of a mixture with eight requests at once, for each second.

    Attributes:
        good: good requests done.
        answered: these and bad input that was told: what one can send at without being refused.
    """

    good: float
    answered: float


def capacity(
    server: Server, items: Sequence[Item], *, seconds: float, seed: int, patience: float
) -> Capacity:
    """Measure it; raises AssertionError where nothing is done."""
    outcomes = closed_loop(
        server.url,
        drawn_items(items, seed=seed),
        concurrency=CONCURRENCY,
        seconds=WARM + seconds,
        patience=patience,
    )
    good, answered = (
        rate_between(outcomes, WARM, WARM + seconds, good_only=good_only) for good_only in (True, False)
    )
    assert good, f"nothing was done in {seconds:g} s: {summarise(outcomes).statuses}"
    return Capacity(good, answered)


def throughput(url: str, items: Iterator[Item], *, concurrency: int, seconds: float) -> float:
    """Items done for each second, by so many clients at once; raises AssertionError where one is not done."""
    outcomes = closed_loop(
        url, items, concurrency=concurrency, seconds=WARM + seconds, patience=2 * DEFAULT_TIMEOUT
    )
    summary = summarise(outcomes)
    assert summary.accepted.count == summary.requests, (
        f"not all were done: {summary.statuses}, {summary.wrong}"
    )
    return rate_between(outcomes, WARM, WARM + seconds, good_only=True)


def loaded(server: Server, plan: Sequence[Planned], *, patience: float) -> Phase:
    """Run a plan, with probes beside it and the memory watched."""
    with watched(server.pid) as memory, probed(server.url) as probes:
        outcomes = open_loop(server.url, plan, patience=patience)
    return Phase(summarise(outcomes), probes, memory)


def rest(seconds: float = 1.0) -> None:
    """Let what a phase has left in the server come to its end."""
    time.sleep(seconds)


def add_times(report: Report, name: str, times: Percentiles, *, p99_at_most: float | None = None) -> None:
    """Percentiles as figures, in milliseconds."""
    report.add(f"{name}, number", times.count)
    for label, value in (("p50", times.p50), ("p95", times.p95), ("p99", times.p99)):
        bound = None if p99_at_most is None or label != "p99" else 1000 * p99_at_most
        report.add(f"{name}, {label}", None if value is None else 1000 * value, "ms", at_most=bound)


def add_phase(report: Report, phase: Phase, *, livez_at_most: float | None, key: str = "phase") -> None:
    """What every load reports: statuses, wrong answers, probes, memory."""
    summary = phase.summary
    for status, count in summary.statuses.items():
        report.add(f"answers {status or 'missing'}", count)
    report.add("wrong answers", sum(summary.wrong.values()), at_most=0)
    report.add("generator late, longest", 1000 * summary.late, "ms")
    add_times(report, "`/livez`", phase.probes.times, p99_at_most=livez_at_most)
    report.add("`/livez` not 200", phase.probes.failures, at_most=0)
    if phase.memory:
        rss = [sample.rss / MB for sample in phase.memory]
        report.add("memory at the start", rss[0], "MB")
        report.add("memory, highest", max(rss), "MB")
        report.add("memory at the end", rss[-1], "MB")
    report.details[key] = asdict(phase)
