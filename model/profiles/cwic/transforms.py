"""Analysis and synthesis of the profile `cwic`: pictures to latents and back.

Each is the sum of a linear 8x8 block transform, which training starts from a Karhunen-Loeve transform of
blocks and which alone makes a working transform coder, and a convolutional branch that starts near zero.
The block transform always runs in float32; the branch may run in bfloat16.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from model.config import BLOCK, TUNES, CwicConfig
from model.profiles.base import Transforms, level_plane
from model.profiles.layers import SLOPE, Modulation, ResidualBlock, depthwise

_STEM = 48  # width at half resolution
_HEAD = 32  # width at half resolution, synthesis
_MAP_HIDDEN = 64
_BRANCH_GAIN = 0.1


def lambda_at(config: CwicConfig, quality: Tensor) -> Tensor:
    """Weight of the squared error (0..255 scale) against bits per pixel, at quality 0..1."""
    return config.lambda_min * (config.lambda_max / config.lambda_min) ** quality


def quantiser_gain(config: CwicConfig, conditions: Tensor, log_gain: Tensor) -> Tensor:
    """The quantiser's gain, [B, channels, h, w], under conditions [B, 2, h, w], with a learned one per channel.

    Each tune has its own learned gains, [tunes, channels]: a quantisation matrix.

    A uniform quantiser of step s has the squared error s^2/12 and, at high rates, the slope
    dD/dR = -2 ln 2 D per code; the step that matches lambda is sqrt(6 / (lambda ln 2)).
    """
    quality, tune = torch.split(conditions, 1, 1)
    step = torch.sqrt(6 / (lambda_at(config, quality) * math.log(2)))
    psnr, visual = (gains.view(1, -1, 1, 1) for gains in log_gain)
    return 255 / step * torch.exp(torch.lerp(psnr, visual, tune))


def distortion_weight(config: CwicConfig, log_gain: Tensor) -> Tensor:
    """Bits that a squared error of 1 in a residual is worth when rounding; the shape of the gains."""
    rdo = config.rdo or math.inf  # the nearest, whatever it costs
    return rdo * error_weight(log_gain)


def error_weight(log_gain: Tensor) -> Tensor:
    """Bits that a squared error of 1 in a code is worth by what it does to the picture; the shape of the gains.

    The same at all qualities, since the quantiser's step follows lambda: see `quantiser_gain`.
    """
    return 2 / math.log(2) * torch.exp(-2 * log_gain)


def dct_basis(channels: int) -> NDArray[np.float32]:
    """The orthonormal 8x8 DCT of opponent colours, [channels, 3, 8, 8].

    Low frequencies come first, luma before chroma.
    A basis to start from where there is no data for a Karhunen-Loeve transform.
    """
    n = np.arange(BLOCK)
    waves = np.cos(math.pi / BLOCK * (n[None] + 0.5) * n[:, None]) * math.sqrt(2 / BLOCK)
    waves[0] /= math.sqrt(2)
    colours = np.linalg.qr(np.array([[1.0, 1, 1], [1, 0, -1], [1, -2, 1]]).T)[0].T
    rank = [(u + v + (3, 6)[c - 1] * (c > 0), c, u, v) for c in range(3) for u in n for v in n]
    chosen = sorted(rank)[:channels]
    basis = np.stack([np.einsum("c,y,x->cyx", colours[c], waves[u], waves[v]) for _, c, u, v in chosen])
    return basis.astype(np.float32)


class Analysis(nn.Module):
    """The encoder E(x) and the importance net P(x) on its features F(x)."""

    def __init__(self, config: CwicConfig) -> None:
        super().__init__()
        stem, trunk = config.stem_width, config.trunk_width
        self.blocks = nn.Conv2d(3, config.channels, BLOCK, stride=BLOCK, bias=False)
        self.blocks.weight.data = torch.from_numpy(dct_basis(config.channels))
        self.features = nn.Sequential(
            nn.Conv2d(3, _STEM, 5, stride=2, padding=2),
            nn.LeakyReLU(SLOPE, inplace=True),
            nn.Conv2d(_STEM, stem, 3, stride=2, padding=1),
            nn.LeakyReLU(SLOPE, inplace=True),
            nn.Conv2d(stem, trunk, 3, stride=2, padding=1),
            nn.LeakyReLU(SLOPE, inplace=True),
            *(ResidualBlock(trunk) for _ in range(config.blocks)),
        )
        self.modulation = Modulation(trunk, conditions=config.conditions)
        self.head = nn.Sequential(depthwise(trunk), nn.Conv2d(trunk, config.channels, 1))
        self.importance = nn.Sequential(
            nn.Conv2d(trunk, _MAP_HIDDEN, 3, stride=2, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(_MAP_HIDDEN, _MAP_HIDDEN, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(_MAP_HIDDEN, 1, 1),
        )
        _initialise(self.features)
        _initialise(self.importance)
        last = self.head[-1].weight
        assert isinstance(last, Tensor)
        last.data.mul_(_BRANCH_GAIN)
        last = self.importance[-1].bias
        assert isinstance(last, Tensor)
        nn.init.constant_(last, 1.5)  # start with most channels kept

    def forward(self, x: Tensor, conditions: Tensor) -> tuple[Tensor, Tensor]:
        """Latents before the quantiser's gain, and importance.

        Args:
            x: RGB in -0.5..0.5, float32 [B, 3, H, W], H and W multiples of 16.
            conditions: quality 0..1 and tune, float32 [B, 2, H/8, W/8], or [B, 2, 1, 1] where they are constant.

        Returns:
            y [B, channels, H/8, W/8] and p in (0, 1), [B, 1, H/16, W/16], both float32.
        """
        return self.conditioned(*self.unconditioned(x), conditions)

    def unconditioned(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """What `forward` needs of the picture: block components, float32 [B, channels, H/8, W/8], and features."""
        dtype = next(self.features.parameters()).dtype
        return _in_float32(self.blocks, x), self.features((x * 4).to(dtype))

    def conditioned(self, blocks: Tensor, features: Tensor, conditions: Tensor) -> tuple[Tensor, Tensor]:
        """What `forward` makes of it."""
        features = self.modulation(features, conditions.to(features.dtype))
        y = blocks + _BRANCH_GAIN * self.head(features).float()
        return y, torch.sigmoid(self.importance(features).float())


class Synthesis(nn.Module):
    """The decoder D(c)."""

    def __init__(self, config: CwicConfig) -> None:
        super().__init__()
        stem, trunk = config.stem_width, config.trunk_width
        self.blocks = nn.ConvTranspose2d(config.channels, 3, BLOCK, stride=BLOCK, bias=False)
        self.blocks.weight.data = torch.from_numpy(dct_basis(config.channels))
        self.entry = nn.Conv2d(config.channels + 1, trunk, 3, padding=1)
        self.modulation = Modulation(trunk, conditions=config.conditions)
        self.trunk = nn.Sequential(*(ResidualBlock(trunk) for _ in range(config.blocks)))
        self.upsampling = nn.Sequential(
            nn.Conv2d(trunk, 4 * stem, 3, padding=1),
            nn.PixelShuffle(2),
            nn.LeakyReLU(SLOPE, inplace=True),
            nn.Conv2d(stem, 4 * _HEAD, 3, padding=1),
            nn.PixelShuffle(2),
            nn.LeakyReLU(SLOPE, inplace=True),
            nn.Conv2d(_HEAD, 12, 3, padding=1),
            nn.PixelShuffle(2),
        )
        _initialise(nn.Sequential(self.entry))
        _initialise(self.upsampling)
        last = self.upsampling[-2].weight
        assert isinstance(last, Tensor)
        last.data.mul_(0.5 * _BRANCH_GAIN)

    def forward(self, latents: Tensor, levels: Tensor, conditions: Tensor) -> Tensor:
        """The picture.

        Args:
            latents: codes divided by the quantiser's gain, float32 [B, channels, H/8, W/8].
            levels: the importance map, -1..1, float32 [B, 1, H/8, W/8].
            conditions: quality 0..1 and tune, float32 [B, 2, H/8, W/8], or [B, 2, 1, 1] where they are constant.

        Returns:
            RGB, about 0..1, float32 [B, 3, H, W].
        """
        dtype = self.entry.weight.dtype
        entry = self.entry(torch.cat([latents * 3, levels], 1).to(dtype))
        features: Tensor = self.upsampling(self.trunk(self.modulation(entry, conditions.to(dtype))))
        return self._from_blocks(latents) + _BRANCH_GAIN * features.float() + 0.5

    def _from_blocks(self, latents: Tensor) -> Tensor:
        """What `blocks` would give, in a third of the time: its blocks do not overlap, so it is one product."""
        with torch.autocast(latents.device.type, enabled=False):
            basis = self.blocks.weight.flatten(1).T[:, :, None, None]  # [3 * 8 * 8, channels, 1, 1]
            return functional.pixel_shuffle(functional.conv2d(latents, basis), BLOCK)


class CwicTransforms(Transforms):
    """Analysis, the quantiser's gain, and synthesis."""

    full_precision = frozenset({"log_gain"})

    def __init__(self, config: CwicConfig) -> None:
        super().__init__()
        self.config = config
        self.analysis = Analysis(config)
        self.synthesis = Synthesis(config)
        self.log_gain = nn.Parameter(torch.zeros(len(TUNES), config.channels))
        self.analysis_margin = _whole_cells(32 + BLOCK * config.blocks, config.map_stride)
        self.synthesis_margin = _whole_cells(22 + BLOCK * config.blocks, config.map_stride)

    def gain(self, conditions: Tensor) -> Tensor:
        """See `quantiser_gain`."""
        return quantiser_gain(self.config, conditions, self.log_gain)

    def features(self, x: Tensor) -> tuple[Tensor, ...]:
        """See `Transforms`."""
        return self.analysis.unconditioned(x)

    def analyse(self, features: Sequence[Tensor], conditions: Tensor) -> tuple[Tensor, Tensor]:
        """See `Transforms`."""
        fine = _broadcast_at_codes(conditions)
        y, importance = self.analysis.conditioned(features[0], features[1], fine)
        levels = (1 + importance * (self.config.levels - 1)).round().long()
        return y * self.gain(fine), levels

    def synthesise(self, codes: Tensor, levels: Tensor, conditions: Tensor) -> Tensor:
        """See `Transforms`."""
        fine = _broadcast_at_codes(conditions)
        latents = codes / self.gain(fine)
        x: Tensor = self.synthesis(latents, level_plane(at_codes(levels.float()), self.config), fine)
        return x

    def residual_weight(self, tune: int) -> Tensor | None:
        """See `distortion_weight`."""
        return distortion_weight(self.config, self.log_gain[tune])

    def run_in(self, dtype: torch.dtype) -> None:
        """Use another precision for the convolutional branches; the block transforms keep float32."""
        for transform in (self.analysis, self.synthesis):
            transform.to(dtype)
            transform.blocks.float()


def at_codes(planes: Tensor) -> Tensor:
    """Planes at the map's resolution, [B, N, H/16, W/16], at that of the codes, [B, N, H/8, W/8]."""
    return functional.interpolate(planes, scale_factor=2, mode="nearest")


def at_pixels(planes: Tensor) -> Tensor:
    """Planes at the map's resolution, [B, N, H/16, W/16], at that of the picture, [B, N, H, W]."""
    return functional.interpolate(planes, scale_factor=2 * BLOCK, mode="nearest")


def _broadcast_at_codes(planes: Tensor) -> Tensor:
    """As `at_codes`, but [B, N, 1, 1], which is constant, stays as it is."""
    return planes if planes.shape[2:] == (1, 1) else at_codes(planes)


def _whole_cells(pixels: int, cell: int) -> int:
    return -(-pixels // cell) * cell


def _in_float32(layer: nn.Module, x: Tensor) -> Tensor:
    with torch.autocast(x.device.type, enabled=False):
        y: Tensor = layer(x)
    return y


def _initialise(layers: nn.Sequential) -> None:
    for layer in layers:
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, a=SLOPE)
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)
