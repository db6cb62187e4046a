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
    own = each * torch.stack([difference[0].square().mean(), visual_error(difference, x)[1].mean()])
    weight = each.view(2, 1, 1, 1).expand(-1, -1, 64, 64)
    found = distortion(x_hat, x, weight, torch.tensor([False, True]))
    assert torch.allclose(found, own)
    (plain,) = torch.autograd.grad(own.sum(), x_hat, retain_graph=True)
    (mixed,) = torch.autograd.grad(found.sum(), x_hat, retain_graph=True)
    (unlike,) = torch.autograd.grad(dissimilarity(x, x_hat)[1], x_hat)
    assert torch.allclose(mixed[0], plain[0])
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
