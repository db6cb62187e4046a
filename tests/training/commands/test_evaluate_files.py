"""`python -m training evaluate`: reports that are written, and rows of earlier ones that are taken over."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.training.commands.test_evaluate import box, folder, write_json
from tests.training.training_fakes import JpegInABox
from training.__main__ import main
from training.commands import evaluate
from training.measure.pillow_codecs import PILLOW_CODECS

__all__ = ["box", "folder"]  # fixtures


@pytest.mark.parametrize("option", ["--json", "--plot"])
def test_an_output_that_cannot_be_written_is_found_before_the_work(
    option: str, folder: Path, box: JpegInABox, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for out in (tmp_path, folder / "a.png" / "below"):
        assert main(["evaluate", str(folder), "--against", "none", option, str(out)]) == 2
        assert f"error: {out} cannot be written" in capsys.readouterr().err
    assert not box.seen


def test_what_was_measured_is_printed_where_it_cannot_be_written_after_all(
    folder: Path,
    box: JpegInABox,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(evaluate, "check_file", lambda _: None)
    options = ["--qualities", "50", "--against", "none", "--json", str(tmp_path)]
    assert main(["evaluate", str(folder), *options]) == 2
    told = capsys.readouterr()
    assert "quality 50" in told.out
    assert f"error: {tmp_path} cannot be written" in told.err
    assert box.seen


def test_a_folder_for_the_report_is_made(folder: Path, box: JpegInABox, tmp_path: Path) -> None:
    out = tmp_path / "new" / "folder" / "out.json"
    options = ["--qualities", "50", "--against", "none", "--json", str(out)]
    assert main(["evaluate", str(folder), *options]) == 0
    assert json.loads(out.read_text())["codecs"]
    assert box.seen


def test_other_formats_are_not_measured_again_where_an_earlier_report_has_them(
    folder: Path, box: JpegInABox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del box
    first, second = tmp_path / "first.json", tmp_path / "second.json"
    arguments = ["evaluate", str(folder), "--qualities", "20,80", "--against", "webp,jpeg"]
    assert main([*arguments, "--json", str(first)]) == 0
    report = json.loads(first.read_text())
    del report["codecs"][2]["rows"][0]  # of jpeg, which has to be measured again then
    write_json(first, report)
    encoded: list[str] = []

    def counting(name: str) -> None:
        codec = PILLOW_CODECS[name]
        real = type(codec).encode

        def encode(self: Any, array: Any, *, quality: float) -> bytes:
            encoded.append(self.label)
            return real(self, array, quality=quality)

        monkeypatch.setattr(type(codec), "encode", encode)

    counting("webp")
    assert main([*arguments, "--reuse", str(first), "--json", str(second)]) == 0
    assert {PILLOW_CODECS["jpeg"].label} == set(encoded)
    again = json.loads(second.read_text())
    assert [codec["name"] for codec in again["codecs"]] == ["cwic", "webp", "jpeg"]
    assert again["codecs"][1]["rows"] == report["codecs"][1]["rows"]
    assert again["bd_rates"][0]["means"] == pytest.approx(report["bd_rates"][0]["means"], abs=0.01)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda report: report["versions"].update(webp="0"), "other versions of webp"),
        (lambda report: report.pop("codecs"), "no report"),
        (lambda report: report["codecs"][0]["rows"][0].pop("size"), "no report"),
        (
            lambda report: report["codecs"][1]["rows"][0].update(width=12),
            "a.png has 12x168 pixels, not 176x168",
        ),
    ],
)
def test_reports_that_do_not_fit_are_refused(
    folder: Path,
    box: JpegInABox,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    change: Any,
    message: str,
) -> None:
    del box
    path = tmp_path / "report.json"
    arguments = ["evaluate", str(folder), "--qualities", "20,80", "--against", "webp"]
    assert main([*arguments, "--json", str(path)]) == 0
    report = json.loads(path.read_text())
    change(report)
    assert main([*arguments, "--reuse", str(write_json(path, report))]) == 2
    assert message in capsys.readouterr().err
