"""training.recipes.cwic and .visual: what a step draws, and what it is charged for."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from model.config import CwicConfig
from model.profiles.cwic.network import CwicNetwork
from tests.conftest import TINY, picture
from tests.training.training_fakes import run_settings
from training.config import Stage, TrainConfig
from training.recipes.cwic import CwicRecipe
from training.team import Team


def recipe(folder: Path, codec: CwicConfig = TINY, **settings: float) -> CwicRecipe:
    stage = Stage(name="joint", steps=1)
    values = {**run_settings(folder), **settings, "stages": (stage,), "codec": codec}
    return CwicRecipe(TrainConfig(**values), codec)  # type: ignore[arg-type]


def draw(made: CwicRecipe, batch: int = 400) -> torch.Tensor:
    return made.draw(batch, 64, torch.Generator().manual_seed(0))


def test_qualities_vary_within_the_share_of_crops_that_was_asked_for(tmp_path: Path) -> None:
    quality = draw(recipe(tmp_path, plane_share=0.3))[:, 0]
    assert quality.min() >= 0
    assert quality.max() <= 1
    varied = (quality.amax((1, 2)) > quality.amin((1, 2))).float().mean()
    assert float(varied) == pytest.approx(0.3, abs=0.08)


def test_every_tune_that_is_trained_is_drawn_and_no_other(tmp_path: Path) -> None:
    assert float(draw(recipe(tmp_path))[:, 1].mean()) == pytest.approx(0.5, abs=0.1)
    assert not draw(recipe(tmp_path, replace(TINY, tunes=("psnr",))))[:, 1].any()


def test_files_are_cut_within_the_share_that_was_asked_for(tmp_path: Path) -> None:
    whole = len(TINY.groups)
    groups = draw(recipe(tmp_path, prefix_share=0.5))[:, 2, 0, 0]
    assert set(groups.tolist()) == set(map(float, range(1, whole + 1)))
    assert float((groups < whole).float().mean()) == pytest.approx(0.5 * (whole - 1) / whole, abs=0.08)
    assert (draw(recipe(tmp_path, prefix_share=0.0))[:, 2] == whole).all()


def test_the_loss_is_finite_and_reaches_the_network(tmp_path: Path) -> None:
    torch.manual_seed(0)
    made, network = recipe(tmp_path), CwicNetwork(TINY)
    x = torch.from_numpy(picture(64, 64)).permute(2, 0, 1)[None].float().expand(8, -1, -1, -1) / 255
    outcome = made.loss(network, x, draw(made, 8), stage=Stage(name="joint", steps=1), done=0.5, team=Team())
    outcome.loss.backward()  # type: ignore[no-untyped-call]  # torch's own
    assert torch.isfinite(outcome.loss)
    assert network.transforms.log_gain.grad is not None
    assert (network.transforms.log_gain.grad.abs().amax(1) > 0).all()  # of both tunes


@pytest.mark.parametrize(
    ("parts", "alone"), [((), False), (("analysis", "map"), False), (("analysis",), True)]
)
def test_an_analysis_that_is_trained_alone_follows_the_codes_as_they_are_chosen(
    tmp_path: Path, parts: tuple[str, ...], alone: bool
) -> None:
    torch.manual_seed(0)
    made, network = recipe(tmp_path), CwicNetwork(TINY)
    asked = []
    network.register_forward_pre_hook(
        lambda _network, _inputs, named: asked.append(named["alone"]), with_kwargs=True
    )
    stage = Stage(name="a", steps=1, parts=parts)
    made.loss(network, torch.rand(2, 3, 64, 64), draw(made, 2), stage=stage, done=0.5, team=Team())
    assert asked == [alone]


def test_a_cut_files_distortion_counts_as_much_as_its_rate(tmp_path: Path) -> None:
    torch.manual_seed(0)
    made, network = recipe(tmp_path), CwicNetwork(TINY)
    x = torch.from_numpy(picture(64, 64)).permute(2, 0, 1)[None].float() / 255
    drawn = torch.zeros(1, 3, 4, 4)
    drawn[:, 0], drawn[:, 2] = 1.0, 1.0
    with torch.no_grad():
        outcome = made.loss(network, x, drawn, stage=Stage(name="a", steps=1), done=0.5, team=Team())
        output = network(x, drawn[:, :2], groups=torch.ones(1))
    rate = output.code_bpp + output.map_bpp
    assert float(outcome.loss) == pytest.approx(float(0.05 * 2 * rate / TINY.lambda_max**0.5), rel=1e-4)
