"""`cwic-serve` as a process: its settings, its exit statuses, its signals, what it imports and when."""

import re
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import httpx
import pytest

from service.__main__ import (
    BAD_CHECKPOINT,
    FAILED,
    NO_ADDRESS,
    NO_DEVICE,
    NO_TEMPORARY_SPACE,
    USAGE_ERROR,
    main,
)
from service.app import create_app
from service.settings import Settings
from tests.effort import PATIENCE, wait_until
from tests.service.fakes import FakeCodec, png
from tests.service.program import ROOT, SERVE, environment, process
from tests.service.raw import HEAD, announced, connections, until_closed
from tests.service.server import metric, running


def run(*command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run Python to its end."""
    return subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, *command],
        env=environment(**variables),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def test_the_command_line_and_settings_import_neither_torch_nor_numpy() -> None:
    result = run("-c", "import sys, service.__main__; print(*sorted(sys.modules))")
    assert result.returncode == 0, result.stderr
    assert not {"torch", "numpy", "PIL", "fastapi"} & set(result.stdout.split())


def test_the_app_is_built_without_torch_and_the_service_never_imports_training() -> None:
    program = "import sys; from service.app import create_app; from service.settings import Settings; "
    result = run("-c", program + "create_app(Settings()).openapi(); print(*sorted(sys.modules))")
    assert result.returncode == 0, result.stderr
    assert not {"torch", "training"} & set(result.stdout.split())


def test_a_folder_without_checkpoints_ends_the_process_with_one_clear_line(tmp_path: Path) -> None:
    result = run("-m", "service", "--port", "0", "--model-dir", str(tmp_path), "--log-level", "error")
    assert result.returncode == BAD_CHECKPOINT
    assert result.stderr.splitlines() == [
        f"cwic-serve: cannot serve: no checkpoint in {tmp_path}; CWIC_MODEL_DIR names another folder"
    ]


def test_a_device_that_is_not_here_ends_the_process_with_one_clear_line() -> None:
    result = run("-m", "service", "--port", "0", "--device", "cuda:77", "--log-level", "error")
    assert result.returncode == NO_DEVICE
    [line] = result.stderr.splitlines()
    assert line.startswith("cwic-serve: cannot serve: device 'cuda:77' was asked for; PyTorch ")


def test_a_checkpoint_whose_digest_differs_ends_the_process_with_one_clear_line(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "model/weights/cvpr2018", tmp_path, dirs_exist_ok=True)
    weights = tmp_path / "cvpr2018-low.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    result = run("-m", "service", "--port", "0", "--model-dir", str(tmp_path), "--log-level", "error")
    assert result.returncode == BAD_CHECKPOINT
    [line] = result.stderr.splitlines()
    assert line.startswith(f"cwic-serve: cannot serve: {weights} has SHA-256 ")


def test_a_temporary_folder_that_is_full_ends_the_process_with_one_clear_line(tmp_path: Path) -> None:
    # No file of this process may grow past 1 MiB, which is what a small full tmpfs does to it.
    limited = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, 2**20)); "
    result = run("-c", limited + SERVE.format(codec="FakeCodec()"), "--port", "0", TMPDIR=str(tmp_path))
    assert result.returncode == NO_TEMPORARY_SPACE
    [line] = result.stderr.splitlines()
    assert line.startswith("cwic-serve: an upload needs room in the temporary folder (TMPDIR): ")
    assert not list(tmp_path.iterdir())


def test_a_temporary_folder_that_cannot_be_written_ends_the_process_with_one_clear_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tempfile.tempdir", "/nowhere")
    assert main(["--port", "0"]) == NO_TEMPORARY_SPACE
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("cwic-serve: an upload needs room in the temporary folder (TMPDIR): [Errno 2]")


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("", ": no key in it"),
        ("phone:secret", ": line 1 has 6 characters; a key has at least 16"),
        (None, " cannot"),
    ],
)
def test_a_file_of_keys_that_cannot_be_used_ends_the_process_with_one_clear_line(
    tmp_path: Path, content: str | None, fault: str
) -> None:
    file = tmp_path / "keys"
    if content is not None:
        file.write_text(content)
    result = run("-m", "service", "--port", "0", "--api-keys-file", str(file))
    assert result.returncode == USAGE_ERROR
    [line] = result.stderr.splitlines()
    assert line.startswith(f"cwic-serve: --api-keys-file (CWIC_API_KEYS_FILE): {file}{fault}")
    assert "secret" not in line


def test_a_port_that_is_taken_ends_the_process(tmp_path: Path) -> None:
    with process(tmp_path / "log") as (_, address):
        result = run("-c", SERVE.format(codec="FakeCodec()"), "--port", address.rpartition(":")[2])
    assert result.returncode == NO_ADDRESS
    assert "address already in use" in result.stderr


def test_the_healthcheck_says_whether_the_server_is_ready(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with process(tmp_path / "log") as (_, address):
        port = address.rpartition(":")[2]
        wait_until(lambda: httpx.get(f"{address}/readyz", timeout=PATIENCE).is_success)
        for host in ("127.0.0.1", "0.0.0.0", "localhost"):  # noqa: S104 - asked on the loopback
            assert main(["--healthcheck", "--host", host, "--port", port]) == 0
    assert capsys.readouterr().err == ""
    assert main(["--healthcheck", "--port", port]) == FAILED
    assert capsys.readouterr().err.startswith(f"cwic-serve: no answer from 127.0.0.1 port {port}: ")


def test_the_healthcheck_of_a_server_that_is_not_ready_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    release = threading.Event()

    def load(_: Settings) -> list[FakeCodec]:
        assert release.wait(PATIENCE)
        return [FakeCodec()]

    with running(create_app(Settings(), load=load)) as client:
        monkeypatch.setenv("CWIC_PORT", str(client.base_url.port))
        assert main(["--healthcheck"]) == FAILED
        assert capsys.readouterr().err.endswith("says 503\n")
        release.set()
        wait_until(lambda: main(["--healthcheck"]) == 0)


def test_a_worker_that_dies_fails_its_request_and_ends_the_process(tmp_path: Path) -> None:
    dying = "FakeCodec(on_encode=lambda array: array.shape[0] == 16 and sys.exit())"
    with process(tmp_path / "log", codec=dying) as (server, address):
        wait_until(lambda: httpx.get(f"{address}/readyz", timeout=PATIENCE).is_success)
        assert httpx.post(f"{address}/compress", content=png(), timeout=PATIENCE).status_code == 503
        assert server.wait(PATIENCE) == FAILED
    last = (tmp_path / "log").read_text().splitlines()[-1]
    assert last == "cwic-serve: cannot serve: A worker has ended; the server must be restarted."


@pytest.mark.parametrize(
    ("options", "variables", "message"),
    [
        (["--port", "x"], {}, "--port (CWIC_PORT): "),
        ([], {"CWIC_DEVICE": "tpu"}, "--device (CWIC_DEVICE): "),
        (["--dtype", "float16"], {}, "--dtype (CWIC_DTYPE): "),
        ([], {"CWIC_PROT": "80"}, "CWIC_PROT is no setting of cwic; did you mean CWIC_PORT?"),
    ],
)
def test_bad_settings_are_named_and_end_with_status_2(
    options: list[str],
    variables: dict[str, str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert main(options) == USAGE_ERROR
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "text"), [("--version", "cwic-serve "), ("--help", "--max-body-bytes BYTES")]
)
def test_version_and_help_are_shown(option: str, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([option])
    assert caught.value.code == 0
    assert text in capsys.readouterr().out


def test_an_option_that_is_cut_short_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--max", "5"])
    assert caught.value.code == USAGE_ERROR
    assert "unrecognized arguments" in capsys.readouterr().err


def test_a_process_serves_names_no_software_and_ends_on_sigterm(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with process(log, "--log-format", "json") as (server, address):
        wait_until(lambda: httpx.get(f"{address}/readyz", timeout=PATIENCE).is_success)
        assert "Server" not in httpx.get(f"{address}/models", timeout=PATIENCE).headers
        server.send_signal(signal.SIGTERM)
        server.wait(PATIENCE)
        assert server.returncode == -signal.SIGTERM  # uvicorn ends by the signal that it was sent
    lines = log.read_text().splitlines()
    assert all(line.startswith('{"time": ') for line in lines), lines
    assert any('"message": "GET /models"' in line for line in lines)
    assert not any("/readyz" in line for line in lines)


def test_the_limit_of_open_files_is_raised_and_bounds_the_connections(tmp_path: Path) -> None:
    limited = "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (100, 600)); "
    with process(tmp_path / "log", prefix=limited) as (_, address):
        assert "process_max_fds 600.0" in httpx.get(f"{address}/metrics", timeout=PATIENCE).text
    assert "Only 88 connections at once, where CWIC_MAX_CONNECTIONS is 1000" in (tmp_path / "log").read_text()


def test_half_a_header_and_half_a_body_do_not_keep_a_process_from_ending(tmp_path: Path) -> None:
    with process(tmp_path / "log", "--shutdown-timeout", "1") as (server, address):
        wait_until(lambda: httpx.get(f"{address}/readyz", timeout=PATIENCE).is_success)
        with httpx.Client(base_url=address) as client, connections(client, 2) as (header, body):
            header.sendall(HEAD)
            body.sendall(announced(10) + b"first")
            wait_until(lambda: metric(client, "cwic_body_bytes_in_flight") == 5)
            server.send_signal(signal.SIGTERM)
            assert until_closed(header) == b""
            assert server.wait(PATIENCE) == -signal.SIGTERM


def test_the_operations_page_names_every_exit_status() -> None:
    page = (ROOT / "docker/README.md").read_text()
    rows = {int(status) for status in re.findall(r"^\| (\d) \|", page, re.MULTILINE)}
    assert rows == {FAILED, USAGE_ERROR, NO_ADDRESS, NO_DEVICE, BAD_CHECKPOINT, NO_TEMPORARY_SPACE}
