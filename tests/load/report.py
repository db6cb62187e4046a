"""Figures with bounds, as a Markdown table and as JSON."""

import json
import os
import platform
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Figure:
    """One number of a report.

    Attributes:
        name: what it is.
        value: None where nothing was measured.
        unit: such as `ms`.
        at_least: the bound below, where there is one.
        at_most: the bound above.
    """

    name: str
    value: float | None
    unit: str = ""
    at_least: float | None = None
    at_most: float | None = None

    @property
    def bound(self) -> str:
        """The bounds, for people."""
        parts = []
        if self.at_least is not None:
            parts.append(f"≥ {shown(self.at_least)}")
        if self.at_most is not None:
            parts.append(f"≤ {shown(self.at_most)}")
        return ", ".join(parts)

    @property
    def missed(self) -> bool:
        """Whether a bound is not kept; what has a bound and was not measured does not keep it."""
        if not self.bound:
            return False
        if self.value is None:
            return True
        below = self.at_least is not None and self.value < self.at_least
        return below or (self.at_most is not None and self.value > self.at_most)


@dataclass
class Report:
    """What a command measured.

    Attributes:
        title: of the report.
        figures: in the order of the table.
        details: everything else, for the JSON file.
        machine: on which, and how busy it was with other things.
    """

    title: str
    figures: list[Figure] = field(default_factory=list)
    details: dict[str, Any] = field(default_factory=dict)
    machine: dict[str, Any] = field(default_factory=lambda: machine())

    def add(
        self,
        name: str,
        value: float | None,
        unit: str = "",
        *,
        at_least: float | None = None,
        at_most: float | None = None,
    ) -> None:
        """One more figure; see `Figure`."""
        self.figures.append(Figure(name, value, unit, at_least, at_most))

    @property
    def missed(self) -> list[Figure]:
        """The figures whose bounds are not kept."""
        return [figure for figure in self.figures if figure.missed]

    def markdown(self) -> str:
        """The table."""
        rows = [
            f"## {self.title}",
            "",
            ", ".join(f"{name} {value}" for name, value in self.machine.items()),
            "",
        ]
        rows += ["| figure | value | bound | |", "|---|---|---|---|"]
        for each in self.figures:
            value = "none" if each.value is None else f"{shown(each.value)} {each.unit}".strip()
            said = "" if not each.bound else "MISSED" if each.missed else "kept"
            rows.append(f"| {each.name} | {value} | {each.bound} | {said} |")
        return "\n".join(rows) + "\n"

    def json(self) -> str:
        """All of it."""
        return json.dumps(
            {**asdict(self), "missed": [each.name for each in self.missed]}, indent=1, default=str
        )

    def write(self, *, json_file: Path | None, markdown_file: Path | None) -> None:
        """Into the files that are named."""
        if json_file is not None:
            json_file.write_text(self.json() + "\n")
        if markdown_file is not None:
            markdown_file.write_text(self.markdown())


def shown(value: float) -> str:
    """A number with three digits that count, whole ones whole."""
    if value == int(value) and abs(value) < 1e9:
        return str(int(value))
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def machine() -> dict[str, Any]:
    """The processor, its cores, and how many processes wanted them in the last minute."""
    info = Path("/proc/cpuinfo")
    models = (
        [line for line in info.read_text().splitlines() if line.startswith("model name")]
        if info.exists()
        else []
    )
    return {
        "time": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "processor": models[0].partition(":")[2].strip() if models else platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "load before": round(os.getloadavg()[0], 2),
    }
