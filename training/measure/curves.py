"""Comparing curves: BD-rates against measured and published ones, and a floor that must be reached."""

import json
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model.errors import ParameterError
from training.measure.bd_rate import Curve, bd_rate
from training.measure.files import METRICS, Metric, Result
from training.measure.metrics import ms_ssim_db

FLOOR_RANGE = (0.1, 1.0)  # bits per pixel


@dataclass(frozen=True)
class Published:
    """A curve from a publication.

    Attributes:
        name: of the codec.
        source: where the numbers are from.
        psnr: mean PSNR over mean rate.
        ms_ssim: mean MS-SSIM in dB over mean rate; None where it was not published.
    """

    name: str
    source: str
    psnr: Curve
    ms_ssim: Curve | None


@dataclass(frozen=True)
class BdRate:
    """Ours against another curve, in percent of the rate, by metric; None where curves are missing or do not overlap.

    The two ways differ where codecs share bits among pictures differently.

    Attributes:
        reference: label of the other curve.
        kind: `measured` in the same run, or `published`.
        means: BD-rate of the set's mean curves.
        pictures: mean of the BD-rates of each picture; None also where one of them has none.
    """

    reference: str
    kind: str
    means: Mapping[Metric, float | None]
    pictures: Mapping[Metric, float | None]


@dataclass(frozen=True)
class FloorCheck:
    """Our PSNR at one of our rates, and what the floor has there."""

    bpp: float
    psnr_rgb: float
    floor_psnr_rgb: float

    @property
    def difference(self) -> float:
        """In dB; negative below the floor."""
        return self.psnr_rgb - self.floor_psnr_rgb


def read_published(path: Path) -> tuple[Published, ...]:
    """Curves of a JSON file: name -> {bpp, psnr_rgb, ms_ssim_rgb (optional), source}.

    Values may be missing (null): such points are left out of that curve. A codec without any PSNR is left out.

    Raises:
        ParameterError: the file cannot be read or is something else.
    """
    try:
        found = [_published(name, entry) for name, entry in _read_object(path).items()]
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ParameterError(f"{path} has no published curves: {error!r}") from error
    return tuple(published for published in found if published)


def compare(ours: Result, others: Iterable[Result], published: Iterable[Published]) -> tuple[BdRate, ...]:
    """BD-rates of our curve against every other one."""
    measured = [
        BdRate(
            other.label,
            "measured",
            {metric: _bd(ours.curve(metric), other.curve(metric)) for metric in METRICS},
            {metric: _mean_bd(ours, other, metric) for metric in METRICS},
        )
        for other in others
    ]
    read = [
        BdRate(
            each.name,
            "published",
            {"psnr": _bd(ours.curve("psnr"), each.psnr), "ms_ssim": _bd(ours.curve("ms_ssim"), each.ms_ssim)},
            {},
        )
        for each in published
    ]
    return *measured, *read


def read_floor(path: Path) -> Curve:
    """The curve of a JSON file {bpp_total, psnr_rgb}; raises ParameterError for anything else."""
    content = _read_object(path)
    try:
        return Curve.of(content["bpp_total"], content["psnr_rgb"])
    except (KeyError, TypeError, ValueError) as error:
        raise ParameterError(f"{path} has no curve of bpp_total and psnr_rgb: {error!r}") from error


def check_floor(ours: Result, floor: Curve) -> tuple[FloorCheck, ...]:
    """Our points between 0.1 and 1.0 bits per pixel, where the floor's curve has that rate; maybe none."""
    low, high = FLOOR_RANGE
    checks = []
    for point in ours.points:
        expected = floor.quality_at(point.bpp)
        if low <= point.bpp <= high and expected is not None:
            checks.append(FloorCheck(point.bpp, point.psnr_rgb, expected))
    return tuple(checks)


def reaches(checks: Sequence[FloorCheck]) -> bool:
    """Whether every point is at or above the floor; no points prove nothing."""
    return bool(checks) and all(check.difference >= 0 for check in checks)


def read_json(path: Path) -> Any:
    """What a JSON file has; raises ParameterError."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ParameterError(f"{path} cannot be read: {error}") from error


def _read_object(path: Path) -> dict[str, Any]:
    content = read_json(path)
    if not isinstance(content, dict):
        raise ParameterError(f"{path} is no JSON object")
    return content


def _published(name: str, entry: dict[str, Any]) -> Published | None:
    bpp: Sequence[float] = entry["bpp"]
    psnr = _curve(bpp, entry.get("psnr_rgb") or ())
    decibels = [None if m is None else ms_ssim_db(m) for m in entry.get("ms_ssim_rgb") or ()]
    if psnr is None:
        return None
    return Published(name, str(entry.get("source", "")), psnr, _curve(bpp, decibels))


def _curve(bpp: Sequence[float | None], quality: Sequence[float | None]) -> Curve | None:
    if not quality:
        return None
    points = [(b, q) for b, q in zip(bpp, quality, strict=True) if b is not None and q is not None]
    return Curve.of([b for b, _ in points], [q for _, q in points]) if points else None


def _mean_bd(ours: Result, other: Result, metric: Metric) -> float | None:
    theirs = other.picture_curves(metric)
    rates = [_bd(curve, theirs[name]) for name, curve in ours.picture_curves(metric).items()]
    known = [rate for rate in rates if rate is not None]
    return statistics.fmean(known) if len(known) == len(rates) else None


def _bd(ours: Curve | None, other: Curve | None) -> float | None:
    if ours is None or other is None:
        return None
    try:
        value = bd_rate(ours, other)
    except ParameterError:  # one point, or no range of quality in common: the table has a dash
        return None
    return value if math.isfinite(value) else None
