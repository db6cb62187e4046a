"""A real server process from any source tree, with settings in its environment."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile

import httpx

from tests.docker.image import free_port
from tests.effort import wait_until

ROOT = Path(__file__).parents[2]
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
PATIENCE = 120.0  # seconds for a server to end


@dataclass(frozen=True)
class Server:
    """A server that is ready.

    Attributes:
        url: its address.
        pid: its process; None where it is not ours.
    """

    url: str
    pid: int | None

    def compress(self, picture: bytes) -> bytes:
        """A .cwic file of a picture, made before any load."""
        return (
            httpx.post(f"{self.url}/compress", content=picture, timeout=PATIENCE).raise_for_status().content
        )


@contextmanager
def started(
    *, tree: Path = ROOT, module: str = "service", settings: Mapping[str, str], cores: Sequence[int] = ()
) -> Iterator[Server]:
    """A server's process, from its start until it has ended in good order.

    Args:
        tree: the source tree that it runs from.
        module: what Python runs; `service` is what `cwic-serve` runs.
        settings: variables, `CWIC_*` and others; of this process's own environment neither these nor the number of
            threads count: that is the server's own choice.
        cores: that it may use; none: all.

    Raises AssertionError, with the end of its log, where it does not get ready.
    """
    port = free_port()
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("CWIC_") and name not in THREADS
    }
    environment |= {"PYTHONPATH": str(tree.resolve()), "CWIC_LOG_LEVEL": "warning", "CWIC_PORT": str(port)}
    command = [sys.executable, "-m", module]
    if cores:
        command = ["taskset", "--cpu-list", ",".join(map(str, cores)), *command]
    with (
        NamedTemporaryFile("wb", prefix="cwic-load-", suffix=".log") as log,
        subprocess.Popen(  # noqa: S603 - our own interpreter
            command, cwd=tree, env={**environment, **settings}, stdout=log, stderr=log
        ) as process,
    ):
        url = f"http://127.0.0.1:{port}"
        try:
            wait_until(lambda: process.poll() is not None or ready(url), pause=0.2)
            assert process.poll() is None, f"the server of {tree} has ended:\n{end_of(log.name)}"
            yield Server(url, process.pid)
            assert process.poll() is None, f"the server has ended under load:\n{end_of(log.name)}"
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()


def ready(url: str) -> bool:
    """Whether a server would do work."""
    try:
        return httpx.get(f"{url}/readyz", timeout=10).is_success
    except httpx.TransportError:
        return False


def end_of(log: str) -> str:
    """What a log ends with."""
    return Path(log).read_text(errors="replace")[-4000:]
