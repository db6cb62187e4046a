"""What codecs make of pictures: real files, counted whole, decoded again and compared."""

import math
import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from model.errors import ParameterError
from model.types import FileInfo, Pixels
from training.data.pictures import read_rgb
from training.measure.bd_rate import Curve
from training.measure.metrics import MS_SSIM_MIN_SIDE, ms_ssim, ms_ssim_db, psnr, ssimulacra2

Metric = Literal["psnr", "ms_ssim", "ssimulacra2"]
METRICS: tuple[Metric, ...] = ("psnr", "ms_ssim", "ssimulacra2")


class FileCodec(Protocol):
    """Anything that turns pictures into files: our codec, or a format that Pillow writes."""

    def encode(self, array: Pixels, *, quality: float) -> bytes:
        """The file of an [H, W, 3] picture."""

    def decode(self, data: bytes) -> Pixels:
        """The picture of a file, [H, W, 3]."""


@dataclass(frozen=True, kw_only=True)
class Contender:
    """A codec to measure.

    Attributes:
        name: short, as on the command line.
        label: as tables and plots show it.
        codec: does the work.
        qualities: settings to measure it at.
        inspect: reads a file's sections, where it has some.
        kept: how many codes a file keeps under its mask, where it has one.
    """

    name: str
    label: str
    codec: FileCodec
    qualities: tuple[float, ...]
    inspect: Callable[[bytes], FileInfo] | None = None
    kept: Callable[[bytes], int] | None = None


@dataclass(frozen=True, kw_only=True)
class Row:
    """One picture at one setting.

    Attributes:
        codec: the contender's name.
        picture: file name without its folder.
        width: in pixels.
        height: in pixels.
        quality: the setting.
        size: of the whole file, in bytes.
        sections: bytes of payload by section; empty for other formats.
        kept: codes under the mask, which are raw bits where codes are binary; None for other formats.
        psnr_rgb: in dB; `inf` when nothing was lost.
        ms_ssim_rgb: 0 to 1; None for pictures with a side below 161 pixels.
        ssimulacra2: up to 100; None where it was not asked for.
        encode_seconds: from array to bytes.
        decode_seconds: from bytes to array.
    """

    codec: str
    picture: str
    width: int
    height: int
    quality: float
    size: int
    sections: Mapping[str, int] = field(default_factory=dict)
    kept: int | None = None
    psnr_rgb: float
    ms_ssim_rgb: float | None
    ssimulacra2: float | None = None
    encode_seconds: float
    decode_seconds: float

    @property
    def bpp(self) -> float:
        """Bits per pixel of the whole file."""
        return 8 * self.size / (self.width * self.height)


@dataclass(frozen=True, kw_only=True)
class Point:
    """One setting over all pictures: means of rates and of quality, medians of times.

    Attributes:
        quality: the setting.
        bpp: of whole files, over all pictures.
        section_bpp: of the payload of each section.
        kept: codes under the mask per pixel; None for other formats.
        psnr_rgb: in dB.
        ms_ssim_rgb: over the pictures that have one; None without any.
        ssimulacra2: the same.
        encode_seconds: median.
        decode_seconds: median.
    """

    quality: float
    bpp: float
    section_bpp: Mapping[str, float]
    kept: float | None
    psnr_rgb: float
    ms_ssim_rgb: float | None
    ssimulacra2: float | None = None
    encode_seconds: float
    decode_seconds: float


@dataclass(frozen=True, kw_only=True)
class Result:
    """One contender over all pictures and settings."""

    name: str
    label: str
    rows: tuple[Row, ...]
    points: tuple[Point, ...]

    def curve(self, metric: Metric) -> Curve | None:
        """Mean quality over mean rate, MS-SSIM in dB; None where it was not measured, or nothing was ever lost.

        Both means are over the pictures that have the metric.
        """
        rows: dict[float, list[Row]] = {}
        for row in self.rows:
            if _quality(row, metric) is not None:
                rows.setdefault(row.quality, []).append(row)
        return _curve([_point(quality, having) for quality, having in rows.items()], metric)

    def picture_curves(self, metric: Metric) -> dict[str, Curve | None]:
        """The same of each picture by itself."""
        names = dict.fromkeys(row.picture for row in self.rows)
        return {name: _curve([row for row in self.rows if row.picture == name], metric) for name in names}


def measure_all(
    contenders: Iterable[Contender],
    files: Iterable[Path],
    *,
    perceptual: bool = False,
    advance: Callable[[str], None] = lambda _: None,
) -> tuple[Result, ...]:
    """Every contender over every picture and setting; one picture is in memory at a time.

    Args:
        contenders: what to measure.
        files: pictures.
        perceptual: measure SSIMULACRA2 too, which takes a second for a Kodak picture.
        advance: called with the contender's name after each picture of it.

    Raises:
        ParameterError: no pictures.
        BrokenImageError: a picture cannot be read.
        CwicError: whatever a codec raises.
    """
    contenders = tuple(contenders)
    rows: dict[str, list[Row]] = {contender.name: [] for contender in contenders}
    for number, path in enumerate(files):
        array = read_rgb(path)
        for contender in contenders:
            if number == 0:  # first calls allocate and compile: not what a user waits for
                contender.codec.decode(contender.codec.encode(array, quality=contender.qualities[0]))
            rows[contender.name] += [
                measure(contender, array, path.name, quality=quality, perceptual=perceptual)
                for quality in contender.qualities
            ]
            advance(contender.name)
    return tuple(summarise(contender, rows[contender.name]) for contender in contenders)


def measure(
    contender: Contender, array: Pixels, picture: str, *, quality: float, perceptual: bool = False
) -> Row:
    """One picture through one codec: a file is made, counted, decoded and compared with the picture."""
    started = time.perf_counter()
    data = contender.codec.encode(array, quality=quality)
    encoded = time.perf_counter()
    decoded_array = contender.codec.decode(data)
    decoded = time.perf_counter()
    sections: dict[str, int] = {}
    for section in contender.inspect(data).sections if contender.inspect else ():
        sections[section.name] = sections.get(section.name, 0) + section.length
    height, width = array.shape[:2]
    return Row(
        codec=contender.name,
        picture=picture,
        width=width,
        height=height,
        quality=quality,
        size=len(data),
        sections=sections,
        kept=contender.kept(data) if contender.kept else None,
        psnr_rgb=psnr(array, decoded_array),
        ms_ssim_rgb=ms_ssim(array, decoded_array) if min(height, width) >= MS_SSIM_MIN_SIDE else None,
        ssimulacra2=ssimulacra2(array, decoded_array) if perceptual else None,
        encode_seconds=encoded - started,
        decode_seconds=decoded - encoded,
    )


def summarise(contender: Contender, rows: Iterable[Row]) -> Result:
    """The contender's curve: one point for each of its settings."""
    rows = tuple(rows)
    if not rows:
        raise ParameterError("nothing was measured: no pictures")
    points = tuple(
        _point(quality, [row for row in rows if row.quality == quality]) for quality in contender.qualities
    )
    return Result(name=contender.name, label=contender.label, rows=rows, points=points)


def _curve(measured: Iterable[Row] | Iterable[Point], metric: Metric) -> Curve | None:
    points = [(each.bpp, _quality(each, metric)) for each in measured]
    lossy = [(bpp, quality) for bpp, quality in points if quality is not None and quality != math.inf]
    return Curve.of([bpp for bpp, _ in lossy], [quality for _, quality in lossy]) if lossy else None


def _quality(measured: Row | Point, metric: Metric) -> float | None:
    if metric == "psnr":
        return measured.psnr_rgb
    if metric == "ssimulacra2":
        return measured.ssimulacra2
    return None if measured.ms_ssim_rgb is None else ms_ssim_db(measured.ms_ssim_rgb)


def _point(quality: float, rows: list[Row]) -> Point:
    pixels = [row.width * row.height for row in rows]
    similar = [row.ms_ssim_rgb for row in rows if row.ms_ssim_rgb is not None]
    scores = [row.ssimulacra2 for row in rows if row.ssimulacra2 is not None]
    names = dict.fromkeys(name for row in rows for name in row.sections)
    kept = [row.kept / area for row, area in zip(rows, pixels, strict=True) if row.kept is not None]
    return Point(
        quality=quality,
        bpp=statistics.fmean(row.bpp for row in rows),
        section_bpp={
            name: statistics.fmean(
                8 * row.sections.get(name, 0) / area for row, area in zip(rows, pixels, strict=True)
            )
            for name in names
        },
        kept=statistics.fmean(kept) if kept else None,
        psnr_rgb=math.fsum(row.psnr_rgb for row in rows) / len(rows),
        ms_ssim_rgb=statistics.fmean(similar) if similar else None,
        ssimulacra2=statistics.fmean(scores) if scores else None,
        encode_seconds=statistics.median(row.encode_seconds for row in rows),
        decode_seconds=statistics.median(row.decode_seconds for row in rows),
    )
