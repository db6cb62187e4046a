"""Analysis and synthesis of the profile `cvpr2018`: the paper's networks, layer for layer as released.

Li et al., CVPR 2018, and the network definitions of the authors' release. Widths are those of the release times
`width` / 128. No normalisation; every convolution is followed by a ReLU except the ones that end a network.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from model.config import Cvpr2018Config
from model.profiles.base import Transforms
from model.profiles.cvpr2018.operators import quantize_importance

_KEEP_BIAS = 3.0  # of the importance net's last layer, so that training starts with almost everything kept


class ReleasedResidualBlock(nn.Module):
    """relu(x + relu(conv(relu(conv(x))))), 3x3: with the ReLU before the sum that the release has."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, hidden, 3, padding=1)
        self.second = nn.Conv2d(hidden, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """[B, width, H, W] to the same shape."""
        update: Tensor = self.second(self.first(x).relu_()).relu_()
        return update.add(x).relu_()


class Encoder(nn.Module):
    """E(x), and the importance net P on its features F(x)."""

    def __init__(self, config: Cvpr2018Config) -> None:
        super().__init__()
        w = config.width
        self.features = nn.Sequential(
            nn.Conv2d(3, w, 8, stride=4, padding=2),
            nn.ReLU(inplace=True),
            ReleasedResidualBlock(w, w),
            nn.Conv2d(w, 2 * w, 4, stride=2, padding=1),
            nn.ReLU(inplace=True),
            ReleasedResidualBlock(2 * w, w),
            nn.Conv2d(2 * w, 2 * w, 3, padding=1),
            nn.ReLU(inplace=True),
            ReleasedResidualBlock(2 * w, w),
        )
        self.codes = nn.Conv2d(2 * w, config.channels, 1)
        self.importance = nn.Sequential(
            nn.Conv2d(2 * w, w, 3, padding=1), nn.ReLU(inplace=True), last := nn.Conv2d(w, 1, 1)
        )
        _initialise(self)
        assert last.bias is not None
        nn.init.constant_(last.bias, _KEEP_BIAS)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """E(x) [B, n, H/8, W/8] and P(x) [B, 1, H/8, W/8], both in (0, 1), of RGB in -1..1, [B, 3, H, W]."""
        features = self.features(x)
        return torch.sigmoid(self.codes(features).float()), torch.sigmoid(self.importance(features).float())


class Decoder(nn.Module):
    """D(c)."""

    def __init__(self, config: Cvpr2018Config) -> None:
        super().__init__()
        w = config.width
        self.layers = nn.Sequential(
            nn.Conv2d(config.channels, 4 * w, 3, padding=1),
            nn.ReLU(inplace=True),
            ReleasedResidualBlock(4 * w, w),
            nn.Conv2d(4 * w, 4 * w, 3, padding=1),
            nn.ReLU(inplace=True),
            ReleasedResidualBlock(4 * w, w),
            nn.PixelShuffle(2),
            nn.Conv2d(w, 2 * w, 3, padding=1),
            nn.ReLU(inplace=True),
            ReleasedResidualBlock(2 * w, w),
            nn.PixelShuffle(4),
            nn.Conv2d(w // 8, w // 4, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(w // 4, 3, 1),
        )
        _initialise(self)

    def forward(self, codes: Tensor) -> Tensor:
        """RGB, about -1..1, [B, 3, H, W], of codes -1 and 1, 0 where masked, [B, n, H/8, W/8]."""
        x: Tensor = self.layers(codes).float()
        return x


class Cvpr2018Transforms(Transforms):
    """The paper's encoder, importance net and decoder. Margins are their receptive fields, 62 and 64 pixels."""

    analysis_margin = 64
    synthesis_margin = 64

    def __init__(self, config: Cvpr2018Config) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)

    def features(self, x: Tensor) -> tuple[Tensor, ...]:
        """See `Transforms`: E(x) and P(x), since nothing depends on conditions."""
        e, p = self.encoder((2 * x).to(self.encoder.codes.weight.dtype))
        return e, p

    def analyse(self, features: Sequence[Tensor], conditions: Tensor) -> tuple[Tensor, Tensor]:
        """See `Transforms`; there is one quality. The binarizer is rounding: e above 0.5 becomes 1."""
        del conditions
        e, p = features
        levels = quantize_importance(p, levels=self.config.levels) + self.config.lowest_level
        return e, levels.long()

    def synthesise(self, codes: Tensor, levels: Tensor, conditions: Tensor) -> Tensor:
        """See `Transforms`; the codes are -1, 1, and 0 where masked."""
        del levels, conditions
        x: Tensor = self.decoder(codes.to(self.encoder.codes.weight.dtype))
        return x / 2 + 0.5

    def run_in(self, dtype: torch.dtype) -> None:
        """Use another precision throughout."""
        self.to(dtype)


def _initialise(net: nn.Module) -> None:
    """Xavier weights and no biases, as the release."""
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.xavier_uniform_(layer.weight)
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)
