"""What an installation gets: a wheel with all of the tree's packages, and versions from lock files that agree."""

import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from itertools import chain
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("model", "service", "training")
NOT_INSTALLED = ("training/results/",)  # measurements, for readers of the repository


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Names of the files in a wheel that is built from what git would commit."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in tracked():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    build = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
    ]
    subprocess.run([*build, "--wheel-dir", str(folder), str(folder)], check=True)  # noqa: S603 - our own pip
    [path] = folder.glob("*.whl")
    with zipfile.ZipFile(path) as file:
        return {name for name in file.namelist() if ".dist-info/" not in name}


def tracked() -> list[str]:
    """The files of the working tree that git does not ignore, by their paths in it."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout.decode().split("\0")  # noqa: S603
    return [name for name in listed if name and (ROOT / name).is_file()]


def test_the_wheel_has_the_packages_of_the_tree_and_nothing_else(wheel: set[str]) -> None:
    ours = {name for name in tracked() if name.split("/")[0] in PACKAGES}
    assert wheel == {name for name in ours if not name.startswith(NOT_INSTALLED)}


def versions(name: str) -> dict[str, str]:
    """Package and version of each line of a lock file, names as pip compares them."""
    rows = re.findall(r"^([\w.-]+)={2,3}([^\s;]+)", (ROOT / name).read_text(), re.MULTILINE)
    return {re.sub(r"[-_.]+", "-", package).lower(): version for package, version in rows}


def test_every_dependency_is_locked() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    required = [*project["dependencies"], *chain(*project["optional-dependencies"].values())]
    names = {re.split(r"[\[<>=~]", each)[0].replace("_", "-").lower() for each in required}
    assert names - {"torch"} <= set(versions("requirements.lock"))


def test_the_lock_files_name_one_pytorch_and_share_nothing_else() -> None:
    common, cpu, cuda = (versions(f"requirements{kind}.lock") for kind in ("", "-cpu", "-cuda"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert f"torch=={cuda['torch']}" in project["dependencies"]
    assert set(cpu) == {"torch"}
    assert cpu["torch"].removesuffix("+cpu") == cuda["torch"]
    assert not set(common) & {"torch", *cuda}


def test_nothing_but_the_cuda_lock_names_cuda_packages() -> None:
    for name in ("requirements.lock", "requirements-cpu.lock"):
        assert not {each for each in versions(name) if each.startswith(("nvidia", "cuda", "triton"))}
