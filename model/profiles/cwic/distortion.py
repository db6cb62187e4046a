"""What the errors of a coded picture are worth: the distortion that networks are trained for and codes refined by."""

import torch
from torch import Tensor

from model.profiles.cwic.structure import dissimilarity
from model.profiles.cwic.visual import visual_error

_STRUCTURE = 0.8  # of the distortion of the tune `visual`, what is structural; the rest is `visual_error`
_LEAST = 1e-6  # of a dissimilarity that is divided by


def distortion(x_hat: Tensor, x: Tensor, weight: Tensor, visual: Tensor) -> Tensor:
    """The mean over all pixels of what an error there is worth, [B].

    Of the tune `psnr` that is the squared error times the weight. Of the tune `visual` a share is put down to
    structure: it is worth what it stands for, so that lambda means the same, but its gradient goes where structure
    is lost.

    Args:
        x_hat: RGB, about 0..1, [B, 3, H, W], H and W multiples of 16.
        x: the original, of the same shape.
        weight: of the squared error, on the 0..255 scale, of a pixel, [B, 1, H, W].
        visual: of which of them the tune is `visual`, bool [B].
    """
    worth = (((x_hat - x) * 255).square().mean(1, keepdim=True) * weight).mean((1, 2, 3))
    at = torch.nonzero(visual)[:, 0]
    return worth.index_put((at,), _seen(x_hat[at], x[at], weight[at])) if len(at) else worth


def _seen(x_hat: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    own = (visual_error((x_hat - x) * 255, x) * weight).mean((1, 2, 3))
    unlike = dissimilarity(x, x_hat, weight)
    each = own.detach() / unlike.detach().clamp_min(_LEAST)
    return own + _STRUCTURE * (each * unlike - own)
