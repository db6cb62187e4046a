"""A long time at four fifths of the capacity: the memory must not grow, and the same check must find a leak."""

import argparse

from tests.load.leaky import LEAK, MODULE
from tests.load.memory import MB, Growth, growth
from tests.load.plan import constant_rate
from tests.load.process import started
from tests.load.report import Report
from tests.load.session import (
    Phase,
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

MINUTE = 60.0
SETTLED = 5 * MINUTE  # caches are warm and every size has come by then
PLANTED = 4  # times the bound: what the control leaks between the two windows


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options."""
    add_server_options(parser)
    add_load_options(parser)
    parser.set_defaults(capacity_seconds=30.0)  # a wrong capacity is an overload that lasts
    parser.add_argument("--minutes", type=float, default=30, help="how long it lasts (%(default)s)")
    parser.add_argument("--share", type=float, default=0.8, help="of the capacity that is sent (%(default)s)")
    parser.add_argument(
        "--max-growth", type=float, default=50, help="bound from minute 5 to the end, in MB (%(default)s)"
    )
    parser.add_argument(
        "--control-minutes",
        type=float,
        default=3,
        help="of a server that leaks on purpose and must fail the same check; 0: none (%(default)s)",
    )


def run(args: argparse.Namespace) -> Report:
    """Measure."""
    if args.url and args.pid is None:
        raise SystemExit("--url needs --pid: the soak watches the memory of a process")
    report = Report(f"{args.minutes:g} minutes at {args.share:.0%} of the capacity")
    patience = 2 * timeout_of(settings_of(args))
    seconds = MINUTE * args.minutes
    with server_of(args) as server:
        items = items_of(args, server)
        able = capacity(server, items, seconds=args.capacity_seconds, seed=args.seed, patience=patience)
        rate = args.share * able.answered
        rest()
        plan = constant_rate(items, rate=rate, seconds=seconds, seed=args.seed + 1)
        phase = loaded(server, plan, patience=patience)
    report.add("capacity, good requests", able.good, "/s")
    report.add("sent", rate, "/s")
    add_times(report, "accepted", phase.summary.accepted)
    grown = growth_of(phase, seconds)
    report.add(f"memory after {settled(seconds) / MINUTE:g} minutes", grown.before / MB, "MB")
    report.add("memory grown since", grown.megabytes, "MB", at_most=args.max_growth)
    add_phase(report, phase, livez_at_most=None)
    if args.control_minutes and not args.url:
        found = control(args, rate=rate, patience=patience)
        # the same check, which must not be kept
        report.add("control: memory grown by a planted leak", found.megabytes, "MB", at_least=args.max_growth)
        report.details["control"] = found
    return report


def control(args: argparse.Namespace, *, rate: float, patience: float) -> Growth:
    """The same load for a server that keeps something of every request: it has to be seen."""
    seconds = MINUTE * args.control_minutes
    between = rate * (seconds - settled(seconds) - window(seconds))
    leak = int(PLANTED * args.max_growth * MB / max(1.0, between))
    settings = settings_of(args) | {LEAK: str(leak)}
    with started(tree=args.tree, module=MODULE, settings=settings) as server:
        items = items_of(args, server)
        plan = constant_rate(items, rate=rate, seconds=seconds, seed=args.seed + 1)
        return growth_of(loaded(server, plan, patience=patience), seconds)


def growth_of(phase: Phase, seconds: float) -> Growth:
    """From the settled time to the end of the load; what the server does once the load is over does not count."""
    samples = [sample for sample in phase.memory if sample.at <= seconds]
    return growth(samples, settled=settled(seconds), window=window(seconds))


def settled(seconds: float) -> float:
    """When the memory is compared for the first time: minute 5, in short runs earlier."""
    return min(SETTLED, 0.4 * seconds)


def window(seconds: float) -> float:
    """Over how long the memory is taken the median of."""
    return min(MINUTE, 0.2 * seconds)
