"""`python -m training progress REPORT...`: how the default checkpoint improves with the hours that it was trained.

Each call adds what `evaluate --json` reported of one checkpoint, one report for each tune, to a list that is kept
in a file, and draws BD-rates over hours. A report with SSIMULACRA2 is followed by that, any other by PSNR.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from model.errors import ParameterError
from training.commands.arguments import check_file, writing
from training.measure.curves import read_json

_FIELDS = {"psnr": "psnr_rgb", "ssimulacra2": "ssimulacra2"}  # of a report's points
_NAMES = {"psnr": "PSNR (RGB)", "ssimulacra2": "SSIMULACRA2"}

Entry = dict[str, Any]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument("reports", type=Path, nargs="+", metavar="REPORT", help="of `evaluate --json`")
    parser.add_argument(
        "--hours", type=float, required=True, help="of one processor core that the training took so far"
    )
    parser.add_argument("--machine", required=True, help="what the last of them were spent on")
    parser.add_argument(
        "--json", type=Path, required=True, metavar="FILE", help="the list; made where there is none"
    )
    parser.add_argument("--plot", type=Path, metavar="OUT.png", help="draw it")


def run(args: argparse.Namespace) -> int:
    """Add, draw, print; returns 0.

    Raises:
        ParameterError: a report or the list cannot be read, reports are of different checkpoints or not told apart,
            or what is to be written cannot be.
    """
    for out in filter(None, (args.json, args.plot)):
        check_file(out)
    entries = [entry for entry in _read(args.json) if entry["hours"] != args.hours]
    entries.append(entry_of(args.reports, hours=args.hours, machine=args.machine))
    entries.sort(key=lambda entry: float(entry["hours"]))
    for entry in entries:
        sys.stdout.write(f"{entry['hours']:g} hours, {entry['model_id']}: {_told(entry)}\n")
    with writing(args.json):
        args.json.write_text(json.dumps(entries, indent=1) + "\n")
    if args.plot:
        with writing(args.plot):
            save_plot(entries, args.plot)
    return 0


def entry_of(reports: list[Path], *, hours: float, machine: str) -> Entry:
    """What the list keeps of one checkpoint's reports."""
    read = [read_json(path) for path in reports]
    try:
        models = {report["models"][0]["model_id"] for report in read}
        curves = dict(map(_curve, read))
        date = max(report["date"] for report in read)
    except (KeyError, IndexError, TypeError) as exc:
        raise ParameterError(f"{', '.join(map(str, reports))}: no reports of `evaluate`: {exc!r}") from exc
    if len(models) != 1 or len(curves) != len(read):
        raise ParameterError(
            f"reports of one checkpoint are wanted, one for each measure, got {sorted(models)}, {sorted(curves)}"
        )
    return {"hours": hours, "machine": machine, "model_id": models.pop(), "date": date, "curves": curves}


def save_plot(entries: list[Entry], path: Path) -> None:
    """Write BD-rates of the mean curves over hours as a PNG, a panel for each measure."""
    metrics = [metric for metric in _NAMES if any(metric in entry["curves"] for entry in entries)]
    figure = Figure(figsize=(6.5 * len(metrics), 5), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    for index, metric in enumerate(metrics):
        _draw(figure.add_subplot(1, len(metrics), index + 1), entries, metric)
    figure.savefig(path, format="png", metadata={"Software": "cwic"})


def _draw(axes: Axes, entries: list[Entry], metric: str) -> None:
    there = [entry for entry in entries if metric in entry["curves"]]
    for reference in dict.fromkeys(name for entry in there for name in entry["curves"][metric]["bd_rates"]):
        points = [
            (entry["hours"], rates[reference])
            for entry in there
            if reference in (rates := entry["curves"][metric]["bd_rates"])
        ]
        axes.plot(*zip(*points, strict=True), marker="o", label=reference)
    tune = there[-1]["curves"][metric]["tune"]
    axes.set(
        xlabel="hours of one processor core",
        ylabel="bytes at equal quality, %",
        title=f"BD-rate by {_NAMES[metric]}, tune {tune}",
    )
    axes.axhline(0, color="#9a9a9a", linewidth=0.8)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)


def _curve(report: Entry) -> tuple[str, Entry]:
    """The measure that a report is followed by; our points, and BD-rates of the mean curves in percent."""
    means = report["codecs"][0]["means"]
    metric = "psnr" if means[0]["ssimulacra2"] is None else "ssimulacra2"
    words = report["command"].split()
    tune = words[words.index("--tune") + 1] if "--tune" in words else "default"
    return metric, {
        "command": report["command"],
        "tune": tune,
        "points": [[point["bpp"], point[_FIELDS[metric]]] for point in means],
        "bd_rates": {
            each["reference"]: round(each["means"][metric], 2)
            for each in report["bd_rates"]
            if each["kind"] == "measured" and each["means"][metric] is not None
        },
    }


def _told(entry: Entry) -> str:
    return "; ".join(
        f"{_NAMES[metric]} " + ", ".join(f"{rate:+.1f} % {name}" for name, rate in curve["bd_rates"].items())
        for metric, curve in entry["curves"].items()
    )


def _read(path: Path) -> list[Entry]:
    """The list so far."""
    if not path.exists():
        return []
    found = read_json(path)
    if not isinstance(found, list) or not all(
        isinstance(e, dict) and {"hours", "curves"} <= e.keys() for e in found
    ):
        raise ParameterError(f"{path} is no list of `progress`")
    return found
