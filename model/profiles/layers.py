"""Small network parts that the transforms share."""

import torch
from torch import Tensor, nn
from torch.nn import functional

SLOPE = 0.1  # of the leaky ReLUs: a plain one died in whole blocks during training, for good


def depthwise(width: int) -> nn.Conv2d:
    """A 3x3 filter for each channel, so that the product after it sees its input from the start."""
    layer = nn.Conv2d(width, width, 3, padding=1, groups=width, bias=False)
    with torch.no_grad():
        layer.weight[:, 0, 1, 1] += 1
    return layer


class ResidualBlock(nn.Module):
    """x + 1x1(leaky relu(1x1(depthwise 3x3(x)))), twice as wide inside; starts as the identity.

    A depthwise filter and two products in place of two full 3x3 convolutions (Sandler et al., CVPR 2018): a quarter
    of the multiplications, and better at equal training time (`training/results/ablations.md`).
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.depthwise = depthwise(width)
        self.first = nn.Conv2d(width, 2 * width, 1)
        self.second = nn.Conv2d(2 * width, width, 1)
        zero_(self.second)

    def forward(self, x: Tensor) -> Tensor:
        """[B, width, H, W] to the same shape."""
        hidden = functional.leaky_relu_(self.first(self.depthwise(x)), SLOPE)
        update: Tensor = self.second(hidden)
        return update.add_(x)


class Modulation(nn.Module):
    """Scales and shifts features by a function of the local conditions; starts as the identity.

    Feature-wise modulation as in FiLM (Perez et al. 2018) with a map in place of a vector, after
    Song et al., ICCV 2021.
    """

    def __init__(self, width: int, *, conditions: int, hidden: int = 32) -> None:
        super().__init__()
        self.width = width
        last = nn.Conv2d(hidden, 2 * width, 1)
        zero_(last)
        self.net = nn.Sequential(nn.Conv2d(conditions, hidden, 1), nn.ReLU(), last)

    def forward(self, x: Tensor, conditions: Tensor) -> Tensor:
        """Features [B, width, H, W] and planes about 0..1, [B, N, H, W], or [B, N, 1, 1] where they are constant."""
        gain, shift = torch.split(self.net(conditions), self.width, 1)
        return torch.addcmul(shift, x, 1 + gain)


def zero_(layer: nn.Module) -> None:
    """Set all weights and biases of a layer to zero."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
