"""Builds an image without a Docker engine and runs the service from it: `docker/check image`.

Needs Linux, root, and Debian's `buildah` and `debootstrap`. The base is a Debian made here, so that no registry is
asked; `--base NAME` takes another one. The service runs in a mount namespace of its own, from the image's root
filesystem mounted read-only, as the image's user, with the image's environment and entry point.
"""

import argparse
import json
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx

from service.__main__ import BAD_CHECKPOINT, NO_DEVICE, NO_TEMPORARY_SPACE, USAGE_ERROR
from tests.effort import PATIENCE, wait_until
from tests.photo import round_trip

ROOT = Path(__file__).parents[2]
TAG = "cwic:cpu-check"
BASE_TAG = "cwic-check-base"
STORAGE = ("buildah", "--storage-driver", "vfs")
RELEASE = "bookworm"


def say(line: str) -> None:
    """A line of the report."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def buildah(*arguments: str) -> str:
    """Run buildah; its standard output. What it says besides is shown only where it fails."""
    done = subprocess.run([*STORAGE, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603
    assert done.returncode == 0, f"buildah {arguments[0]} failed:\n{done.stdout[-4000:]}{done.stderr[-4000:]}"
    return done.stdout.strip()


def make_base(folder: Path) -> str:
    """An image of a small Debian with Python, made with debootstrap; its name. One that is there is taken."""
    if BASE_TAG in buildah("images", "--format", "{{.Name}}"):
        return f"localhost/{BASE_TAG}"
    packages = "ca-certificates,python3,python3-venv"
    command = ["debootstrap", "--variant=minbase", f"--include={packages}", RELEASE, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    assert done.returncode == 0, f"debootstrap failed:\n{done.stdout[-4000:]}"
    container = buildah("from", "scratch")
    buildah("add", "--quiet", container, str(folder), "/")
    buildah("commit", "--quiet", container, BASE_TAG)
    buildah("rm", container)
    return f"localhost/{BASE_TAG}"


@dataclass(frozen=True)
class Image:
    """A built image, mounted.

    Attributes:
        root: its root filesystem.
        config: what the engine is told: Env, User, Entrypoint, Healthcheck, StopSignal, Labels.
        size: of its layers together, in bytes.
    """

    root: Path
    config: Mapping[str, Any]
    size: int

    @property
    def environment(self) -> dict[str, str]:
        """The variables that it sets."""
        return dict(each.split("=", 1) for each in self.config["Env"])

    def command(self, *command: str, tmpfs: str | None, mounts: str = "", **variables: str) -> list[str]:
        """A command that runs one of the image's, isolated as compose does it.

        Args:
            command: the program and its arguments, inside.
            tmpfs: the size of /tmp; None leaves it read-only.
            mounts: shell commands that mount more, with `$R` for the root.
            variables: more environment.
        """
        temporary = f"mount -t tmpfs -o size={tmpfs},mode=1777 tmpfs $R/tmp" if tmpfs else ":"
        script = (
            f"set -e; R={self.root}; mount --bind $R $R; {mounts or ':'}; mount -o remount,bind,ro $R; {temporary}; "
            'mount --rbind /proc $R/proc; mount --rbind /dev $R/dev; exec "$@"'
        )
        environment = {**self.environment, **variables}
        inside = ["chroot", f"--userspec={self.config['User']}", str(self.root), "/usr/bin/env", "-i"]
        inside += [f"{name}={value}" for name, value in environment.items()]
        return ["unshare", "--mount", "sh", "-c", script, "sh", *inside, *command]

    def run(
        self, *command: str, tmpfs: str | None = "64m", mounts: str = "", **variables: str
    ) -> tuple[int, str]:
        """Run a command of the image to its end; its exit status and what it wrote to standard error."""
        line = self.command(*command, tmpfs=tmpfs, mounts=mounts, **variables)
        done = subprocess.run(line, capture_output=True, text=True, check=False, timeout=PATIENCE)  # noqa: S603
        return done.returncode, done.stderr


@contextmanager
def mounted(tag: str) -> Iterator[Image]:
    """The image of that name, for as long as the block runs."""
    container = buildah("from", "--pull-never", tag)
    try:
        described = json.loads(buildah("inspect", "--type", "image", tag))
        root = Path(buildah("mount", container))
        size = sum(
            path.lstat().st_size for path in root.rglob("*") if path.is_file() and not path.is_symlink()
        )
        yield Image(root, described["Docker"]["config"], size)
    finally:
        buildah("rm", container)


def check_contents(image: Image) -> None:
    """What has to be inside, and what must not."""
    [packages] = image.root.glob("opt/cwic/lib/python3*/site-packages")
    weights = {path.name for path in packages.glob("model/weights/**/*.safetensors")}
    assert weights == {path.name for path in (ROOT / "model/weights").rglob("*.safetensors")}, weights
    for name in ("training", "tests", "pip", "triton"):
        assert not (packages / name).exists(), f"{name} is inside"
    for folder in ("usr/bin", "usr/local/bin", "opt/cwic/bin"):
        for name in ("cc", "gcc", "g++", "ld", "nvcc", "curl", "cwic-train"):
            assert not (image.root / folder / name).exists(), f"{folder}/{name} is inside"
    config = image.config
    assert config["User"] == "10001:10001", f"user {config['User']}"
    assert config["Entrypoint"] == ["cwic-serve"], f"entry point {config['Entrypoint']}"
    assert config["StopSignal"] == "SIGTERM", f"stop signal {config.get('StopSignal')}"
    assert config["Healthcheck"]["Test"] == ["CMD", "cwic-serve", "--healthcheck"], "health check"
    assert config["Labels"]["org.opencontainers.image.licenses"] == "Apache-2.0", "labels"
    say(
        f"contents: {len(weights)} checkpoints, no training code, tests or compilers; {image.size / 1e6:.0f} MB"
    )


def check_service(image: Image) -> None:
    """Start, get ready, round-trip a photo, tell metrics, stop."""
    port = free_port()
    command = image.command("cwic-serve", tmpfs="64m", CWIC_PORT=str(port), CWIC_DEVICE="cpu")
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:  # noqa: S603
        try:
            ready = partial(image.run, "cwic-serve", "--healthcheck", CWIC_PORT=str(port))
            wait_until(lambda: server.poll() is not None or ready()[0] == 0, pause=0.5)
            assert server.poll() is None, "the service has ended"
            [user] = [
                line for line in Path(f"/proc/{server.pid}/status").read_text().splitlines() if "Uid:" in line
            ]
            assert user.split()[1:] == ["10001"] * 4, f"runs as {user}"
            maps = Path(f"/proc/{server.pid}/maps").read_text()
            assert "libjemalloc.so.2" in maps, "jemalloc is not loaded"
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE) as client:
                said = round_trip(client, form=True)
                metrics = client.get("/metrics").raise_for_status().text
            counted = 'cwic_http_requests_total{method="POST",route="/compress",status="200"} 1.0'
            assert counted in metrics, "the metrics do not count the request"
            assert "process_resident_memory_bytes" in metrics, "the metrics do not tell the memory"
        finally:
            server.send_signal(signal.SIGTERM)
            log = server.communicate(timeout=PATIENCE)[1]
        assert server.returncode == -signal.SIGTERM, f"ended with {server.returncode}:\n{log}"
    assert all(line.startswith("{") for line in log.splitlines()), f"not only JSON in the log:\n{log}"
    say("service: read-only, user 10001, jemalloc; ended on SIGTERM")
    say(said)


def check_bad_starts(image: Image, folder: Path) -> None:
    """Each way to start it wrongly has its own exit status and one clear line."""
    weights = folder / "weights"
    shutil.copytree(ROOT / "model/weights", weights)
    weights.chmod(0o755)
    damaged = weights / "cwic.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"\0")
    inside = "/opt/cwic/weights"
    mount = f"mkdir -p $R{inside}; mount --bind {weights} $R{inside}"
    cases = {
        "no GPU": (NO_DEVICE, image.run("cwic-serve", CWIC_DEVICE="cuda")),
        "a damaged checkpoint": (
            BAD_CHECKPOINT,
            image.run("cwic-serve", mounts=mount, CWIC_MODEL_DIR=inside, CWIC_DEVICE="cpu"),
        ),
        "a temporary folder that is read-only": (NO_TEMPORARY_SPACE, image.run("cwic-serve", tmpfs=None)),
        "a temporary folder that is full": (NO_TEMPORARY_SPACE, image.run("cwic-serve", tmpfs="1m")),
        "a wrong setting": (USAGE_ERROR, image.run("cwic-serve", CWIC_PORT="many")),
    }
    for what, (status, (found, said)) in cases.items():
        lines = [line for line in said.splitlines() if not line.startswith("{")]
        assert found == status, f"{what}: status {found} instead of {status}:\n{said}"
        assert len(lines) == 1, f"{what}: {len(lines)} lines:\n{said}"
        say(f"{what}: status {found}: {lines[0]}")


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main() -> int:
    """Build and check; the exit status."""
    parser = argparse.ArgumentParser(prog="docker/check image", description=__doc__.partition("\n")[0])
    parser.add_argument("--base", help="base image, instead of a Debian made here")
    parser.add_argument("--dockerfile", default="docker/Dockerfile.cpu", help="(%(default)s)")
    args, more = parser.parse_known_args()  # the rest is for buildah, such as `--volume` for a pip.conf
    try:
        with TemporaryDirectory(prefix="cwic-image-") as name:
            base = args.base or make_base(Path(name) / "base")  # stays, for the next time
            started = time.monotonic()
            build = ("bud", "--isolation", "chroot", "--format", "docker", "--layers=false", "--tag", TAG)
            buildah(*build, "--file", args.dockerfile, "--build-arg", f"BASE={base}", *more, ".")
            say(f"built {args.dockerfile} from {base} in {time.monotonic() - started:.0f} s")
            try:
                with mounted(TAG) as image:
                    check_contents(image)
                    check_service(image)
                    check_bad_starts(image, Path(name))
            finally:
                buildah("rmi", "--force", TAG)
    except AssertionError as exc:
        sys.stderr.write(f"docker/check image: {exc}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
