"""Small network parts that the transforms share."""

import torch
from torch import Tensor, nn


class ResidualBlock(nn.Module):
    """x + conv(relu(conv(x))), 3x3; starts as the identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        zero_(self.second)

    def forward(self, x: Tensor) -> Tensor:
        """[B, width, H, W] to the same shape."""
        update: Tensor = self.second(self.first(x).relu_())
        return update.add_(x)


class QualityModulation(nn.Module):
    """Scales and shifts features by a function of the local quality; starts as the identity.

    Feature-wise modulation as in FiLM (Perez et al. 2018) with a map in place of a vector, after
    Song et al., ICCV 2021.
    """

    def __init__(self, width: int, *, hidden: int = 32) -> None:
        super().__init__()
        self.width = width
        last = nn.Conv2d(hidden, 2 * width, 1)
        zero_(last)
        self.net = nn.Sequential(nn.Conv2d(1, hidden, 1), nn.ReLU(), last)

    def forward(self, x: Tensor, quality: Tensor) -> Tensor:
        """Features [B, width, H, W] and quality in 0..1, [B, 1, H, W] or [1, 1, 1, 1] where it is constant."""
        gain, shift = torch.split(self.net(quality), self.width, 1)
        return torch.addcmul(shift, x, 1 + gain)


def zero_(layer: nn.Module) -> None:
    """Set all weights and biases of a layer to zero."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)


def straight_through(hard: Tensor, soft: Tensor) -> Tensor:
    """The value of `hard`, exactly, with the gradient of `soft` (Bengio et al. 2013)."""
    return hard.detach() + (soft - soft.detach())
