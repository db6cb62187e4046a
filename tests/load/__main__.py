"""`python -m tests.load COMMAND`: the service under load; exit status 1 where a bound is missed."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.load.commands import compare, overload, rate, ray, soak, trickle

COMMANDS = {
    "rate": rate,
    "overload": overload,
    "trickle": trickle,
    "compare": compare,
    "soak": soak,
    "ray": ray,
}
MISSED = 1


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit status."""
    args = parser().parse_args(argv)
    report = COMMANDS[args.command].run(args)
    report.write(json_file=args.json, markdown_file=args.markdown)
    sys.stdout.write(report.markdown())
    for each in report.missed:
        value = "nothing" if each.value is None else f"{each.value:.4g} {each.unit}".strip()
        sys.stderr.write(f"missed: {each.name} is {value}, bound {each.bound}\n")
    return MISSED if report.missed else 0


def parser() -> argparse.ArgumentParser:
    """The command line."""
    whole = argparse.ArgumentParser(
        prog="python -m tests.load", description=(__doc__ or "").partition(": ")[2]
    )
    commands = whole.add_subparsers(dest="command", required=True)
    for name, module in COMMANDS.items():
        description = (module.__doc__ or "").partition("\n")[0]
        each = commands.add_parser(name, help=description, description=description)
        module.add_arguments(each)
        each.add_argument("--json", type=Path, help="file for all that was measured")
        each.add_argument("--markdown", type=Path, help="file for the table")
    return whole


if __name__ == "__main__":
    sys.exit(main())
