"""Requests made from the OpenAPI document against a running service: `python -m tests.service.fuzz_openapi`.

Schemathesis (https://schemathesis.io) makes them, valid ones and broken ones, from a fixed seed, so many for each
operation. The exit status is not 0 where an answer is a server error, has a status or a content type that the
document does not name or a body unlike its schema, or where an endpoint that does work never succeeded.

Schemathesis is no dependency of ours: `pip install --target FOLDER schemathesis`, then `--schemathesis FOLDER`.
"""

import argparse
import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx

from model.options import EncodeOptions
from tests.service.fakes import FakeCodec, picture_array, png
from tests.service.server import metric, serving

SEED = 1
EXAMPLES = 60  # of each operation
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "response_headers_conformance",
    "unsupported_method",
    "allow_header_conformance",
)
WORK = ("/compress", "/decompress", "/truncate", "/importance-map", "/inspect")
BODIES = "FUZZ_BODIES"  # variable: folder of bodies that mean something; see fuzz_hooks.py
ROOT = Path(__file__).parents[2]


def write_bodies(folder: Path) -> None:
    """Pictures and files, whole and cut, as files of a folder."""
    array = picture_array()
    file, lossless = (FakeCodec().encode(array, EncodeOptions(lossless=each)) for each in (False, True))
    bodies = [png(array), png(array, picture_format="JPEG"), file, lossless, file[:-5], png(array)[:-9]]
    for index, each in enumerate(bodies):
        (folder / str(index)).write_bytes(each)


def fuzz(schemathesis: Path | None, examples: int) -> int:
    """Start the service and run Schemathesis against it; its exit status."""
    paths = [str(schemathesis)] if schemathesis else []
    codecs = FakeCodec(), FakeCodec(name="fixed", model_id="f1edf1ed", fixed_rate=True)
    with TemporaryDirectory(prefix="cwic-fuzz-") as name, serving(*codecs, max_pixels=10_000) as client:
        bodies = Path(name) / "bodies"
        bodies.mkdir()
        write_bodies(bodies)
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([*paths, str(ROOT)]),
            "SCHEMATHESIS_HOOKS": "tests.service.fuzz_hooks",
            BODIES: str(bodies),
        }
        command = [sys.executable, "-m", "schemathesis.cli", "run", f"{client.base_url}/openapi.json"]
        command += ["--checks", ",".join(CHECKS), "--phases", "examples,coverage,fuzzing"]
        command += ["--seed", str(SEED), "--max-examples", str(examples), "--no-color"]
        command += ["--suppress-health-check", "all", "--generation-database", "none", "--warnings", "off"]
        statuses = [
            subprocess.run([*command, "--mode", mode], env=environment, cwd=name, check=False).returncode  # noqa: S603
            for mode in (
                "positive",
                "negative",
            )  # apart, or the broken ones leave no room for bodies that mean something
        ]
        done = {route: succeeded(client, route) for route in WORK}
        sys.stderr.write(f"answered with 200: {done}\n")
        missed = [route for route, count in done.items() if not count]
        if missed:
            sys.stderr.write(f"never answered with 200, so hardly tried: {', '.join(missed)}\n")
        return max(*statuses, bool(missed))


def succeeded(client: httpx.Client, route: str) -> float:
    """How many requests to a route were answered with 200."""
    return metric(client, f'cwic_http_requests_total{{method="POST",route="{route}",status="200"}}')


def main() -> int:
    """Fuzz; the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.service.fuzz_openapi", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--schemathesis", type=Path, metavar="FOLDER", help="where it is installed")
    parser.add_argument(
        "--examples", type=int, default=EXAMPLES, help=f"of each operation (default: {EXAMPLES})"
    )
    args = parser.parse_args()
    if args.schemathesis is None and importlib.util.find_spec("schemathesis") is None:
        parser.error(
            "Schemathesis is not installed: pip install --target FOLDER schemathesis, then --schemathesis FOLDER"
        )
    return fuzz(args.schemathesis, args.examples)


if __name__ == "__main__":
    sys.exit(main())
