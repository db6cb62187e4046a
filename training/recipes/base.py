"""What is particular to training one profile; the trainer knows only this."""

from collections.abc import Mapping
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from model.config import CodecConfig, Cvpr2018Config, CwicConfig
from model.profiles.cvpr2018.network import Cvpr2018Network
from model.profiles.cwic.network import CwicNetwork
from training.config import Stage
from training.data.pool import PicturePool
from training.team import Team

AnyNetwork = CwicNetwork | Cvpr2018Network


class Outcome(NamedTuple):
    """The loss of a batch, and scalars to watch as means over it; `mse`, on the 0..255 scale, where there is one."""

    loss: Tensor
    scalars: Mapping[str, Tensor]


class Probe(NamedTuple):
    """What a whole picture gives: scalars, and pictures to look at, [C, H, W] in 0..1."""

    scalars: Mapping[str, float]
    images: Mapping[str, Tensor]


class Recipe(Protocol):
    """One profile's training.

    Attributes:
        parts: what a stage may train.
        labels: of the settings at which a picture is watched.
    """

    @property
    def parts(self) -> tuple[str, ...]:
        """See above."""

    @property
    def labels(self) -> tuple[str, ...]:
        """See above."""

    def network(self, pool: PicturePool) -> AnyNetwork:
        """A network to start from: a transform coder made of the pool's pictures."""

    def part_of(self, parameter: str) -> str:
        """The part that a parameter belongs to."""

    def trained(self, stage: Stage) -> tuple[str, ...]:
        """The parts that a stage trains."""

    def draw(self, batch: int, patch: int, generator: torch.Generator) -> Tensor:
        """What is random about a batch beside its crops, [batch, ...]."""

    def loss(
        self, network: nn.Module, x: Tensor, drawn: Tensor, *, stage: Stage, done: float, team: Team
    ) -> Outcome:
        """The objective of a batch.

        Args:
            network: of `network`, perhaps wrapped.
            x: RGB, 0..1, float32 [B, 3, P, P].
            drawn: of `draw`.
            stage: that the run is in.
            done: the share of the stage that is behind, 0..1.
            team: of all processes.
        """

    def probe(self, network: AnyNetwork, x: Tensor, label: str, *, stage: Stage) -> Probe:
        """Measure a picture, RGB 0..1, float32 [1, 3, H, W], at one of `labels`; among its scalars is `mse`."""


def network_of(config: CodecConfig) -> AnyNetwork:
    """A network with random weights, to load others into."""
    if isinstance(config, Cvpr2018Config):
        return Cvpr2018Network(config)
    assert isinstance(config, CwicConfig)
    return CwicNetwork(config)
