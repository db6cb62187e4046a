"""What an error is worth, in each tune."""

import pytest
import torch

from model.profiles.cwic.distortion import distortion
from model.profiles.cwic.structure import dissimilarity
from model.profiles.cwic.visual import visual_error
from tests.conftest import picture


def test_a_share_of_the_visual_tunes_distortion_is_structural_and_worth_what_it_stands_for() -> None:
    x = torch.from_numpy(picture(64, 64)).permute(2, 0, 1)[None].float().expand(2, -1, -1, -1) / 255
    x_hat = (x + 0.02).requires_grad_()
    each, difference = torch.tensor([1.0, 4.0]) / 2**18, (x_hat - x) * 255
    squared = difference.square().mean(1, keepdim=True)
    own = each * torch.stack([squared[0].mean(), visual_error(difference, x)[1].mean()])
    weight = each.view(2, 1, 1, 1).expand(-1, -1, 64, 64)
    found = distortion(x_hat, x, weight, torch.tensor([False, True]))
    assert torch.allclose(found, own)
    (plain,) = torch.autograd.grad(own.sum(), x_hat, retain_graph=True)
    (mixed,) = torch.autograd.grad(found.sum(), x_hat, retain_graph=True)
    (unlike,) = torch.autograd.grad(dissimilarity(x, x_hat)[1], x_hat)
    assert torch.equal(mixed[0], plain[0])
    worth = (own[1] / dissimilarity(x, x_hat)[1]).item()
    assert torch.allclose(mixed[1], 0.2 * plain[1] + 0.8 * worth * unlike[1], rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize("visual", [False, True])
def test_an_error_counts_where_it_has_weight(visual: bool) -> None:
    """In all parts of the distortion: what a region of interest and a picture's padding need."""
    x = torch.from_numpy(picture(64, 256)).permute(2, 0, 1)[None].float() / 255
    x_hat = (x + 0.02).requires_grad_()
    weight = torch.zeros(1, 1, 64, 256)
    weight[..., :64] = 1
    (gradient,) = torch.autograd.grad(distortion(x_hat, x, weight, torch.tensor([visual])).sum(), x_hat)
    reach = 6 * 8 if visual else 0  # of the window, at the coarsest scale of this picture
    assert (gradient[..., :64].abs().sum(1) > 0).all()
    assert not gradient[..., 64 + reach :].any()


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
