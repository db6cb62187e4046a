"""`cwic-serve`: settings from environment and command line, threads, logging, then the server."""

import argparse
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, get_args

from pydantic import ValidationError

from service import logs
from service.cpus import usable_cpus
from service.settings import PREFIX, Settings
from service.version import version

if TYPE_CHECKING:
    from service.engine import Load

USAGE_ERROR = 2
FAILED = 1


def main(argv: Sequence[str] | None = None, *, load: "Load | None" = None) -> int:
    """Serve until a signal ends it.

    Args:
        argv: the command line without the program's name; by default, the process's.
        load: makes the codecs; by default, from the checkpoints that the settings name.

    Returns the exit status: 1 where the service cannot start or its worker has died, 2 for bad settings.
    """
    given = vars(_parser().parse_args(argv))
    try:
        settings = Settings(**given)
    except ValidationError as exc:
        for line in _explain(exc):
            sys.stderr.write(f"cwic-serve: {line}\n")
        return USAGE_ERROR
    logs.configure(log_format=settings.log_format, level=settings.log_level)
    # Before numpy and torch are imported: they read these once. What the user has set stays.
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(variable, str(usable_cpus()))
    return _serve(settings, load)


def _serve(settings: Settings, load: "Load | None") -> int:
    import uvicorn

    from service.app import create_app
    from service.models import load_codecs

    failures: list[Exception] = []

    def stop(error: Exception) -> None:
        failures.append(error)
        server.should_exit = True

    config = uvicorn.Config(
        create_app(settings, load=load or load_codecs, on_failure=stop),
        host=settings.host,
        port=settings.port,
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=settings.shutdown_timeout,
    )
    server = uvicorn.Server(config)
    try:
        server.run()
    except KeyboardInterrupt:  # uvicorn has shut down and passes the signal on
        return 130
    if failures:
        sys.stderr.write(f"cwic-serve: cannot serve: {failures[0]}\n")
        return FAILED
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="cwic-serve",
        allow_abbrev=False,
        description="Serve the picture codec over HTTP.",
        epilog=f"Every option is also an environment variable: --max-pixels is {PREFIX}MAX_PIXELS. "
        "The command line goes first.",
    )
    parser.add_argument("--version", action="version", version=f"cwic-serve {version('cwic')}")
    for name, field in Settings.model_fields.items():
        choices = [each for each in get_args(field.annotation) if isinstance(each, str)]
        default = "" if field.default is None else f" (default: {field.default})"
        parser.add_argument(
            "--" + name.replace("_", "-"),
            default=argparse.SUPPRESS,
            metavar="{" + ",".join(choices) + "}" if choices else name.rpartition("_")[2].upper(),
            help=(field.description or "").replace("%", "%%") + default,
        )
    return parser


def _explain(error: ValidationError) -> list[str]:
    lines = []
    for each in error.errors():
        name = str(each["loc"][0]) if each["loc"] else ""
        where = f"--{name.replace('_', '-')} ({PREFIX}{name.upper()}): " if name else ""
        value = f", got {each['input']!r}" if name else ""
        lines.append(where + each["msg"].removeprefix("Value error, ") + value)
    return lines


if __name__ == "__main__":
    sys.exit(main())
