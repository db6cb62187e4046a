"""Everything that has to hold before a release, from a fresh clone: `make release-check`.

The clone has no environment; README's two commands make it. Then the wheel is installed outside of the tree and codes
a photo there, the CPU image is built and run, Prometheus watches a service under load, and the default checkpoint is
evaluated on a folder of pictures. Every step runs, whatever the others say; a summary ends the report.
"""

import argparse
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx

from tests.docker.image import CheckError, expect, free_port, say
from tests.docker.observe import until
from tests.docker.photo import photo_jpeg, psnr

ROOT = Path(__file__).parents[1]
OURS = ("VIRTUAL_ENV", "PYTHONPATH", "MAKEFLAGS", "MFLAGS", "MAKELEVEL")  # what a new shell would not have


@dataclass(frozen=True)
class Check:
    """The places that the steps share.

    Attributes:
        clone: a fresh clone of the repository.
        scratch: a folder for everything else.
        pictures: to evaluate on; None for a photo that a test dependency ships.
        build_options: for `docker/check image`.
    """

    clone: Path
    scratch: Path
    pictures: Path | None
    build_options: list[str]

    def run(self, *command: str | Path, cwd: Path | None = None, **variables: str) -> str:
        """Run a command to its end; what it wrote. Raises CheckError where it fails."""
        done = subprocess.run(  # noqa: S603
            command,
            cwd=cwd or self.clone,
            env={**environment(), **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        line = " ".join(map(str, command))
        expect(done.returncode == 0, f"`{line}` ended with {done.returncode}:\n{done.stdout[-4000:]}")
        return done.stdout

    @property
    def python(self) -> Path:
        """The interpreter of the clone's environment."""
        return self.clone / ".venv/bin/python"

    def test(self) -> str:
        """README's `make test`, which makes the environment too."""
        return self.run("make", "test").splitlines()[-1]

    def serve(self) -> str:
        """README's `make serve`, and a photo through it."""
        port = free_port()
        server = subprocess.Popen(  # noqa: S603
            ["make", "serve", f"PORT={port}"],  # noqa: S607
            cwd=self.clone,
            env=environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=300) as client:
                until(lambda: client.get("/readyz").is_success, "the service is ready")
                photo = photo_jpeg()
                file = client.post("/compress", content=photo).raise_for_status().content
                restored = client.post("/decompress", content=file).raise_for_status().content
        finally:
            os.killpg(server.pid, signal.SIGTERM)
            server.wait()
        return told(photo, file, restored)

    def wheel(self) -> str:
        """A wheel that is installed on its own codes a photo, away from the tree."""
        build = ("-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index")
        self.run(self.python, *build, "--wheel-dir", self.scratch, self.clone)
        [path] = self.scratch.glob("*.whl")
        site, photo = self.scratch / "site", self.scratch / "photo.jpg"
        self.run(self.python, "-m", "pip", "install", "--quiet", "--no-deps", "--target", site, path)
        photo.write_bytes(photo_jpeg())
        file, restored = self.scratch / "photo.cwic", self.scratch / "restored.png"
        code = "import model, sys; from model.cli import main; "
        code += (
            f"assert model.__file__.startswith({str(site)!r}), model.__file__; sys.exit(main(sys.argv[1:]))"
        )
        for action, source, target in (("compress", photo, file), ("decompress", file, restored)):
            self.run(self.python, "-c", code, action, source, target, cwd=self.scratch, PYTHONPATH=str(site))
        size = f"{path.stat().st_size / 1e6:.0f} MB; "
        return size + told(photo.read_bytes(), file.read_bytes(), restored.read_bytes())

    def image(self) -> str:
        """The CPU image, built and run."""
        lines = self.run("docker/check", "image", *self.build_options).splitlines()
        return next(line for line in lines if line.startswith("contents"))

    def observe(self) -> str:
        """Dashboard and alerts on live data."""
        return "; ".join(self.run("docker/check", "observe").splitlines())

    def evaluate(self) -> str:
        """The default checkpoint's curve on the pictures."""
        folder = self.pictures
        if folder is None:
            folder = self.scratch / "pictures"
            folder.mkdir()
            (folder / "photo.jpg").write_bytes(photo_jpeg())
        results = self.scratch / "results.json"
        self.run(self.python, "-m", "training", "evaluate", folder.resolve(), "--json", results)
        return f"{folder}: {results.stat().st_size} bytes of results"


def environment() -> dict[str, str]:
    """This process's environment without what the environment of this clone put into it."""
    return {name: value for name, value in os.environ.items() if name not in OURS}


def told(photo: bytes, file: bytes, restored: bytes) -> str:
    """What became of a photo; raises CheckError where it is no longer recognised."""
    quality = psnr(photo, restored)
    expect(len(file) < len(photo) and quality > 25, f"{len(photo)} B -> {len(file)} B, {quality:.1f} dB")
    return f"photo {len(photo)} B -> {len(file)} B, {quality:.1f} dB"


def main() -> int:
    """Check; the exit status."""
    parser = argparse.ArgumentParser(
        prog="make release-check", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--pictures", type=Path, help="folder to evaluate on")
    parser.add_argument("--build-options", default="", help="for docker/check image, as one text")
    args = parser.parse_args()
    outcomes: list[tuple[bool, str]] = []
    with TemporaryDirectory(prefix="cwic-release-") as name:
        clone = Path(name) / "clone"
        git = shutil.which("git")
        assert git is not None
        subprocess.run([git, "clone", "--quiet", ROOT, clone], check=True)  # noqa: S603
        check = Check(clone, Path(name), args.pictures, shlex.split(args.build_options))
        steps: list[Callable[[], str]] = [
            check.test,
            check.serve,
            check.wheel,
            check.image,
            check.observe,
            check.evaluate,
        ]
        for step in steps:
            started = time.monotonic()
            try:
                said, good = step(), True
            except (CheckError, httpx.HTTPError, OSError) as exc:
                said, good = str(exc), False
            seconds = time.monotonic() - started
            outcomes.append(
                (good, f"{'ok  ' if good else 'FAIL'} {step.__name__:<9} {seconds:5.0f} s  {said}")
            )
            say(outcomes[-1][1])
    say("\nSummary")
    for _, line in outcomes:
        say(line.partition("\n")[0])
    return 0 if all(good for good, _ in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
