"""Training of the default profile: bits per pixel plus lambda times the distortion, over all qualities at once."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.config import TUNES, CwicConfig
from model.profiles.cwic.distortion import distortion
from model.profiles.cwic.network import CwicNetwork
from model.profiles.cwic.transforms import at_pixels, lambda_at
from training.config import Stage, TrainConfig
from training.data.pool import PicturePool
from training.recipes.base import AnyNetwork, Outcome, Probe
from training.recipes.klt import block_samples, principal_components
from training.team import Team

_LOSS_SCALE = 0.05  # brings the loss to the order of 1
_LEAST = 1e-6  # of a distortion that is divided by


class CwicRecipe:
    """See `Recipe`."""

    parts = ("blocks", "analysis", "synthesis", "codes", "map")

    def __init__(self, config: TrainConfig, codec: CwicConfig) -> None:
        self._config = config
        self._codec = codec
        self.labels = tuple(f"{tune} q{q}" for tune in codec.tunes for q in (0.05, 0.25, 0.45, 0.65, 1.0))

    def network(self, pool: PicturePool) -> CwicNetwork:
        """Linear block transforms that are a Karhunen-Loeve transform, and branches close to zero."""
        network = CwicNetwork(self._codec)
        samples = block_samples(pool, generator=torch.Generator().manual_seed(self._config.seed))
        basis = principal_components(samples)[: self._codec.channels].reshape(-1, 3, 8, 8)
        network.transforms.analysis.blocks.weight.data = basis.clone()
        network.transforms.synthesis.blocks.weight.data = basis.clone()
        return network

    def trained(self, stage: Stage) -> tuple[str, ...]:
        """See `Recipe`."""
        return stage.parts or self.parts

    def part_of(self, parameter: str) -> str:
        """See `Recipe`."""
        if parameter.startswith("context."):
            return "map" if parameter.startswith("context.map.") else "codes"
        if ".blocks." in parameter:
            return "blocks"
        return "analysis" if parameter.startswith("transforms.analysis.") else "synthesis"

    def draw(self, batch: int, patch: int, generator: torch.Generator) -> Tensor:
        """Planes of quality and tune, and of how many channel groups have residuals, [batch, 3, h, w].

        A share of the samples is coded as a file that was cut after some group.
        """
        cells = patch // self._codec.map_stride
        quality = random_quality(batch, cells, plane_share=self._config.plane_share, generator=generator)
        trained = torch.tensor([TUNES.index(tune) for tune in self._codec.tunes], dtype=torch.float32)
        tune = trained[torch.randint(len(trained), (batch, 1, 1, 1), generator=generator)]
        groups = torch.randint(1, len(self._codec.groups) + 1, (batch, 1, 1, 1), generator=generator)
        cut = torch.rand(batch, 1, 1, 1, generator=generator) < self._config.prefix_share
        there = torch.where(cut, groups, len(self._codec.groups)).float()
        return torch.cat([quality, tune.expand_as(quality), there.expand_as(quality)], 1)

    def loss(
        self, network: nn.Module, x: Tensor, drawn: Tensor, *, stage: Stage, done: float, team: Team
    ) -> Outcome:
        """Each sample is divided by the square root of its lambda, so that low and high rates weigh alike.

        A file that was cut is far from what its lambda asks for: its distortion counts as much as its rate,
        whatever it is, or such samples would drown the others.

        An analysis that is trained alone follows the gradients of the codes as they are chosen. The other parts need
        those of no rounding: the bits of a code that stays tell nothing of where its mean should be.
        """
        del team
        quality, tune, groups = torch.split(drawn, 1, 1)
        output = network(
            x,
            drawn[:, :2],
            noise=done < stage.noise_share,
            groups=groups[:, 0, 0, 0],
            alone=self.trained(stage) == ("analysis",),
        )
        weight = lambda_at(self._codec, quality)
        visual = tune[:, 0, 0, 0] == TUNES.index("visual")
        worth = distortion(output.x_hat, x, at_pixels(weight), visual)
        rate = output.code_bpp + output.map_bpp
        cut = groups[:, 0, 0, 0] < len(self._codec.groups)
        as_rate = rate.detach() * worth / worth.detach().clamp_min(_LEAST)
        total = rate + torch.where(cut, as_rate, worth)
        loss = (total / weight.mean((1, 2, 3)).sqrt()).mean() * _LOSS_SCALE
        scalars = {
            "mse": ((output.x_hat - x) * 255).square().mean(),
            "bpp/codes": output.code_bpp.mean(),
            "bpp/map": output.map_bpp.mean(),
            "mask_mean": output.levels.mean() / self._codec.levels,
        }
        return Outcome(loss, scalars)

    def probe(self, network: AnyNetwork, x: Tensor, label: str, *, stage: Stage) -> Probe:
        """At the tune and the quality that the label names."""
        del stage
        tune, quality = label.split(" q")
        cells = (x.shape[2] // self._codec.map_stride, x.shape[3] // self._codec.map_stride)
        at = torch.tensor([float(quality), TUNES.index(tune)], device=x.device)
        conditions = at.view(1, 2, 1, 1).expand(1, 2, *cells)
        output = network(x, conditions)
        levels = output.levels[0] / self._codec.levels
        mse = ((output.x_hat.clamp(0, 1) * 255).round() - x * 255).square().mean()
        bpp, map_bpp = output.code_bpp + output.map_bpp, output.map_bpp
        weight = lambda_at(self._codec, at[:1])
        scalars = {
            "bpp": float(bpp),
            "bpp_map": float(map_bpp),
            "mask_mean": float(levels.mean()),
            "mse": float(mse),
            "cost": float((bpp + weight * mse) / weight.sqrt()),
        }
        return Probe(scalars, {"x_hat": output.x_hat[0], "importance": levels})


def random_quality(batch: int, cells: int, *, plane_share: float, generator: torch.Generator) -> Tensor:
    """Quality planes, float32 [batch, 1, cells, cells] in 0..1: constant, or two-by-two corners for a share of them.

    Half of the varied planes have sharp borders and half are interpolated, so that a region of interest needs
    no second model.
    """
    constant = torch.rand(batch, 1, 1, 1, generator=generator).expand(-1, 1, cells, cells)
    corners = torch.rand(batch, 1, 2, 2, generator=generator)
    sharp = functional.interpolate(corners, size=(cells, cells), mode="nearest")
    smooth = functional.interpolate(corners, size=(cells, cells), mode="bilinear")
    draw = torch.rand(batch, 1, 1, 1, generator=generator)
    varied = torch.where(draw < plane_share / 2, sharp, smooth)
    return torch.where(draw < plane_share, varied, constant)
