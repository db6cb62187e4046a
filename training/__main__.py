"""`python -m training COMMAND`, also installed as `cwic-train`."""

import argparse
import importlib
import sys
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from model.errors import CwicError

COMMANDS: Mapping[str, str] = MappingProxyType(
    {
        "train": "train a checkpoint from a configuration",
        "export": "turn a training run into a checkpoint that the codec loads",
        "evaluate": "measure rate and distortion of real files, beside other formats",
        "benchmark": "measure speed beside CompressAI, and memory",
        "throughput": "measure training speed beside a plain loop",
        "progress": "draw how reports of `evaluate` improve with the hours of training",
        "importance": "draw pictures beside their importance maps",
        "crops": "draw crops of files beside other formats, of cut files, regions and targets",
    }
)
"""Name and help of each module of `training.commands`."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; its exit status, 2 for what the caller can mend, 130 when interrupted."""
    argv = sys.argv[1:] if argv is None else list(argv)
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, text in COMMANDS.items():
        # Only the command that runs is imported: --help needs neither torch nor matplotlib.
        module = importlib.import_module(f"training.commands.{name}") if argv[:1] == [name] else None
        command = commands.add_parser(name, help=text, description=module.__doc__ if module else text)
        if module:
            command.set_defaults(run=module.run)
            module.add_arguments(command)
    args = parser.parse_args(argv)
    try:
        return int(args.run(args))
    except CwicError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
