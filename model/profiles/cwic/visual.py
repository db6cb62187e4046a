"""The distortion of the tune `visual`: squared error where, and in what, the eye sees it.

Three facts carry it: noise hides in texture (contrast masking; a quantiser that follows local variance is what
encoders call adaptive quantisation); colour is seen less sharply than brightness; but a flat area of another colour
is seen at once, however small the difference.
"""

import torch
from torch import Tensor
from torch.nn import functional

_BLOCK = 8
_MASKING = 0.26  # of the weight's exponent on the local variance: 20 % less weight for each octave of it
_TYPICAL = 50.0  # the variance at which the weight is 1, on the 0..255 scale: then it is 1 in the mean of photographs
_FLOOR = 4.0  # of the variance: what the eye's own noise hides
_CHROMA = 0.4  # weight of a colour difference beside that of a grey one of the same size
_CELL = 16
_TINT = 4.0  # weight of a difference of a cell's mean colour, on top
# From red, green and blue to luma and the two colour differences of ITU-R BT.601.
_OPPONENT = ((0.299, 0.587, 0.114), (-0.169, -0.331, 0.5), (0.5, -0.419, -0.081))


def visual_error(difference: Tensor, x: Tensor) -> Tensor:
    """Weighted squared error, [B, 1, H, W]; grey noise in a place of typical variance counts its square.

    Args:
        difference: on the 0..255 scale, [B, 3, H, W], H and W multiples of 16.
        x: the picture, 0..1, [B, 3, H, W].
    """
    opponent = torch.tensor(_OPPONENT, device=x.device)
    with torch.autocast(x.device.type, enabled=False):
        luma, *chroma = torch.einsum("oc,bchw->obhw", opponent, difference.float())
    squared = luma.square() + _CHROMA * sum(each.square() for each in chroma)
    tint = functional.avg_pool2d(difference, _CELL).square().mean(1, keepdim=True)
    seen: Tensor = squared[:, None] * _visibility(x) + _TINT * _enlarged(tint, _CELL)
    return seen


def _visibility(x: Tensor) -> Tensor:
    """How much an error counts by the variance of the 8x8 pixels around it, [B, 1, H, W], without gradient."""
    with torch.no_grad():
        weights = torch.tensor(_OPPONENT[0], device=x.device, dtype=x.dtype).view(1, 3, 1, 1)
        luma = (x * weights).sum(1, keepdim=True) * 255
        mean = functional.avg_pool2d(luma, _BLOCK)
        variance = (functional.avg_pool2d(luma.square(), _BLOCK) - mean.square()).clamp_min(0)
        return _enlarged(((variance + _FLOOR) / _TYPICAL) ** -_MASKING, _BLOCK)


def _enlarged(values: Tensor, factor: int) -> Tensor:
    fine: Tensor = functional.interpolate(values, scale_factor=factor, mode="nearest")
    return fine
