"""`cwic-serve` as a process of its own, around a codec that needs no checkpoint."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.effort import wait_until

ROOT = Path(__file__).parents[2]

# The real program around a codec that needs no checkpoint.
SERVE = "import sys; from tests.service.fakes import FakeCodec, Large, WaitsFor; from service.__main__ import main; "
SERVE += "sys.exit(main(sys.argv[1:], load=lambda _: [{codec}]))"


def environment(**variables: str) -> dict[str, str]:
    """This process's environment, with the tests' helpers importable."""
    return {**os.environ, "PYTHONPATH": str(ROOT), **variables}


@contextmanager
def process(
    log: Path, *options: str, codec: str = "FakeCodec()", prefix: str = ""
) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A server process on a free port, and its address; its log goes to the file. `prefix` is run before it."""
    with (
        log.open("wb") as file,
        subprocess.Popen(  # noqa: S603 - our own interpreter
            [sys.executable, "-c", prefix + SERVE.format(codec=codec), "--port", "0", *options],
            env=environment(),
            cwd=ROOT,
            stderr=file,
        ) as server,
    ):
        try:
            marker = "Uvicorn running on "
            wait_until(lambda: marker in log.read_text() or server.poll() is not None)
            assert server.poll() is None, log.read_text()
            address = log.read_text().partition(marker)[2].split()[0]
            yield server, address
        finally:
            server.kill()
