"""What an evaluation found, as text for people and as JSON for programs."""

import datetime
import json
import math
import os
import platform
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import torch
from PIL import features

from model.types import ModelInfo
from training.measure.curves import BdRate, FloorCheck, Published
from training.measure.files import METRICS, Metric, Point, Result


@dataclass(frozen=True, kw_only=True)
class Report:
    """An evaluation.

    Attributes:
        command: as it was typed, without the folders of this machine.
        date: day and time, UTC.
        versions: of everything whose version can change the numbers.
        threads: that torch used.
        models: the checkpoints, in the order of the qualities where each has one rate.
        ours: our codec's results; the first of `results`.
        results: of all codecs measured in this run.
        published: curves from publications.
        bd_rates: ours against all others.
        floor: our points beside a floor; None when none was asked for.
    """

    command: str
    date: str
    versions: Mapping[str, str]
    threads: int
    models: tuple[ModelInfo, ...]
    results: tuple[Result, ...]
    published: tuple[Published, ...]
    bd_rates: tuple[BdRate, ...]
    floor: tuple[FloorCheck, ...] | None

    @property
    def ours(self) -> Result:
        """Our codec's results."""
        return self.results[0]


def to_text(report: Report) -> str:
    """Tables for a terminal."""
    pictures = len({row.picture for row in report.ours.rows})
    names = ", ".join(f"{model.name} {model.model_id}" for model in report.models)
    where = report.models[0]
    lines = [
        f"{names} on {where.device} ({where.dtype}), {report.threads} threads; {pictures} pictures, whole files"
    ]
    for result in report.results:
        lines += ["", *_curve_table(result)]
    lines += ["", *_bd_table(report.bd_rates)]
    if report.floor is not None:
        lines += ["", *_floor_table(report.floor)]
    return "\n".join(lines) + "\n"


def to_json(report: Report) -> str:
    """Everything, rows included; what is not finite becomes null."""
    pictures = {row.picture: (row.width, row.height) for row in report.ours.rows}
    content = {
        "command": report.command,
        "date": report.date,
        "versions": dict(report.versions),
        "threads": report.threads,
        "models": [asdict(model) for model in report.models],
        "pictures": [{"name": n, "width": w, "height": h} for n, (w, h) in pictures.items()],
        "bd_rates": [asdict(rate) for rate in report.bd_rates],
        "floor": [asdict(check) | {"difference": check.difference} for check in report.floor or ()],
        "codecs": [
            {
                "name": result.name,
                "label": result.label,
                "means": [asdict(point) for point in result.points],
                "rows": [asdict(row) | {"bpp": row.bpp} for row in result.rows],
            }
            for result in report.results
        ],
    }
    return json.dumps(_finite(content), indent=1, allow_nan=False) + "\n"


def environment() -> dict[str, str]:
    """Versions of everything that can change a number."""
    found = {
        "cwic": _version("cwic"),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "constriction": _version("constriction"),
        "pillow": PIL.__version__,
        "pillow_jxl": _version("pillow-jxl-plugin"),
        "ssimulacra2": _version("ssimulacra2"),
        **{name: features.version(name) or "none" for name in ("libjpeg_turbo", "webp", "avif")},
        "machine": platform.machine(),
    }
    return {name: str(value) for name, value in found.items()}


def now() -> str:
    """Day and time, UTC."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def command_line(arguments: Sequence[str]) -> str:
    """The command as typed; of absolute paths only the last part, for the rest is nobody's business."""
    parts = [Path(part).name if os.path.isabs(part) else part for part in arguments]
    return "python -m training " + shlex.join(parts)


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:  # run from a source tree
        return "unknown"


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float):
        return round(value, 6) if math.isfinite(value) else None
    return value


def _curve_table(result: Result) -> list[str]:
    columns = [f"{name:>8}" for name in ("bpp", "map bpp", "kept/px", "PSNR dB", "MS-SSIM", "SSIMU2")]
    times = [f"{name:>10}" for name in ("encode ms", "decode ms")]
    header = " ".join([f"{result.label:<24}", *columns, *times])
    return [header, *(_curve_line(point) for point in result.points)]


def _curve_line(point: Point) -> str:
    map_bpp = f"{point.section_bpp['map']:8.4f}" if "map" in point.section_bpp else f"{'-':>8}"
    kept = f"{'-':>8}" if point.kept is None else f"{point.kept:8.4f}"
    similar = f"{'-':>8}" if point.ms_ssim_rgb is None else f"{point.ms_ssim_rgb:8.5f}"
    score = f"{'-':>8}" if point.ssimulacra2 is None else f"{point.ssimulacra2:8.2f}"
    times = f"{1000 * point.encode_seconds:10.1f} {1000 * point.decode_seconds:10.1f}"
    label = f"quality {point.quality:g}"
    return f"  {label:<22} {point.bpp:8.4f} {map_bpp} {kept} {point.psnr_rgb:8.3f} {similar} {score} {times}"


def _bd_table(rates: Sequence[BdRate]) -> list[str]:
    def percent(values: Mapping[Metric, float | None], metric: Metric) -> str:
        value = values.get(metric)
        return f"{'-':>9}" if value is None else f"{value:+8.2f}%"

    width = max([24, *(len(rate.reference) for rate in rates)])
    lines = [f"{'BD-rate of ours against':<{width + 12}}" + "".join(f"{name:>20}" for name in METRICS)]
    lines += [f"{'mean curves, mean of pictures':<{width + 12}}"]
    for rate in rates:
        both = [percent(values, metric) for metric in METRICS for values in (rate.means, rate.pictures)]
        lines.append(f"  {rate.kind:<9} {rate.reference:<{width}} {' '.join(both)}")
    return lines


def _floor_table(checks: Sequence[FloorCheck]) -> list[str]:
    below = sum(check.difference < 0 for check in checks)
    return [
        f"{'floor':<24} {'bpp':>8} {'PSNR dB':>8} {'floor dB':>8} {'dB':>8}",
        *(
            f"{'':<24} {c.bpp:8.4f} {c.psnr_rgb:8.3f} {c.floor_psnr_rgb:8.3f} {c.difference:+8.3f}"
            for c in checks
        ),
        f"  {below} of {len(checks)} points are below the floor",
    ]
