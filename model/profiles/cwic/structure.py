"""How far the structure of two pictures differs, with gradients: multi-scale structural similarity in XYB.

Wang, Simoncelli, Bovik: Multiscale structural similarity for image quality assessment, Asilomar 2003, with its
weights for luma's scales, but as a weighted sum of what is dissimilar in place of a product. The colours are JPEG
XL's XYB, in the form, with the window and with the constant of SSIMULACRA2 (Sneyers 2022). Its own weights are not
used: they were fitted to tell codecs apart, and leave out what a codec could then do away with.
"""

import torch
from torch import Tensor
from torch.nn import functional

_OPSIN = ((0.30, 0.622, 0.078), (0.23, 0.692, 0.078), (0.24342269, 0.20476745, 0.55180986))
_BIAS = 0.0037930733
_LUMA = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # of the scales, from the picture's own on
_COLOUR = (0.0, 0.0, 0.1, 0.1, 0.1)  # seen less sharply
_SIGMA, _RADIUS = 1.5, 5  # of the window, in pixels
_STABLE = 0.0009  # the constant beside variances
_LEAST = 1e-6  # of what a root is taken of, and of a mean weight


def dissimilarity(one: Tensor, other: Tensor, weight: Tensor | None = None) -> Tensor:
    """The weighted sum over scales and colours of the mean of 1 - SSIM, 0 for equal pictures, [B].

    Scales at which a picture is smaller than the window are left out.

    Args:
        one: RGB, 0..1, [B, 3, H, W].
        other: of the same shape; what lies outside 0..1 is seen as cut off there.
        weight: of each pixel in the means, [B, 1, H, W]; equal ones if None.
    """
    with torch.autocast(one.device.type, enabled=False):
        pair = [_linear(each.float()) for each in (one, other)]
        total = one.new_zeros(len(one), dtype=torch.float32)
        weight = torch.ones_like(one[:, :1]) if weight is None else weight
        for luma, colour in zip(_LUMA, _COLOUR, strict=True):
            if min(pair[0].shape[2:]) <= _RADIUS:
                break
            shares = torch.tensor([colour, luma, colour] if colour else [luma], device=one.device)
            planes = [xyb(each) if colour else xyb(each)[:, 1:2] for each in pair]
            unlike = (_unlike(*planes) * weight).mean((2, 3)) / weight.mean((2, 3)).clamp_min(_LEAST)
            total = total + (unlike * shares).sum(1)
            *pair, weight = (functional.avg_pool2d(each, 2) for each in (*pair, weight))
    return total


def xyb(linear: Tensor) -> Tensor:
    """X, Y and B - Y of linear RGB, [B, 3, H, W], scaled so that they are about 0..1."""
    mixed = torch.einsum("oc,bchw->bohw", torch.tensor(_OPSIN, device=linear.device), linear) + _BIAS
    long, medium, short = (mixed.clamp_min(_LEAST) ** (1 / 3) - _BIAS ** (1 / 3)).unbind(1)
    luma = (long + medium) / 2
    return torch.stack([14 * (long - medium) / 2 + 0.42, luma + 0.01, short - luma + 0.55], 1)


def _linear(x: Tensor) -> Tensor:
    x = x.clamp(0, 1)
    return torch.where(x <= 0.04045, x / 12.92, ((x.clamp_min(0.04045) + 0.055) / 1.055) ** 2.4)


def _unlike(a: Tensor, b: Tensor) -> Tensor:
    """1 - SSIM, 0 where it is negative, of each plane, [B, N, H, W]."""
    mean_a, mean_b, power, ab = _blurred(torch.cat([a, b, a * a + b * b, a * b], 1)).chunk(4, 1)
    covariance = 2 * (ab - mean_a * mean_b) + _STABLE
    variances = power - (mean_a.square() + mean_b.square()) + _STABLE
    found: Tensor = (1 - (1 - (mean_a - mean_b).square()) * covariance / variances).clamp_min(0)
    return found


def _blurred(x: Tensor) -> Tensor:
    window = torch.exp(-torch.arange(-_RADIUS, _RADIUS + 1, device=x.device).square() / (2 * _SIGMA**2))
    window = window / window.sum()
    channels = x.shape[1]
    x = functional.pad(x, (_RADIUS,) * 4, mode="reflect")
    x = x.contiguous(memory_format=torch.channels_last)  # three times as fast on a CPU
    for shape in ((1, 1, -1, 1), (1, 1, 1, -1)):
        x = functional.conv2d(x, window.view(shape).expand(channels, 1, -1, -1), groups=channels)
    return x
