"""What the `cwic` command refuses: one line on standard error, and its exit status."""

import io
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model import cli
from model.errors import CheckpointNotFoundError, SelfTestError
from tests.model.command_line.fakes import PICTURE, FakeCheckpoints, Streams, packed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "COMMAND"),
        (["frobnicate"], "frobnicate"),
        (["compress", "IN"], "OUT"),
        (["compress", "IN", "OUT", "--quality", "high"], "high"),
        (["compress", "IN", "OUT", "--quality", "101"], "101"),
        (["compress", "IN", "OUT", "--quality", "nan"], "nan"),
        (["compress", "IN", "OUT", "--tune", "speed"], "speed"),
        (["compress", "IN", "OUT", "--lossless", "--quality", "9"], "neither quality nor tune"),
        (["compress", "IN", "OUT", "--lossless", "--tune", "psnr"], "neither quality nor tune"),
        (["compress", "IN", "OUT", "--lossless", "--target-psnr", "40"], "nor target"),
        (["compress", "IN", "OUT", "--quality", "9", "--target-bytes", "99"], "exclude each other"),
        (["compress", "IN", "OUT", "--target-bpp", "1", "--target-ssimulacra2", "80"], "exclude each other"),
        (["compress", "IN", "OUT", "--target-bytes", "0"], "1 and above, got 0"),
        (["compress", "IN", "OUT", "--target-bytes", "9.5"], "9.5"),
        (["compress", "IN", "OUT", "--target-psnr", "nan"], "above 0, got nan"),
        (["compress", "IN", "OUT", "--max-pixels", "0"], "got 0"),
        (["importance-map", "IN", "OUT", "--format", "png", "--quality", "0"], "got 0"),
        (
            ["decompress", "FILE", "OUT", "--format", "png", "--region", "1,2,3"],
            "X,Y,W,H in pixels, got '1,2,3'",
        ),
        (["decompress", "FILE", "OUT", "--format", "png", "--region", "a,b,c,d"], "got 'a,b,c,d'"),
        (["decompress", "FILE", "OUT", "--format", "png", "--region", "0,0,9,6"], "region"),
        (["decompress", "FILE", "OUT", "--format", "png", "--groups", "0"], "got 0"),
        (["decompress", "FILE", "OUT", "--format", "png", "--groups", "few"], "few"),
        (["truncate", "FILE", "OUT"], "--bytes"),
        (["truncate", "FILE", "OUT", "--bytes", "half"], "half"),
        (["truncate", "FILE", "OUT", "--bytes", "9", "--quality", "9"], "--quality"),
        (["importance-map", "IN", "OUT.png", "--style", "blue"], "blue"),
        (["importance-map", "IN", "OUT.png", "--style", "overlay", "--size", "map"], "size of the picture"),
        (["decompress", "IN", "OUT.bmp"], ".png, .jpg, .jpeg, .webp"),
        (["decompress", "IN", "OUT", "--format", "gif"], "gif"),
    ],
)
def test_a_wrong_command_line_is_one_line_and_status_2(
    arguments: list[str],
    message: str,
    source: Path,
    tmp_path: Path,
    fake: FakeCheckpoints,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "a.cwic").write_bytes(packed(PICTURE))
    places = {"IN": str(source), "OUT": str(tmp_path / "out"), "FILE": str(tmp_path / "a.cwic")}
    assert cli.main([places.get(word, word) for word in arguments], checkpoints=fake) == 2
    said = capsys.readouterr()
    assert message in said.err
    assert (said.out, said.err.count("\n")) == ("", 1)
    assert not (tmp_path / "out").exists()


def test_transparency_is_not_put_into_a_jpeg(
    tmp_path: Path, fake: FakeCheckpoints, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.cwic").write_bytes(packed(np.zeros((2, 2, 4), np.uint8)))
    assert cli.main(["decompress", str(tmp_path / "a.cwic"), str(tmp_path / "a.jpg")], checkpoints=fake) == 2
    assert "transparency" in capsys.readouterr().err
    assert not (tmp_path / "a.jpg").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["compress", "missing", "out"], "missing: No such file"),
        (["compress", "folder", "out"], "folder: is a folder; with --output-dir"),
        (["compress", "in.png", "folder"], "folder: is a folder; --output-dir"),
        (["inspect", "folder"], "folder: Is a directory"),
        (["compress", "in.png", "nowhere/out"], "nowhere/out: its folder does not exist"),
        (["compress", "text", "out"], "68 65 6c 6c 6f"),
        (
            ["compress", "in.png", "out", "--max-pixels", "47"],
            "max_pixels is 47, got 48; --max-pixels raises it",
        ),
        (["compress", "a.cwic", "out"], "a .cwic file"),
        (["decompress", "in.png", "out.png"], "does not start with CWIC"),
        (["decompress", "a.cwic", "out.png", "--max-pixels", "47"], "max_pixels is 47"),
        (["decompress", "cut", "out.png"], "the file ends at byte"),
        (["inspect", "text"], "does not start with CWIC"),
        (["truncate", "text", "out", "--bytes", "9"], "does not start with CWIC"),
        (["truncate", "cut", "out", "--bytes", "9"], "the file ends at byte"),
        (["importance-map", "text", "out.png"], "68 65 6c 6c 6f"),
    ],
)
def test_a_refused_input_is_one_line_and_status_1(
    arguments: list[str],
    message: str,
    source: Path,
    tmp_path: Path,
    fake: FakeCheckpoints,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(source.parent)
    (tmp_path / "folder").mkdir()
    (tmp_path / "text").write_text("hello")
    (tmp_path / "a.cwic").write_bytes(packed(PICTURE))
    (tmp_path / "cut").write_bytes(packed(PICTURE)[:-9])
    before = sorted(tmp_path.rglob("*"))
    assert cli.main(arguments, checkpoints=fake) == 1
    said = capsys.readouterr()
    assert message in said.err
    assert (said.out, said.err.count("\n")) == ("", 1)
    assert said.err.startswith("cwic: ")
    assert sorted(tmp_path.rglob("*")) == before, "nothing half written"


@given(
    data=st.binary(max_size=200),
    command=st.sampled_from(("compress", "decompress", "truncate", "importance-map", "inspect")),
)
@settings(max_examples=100)
def test_no_input_gets_a_traceback(data: bytes, command: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        Streams(patch, data)
        errors = io.StringIO()
        patch.setattr(sys, "stderr", errors)
        arguments = [command, "-"] if command == "inspect" else [command, "-", "-"]
        arguments += ["--bytes", "99"] if command == "truncate" else []
        assert cli.main(arguments, checkpoints=FakeCheckpoints()) == 1
        assert errors.getvalue().count("\n") == 1


@pytest.mark.parametrize("error", [CheckpointNotFoundError("no cwic in x"), SelfTestError("other\ncodes")])
def test_a_bad_installation_is_status_3(
    error: Exception, source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["compress", str(source), str(tmp_path / "out")]
    assert cli.main(arguments, checkpoints=FakeCheckpoints(error=error)) == 3
    assert capsys.readouterr().err == f"cwic: {' '.join(str(error).split())}\n"


def test_a_folder_without_checkpoints_is_status_3(
    source: Path, tmp_path: Path, fake: FakeCheckpoints, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["compress", str(source), str(tmp_path / "out"), "--model-dir", str(tmp_path / "empty")]
    assert cli.main(arguments, checkpoints=fake) == 3
    assert "no checkpoint in" in capsys.readouterr().err
