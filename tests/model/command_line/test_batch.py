"""Many files through one command line: which they are, where each goes, what fails, and by how many processes."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from model import cli
from model.command_line.batch import Task, plan, run, run_all
from model.command_line.files import UsageError
from model.command_line.outcomes import Outcome
from model.container import format as file_format
from model.cpus import usable_cpus
from model.errors import CheckpointNotFoundError
from model.images.files import SUFFIXES, read_image
from model.images.writing import write_image
from model.types import Limits
from tests.conftest import picture
from tests.model.command_line.fakes import PICTURE, FakeCheckpoints, FakeCodec, packed


@pytest.fixture
def album(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with a folder of three pictures, one of them below, and of files that are none."""
    folder = tmp_path / "album"
    (folder / "below").mkdir(parents=True)
    (folder / ".hidden").mkdir()
    for name in ("a.png", "B.PNG", "below/c.png", ".hidden/d.png", ".e.png"):
        (folder / name).write_bytes(write_image(PICTURE, format="png"))
    (folder / "notes.txt").write_text("no picture")
    monkeypatch.chdir(tmp_path)
    return folder


def tree(folder: Path) -> list[str]:
    """The files below a folder."""
    return sorted(str(each.relative_to(folder)) for each in folder.rglob("*") if each.is_file())


def test_a_folder_is_done_with_all_below_it_and_its_tree_is_kept(
    album: Path, fake: FakeCheckpoints, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["compress", "album", "--output-dir", "new/out", "--jobs", "1"], checkpoints=fake) == 0
    out = album.parent / "new" / "out"
    assert tree(out) == ["B.cwic", "a.cwic", "below/c.cwic"]
    assert {(out / name).read_bytes() for name in tree(out)} == {packed(PICTURE, model_id="11111111")}
    read, written = (3 * (path).stat().st_size for path in (album / "a.png", out / "a.cwic"))
    assert capsys.readouterr().err == f"cwic: 3 of 3 files done, {read} -> {written} bytes\n"
    assert len(fake.loaded) == 1, "one checkpoint for all files"


@pytest.mark.usefixtures("album")
def test_what_was_compressed_is_decompressed_and_mapped(fake: FakeCheckpoints) -> None:
    assert cli.main(["compress", "album", "--output-dir", "out", "--jobs", "1"], checkpoints=fake) == 0
    for command, options, names in (
        ("decompress", [], ["B.png", "a.png", "below/c.png"]),
        ("decompress", ["--format", "webp"], ["B.webp", "a.webp", "below/c.webp"]),
        ("importance-map", [], ["B.png", "a.png", "below/c.png"]),
        ("truncate", ["--bytes", "100000"], ["B.cwic", "a.cwic", "below/c.cwic"]),
    ):
        to = "-".join([command, *options])
        assert cli.main([command, "out", "--output-dir", to, "--jobs", "1", *options], checkpoints=fake) == 0
        assert tree(Path(to)) == names
    array = read_image(Path("decompress/a.png").read_bytes(), limits=Limits()).array
    np.testing.assert_array_equal(array, PICTURE)


def test_files_that_fail_have_a_line_each_and_the_others_are_done(
    album: Path, fake: FakeCheckpoints, capsys: pytest.CaptureFixture[str]
) -> None:
    (album / "broken.png").write_bytes((album / "a.png").read_bytes()[:-60])
    files = ["album", "missing.png", "album/notes.txt"]
    assert cli.main(["compress", *files, "--output-dir", "out", "--jobs", "1"], checkpoints=fake) == 1
    *failures, summary = capsys.readouterr().err.splitlines()
    assert [line.split(": ")[:2] for line in failures] == [
        ["cwic", "album/broken.png"],
        ["cwic", "missing.png"],
        ["cwic", "album/notes.txt"],
    ]
    assert failures[1] == "cwic: missing.png: No such file or directory"
    assert summary.startswith("cwic: 3 of 6 files done")
    assert tree(Path("out")) == ["B.cwic", "a.cwic", "below/c.cwic"], "nothing half written"


def test_what_was_changed_in_pictures_is_told_once_for_all(
    album: Path, fake: FakeCheckpoints, capsys: pytest.CaptureFixture[str]
) -> None:
    opaque = np.dstack([PICTURE, np.full(PICTURE.shape[:2], 255, np.uint8)])
    for name in ("a.png", "B.PNG"):
        (album / name).write_bytes(write_image(opaque, format="png"))
    assert cli.main(["compress", "album", "--output-dir", "out", "--jobs", "1"], checkpoints=fake) == 0
    assert capsys.readouterr().err.endswith(" bytes, alpha-opaque-dropped in 2\n")


@pytest.mark.usefixtures("album")
def test_a_mask_for_many_files_is_no_stream(
    fake: FakeCheckpoints, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["compress", "album", "--output-dir", "out", "--roi-mask", "-"], checkpoints=fake) == 2
    assert "--roi-mask `-` is for one file" in capsys.readouterr().err
    assert not Path("out").exists()


def test_a_fault_of_ours_with_one_file_leaves_the_others_done(
    album: Path, fake: FakeCheckpoints, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("by zero")

    (album / "b.png").write_bytes(write_image(PICTURE[1:], format="png"))
    encode = FakeCodec.encode
    monkeypatch.setattr(
        FakeCodec, "encode", lambda *args: fail() if len(args[1]) < len(PICTURE) else encode(*args)
    )
    (album / "B.PNG").unlink()
    assert cli.main(["compress", "album", "--output-dir", "out", "--jobs", "1"], checkpoints=fake) == 1
    said = capsys.readouterr().err
    assert "cwic: album/b.png: unforeseen ZeroDivisionError: by zero; done by itself" in said
    assert tree(Path("out")) == ["a.cwic", "below/c.cwic"]


@pytest.mark.usefixtures("album")
def test_a_fault_of_the_installation_ends_it_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    broken = FakeCheckpoints(error=CheckpointNotFoundError("no cwic in x"))
    arguments = ["compress", "album", "--output-dir", "out", "--jobs", "1"]
    assert cli.main(arguments, checkpoints=broken) == 3
    assert capsys.readouterr().err == "cwic: no cwic in x\n"
    assert len(broken.loaded) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["compress", "album/a.png", "a.cwic", "album/B.PNG"], "got 3 paths"),
        (["compress", "album/a.png", "a.cwic", "--jobs", "2"], "--jobs is for --output-dir"),
        (["compress", "album", "--output-dir", "out", "--jobs", "0"], "at least 1, got 0"),
        (["compress", "album", "--output-dir", "out", "--quality", "0"], "quality is 1 to 100"),
        (["decompress", "album", "--output-dir", "out", "--groups", "0"], "groups is 1"),
        (["compress", "album", "--output-dir", "out", "--max-pixels", "0"], "--max-pixels is at least 1"),
        (["compress", "album", "--output-dir", "out", "--device", "tpu"], "device is auto, cpu, cuda"),
        (["importance-map", "album", "--output-dir", "out", "--style", "overlay", "--size", "map"], "size of the"),
        (["compress", "-", "--output-dir", "out"], "not `-`"),
        (["compress", "album/.hidden/d.png", "album/below", "album/a.png", "album", "--output-dir", "o"], "both"),
        (["decompress", "album", "--output-dir", "out"], "album has no files that end with .cwic"),
        (["compress", "album", "--output-dir", "out", "--frobnicate"], "--frobnicate"),
    ],
)  # fmt: skip
def test_a_wrong_command_line_does_nothing(
    arguments: list[str],
    message: str,
    album: Path,
    fake: FakeCheckpoints,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = tree(album.parent)
    assert cli.main(arguments, checkpoints=fake) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1
    assert tree(album.parent) == before


@pytest.mark.usefixtures("album")
def test_options_may_stand_between_the_paths(fake: FakeCheckpoints) -> None:
    files = ["album/a.png", "--quality", "9", "one.cwic"]
    assert cli.main(["compress", *files], checkpoints=fake) == 0
    assert file_format.inspect(Path("one.cwic").read_bytes()).quality == 9.0
    files = ["album/a.png", "--output-dir", "out", "album/B.PNG", "--jobs", "1", "album/below/c.png"]
    assert cli.main(["compress", *files], checkpoints=fake) == 0
    assert tree(Path("out")) == ["B.cwic", "a.cwic", "c.cwic"]


def test_a_folder_of_results_within_the_pictures_is_not_read(album: Path, fake: FakeCheckpoints) -> None:
    for _ in range(2):
        arguments = ["importance-map", "album", "--output-dir", "album/maps", "--jobs", "1"]
        assert cli.main(arguments, checkpoints=fake) == 0
        assert tree(album / "maps") == ["B.png", "a.png", "below/c.png"]


def test_a_picture_is_not_replaced_by_its_own_map(
    album: Path, fake: FakeCheckpoints, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (album / "a.png").read_bytes()
    arguments = ["importance-map", "album/a.png", "--output-dir", "album"]
    assert cli.main(arguments, checkpoints=fake) == 1
    assert "IN and OUT are one file" in capsys.readouterr().err
    assert (album / "a.png").read_bytes() == before


def test_the_plan_names_both_files_that_would_be_one(album: Path) -> None:
    (album / "a.jpg").touch()
    with pytest.raises(UsageError, match=r"a\.jpg and album/a\.png would both be written to out/a\.cwic"):
        plan(["album"], Path("out"), suffixes=SUFFIXES, suffix=".cwic")


def test_several_processes_do_what_one_does(
    tiny_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "in"
    source.mkdir()
    for seed in range(3):
        (source / f"{seed}.png").write_bytes(write_image(picture(40, 56, seed=seed), format="png"))
    (source / "broken.png").write_bytes(b"no picture")
    files: list[dict[str, bytes]] = []
    for jobs in ("1", "2"):
        out = tmp_path / jobs
        options = ["--output-dir", str(out), "--jobs", jobs, "--model-dir", str(tiny_dir), "--device", "cpu"]
        options += ["--dtype", "float32"]  # or each process would measure which is faster
        assert cli.main(["compress", str(source), *options]) == 1
        said = capsys.readouterr().err
        assert f"cwic: {source / 'broken.png'}: no picture format begins with" in said
        assert "cwic: 3 of 4 files done" in said
        files.append({name: (out / name).read_bytes() for name in tree(out)})
    assert len(files[0]) == 3
    assert files[0] == files[1]


def threads_of(_: Task) -> Outcome:
    return Outcome(text=f"{torch.get_num_threads()} {os.getpid()}")


def die_at_two(task: Task) -> Outcome:
    if task.source.name == "2":
        os._exit(1)
    return Outcome()


def numbered(count: int, folder: Path) -> list[Task]:
    """Tasks on files that exist."""
    tasks = [Task(folder / str(number), folder / str(number)) for number in range(count)]
    for task in tasks:
        task.source.touch()
    return tasks


def test_threads_are_divided_among_processes(tmp_path: Path) -> None:
    jobs = 2
    texts = [outcome.text.split() for _, outcome in run(numbered(4, tmp_path), threads_of, jobs=jobs)]
    assert len(texts) == 4
    assert all(1 <= int(threads) <= max(1, usable_cpus() // jobs) for threads, _ in texts)
    assert 1 <= len({process for _, process in texts} - {str(os.getpid())}) <= jobs


def test_a_process_that_dies_fails_what_was_not_done_and_does_not_hang(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = run_all(numbered(4, tmp_path), die_at_two, jobs=2)
    lines = capsys.readouterr().err.splitlines()
    assert outcome.status == 1
    assert lines
    assert all("a process died" in line for line in lines)
    assert outcome.text.startswith(f"{4 - len(lines)} of 4 files done")


def test_what_has_not_begun_is_not_done_where_the_caller_stops(tmp_path: Path) -> None:
    done: list[Task] = []

    def note(task: Task) -> Outcome:
        done.append(task)
        return Outcome(3)

    assert run_all(numbered(3, tmp_path), note, jobs=1).status == 3
    assert len(done) == 1


@pytest.mark.usefixtures("album")
@pytest.mark.parametrize("terminal", [True, False])
def test_a_bar_is_shown_on_a_terminal_only(
    terminal: bool,
    fake: FakeCheckpoints,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    isatty: Callable[[], bool] = lambda: terminal  # noqa: E731
    monkeypatch.setattr(sys.stderr, "isatty", isatty)
    assert cli.main(["compress", "album", "--output-dir", "out", "--jobs", "1"], checkpoints=fake) == 0
    said = capsys.readouterr().err
    assert ("3/3" in said) == terminal
    assert "cwic: 3 of 3 files done" in said
