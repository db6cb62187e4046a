"""`cwic inspect`, and the map of a file that was cut, in front of a fake codec."""

import json
import os
from pathlib import Path

import pytest

from model import cli
from model.container import lossless
from model.images.files import read_image
from model.images.writing import write_image
from model.types import Limits
from tests.model.command_line.fakes import PICTURE, FakeCheckpoints, packed


def test_inspect_tells_the_header_without_a_checkpoint(
    tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    (tmp_path / "a.cwic").write_bytes(packed(PICTURE))
    size = (tmp_path / "a.cwic").stat().st_size
    assert cli.main(["inspect", str(tmp_path / "a.cwic")]) == 0
    text = capsysbinary.readouterr().out.decode()
    assert f"size            {size}\n" in text
    assert "width           8\n" in text
    assert "mean_importance" not in text
    assert cli.main(["inspect", str(tmp_path / "a.cwic"), "--json"]) == 0
    facts = json.loads(capsysbinary.readouterr().out)
    assert (facts["width"], facts["height"], facts["size"], facts["quality"]) == (8, 6, size, None)
    assert (facts["profile"], facts["tune"], facts["grey"]) == ("lossless", None, False)
    assert (facts["tile"], facts["tiles"], facts["plane"], facts["truncated"]) == (4096, 1, False, False)
    length = len(lossless.pack(PICTURE))
    assert facts["sections"] == [{"name": "samples", "length": length, "bpp": 8 * length / 48}]


def test_inspect_tells_the_mean_importance_where_it_is_asked_for(
    tmp_path: Path, fake: FakeCheckpoints, capsys: pytest.CaptureFixture[str]
) -> None:
    coded = packed(PICTURE, model_id="22222222")
    for data, mean in (
        (coded, round(50 / 255, 4)),
        (coded[:-1], round(50 / 255, 4)),
        (packed(PICTURE), None),
    ):
        (tmp_path / "a.cwic").write_bytes(data)
        arguments = ["inspect", str(tmp_path / "a.cwic"), "--importance", "--model-dir", str(tmp_path)]
        assert cli.main([*arguments, "--json"], checkpoints=fake) == 0
        assert json.loads(capsys.readouterr().out)["mean_importance"] == mean
        assert cli.main(arguments, checkpoints=fake) == 0
        assert f"mean_importance {'-' if mean is None else mean}\n" in capsys.readouterr().out
    assert [name for name, *_ in fake.loaded] == ["other"] * 4
    assert {folder for _, folder, *_ in fake.loaded} == {tmp_path}


def test_inspect_tells_of_several_files_and_of_those_that_fail(
    tmp_path: Path, fake: FakeCheckpoints, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [str(tmp_path / name) for name in ("a.cwic", "text", "absent", "b.cwic")]
    for name in names[::3]:
        Path(name).write_bytes(packed(PICTURE, model_id="22222222"))
    Path(names[1]).write_bytes(b"text")
    assert cli.main(["inspect", *names]) == 1
    said = capsys.readouterr()
    paragraphs = said.out.strip().split("\n\n")
    assert [each.splitlines()[0].split() for each in paragraphs] == [["file", name] for name in names[::3]]
    assert f"{names[1]}: " in said.err
    assert f"{names[2]}: No such file" in said.err
    assert "2 of 4 files cannot be read" in said.err
    arguments = ["inspect", *names[::3], "--importance", "--json"]
    assert cli.main(arguments, checkpoints=fake) == 0
    facts = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(each["file"], each["mean_importance"]) for each in facts] == [
        (name, round(50 / 255, 4)) for name in names[::3]
    ]
    assert [name for name, *_ in fake.loaded] == ["other"]  # once, for all files


def test_names_that_are_no_text_are_told_as_they_are(
    tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    names = [os.fsencode(tmp_path / "a.cwic"), os.fsencode(tmp_path) + b"/\xff.cwic"]
    for name in names:
        Path(os.fsdecode(name)).write_bytes(packed(PICTURE))
    assert cli.main(["inspect", *map(os.fsdecode, names)]) == 0
    assert names[1] in capsysbinary.readouterr().out


def test_the_map_of_a_file_that_was_cut_needs_permission(
    tmp_path: Path, fake: FakeCheckpoints, capsys: pytest.CaptureFixture[str]
) -> None:
    cut, out, photo = tmp_path / "cut.cwic", tmp_path / "map.png", tmp_path / "a.png"
    cut.write_bytes(packed(PICTURE, model_id="11111111")[:-1])
    photo.write_bytes(write_image(PICTURE, format="png"))
    arguments = ["importance-map", str(cut), str(out)]
    assert cli.main(arguments, checkpoints=fake) == 1
    assert not out.exists()
    assert cli.main([*arguments, "--allow-truncated"], checkpoints=fake) == 0
    assert read_image(out.read_bytes(), limits=Limits()).array.shape[:2] == PICTURE.shape[:2]
    assert cli.main(["importance-map", str(photo), str(out), "--allow-truncated"], checkpoints=fake) == 2
    assert "--allow-truncated is for .cwic files" in capsys.readouterr().err


@pytest.mark.parametrize(
    "option", [["--model", "x"], ["--model-dir", "x"], ["--device", "cuda"], ["--max-pixels", "9"]]
)
def test_inspect_refuses_options_that_would_do_nothing(
    option: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.cwic").write_bytes(packed(PICTURE))
    assert cli.main(["inspect", str(tmp_path / "a.cwic"), *option]) == 2
    assert f"{option[0]} is for --importance" in capsys.readouterr().err


def test_inspect_tells_what_is_there_of_a_file_that_was_cut(
    tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    (tmp_path / "cut").write_bytes(packed(PICTURE, model_id="11111111", quality=30, tune="visual")[:-1])
    assert cli.main(["inspect", str(tmp_path / "cut")]) == 0
    facts = dict(line.split(maxsplit=1) for line in capsysbinary.readouterr().out.decode().splitlines())
    assert (facts["quality"], facts["tune"], facts["lowest_level"]) == ("30.0", "visual", "1")
    assert (facts["grey"], facts["plane"], facts["truncated"]) == ("no", "no", "yes")
    assert facts["sections"] == f"map 3 (0.5000 bpp), codes0 {PICTURE.size} (24.0000 bpp)"
    assert cli.main(["inspect", str(tmp_path / "cut"), "--json"]) == 0
    assert json.loads(capsysbinary.readouterr().out)["truncated"] is True
