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
from training.recipes.cwic import CwicRecipe, _with_structure
from training.recipes.structure import dissimilarity
from training.recipes.visual import visual_error
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


def test_a_share_of_the_visual_tunes_distortion_is_structural_and_worth_what_it_stands_for() -> None:
    x = torch.from_numpy(picture(64, 64)).permute(2, 0, 1)[None].float().expand(2, -1, -1, -1) / 255
    x_hat = (x + 0.02).requires_grad_()
    own = (x_hat - x).square().mean((1, 2, 3)) * torch.tensor([1.0, 4.0])
    found = _with_structure(own, x, x_hat, torch.tensor([False, True]))
    assert torch.allclose(found, own)
    (plain,) = torch.autograd.grad(own.sum(), x_hat, retain_graph=True)
    (mixed,) = torch.autograd.grad(found.sum(), x_hat, retain_graph=True)
    (unlike,) = torch.autograd.grad(dissimilarity(x, x_hat)[1], x_hat)
    assert torch.equal(mixed[0], plain[0])
    worth = (own[1] / dissimilarity(x, x_hat)[1]).item()
    assert torch.allclose(mixed[1], 0.4 * plain[1] + 0.6 * worth * unlike[1], rtol=1e-3, atol=1e-7)


def noise(seed: int, *, size: float) -> torch.Tensor:
    """Grey, of that standard deviation, and with no mean in any cell, [1, 1, 64, 64]."""
    made = torch.randn(1, 1, 64, 64, generator=torch.Generator().manual_seed(seed)) * size
    return made - torch.nn.functional.avg_pool2d(made, 16).repeat_interleave(16, 2).repeat_interleave(16, 3)


def test_grey_noise_counts_its_square_where_nothing_is_masked() -> None:
    x = (0.5 + noise(0, size=46**0.5) / 255).expand(
        1, 3, 64, 64
    )  # of the variance at which the weight is one
    difference = noise(1, size=3.0).expand(1, 3, 64, 64)
    assert float(visual_error(difference, x).mean()) == pytest.approx(
        float(difference.square().mean()), rel=0.1
    )


def test_errors_hide_in_texture_and_in_colour() -> None:
    flat = torch.full((1, 3, 64, 64), 0.5)
    texture = (0.5 + noise(0, size=0.2)).expand(1, 3, 64, 64)
    grey = noise(1, size=3.0).expand(1, 3, 64, 64)
    blue = grey * torch.tensor([-0.128, -0.128, 1.0]).view(1, 3, 1, 1)  # of no luma
    assert visual_error(grey, texture).mean() < 0.5 * visual_error(grey, flat).mean()
    assert visual_error(blue, flat).mean() < 0.5 * visual_error(grey, flat).mean()


def test_a_tint_counts_more_than_noise_of_its_size() -> None:
    flat = torch.full((1, 3, 64, 64), 0.5)
    tint = torch.tensor([2.0, -2.0, 0.0]).view(1, 3, 1, 1).expand(1, 3, 64, 64)
    grain = tint * noise(1, size=1.0)
    assert visual_error(tint, flat).mean() > 3 * visual_error(grain, flat).mean()
