"""The distortion of the tune `visual`: squared error where, and in what, the eye sees it.

Two facts carry it: noise hides in texture (contrast masking; a quantiser that follows local variance is what
encoders call adaptive quantisation), and colour is seen less sharply than brightness.
"""

import torch
from torch import Tensor
from torch.nn import functional

_BLOCK = 8
_MASKING = 0.26  # of the weight's exponent on the local variance: 20 % less weight for each octave of it
_TYPICAL = 50.0  # the variance at which the weight is 1, on the 0..255 scale: then it is 1 in the mean of photographs
_FLOOR = 4.0  # of the variance: what the eye's own noise hides
_CHROMA = 0.4  # weight of a colour difference beside that of a grey one of the same size
# From red, green and blue to luma and the two colour differences of ITU-R BT.601.
_OPPONENT = ((0.299, 0.587, 0.114), (-0.169, -0.331, 0.5), (0.5, -0.419, -0.081))


def visual_error(difference: Tensor, x: Tensor) -> Tensor:
    """Weighted squared error, [B, 1, H, W]; a grey difference in a place of typical variance counts its square.

    Args:
        difference: on the 0..255 scale, [B, 3, H, W].
        x: the picture, 0..1, [B, 3, H, W].
    """
    opponent = torch.tensor(_OPPONENT, device=x.device, dtype=x.dtype)
    luma, *chroma = torch.einsum("oc,bchw->obhw", opponent, difference.to(x.dtype))
    squared = luma.square() + _CHROMA * sum(each.square() for each in chroma)
    seen: Tensor = squared[:, None] * _visibility(x)
    return seen


def _visibility(x: Tensor) -> Tensor:
    """How much an error counts by the variance of the 8x8 pixels around it, [B, 1, H, W], without gradient."""
    with torch.no_grad():
        weights = torch.tensor(_OPPONENT[0], device=x.device, dtype=x.dtype).view(1, 3, 1, 1)
        luma = (x * weights).sum(1, keepdim=True) * 255
        mean = functional.avg_pool2d(luma, _BLOCK)
        variance = (functional.avg_pool2d(luma.square(), _BLOCK) - mean.square()).clamp_min(0)
        weight = ((variance + _FLOOR) / _TYPICAL) ** -_MASKING
        fine: Tensor = functional.interpolate(weight, scale_factor=_BLOCK, mode="nearest")
        return fine
