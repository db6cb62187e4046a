"""Everything that has to hold before a release, from a fresh clone: `make release-check`.

The clone has no environment; README's two commands make it. Then the wheel is installed outside of the tree and codes
a photo there, the page is tried in a browser, the CPU image is built and run, Prometheus watches a service under
load, requests made from the OpenAPI document are answered as it says, and the default checkpoint is evaluated on a
folder of pictures. Short versions of the load tests and the soak follow, and where Ray is installed, a cluster. Every
step runs, whatever the others say; a summary ends the report.
"""

import argparse
import importlib.util
import json
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

from tests.docker.image import free_port, say
from tests.docker.observe import answers
from tests.effort import PATIENCE, wait_until
from tests.photo import photo_jpeg, round_trip, told

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
        """Run a command to its end; what it wrote. Raises AssertionError where it fails."""
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
        assert done.returncode == 0, f"`{line}` ended with {done.returncode}:\n{done.stdout[-4000:]}"
        return done.stdout

    @property
    def python(self) -> Path:
        """The interpreter of the clone's environment."""
        return self.clone / ".venv/bin/python"

    def serve(self) -> str:
        """README's `make serve`, which makes the environment too, and a photo through it."""
        self.run("make", ".venv/.serve-cpu")
        port = free_port()
        server = subprocess.Popen(  # noqa: S603
            ["make", "serve", f"PORT={port}"],  # noqa: S607
            cwd=self.clone,
            env=environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        address = f"http://127.0.0.1:{port}"
        try:
            wait_until(lambda: server.poll() is not None or answers(f"{address}/readyz"), pause=0.5)
            with httpx.Client(base_url=address, timeout=PATIENCE) as client:
                return round_trip(client)
        finally:
            os.killpg(server.pid, signal.SIGTERM)
            server.wait()

    def test(self) -> str:
        """README's `make test`."""
        return self.run("make", "test").splitlines()[-1]

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

    def page(self) -> str:
        """The page in a real browser, which `make test` goes without where there is none."""
        tests = ("-m", "pytest", "tests/service/web", "-k", "browser")
        line = self.run(self.python, *tests).splitlines()[-1]
        assert "skipped" not in line, f"{line}: Chromium is needed (apt-get install chromium chromium-driver)"
        return line

    def image(self) -> str:
        """The CPU image, built and run."""
        lines = self.run("docker/check", "image", *self.build_options).splitlines()
        return next(line for line in lines if line.startswith("contents"))

    def observe(self) -> str:
        """Dashboard and alerts on live data."""
        return "; ".join(self.run("docker/check", "observe").splitlines())

    def fuzz(self) -> str:
        """Requests made from the OpenAPI document, answered as it says."""
        folder = self.scratch / "schemathesis"
        self.run(self.python, "-m", "pip", "install", "--quiet", "--target", folder, "schemathesis~=4.32")
        lines = self.run(self.python, "-m", "tests.service.fuzz_openapi", "--schemathesis", folder)
        return "; ".join(line.strip() for line in lines.splitlines() if " generated, " in line)

    def evaluate(self) -> str:
        """The default checkpoint's curve on the pictures."""
        folder = self.pictures
        if folder is None:
            folder = self.scratch / "pictures"
            folder.mkdir()
            (folder / "photo.jpg").write_bytes(photo_jpeg())
        results = self.scratch / "results.json"
        self.run(self.python, "-m", "training", "evaluate", folder.resolve(), "--json", results)
        [ours] = [each for each in json.loads(results.read_text())["codecs"] if each["name"] == "cwic"]
        curve = [f"{row['bpp']:.2f} bpp {row['psnr_rgb']:.1f} dB" for row in ours["means"]]
        assert curve, "an empty curve"
        return f"{folder}: {curve[0]} to {curve[-1]}"

    def load(self, command: str, *options: str | Path, python: Path | None = None) -> str:
        """One of the load tests; the figures that have a bound."""
        file = self.scratch / f"load-{command}.json"
        line = (python or self.python, "-m", "tests.load", command, *options, "--json", file)
        self.run(*line, PYTHONPATH=str(self.clone))  # the clone's modules, whatever the interpreter
        figures = [each for each in json.loads(file.read_text())["figures"] if each["value"] is not None]
        bound = [each for each in figures if each["at_least"] is not None or each["at_most"] is not None]
        return "; ".join(f"{each['name']} {each['value']:.3g} {each['unit']}".strip() for each in bound)

    def overload(self) -> str:
        """Five times the capacity."""
        return self.load("overload", "--seconds", "20")

    def trickle(self) -> str:
        """64 clients that send a byte a second."""
        return self.load("trickle")

    def compare(self) -> str:
        """HTTP against the codec in one process."""
        options = ("--pictures", self.pictures.resolve()) if self.pictures else ()
        return self.load("compare", self.clone, "--rounds", "2", "--seconds", "15", *options)

    def soak(self) -> str:
        """Three minutes at four fifths of the capacity, and a leak that has to be found."""
        return self.load("soak", "--minutes", "3", "--control-minutes", "2")

    def ray(self) -> str:
        """A cluster of two nodes, with the interpreter that runs this: the clone has no Ray."""
        if importlib.util.find_spec("ray") is None:
            return "left out: Ray is not installed (pip install 'cwic[ray]')"
        return self.load("ray", python=Path(sys.executable))


def environment() -> dict[str, str]:
    """This process's environment without what the environment of this clone put into it."""
    return {name: value for name, value in os.environ.items() if name not in OURS}


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
            check.serve,
            check.test,
            check.wheel,
            check.page,
            check.image,
            check.observe,
            check.fuzz,
            check.evaluate,
            check.overload,
            check.trickle,
            check.compare,
            check.soak,
            check.ray,
        ]
        for step in steps:
            started = time.monotonic()
            try:
                said, good = step(), True
            except Exception as exc:  # noqa: BLE001  # whatever it is, the next step runs and the summary tells
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
