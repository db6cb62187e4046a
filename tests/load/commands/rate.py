"""A constant rate for a time, or a number of clients at once: times, statuses, memory."""

import argparse

from tests.load.generator import closed_loop
from tests.load.memory import watched
from tests.load.outcomes import summarise
from tests.load.plan import constant_rate, drawn_items
from tests.load.probe import probed
from tests.load.report import Report
from tests.load.session import (
    Phase,
    add_load_options,
    add_phase,
    add_server_options,
    add_times,
    items_of,
    loaded,
    server_of,
    settings_of,
    timeout_of,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options."""
    add_server_options(parser)
    add_load_options(parser)
    parser.add_argument("--seconds", type=float, default=30, help="how long the load lasts (%(default)s)")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--rate", type=float, default=2.0, help="requests a second, whatever the server does")
    how.add_argument("--concurrency", type=int, help="clients at once instead, each waiting for its answers")
    parser.add_argument("--max-p99", type=float, help="bound for the accepted requests' p99, in seconds")
    parser.add_argument("--max-livez", type=float, help="bound for the p99 of /livez, in seconds")


def run(args: argparse.Namespace) -> Report:
    """Measure."""
    patience = 2 * timeout_of(settings_of(args))
    how = f"{args.concurrency} clients" if args.concurrency else f"{args.rate:g} requests a second"
    report = Report(f"{how} for {args.seconds:g} s")
    with server_of(args) as server:
        items = items_of(args, server)
        if args.concurrency:
            chosen = drawn_items(items, seed=args.seed)
            with watched(server.pid) as memory, probed(server.url) as probes:
                outcomes = closed_loop(
                    server.url,
                    chosen,
                    concurrency=args.concurrency,
                    seconds=args.seconds,
                    patience=patience,
                )
            phase = Phase(summarise(outcomes), probes, memory)
        else:
            plan = constant_rate(items, rate=args.rate, seconds=args.seconds, seed=args.seed)
            phase = loaded(server, plan, patience=patience)
    report.add("good requests done", phase.summary.per_second, "/s")
    add_times(report, "accepted", phase.summary.accepted, p99_at_most=args.max_p99)
    add_times(report, "refused", phase.summary.refused)
    add_phase(report, phase, livez_at_most=args.max_livez)
    return report
