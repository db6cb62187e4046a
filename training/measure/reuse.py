"""Rows of an earlier report in place of measuring again what has not changed: other formats on the same pictures."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from model.errors import ParameterError
from training.data.pictures import read_rgb
from training.measure.files import Contender, Result, Row, summarise

_ADDED = "bpp"  # to a row when it is written
_CHANGE_NOTHING = ("cwic", "python", "torch", "numpy", "constriction", "machine")  # in another format's file


def earlier_results(
    path: Path,
    contenders: Iterable[Contender],
    files: Sequence[Path],
    *,
    versions: Mapping[str, str],
    perceptual: bool,
) -> dict[str, Result]:
    """What an earlier report has of contenders, by their names; those of which anything is missing are left out.

    Times are those of that run.

    Args:
        path: a report that `evaluate` wrote.
        contenders: what is wanted.
        files: pictures; those of the report are known by their names without folder.
        versions: of `report.environment`, now.
        perceptual: whether SSIMULACRA2 is wanted.

    Raises:
        ParameterError: it cannot be read, other versions of the formats' libraries made it, or pictures of these
            names had other sizes.
        BrokenImageError: a picture cannot be read.
    """
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
        others = {k: v for k, v in report["versions"].items() if k not in _CHANGE_NOTHING}
        rows = {codec["name"]: [_row(values) for values in codec["rows"]] for codec in report["codecs"]}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as exc:
        raise ParameterError(f"{path} is no report of `evaluate`: {exc!r}") from exc
    changed = sorted(name for name, version in others.items() if versions.get(name) != version)
    if changed:
        raise ParameterError(f"{path} was made by other versions of {', '.join(changed)}")
    sizes = {path.name: _size(path) for path in files}
    found: dict[str, Result] = {}
    for contender in contenders:
        by_key = {(row.picture, row.quality): row for row in rows.get(contender.name, ())}
        wanted = [by_key.get((name, quality)) for name in sizes for quality in contender.qualities]
        there = [row for row in wanted if row and not (perceptual and row.ssimulacra2 is None)]
        for row in there:
            if (row.width, row.height) != sizes[row.picture]:
                width, height = sizes[row.picture]
                raise ParameterError(
                    f"{path} is of other pictures: its {row.picture} has {row.width}x{row.height} pixels, "
                    f"not {width}x{height}"
                )
        if len(there) == len(wanted):
            found[contender.name] = summarise(contender, there)
    return found


def _size(path: Path) -> tuple[int, int]:
    """Width and height of the upright picture."""
    height, width = read_rgb(path).shape[:2]
    return width, height


def _row(values: Mapping[str, Any]) -> Row:
    psnr = values["psnr_rgb"]
    known = {name: value for name, value in values.items() if name != _ADDED}
    return Row(**known | {"psnr_rgb": math.inf if psnr is None else psnr})
