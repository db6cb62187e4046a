"""`python -m training progress`: the list of checkpoints, and its plot."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from training.__main__ import main


def report(path: Path, *, model: str = "0123abcd", perceptual: bool = False, rate: float = -50.0) -> Path:
    """What `evaluate --json` writes, of it what is read here."""
    metric = "ssimulacra2" if perceptual else "psnr"
    made: dict[str, Any] = {
        "command": f"python -m training evaluate kodak --tune {'visual' if perceptual else 'psnr'}",
        "date": "2026-01-02T03:04:05+00:00",
        "models": [{"model_id": model}],
        "codecs": [{"means": [{"bpp": 0.5, "psnr_rgb": 30.5, "ssimulacra2": 60.0 if perceptual else None}]}],
        "bd_rates": [
            {"reference": "JPEG 4:2:0", "kind": "measured", "means": {"psnr": 1.0, metric: rate}},
            {"reference": "published", "kind": "published", "means": {"psnr": 1.0, metric: 5.0}},
        ],
    }
    if not perceptual:
        made["bd_rates"][0]["means"]["ssimulacra2"] = None
    path.write_text(json.dumps(made))
    return path


def progress(folder: Path, *reports: Path, hours: float) -> int:
    where = ["--json", str(folder / "progress.json"), "--plot", str(folder / "progress.png")]
    return main(["progress", *map(str, reports), "--hours", str(hours), "--machine", "a core", *where])


def test_each_checkpoint_is_an_entry_in_the_order_of_hours(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    later = report(tmp_path / "b.json", rate=-55.0)
    assert progress(tmp_path, later, hours=4) == 0
    both = report(tmp_path / "a.json"), report(tmp_path / "v.json", perceptual=True, rate=12.5)
    assert progress(tmp_path, *both, hours=1.5) == 0
    first, second = json.loads((tmp_path / "progress.json").read_text())
    assert (first["hours"], second["hours"]) == (1.5, 4)
    assert first["curves"]["psnr"] == {
        "command": "python -m training evaluate kodak --tune psnr",
        "tune": "psnr",
        "points": [[0.5, 30.5]],
        "bd_rates": {"JPEG 4:2:0": -50.0},
    }
    assert first["curves"]["ssimulacra2"]["points"] == [[0.5, 60.0]]
    assert first["curves"]["ssimulacra2"]["bd_rates"] == {"JPEG 4:2:0": 12.5}
    assert second["model_id"] == "0123abcd"
    assert "4 hours, 0123abcd: PSNR (RGB) -55.0 % JPEG 4:2:0" in capsys.readouterr().out
    with Image.open(tmp_path / "progress.png") as picture:
        assert picture.size == (1560, 600)


def test_the_same_hours_again_replace_the_entry(tmp_path: Path) -> None:
    for rate in (-50.0, -51.0):
        assert progress(tmp_path, report(tmp_path / "a.json", rate=rate), hours=2) == 0
    [entry] = json.loads((tmp_path / "progress.json").read_text())
    assert entry["curves"]["psnr"]["bd_rates"] == {"JPEG 4:2:0": -51.0}


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ({"model": "ffffffff", "perceptual": True}, r"one checkpoint.*\['0123abcd', 'ffffffff'\]"),
        ({}, r"one for each measure.*\['psnr'\]"),
    ],
)
def test_reports_that_do_not_belong_together_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], second: dict[str, Any], message: str
) -> None:
    both = report(tmp_path / "a.json"), report(tmp_path / "b.json", **second)
    assert progress(tmp_path, *both, hours=1) == 2
    assert not (tmp_path / "progress.json").exists()
    assert re.search(message, capsys.readouterr().err)


@pytest.mark.parametrize("text", ["{", "[]", '{"models": []}'])
def test_what_is_no_report_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    assert progress(tmp_path, tmp_path / "a.json", hours=1) == 2
    assert "a.json" in capsys.readouterr().err


def test_a_list_of_something_else_is_not_overwritten(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "progress.json").write_text('{"mine": 1}')
    assert progress(tmp_path, report(tmp_path / "a.json"), hours=1) == 2
    assert "no list of `progress`" in capsys.readouterr().err
    assert (tmp_path / "progress.json").read_text() == '{"mine": 1}'


@pytest.mark.parametrize("option", ["--json", "--plot"])
def test_an_output_that_cannot_be_written_is_refused_and_the_list_stays(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str
) -> None:
    first = report(tmp_path / "a.json")
    assert progress(tmp_path, first, hours=1) == 0
    before = (tmp_path / "progress.json").read_text()
    outs = {"--json": tmp_path / "progress.json", "--plot": tmp_path / "p.png", option: first / "below"}
    where = [text for name, out in outs.items() for text in (name, str(out))]
    assert main(["progress", str(first), "--hours", "2", "--machine", "a core", *where]) == 2
    assert f"error: {first / 'below'} cannot be written" in capsys.readouterr().err
    assert (tmp_path / "progress.json").read_text() == before
    assert not (tmp_path / "p.png").exists()
