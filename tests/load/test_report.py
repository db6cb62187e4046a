"""Reports: bounds that are missed are told, in the table, in the file and by the exit status."""

import argparse
import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.load import __main__ as program
from tests.load.report import Figure, Report, shown


@pytest.mark.parametrize(
    ("figure", "missed"),
    [
        (Figure("a", 1.0), False),
        (Figure("a", None), False),
        (Figure("a", 1.0, at_least=1.0), False),
        (Figure("a", 0.9, at_least=1.0), True),
        (Figure("a", 1.0, at_most=1.0), False),
        (Figure("a", 1.1, at_most=1.0), True),
        (Figure("a", None, at_most=1.0), True),
        (Figure("a", 3.0, at_least=1.0, at_most=2.0), True),
        (Figure("a", 0.0, at_most=0.0), False),
    ],
)
def test_a_bound_is_missed_where_the_value_is_beyond_it_or_was_not_measured(
    figure: Figure, missed: bool
) -> None:
    assert figure.missed is missed


def test_the_table_names_value_bound_and_outcome() -> None:
    report = Report("title", machine={"processor": "abacus"})
    report.add("kept", 1, "ms", at_most=2)
    report.add("missed", 1234.56, at_most=2)
    report.add("free", None)
    assert report.markdown().splitlines() == [
        "## title",
        "",
        "processor abacus",
        "",
        "| figure | value | bound | |",
        "|---|---|---|---|",
        "| kept | 1 ms | ≤ 2 | kept |",
        "| missed | 1235 | ≤ 2 | MISSED |",
        "| free | none |  |  |",
    ]
    assert json.loads(report.json())["missed"] == ["missed"]


@pytest.mark.parametrize(
    ("value", "text"), [(3.0, "3"), (0.12345, "0.123"), (98.76, "98.8"), (12345.6, "12346")]
)
def test_numbers_are_shown_with_the_digits_that_count(value: float, text: str) -> None:
    assert shown(value) == text


@pytest.mark.parametrize(("value", "status"), [(1.0, 0), (3.0, program.MISSED)])
def test_the_exit_status_tells_of_a_missed_bound(
    value: float,
    status: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def run(_: argparse.Namespace) -> Report:
        report = Report("title")
        report.add("figure", value, "ms", at_most=2)
        return report

    monkeypatch.setitem(
        program.COMMANDS, "rate", SimpleNamespace(run=run, add_arguments=lambda _: None, __doc__="Fake.")
    )
    files = ["--json", str(tmp_path / "json"), "--markdown", str(tmp_path / "table")]
    assert program.main(["rate", *files]) == status
    told = capsys.readouterr()
    assert told.out == (tmp_path / "table").read_text()
    assert told.err == ("missed: figure is 3 ms, bound ≤ 2\n" if status else "")
    assert json.loads((tmp_path / "json").read_text())["figures"][0]["value"] == value
