"""Training of the profile `cvpr2018`: the paper's stages and objective, then the context models."""

import math
import sys

import torch
from torch import Tensor, nn

from model.config import Cvpr2018Config
from model.profiles.cvpr2018.network import Cvpr2018Network
from training.config import Stage, TrainConfig, scheduled
from training.data.pool import PicturePool
from training.recipes.base import AnyNetwork, Outcome, Probe
from training.recipes.klt import block_samples
from training.recipes.transform_start import MIN_WIDTH, start
from training.team import Team

_BLOCK_SAMPLES = 192  # of the 8x8 pixels and 3 colours that one code location stands for
_DECAY = 0.9  # decay of the importance's running mean
_RAMP = 0.25  # half its width, as a share of r
_GROWTH = 0.02  # of gamma in a step, for each unit that the mean is off, as a share of r
_FIRST_GAMMA, _LEAST_GAMMA, _LARGEST_GAMMA = 2.0, 0.01, 1000.0


class Cvpr2018Recipe:
    """See `Recipe`. The objective is that of the paper, equations 9 to 11, for each code location:

        squared error of its block + gamma * max(0, mean of p - r)

    with two changes that make the mean arrive at r and stay there. The mean is a running one over all batches, not
    each picture's own, so that busy pictures may have more than their share. And the corner of the maximum is a ramp
    around r, whose slope grows while the mean is above r and falls while it is below, as a Lagrange multiplier does:
    the corner alone makes the map swing between keeping too much and too little. While a context model is trained,
    its bits are added.
    """

    parts = ("encoder", "importance", "decoder", "codes", "map")
    labels = ("all",)

    def __init__(self, config: TrainConfig, codec: Cvpr2018Config, memory: dict[str, float]) -> None:
        self._config = config
        self._codec = codec
        self._memory = memory  # `importance`: the running mean of p; `gamma`: the weight of the rate

    def network(self, pool: PicturePool) -> Cvpr2018Network:
        """A transform coder in the paper's layers (`transform_start`); random weights where they are too narrow."""
        network = Cvpr2018Network(self._codec)
        if self._codec.width < MIN_WIDTH:
            sys.stderr.write(f"width {self._codec.width} is below {MIN_WIDTH}: weights start random\n")
            return network
        samples = block_samples(pool, generator=torch.Generator().manual_seed(self._config.seed))
        start(network.transforms.encoder, network.transforms.decoder, 2 * samples)
        return network

    def trained(self, stage: Stage) -> tuple[str, ...]:
        """See `Recipe`. Without a mask the importance branch has nothing to learn from."""
        return tuple(part for part in stage.parts or self.parts if stage.mask_mean or part != "importance")

    def part_of(self, parameter: str) -> str:
        """See `Recipe`."""
        if parameter.startswith("context."):
            return "map" if parameter.startswith("context.map.") else "codes"
        if parameter.startswith("transforms.encoder.importance."):
            return "importance"
        return "encoder" if parameter.startswith("transforms.encoder.") else "decoder"

    def draw(self, batch: int, patch: int, generator: torch.Generator) -> Tensor:
        """Nothing."""
        del patch, generator
        return torch.empty(batch, 0)

    def loss(
        self, network: nn.Module, x: Tensor, drawn: Tensor, *, stage: Stage, done: float, team: Team
    ) -> Outcome:
        """See the class."""
        del drawn
        trained = set(self.trained(stage))
        priced = bool(trained & {"codes", "map"})
        decoded = bool(trained & {"encoder", "importance", "decoder"})
        output = network(2 * x - 1, masked=bool(stage.mask_mean), priced=priced, decoded=decoded)
        mask_mean = output.mask.detach().mean()
        loss = x.new_zeros(())
        scalars = {"mask_mean": mask_mean}
        if output.x_hat is not None:
            error = (output.x_hat - (2 * x - 1)).square().mean()
            loss = loss + _BLOCK_SAMPLES * error
            scalars["mse"] = error.detach() * 127.5**2
        if stage.mask_mean and "importance" in trained:
            gamma = self._memory.get("gamma", _FIRST_GAMMA)
            if done == 0 and stage.rate_weight is not None:
                gamma = stage.rate_weight
            loss = loss + gamma * self._excess(
                output.importance, gamma, scheduled(stage.mask_mean, done), team
            )
            scalars["gamma"] = torch.tensor(gamma)
        if priced:
            bits = 64 * (output.code_bpp + stage.map_weight * output.map_bpp).mean()
            loss = loss + stage.bit_weight * bits
            scalars |= {"bpp/codes": output.code_bpp.mean(), "bpp/map": output.map_bpp.mean()}
        return Outcome(loss, scalars)

    def _excess(self, importance: Tensor, gamma: float, mask_mean: float, team: Team) -> Tensor:
        """max(0, mean of p - r) as the class describes it, with the gradient of this batch's mean; sets gamma."""
        mean = importance.mean()
        memory, seen = self._memory, float(team.mean(mean))
        if not math.isfinite(seen):
            return mean  # the step will be skipped
        memory["importance"] = _DECAY * memory.get("importance", seen) + (1 - _DECAY) * seen
        # The mask keeps floor(L p) + lowest level of L levels: p + (lowest level - 1/2) / L of the channels.
        threshold = mask_mean - (self._codec.lowest_level - 0.5) / self._codec.levels
        error = memory["importance"] / max(threshold, 1e-3) - 1
        grown = gamma * (1 + _GROWTH * min(max(error, -1.0), 1.0))
        memory["gamma"] = min(max(grown, min(gamma, _LEAST_GAMMA)), _LARGEST_GAMMA)
        return (mean - threshold) * min(max(1 + error / _RAMP, 0.0), 2.0)

    def probe(self, network: AnyNetwork, x: Tensor, label: str, *, stage: Stage) -> Probe:
        """With the bits that the context models would need, and those under the mask without any."""
        del label
        output = network(2 * x - 1, masked=bool(stage.mask_mean), priced=True)
        x_hat = output.x_hat / 2 + 0.5
        mse = ((x_hat.clamp(0, 1) * 255).round() - x * 255).square().mean()
        mask_mean = float(output.mask.mean())
        scalars = {
            "bpp": float(output.code_bpp + output.map_bpp),
            "bpp_map": float(output.map_bpp),
            "bpp_raw": mask_mean * self._codec.channels / 64,
            "mask_mean": mask_mean,
            "mse": float(mse),
        }
        return Probe(scalars, {"x_hat": x_hat[0], "importance": output.importance[0]})
