"""Several times what the server can do: the accepted keep their deadline, the rest are told when to come again."""

import argparse

from tests.load.plan import constant_rate
from tests.load.report import Report
from tests.load.session import (
    add_load_options,
    add_phase,
    add_server_options,
    add_times,
    capacity,
    items_of,
    loaded,
    rest,
    server_of,
    settings_of,
    timeout_of,
)

DEADLINE = "CWIC_REQUEST_TIMEOUT"
GRACE = 0.5  # seconds that the way there and back may add to the deadline, as a client sees it
DEFAULTS = {DEADLINE: "10"}  # seconds; a deadline that a short overload reaches


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options."""
    add_server_options(parser)
    add_load_options(parser)
    parser.add_argument("--seconds", type=float, default=30, help="how long the load lasts (%(default)s)")
    parser.add_argument("--times", type=float, default=5, help="the capacity that is sent (%(default)s)")
    parser.add_argument(
        "--max-refusal", type=float, default=1.0, help="bound for the refusals' p99, in seconds (%(default)s)"
    )
    parser.add_argument(
        "--max-livez", type=float, default=0.25, help="bound for the p99 of /livez, in seconds (%(default)s)"
    )
    parser.add_argument(
        "--min-goodput",
        type=float,
        default=0.5,
        help="bound for what is done under overload, as a share of the capacity (%(default)s)",
    )


def run(args: argparse.Namespace) -> Report:
    """Measure."""
    report = Report(f"{args.times:g} times the capacity for {args.seconds:g} s")
    deadline = timeout_of(({} if args.url else DEFAULTS) | settings_of(args))
    with server_of(args, defaults=DEFAULTS) as server:
        items = items_of(args, server)
        able = capacity(server, items, seconds=args.capacity_seconds, seed=args.seed, patience=2 * deadline)
        rate = args.times * able.answered
        rest()
        plan = constant_rate(items, rate=rate, seconds=args.seconds, seed=args.seed + 1)
        phase = loaded(server, plan, patience=2 * deadline)
    summary = phase.summary
    report.add("capacity, good requests", able.good, "/s")
    report.add("sent", rate, "/s")
    report.add("good requests done", summary.per_second, "/s")
    report.add("done / capacity", summary.per_second / able.good, at_least=args.min_goodput)
    add_times(report, "accepted", summary.accepted)
    longest = summary.accepted.longest
    report.add(f"accepted, longest ({DEADLINE})", longest, "s", at_most=deadline + GRACE)
    report.add("refused", summary.refused.count, at_least=1)
    report.add("refused without Retry-After", summary.without_retry_after, at_most=0)
    add_times(report, "refusals", summary.refused, p99_at_most=args.max_refusal)
    add_phase(report, phase, livez_at_most=args.max_livez)
    report.details["capacity"] = able
    return report
