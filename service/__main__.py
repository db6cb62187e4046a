"""`cwic-serve`: settings from environment and command line, threads, logging, then the server.

Exit statuses, each with a line on standard error: 1 anything else, a dead worker among it, 2 a wrong setting, 3 an
address that cannot be listened on, 4 no such device, 5 no checkpoint, or one that is damaged, 6 a temporary folder
without room for an upload.
"""

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, get_args

from pydantic import ValidationError

from model.cpus import usable_cpus
from model.errors import CheckpointError, DeviceError
from service import healthcheck
from service.keys import KeysError
from service.observe import logs
from service.settings import PREFIX, SECRETS, Settings
from service.uploads import reserve_upload_space
from service.version import version

if TYPE_CHECKING:
    from service.jobs.engine import Load

FAILED = 1
USAGE_ERROR = 2
NO_ADDRESS = 3  # uvicorn's own
NO_DEVICE = 4
BAD_CHECKPOINT = 5
NO_TEMPORARY_SPACE = 6
INTERRUPTED = 130

logger = logging.getLogger("cwic.main")


def main(argv: Sequence[str] | None = None, *, load: "Load | None" = None) -> int:
    """Serve until a signal ends it.

    Args:
        argv: the command line without the program's name; by default, the process's.
        load: makes the codecs; by default, from the checkpoints that the settings name.

    Returns the exit status (see the module's docstring).
    """
    given = vars(_parser().parse_args(argv))
    probing = given.pop("healthcheck")
    try:
        settings = Settings(**given)
    except ValidationError as exc:
        return _fail(USAGE_ERROR, *_explain(exc))
    if probing:
        fault = healthcheck.fault(settings)
        return _fail(FAILED, fault) if fault else 0
    try:
        reserve_upload_space(settings.max_body_bytes)
    except OSError as exc:
        return _fail(NO_TEMPORARY_SPACE, f"an upload needs room in the temporary folder (TMPDIR): {exc}")
    logs.configure(log_format=settings.log_format, level=settings.log_level)
    # Before numpy and torch are imported: they read these once. What the user has set stays.
    threads = max(1, usable_cpus() // (settings.workers or usable_cpus()))
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    # The same, or the threads of one library spin where the other one's would work.
    os.environ.setdefault("MKL_NUM_THREADS", os.environ["OMP_NUM_THREADS"])
    return _serve(settings, load)


def _serve(settings: Settings, load: "Load | None") -> int:
    from service.api.connections import Connections
    from service.app import create_app
    from service.jobs.models import load_codecs
    from service.observe.telemetry import telemetry_of
    from service.server import Server, raise_file_limit

    failures: list[Exception] = []

    def stop(error: Exception) -> None:
        failures.append(error)
        app.state.engine.end_all()
        server.should_exit = True

    connections = Connections(settings, open_files=raise_file_limit())
    try:
        app = create_app(
            settings,
            load=load or load_codecs,
            on_failure=stop,
            connections=connections,
            telemetry=telemetry_of(os.environ),
        )
    except KeysError as exc:
        return _fail(USAGE_ERROR, f"--api-keys-file (CWIC_API_KEYS_FILE): {exc}")
    if connections.capacity < settings.max_connections:
        logger.warning(
            "Only %d connections at once, where %sMAX_CONNECTIONS is %d: the process may not open more files",
            connections.capacity,
            PREFIX,
            settings.max_connections,
        )
    server = Server(app)
    try:
        server.run()
    except KeyboardInterrupt:  # uvicorn has shut down and passes the signal on
        return INTERRUPTED
    if not failures:
        return 0
    return _fail(_status_of(failures[0]), f"cannot serve: {failures[0]}")


def _status_of(failure: Exception) -> int:
    if isinstance(failure, DeviceError):
        return NO_DEVICE
    return BAD_CHECKPOINT if isinstance(failure, CheckpointError) else FAILED


def _fail(status: int, *lines: str) -> int:
    sys.stderr.writelines(f"cwic-serve: {line}\n" for line in lines)
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="cwic-serve",
        allow_abbrev=False,
        description="Serve the picture codec over HTTP.",
        epilog=f"Every option is also an environment variable: --max-pixels is {PREFIX}MAX_PIXELS. "
        "The command line goes first.",
    )
    parser.add_argument("--version", action="version", version=f"cwic-serve {version('cwic')}")
    parser.add_argument(
        "--healthcheck",
        action="store_true",
        help="ask the server of these settings whether it is ready, and exit with 0 if it is",
    )
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
        value = f", got {each['input']!r}" if name and name not in SECRETS else ""
        lines.append(where + each["msg"].removeprefix("Value error, ") + value)
    return lines


if __name__ == "__main__":
    sys.exit(main())
