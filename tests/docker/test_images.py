"""The Dockerfiles: linted, pinned, and alike but for what a GPU needs."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

DOCKER = Path(__file__).parents[2] / "docker"
DOCKERFILES = [DOCKER / "Dockerfile.cpu", DOCKER / "Dockerfile.cuda"]


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.suffix[1:])
def test_hadolint_finds_nothing(path: Path) -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    found = subprocess.run([hadolint, "--no-color", path], capture_output=True, text=True, check=False)  # noqa: S603
    assert (found.returncode, found.stdout) == (0, "")


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.suffix[1:])
def test_base_and_packages_are_pinned(path: Path) -> None:
    text = path.read_text()
    [base] = re.findall(r"^ARG BASE=(\S+)$", text, re.MULTILINE)
    assert re.fullmatch(r"[\w/]+:\d+\.\d+\.\d+-[\w.-]+", base)
    for packages in re.findall(r"--no-install-recommends (.+?) \\", text):
        assert all("=" in package for package in packages.split())
    for options in re.findall(r"pip install (.+)", text):
        assert "--requirement requirements-c" in options or "--constraint requirements.lock" in options


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.suffix[1:])
def test_it_runs_as_a_fixed_user_in_exec_form_and_checks_its_own_health(path: Path) -> None:
    lines = path.read_text().splitlines()
    assert "USER 10001:10001" in lines
    assert 'ENTRYPOINT ["cwic-serve"]' in lines
    assert "STOPSIGNAL SIGTERM" in lines
    assert any(
        line.startswith("HEALTHCHECK") and line.endswith('["cwic-serve", "--healthcheck"]') for line in lines
    )


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.suffix[1:])
def test_its_label_has_the_projects_version(path: Path) -> None:
    project = tomllib.loads((DOCKER.parent / "pyproject.toml").read_text())["project"]
    assert f"ARG VERSION={project['version']}" in path.read_text().splitlines()


def test_the_two_run_alike() -> None:
    cpu, cuda = (path.read_text().partition("COPY --from=build")[2].splitlines() for path in DOCKERFILES)
    ours = {line for line in cpu if not line.startswith(("#", "HEALTHCHECK"))}
    assert ours - set(cuda) == {"    CWIC_DEVICE=cpu \\"}


def test_nothing_but_the_service_enters_the_build() -> None:
    lines = (DOCKER.parent / ".dockerignore").read_text().split("\n")
    assert "*" in lines
    assert {line[1:] for line in lines if line.startswith("!")} == {
        "requirements*.lock",
        "pyproject.toml",
        "README.md",
        "LICENSE",
        "model",
        "service",
    }
