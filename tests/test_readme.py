"""What the README says is run here."""

import argparse
import importlib
import importlib.util
import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from model.checkpoints import load_codec
from model.cli import main
from model.codec import Codec
from model.container import format as file_format
from model.types import Pixels
from service.settings import PREFIX, Settings
from tests.conftest import picture
from tests.load.__main__ import COMMANDS as LOAD_COMMANDS
from tests.load.__main__ import parser as load_parser
from tests.service.server import serving
from training.__main__ import COMMANDS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


@pytest.fixture(scope="module")
def codec() -> Codec:
    """The default checkpoint."""
    return load_codec(device="cpu")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a photo.jpg, and a folder with one."""
    (tmp_path / "photos").mkdir()
    for path in (tmp_path / "photo.jpg", tmp_path / "photos" / "photo.jpg"):
        Image.fromarray(picture(128, 192)).save(path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def load(path: Path) -> Pixels:
    with Image.open(path) as image:
        return np.asarray(image)


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def commands(program: str) -> list[str]:
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    return [line for line in lines if line.startswith(f"{program} ")]


def curl_lines() -> list[str]:
    """Those that need no key."""
    return [line for line in commands("curl") if "$KEY" not in line]


def settings_table() -> str:
    """The README's table of settings, as it should be."""
    rows = ["| setting | default | |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        rows.append(f"| `{PREFIX}{name.upper()}` | `{field.default}` | {field.description} |")
    return "\n".join(rows).replace("`None`", "")


def shell(line: str, client: httpx.Client, folder: Path) -> int:
    """Run a line of curl's against a server of ours; its exit status."""
    line = line.replace("localhost:8000", f"{client.base_url.host}:{client.base_url.port}")
    line = line.replace("curl ", "curl -sS ", 1)
    return subprocess.run(["sh", "-c", line], check=False, cwd=folder).returncode  # noqa: S603, S607  # our own README


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl")
def test_the_curl_lines_fail_where_the_server_refuses_and_keep_the_reason(folder: Path) -> None:
    for name in ("photo.jpg", "photo.cwic"):
        (folder / name).write_bytes(b"neither")
    with serving() as client:
        for line, output in zip(curl_lines(), ("photo.cwic", "photo.png", "map.png"), strict=True):
            assert shell(line, client, folder) == 22
            assert json.loads((folder / output).read_bytes())["status"] == 415


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl")
def test_the_curl_lines_bring_a_photo_there_and_back(folder: Path, codec: Codec) -> None:
    lines = curl_lines()
    assert len(lines) == 3
    with serving(codec) as client:
        for line in lines:
            assert shell(line, client, folder) == 0
    photo, restored, importance = (load(folder / name) for name in ("photo.jpg", "photo.png", "map.png"))
    assert np.abs(restored.astype(int) - photo).mean() < 8
    assert importance.shape == (128, 192)


@pytest.mark.skipif(shutil.which("curl") is None or shutil.which("openssl") is None, reason="no tools")
def test_the_line_with_a_key_is_let_in_and_no_other(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [block] = [each for each in blocks("sh") if "keys.txt" in each]
    make, serve, curl = block.splitlines()
    assert serve == "CWIC_API_KEYS_FILE=keys.txt make serve"
    made = subprocess.run(  # noqa: S603  # our own README
        ["sh", "-c", f'{make}; echo "$KEY"'],  # noqa: S607
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    with serving(api_keys_file="keys.txt") as client:
        for key, status in ((made.stdout.strip(), 0), ("another", 22)):
            monkeypatch.setenv("KEY", key)
            assert shell(curl, client, folder) == status


def test_the_command_lines_work_in_their_order(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = commands("cwic")
    assert len(lines) == 7
    for line in lines:
        assert main(line.split()[1:]) == 0
    assert (folder / "small" / "photo.cwic").is_file()
    assert file_format.inspect((folder / "portrait.cwic").read_bytes()).plane
    assert "192" in capsys.readouterr().out
    assert load(folder / "photo.png").shape == (128, 192, 3)


def test_the_python_lines_work(capsys: pytest.CaptureFixture[str]) -> None:
    block, _ = blocks("python")
    names = {"array": picture(128, 192)}
    exec(block, names)  # noqa: S102  # our own README
    assert names["restored"].shape == (128, 192, 3)
    assert names["importance"].shape == (128, 192)
    assert 0 < float(capsys.readouterr().out) < 24


def test_the_lines_of_the_client_work(folder: Path, codec: Codec) -> None:
    _, block = blocks("python")
    assert "http://127.0.0.1:8000" in block
    names: dict[str, Any] = {}
    with serving(codec) as client:
        exec(block.replace("http://127.0.0.1:8000", str(client.base_url)), names)  # noqa: S102  # our own README
    (folder / "back.jpg").write_bytes(names["picture"].data)
    assert load(folder / "back.jpg").shape == (128, 192, 3)


def test_the_training_lines_are_commands_with_options_that_exist() -> None:
    lines = [shlex.split(line, comments=True)[3:] for line in commands("python -m training")]
    assert {line[0] for line in lines} >= {"train", "evaluate", "importance", "throughput"}
    for name, *arguments in lines:
        parser = argparse.ArgumentParser()
        importlib.import_module(f"training.commands.{name}").add_arguments(parser)
        assert name in COMMANDS
        assert parser.parse_args(arguments)


def test_the_load_test_lines_are_commands_with_options_that_exist() -> None:
    lines = [shlex.split(line, comments=True)[3:] for line in commands("python -m tests.load")]
    assert {line[0] for line in lines} == set(LOAD_COMMANDS)
    for line in lines:
        assert load_parser().parse_args([str(ROOT) if each == "../other-tree" else each for each in line])


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of Ray's own code, where it is imported
@pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="Ray is not installed: pip install 'cwic[ray]'"
)
def test_the_line_for_ray_names_options_that_exist() -> None:
    from service.jobs.ray import RayOptions

    [line] = [each for block in blocks("sh") for each in block.splitlines() if "serve run" in each]
    options = dict(each.split("=") for each in line.partition("service.jobs.ray:app ")[2].split())
    assert RayOptions.model_validate(options).num_gpus == 0.5


def test_the_settings_table_is_complete() -> None:
    assert settings_table() in README
