"""Rate-distortion curves as a picture: ours bold, measured ones dashed, published ones thin with labels."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from training.measure.bd_rate import Curve
from training.measure.report import Report

_OURS = "#c1121f"
_MEASURED = ("#003049", "#5f7f95", "#2a9d8f", "#e09f3e", "#7b2cbf", "#6a994e", "#d16ba5", "#7f4f24")
_PUBLISHED = "#9a9a9a"
_LABEL_HEIGHT = 0.034  # of the axes: below that, labels touch


_Named = tuple[str, Curve | None]


@dataclass(frozen=True)
class _Line:
    label: str
    curve: Curve
    colour: str
    width: float
    dashes: str
    order: int


@dataclass(frozen=True)
class _Label:
    """Where a line ends, and the height at which its name would best stand."""

    x: float
    y: float
    height: float
    line: _Line


def save_plot(report: Report, path: Path) -> None:
    """Write rate against PSNR, and against MS-SSIM in dB, as a PNG; the axes end where our codec ends."""
    figure = Figure(figsize=(15, 7.5), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    both = ((_psnr_lines(report), "PSNR (RGB), dB"), (_ms_ssim_lines(report), "MS-SSIM (RGB), dB"))
    panels = [(lines, label) for lines, label in both if lines]
    for index, (lines, label) in enumerate(panels):
        _draw(figure.add_subplot(1, len(panels), index + 1), lines, label)
    count = len({row.picture for row in report.ours.rows})
    note = "; grey: published" if report.published else ""
    figure.suptitle(f"{report.ours.label}: mean over {count} pictures, whole files{note}", fontsize=13)
    figure.savefig(path, format="png", metadata={"Software": "cwic"})


def _psnr_lines(report: Report) -> list[_Line]:
    curves = [(r.label, r.curve("psnr")) for r in report.results]
    return _lines(curves, [(p.name, p.psnr) for p in report.published])


def _ms_ssim_lines(report: Report) -> list[_Line]:
    curves = [(r.label, r.curve("ms_ssim")) for r in report.results]
    return _lines(curves, [(p.name, p.ms_ssim) for p in report.published])


def _lines(measured: Sequence[_Named], published: Sequence[_Named]) -> list[_Line]:
    """Ours last, on top; no lines where we have no curve."""
    (name, curve), *others = measured
    if curve is None:
        return []
    return [
        *(_Line(label, curve, _PUBLISHED, 0.8, "-", 1) for label, curve in published if curve),
        *(
            _Line(label, curve, _MEASURED[index % len(_MEASURED)], 1.6, "--", 2)
            for index, (label, curve) in enumerate(others)
            if curve
        ),
        _Line(name, curve, _OURS, 3.0, "-", 3),
    ]


def _draw(axes: Axes, lines: Sequence[_Line], label: str) -> None:
    ours = lines[-1].curve
    right = 1.05 * ours.bpp[-1]
    low, high = _visible(lines, right)
    labels: list[_Label] = []
    for line in lines:
        curve = line.curve
        axes.plot(
            curve.bpp,
            curve.quality,
            color=line.colour,
            linewidth=line.width,
            linestyle=line.dashes,
            marker="x" if len(curve.bpp) == 1 else ("o" if line.order == 3 else None),
            markersize=5,
            zorder=line.order,
        )
        end = _end(curve, right)
        if end and low <= end[1] <= high:
            labels.append(_Label(*end, height=_continued(curve, right), line=line))
    axes.set_xlim(0, right)
    axes.set_ylim(low, high)
    axes.set_xlabel("bits per pixel")
    axes.set_ylabel(label)
    axes.grid(visible=True, linewidth=0.4, color="#dddddd")
    axes.spines[["top", "right"]].set_visible(False)
    _label(axes, labels, right, low, high)


def _visible(lines: Sequence[_Line], right: float) -> tuple[float, float]:
    """Our range of quality, and above it what the others reach at our rates."""
    ours = lines[-1].curve.quality
    ends = [end[1] for line in lines if (end := _end(line.curve, right))]
    low, high = ours[0], max([ours[-1], *ends])
    margin = max(0.04 * (high - low), 0.1)
    return low - margin, high + margin


def _end(curve: Curve, right: float) -> tuple[float, float] | None:
    """Where a curve ends or leaves the axes."""
    if curve.bpp[0] > right:
        return None
    at = curve.quality_at(right)
    return (right, at) if at is not None else (curve.bpp[-1], curve.quality[-1])


def _continued(curve: Curve, right: float) -> float:
    """What a curve would reach at the right edge: its label goes there, and lines to labels do not cross."""
    (x, y) = _end(curve, right) or (curve.bpp[-1], curve.quality[-1])
    if len(curve.bpp) == 1 or x >= right:
        return y
    slope = (y - curve.quality[-2]) / math.log(x / curve.bpp[-2])
    return y + slope * math.log(right / x)


def _label(axes: Axes, labels: Sequence[_Label], right: float, low: float, high: float) -> None:
    """Names at the right edge, pushed apart, with a thin line to the curve's end."""
    heights = spread([label.height for label in labels], _LABEL_HEIGHT * (high - low), low, high)
    for label, height in zip(labels, heights, strict=True):
        line = label.line
        axes.annotate(
            line.label,
            xy=(label.x, label.y),
            xytext=(1.03 * right, height),
            fontsize=10 if line.order == 3 else 8,
            fontweight="bold" if line.order == 3 else "normal",
            color="#555555" if line.order == 1 else line.colour,
            verticalalignment="center",
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "linewidth": 0.4,
                "color": line.colour,
                "shrinkA": 0,
                "shrinkB": 0,
                "relpos": (0, 0.5),
            },
        )


def spread(values: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """The values, `gap` apart and in range, in their order, with the least sum of squared moves.

    With `gap` times the rank taken off, this is isotonic regression: neighbours that are too close are pooled.
    """
    order = sorted(range(len(values)), key=values.__getitem__)
    pools: list[list[float]] = []
    for rank, index in enumerate(order):
        pools.append([values[index] - rank * gap])
        while len(pools) > 1 and fmean(pools[-2]) > fmean(pools[-1]):
            pools[-2:] = [pools[-2] + pools[-1]]
    room = max(low, high - (len(values) - 1) * gap)
    bases = [min(max(fmean(pool), low), room) for pool in pools for _ in pool]
    placed = [0.0] * len(values)
    for rank, (index, base) in enumerate(zip(order, bases, strict=True)):
        placed[index] = base + rank * gap
    return placed
