"""Where the `cwic` command writes, what it leaves there where it fails, and what it imports."""

import errno
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from model import cli
from model.command_line.codecs import Checkpoints
from tests.model.command_line.fakes import PICTURE, FakeCheckpoints, FakeCodec, packed

ROOT = Path(__file__).parents[3]


def test_an_existing_file_is_replaced_and_a_link_stays_a_link(
    source: Path, tmp_path: Path, fake: FakeCheckpoints
) -> None:
    target, link = tmp_path / "old.cwic", tmp_path / "link.cwic"
    target.write_bytes(b"old")
    link.symlink_to(target)
    assert cli.main(["compress", str(source), str(link)], checkpoints=fake) == 0
    assert link.is_symlink()
    assert target.read_bytes() == packed(PICTURE, model_id="11111111")
    assert target.stat().st_mode & 0o777 == 0o666 & ~_umask()
    assert cli.main(["compress", str(source), os.devnull], checkpoints=fake) == 0
    assert not Path(os.devnull).is_file()


def test_an_existing_file_keeps_its_mode(source: Path, tmp_path: Path, fake: FakeCheckpoints) -> None:
    target = tmp_path / "secret.cwic"
    target.touch(mode=0o600)
    assert cli.main(["compress", str(source), str(target)], checkpoints=fake) == 0
    assert target.stat().st_mode & 0o777 == 0o600
    assert target.stat().st_size


def test_a_picture_is_not_replaced_by_its_own_file(
    source: Path, tmp_path: Path, fake: FakeCheckpoints, capsys: pytest.CaptureFixture[str]
) -> None:
    before = source.read_bytes()
    (tmp_path / "link").symlink_to(source)
    for out in (source, tmp_path / "link"):
        assert cli.main(["compress", str(source), str(out)], checkpoints=fake) == 2
        assert "IN and OUT are one file" in capsys.readouterr().err
    assert source.read_bytes() == before


def test_of_two_pictures_none_is_replaced(
    source: Path, tmp_path: Path, fake: FakeCheckpoints, capsys: pytest.CaptureFixture[str]
) -> None:
    """As `compress *` says it where `--output-dir` was forgotten."""
    other = tmp_path / "other.JPG"
    other.write_bytes(b"another picture")
    assert cli.main(["compress", str(source), str(other)], checkpoints=fake) == 2
    assert "OUT is a .cwic file" in capsys.readouterr().err
    assert other.read_bytes() == b"another picture"


def test_an_open_file_or_pipe_is_written_to_as_it_stands(
    source: Path, tmp_path: Path, fake: FakeCheckpoints
) -> None:
    with (tmp_path / "log").open("ab") as file:
        file.write(b"head")
        file.flush()
        assert cli.main(["compress", str(source), f"/dev/fd/{file.fileno()}"], checkpoints=fake) == 0
    assert (tmp_path / "log").read_bytes() == b"head" + packed(PICTURE, model_id="11111111")
    reader, writer = os.pipe()
    assert cli.main(["compress", str(source), f"/dev/fd/{writer}"], checkpoints=fake) == 0
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        assert pipe.read() == packed(PICTURE, model_id="11111111")


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="files in memory are Linux's")  # noqa: S108  # asked for, not written to
def test_a_file_in_memory_is_replaced_as_any_other(source: Path, fake: FakeCheckpoints) -> None:
    with tempfile.NamedTemporaryFile(dir="/dev/shm") as file:  # a name of its own
        file.write(b"old")
        file.flush()
        assert cli.main(["compress", str(source), file.name], checkpoints=fake) == 0
        assert Path(file.name).read_bytes() == packed(PICTURE, model_id="11111111")


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory")])
def test_memory_that_runs_out_is_one_line_and_status_1(
    source: Path,
    tmp_path: Path,
    fake: FakeCheckpoints,
    error: Exception,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(*_: object, **__: object) -> bytes:
        raise error

    monkeypatch.setattr(FakeCodec, "encode", fail)
    assert cli.main(["compress", str(source), str(tmp_path / "out")], checkpoints=fake) == 1
    assert capsys.readouterr().err == "cwic: not enough memory for a picture of this size\n"


def _umask() -> int:
    value = os.umask(0)
    os.umask(value)
    return value


@pytest.mark.skipif(os.geteuid() == 0 if hasattr(os, "geteuid") else True, reason="root may write anywhere")
def test_an_unwritable_folder_is_status_1(source: Path, tmp_path: Path, fake: FakeCheckpoints) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    assert cli.main(["compress", str(source), str(closed / "out")], checkpoints=fake) == 1


def test_a_failed_write_leaves_the_old_file(
    source: Path,
    tmp_path: Path,
    fake: FakeCheckpoints,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    old = tmp_path / "old"
    old.write_bytes(b"old")
    monkeypatch.setattr(Path, "replace", full)
    assert cli.main(["compress", str(source), str(old)], checkpoints=fake) == 1
    assert old.read_bytes() == b"old"
    assert capsys.readouterr().err == f"cwic: {old}: No space left on device\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.png", "old"]


def test_a_temporary_file_of_another_is_left_alone(
    source: Path, tmp_path: Path, fake: FakeCheckpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    names: list[str] = []

    def token(size: int) -> str:
        names.append("00" * size)
        return names[-1]

    monkeypatch.setattr("secrets.token_hex", token)
    arguments = ["compress", str(source), str(tmp_path / "out")]
    assert cli.main(arguments, checkpoints=fake) == 0
    other = tmp_path / f".out.{names[0]}.part"
    for name in (other.name, f".out.{os.getpid()}.part"):
        (tmp_path / name).write_bytes(b"of another")
    before = (tmp_path / "out").read_bytes()
    assert cli.main([*arguments, "--lossless"], checkpoints=fake) == 1
    assert (other.read_bytes(), (tmp_path / "out").read_bytes()) == (b"of another", before)
    other.unlink()
    assert cli.main([*arguments, "--lossless"], checkpoints=fake) == 0
    assert (tmp_path / f".out.{os.getpid()}.part").read_bytes() == b"of another"


@pytest.mark.parametrize("letter", ["x", "\N{CJK UNIFIED IDEOGRAPH-4E00}"])
def test_a_name_may_be_as_long_as_the_system_permits(
    source: Path, tmp_path: Path, fake: FakeCheckpoints, letter: str
) -> None:
    name = letter * (255 // len(letter.encode()))
    assert cli.main(["compress", str(source), str(tmp_path / name)], checkpoints=fake) == 0
    assert (tmp_path / name).stat().st_size > 0


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-W", "error", "-m", "model.cli", *arguments]


@pytest.mark.parametrize("count", [1, 3])
def test_a_closed_pipe_ends_quietly(tmp_path: Path, count: int) -> None:
    (tmp_path / "a.cwic").write_bytes(packed(PICTURE))
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(  # noqa: S603 - our own command line
        command("inspect", *[str(tmp_path / "a.cwic")] * count),
        cwd=ROOT,
        stdout=writer,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, b"")


def test_help_version_and_inspect_import_neither_torch_nor_pillow(tmp_path: Path) -> None:
    (tmp_path / "a.cwic").write_bytes(packed(PICTURE))
    script = (
        "import sys; from model.cli import main; "
        f"codes = [main(['--help']), main(['--version']), main(['inspect', {str(tmp_path / 'a.cwic')!r}])]; "
        "sys.exit(any(codes) or bool({'torch', 'PIL'} & set(sys.modules)))"
    )
    done = subprocess.run(  # noqa: S603 - our own command line
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "importance-map" in done.stdout
    assert "cwic " in done.stdout


def test_the_real_checkpoints_module_fits() -> None:
    from model import checkpoints

    fits: Checkpoints = checkpoints
    assert fits.DEFAULT_MODEL_DIR.name == "weights"
