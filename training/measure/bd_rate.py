"""Rate-distortion curves: interpolation, and their mean difference in rate as one number."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.interpolate import PchipInterpolator

from model.errors import ParameterError


@dataclass(frozen=True)
class Curve:
    """Points of a rate-distortion curve, sorted by rate.

    Attributes:
        bpp: bits per pixel, above 0, strictly rising.
        quality: what the bits bought, strictly rising: PSNR or MS-SSIM in dB, or SSIMULACRA2.
    """

    bpp: tuple[float, ...]
    quality: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.bpp) != len(self.quality) or not self.bpp:
            raise ParameterError(f"a curve of {len(self.bpp)} rates and {len(self.quality)} qualities")
        bpp, quality = np.asarray(self.bpp), np.asarray(self.quality)
        if not (np.isfinite(bpp).all() and np.isfinite(quality).all() and bpp[0] > 0):
            raise ParameterError("a curve needs finite qualities and finite rates above 0")
        if (np.diff(bpp) <= 0).any() or (np.diff(quality) <= 0).any():
            raise ParameterError("a curve needs rates and qualities that rise from point to point")

    @classmethod
    def of(cls, bpp: Sequence[float], quality: Sequence[float]) -> "Curve":
        """A curve of points in any order.

        Left out are points that cost more than another and bring no more: the ends of quality scales.
        """
        pairs = sorted(zip(bpp, quality, strict=True), key=lambda pair: (pair[0], -pair[1]))
        kept: list[tuple[float, float]] = []
        for x, y in pairs:
            if not kept or y > kept[-1][1]:
                kept.append((float(x), float(y)))
        return cls(tuple(x for x, _ in kept), tuple(y for _, y in kept))

    def quality_at(self, bpp: float) -> float | None:
        """Quality at a rate (PCHIP over the logarithm of the rate); None outside of the curve."""
        if len(self.bpp) < 2 or not self.bpp[0] <= bpp <= self.bpp[-1]:
            return None
        return float(PchipInterpolator(np.log(self.bpp), self.quality)(np.log(bpp)))


def bd_rate(test: Curve, reference: Curve) -> float:
    """Mean difference in rate at equal quality, in percent; negative where `test` needs fewer bits.

    The logarithm of the rate is interpolated over quality, and the difference averaged over the range of
    quality that both curves reach.

    Bjøntegaard: "Calculation of average PSNR differences between RD-curves", ITU-T VCEG-M33, 2001; with the
    piecewise cubic interpolation that later replaced the one cubic of that document (ITU-T SG16 VCEG-AI11).

    Raises:
        ParameterError: a curve has fewer than two points, or the curves share no range of quality.
    """
    low = max(test.quality[0], reference.quality[0])
    high = min(test.quality[-1], reference.quality[-1])
    if min(len(test.bpp), len(reference.bpp)) < 2:
        raise ParameterError(
            f"BD-rate needs two points a curve, got {len(test.bpp)} and {len(reference.bpp)}"
        )
    if low >= high:
        ranges = [f"{curve.quality[0]:.2f} to {curve.quality[-1]:.2f}" for curve in (test, reference)]
        raise ParameterError(f"curves that do not overlap: {ranges[0]} and {ranges[1]}")
    difference = _mean_log_rate(test, low, high) - _mean_log_rate(reference, low, high)
    return float(100 * np.expm1(difference))


def _mean_log_rate(curve: Curve, low: float, high: float) -> float:
    rate = PchipInterpolator(curve.quality, np.log(curve.bpp))
    return float(rate.integrate(low, high)) / (high - low)
