"""Files, or `-` (standard streams), pipes and devices, as the `cwic` command reads and writes them."""

import os
import re
import secrets
import sys
from contextlib import suppress
from pathlib import Path

_OPEN_FILE = re.compile(r"/dev/(stdin|stdout|stderr|fd/\d+)|/proc/(self|\d+)/fd/\d+")

_SHOWN = 50  # characters of a name in a temporary file's: of four bytes each, there is room for the rest


class UsageError(Exception):
    """Carries what is wrong with the command line."""


def read(path: str) -> bytes:
    """All of a file or of standard input; raises OSError, UsageError."""
    if path != "-":
        return Path(path).read_bytes()
    if sys.stdin is None or sys.stdin.isatty():
        raise UsageError("IN is `-`, but standard input is closed or a terminal")
    return sys.stdin.buffer.read()


def check_output(source: str, target: str) -> None:
    """Fail before the work, not after it; raises OSError, UsageError."""
    out = Path(target)
    if source != "-" and Path(source).is_dir():
        raise IsADirectoryError(None, "is a folder; with --output-dir what is in it is done", source)
    if target == "-":
        if sys.stdout is None or sys.stdout.isatty():
            raise UsageError("OUT is `-`, but standard output is closed or a terminal")
    elif out.is_dir():
        raise IsADirectoryError(None, "is a folder; --output-dir writes into it", target)
    elif not _is_stream(out):
        if not out.resolve().parent.is_dir():
            raise FileNotFoundError(None, "its folder does not exist", target)
        if source != "-" and out.exists() and out.samefile(source):
            raise UsageError(f"IN and OUT are one file, {target}")


def write(path: str, data: bytes) -> None:
    """A file, through a temporary one beside it; or standard output, a pipe or a device. Raises OSError."""
    target = Path(path).resolve()  # a link stays a link
    if path == "-":
        if sys.stdout is None:
            raise OSError("standard output is closed")
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    elif _is_stream(Path(path)):
        with open(path, "ab") as stream:  # what an open file has already stays
            stream.write(data)
    else:
        temporary = target.with_name(f".{target.name[:_SHOWN]}.{secrets.token_hex(4)}.part")
        try:
            file = temporary.open("xb")
            try:
                with file:
                    if target.exists():
                        os.fchmod(file.fileno(), target.stat().st_mode)
                    file.write(data)
                temporary.replace(target)
            finally:
                temporary.unlink(missing_ok=True)
        except OSError as exc:
            raise OSError(exc.errno, exc.strerror, path) from exc


def say(text: str) -> None:
    """One line on standard error."""
    with suppress(OSError, ValueError, AttributeError):  # nowhere to say it
        sys.stderr.write(f"cwic: {text}\n")


def _is_stream(path: Path) -> bool:
    """Whether a path is a pipe or a device, or stands for an open file, as /dev/stdout does."""
    return _OPEN_FILE.fullmatch(str(path)) is not None or (path.exists() and not path.is_file())
