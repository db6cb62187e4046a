"""The structural part of the distortion of the tune `visual`."""

import numpy as np
import pytest
import torch

from model.profiles.cwic.structure import _unlike, dissimilarity, xyb
from tests.photo import photo_jpeg, pixels_of

reference = pytest.importorskip("ssimulacra2.ssimulacra2")


def photo() -> torch.Tensor:
    array = pixels_of(photo_jpeg())[:192, :256]
    return torch.from_numpy(np.ascontiguousarray(array)).permute(2, 0, 1)[None].float() / 255


def test_equal_pictures_differ_in_nothing() -> None:
    assert float(dissimilarity(photo(), photo())) < 1e-5


def test_more_noise_and_more_blur_differ_more_each_picture_by_itself() -> None:
    x = photo()
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    found = dissimilarity(
        x.expand(4, -1, -1, -1), torch.cat([x + level * noise for level in (0.0, 0.01, 0.03, 0.1)])
    )
    assert found.tolist() == sorted(found.tolist())
    assert float(dissimilarity(x, x + 0.03 * noise)) == pytest.approx(float(found[2]), rel=1e-4)
    soft = torch.nn.functional.avg_pool2d(x, 3, 1, 1)
    softer = torch.nn.functional.avg_pool2d(x, 5, 1, 2)
    assert 0 < float(dissimilarity(x, soft)) < float(dissimilarity(x, softer))


def test_noise_hides_in_texture() -> None:
    generator = torch.Generator().manual_seed(0)
    flat = torch.full((1, 3, 128, 128), 0.5)
    texture = (flat + 0.2 * torch.randn(flat.shape, generator=generator)).clamp(0.1, 0.9)
    noise = 0.03 * torch.randn(flat.shape, generator=generator)
    assert float(dissimilarity(flat, flat + noise)) > 2 * float(dissimilarity(texture, texture + noise))


def test_there_is_a_gradient_everywhere_within_the_range_of_samples() -> None:
    x = photo()
    seen = (x + 0.05).clamp(0.02, 0.98).requires_grad_()
    torch.autograd.backward(dissimilarity(torch.zeros_like(x), seen).sum())
    assert seen.grad is not None
    assert torch.isfinite(seen.grad).all()
    assert (seen.grad.abs().sum(1) > 0).all()


def test_colours_and_similarity_are_those_of_ssimulacra2() -> None:
    """Of its package, for one scale; in a frame, since it ends pictures otherwise."""
    one = (photo() * 255).round()
    noise = 8 * torch.randn(one.shape, generator=torch.Generator().manual_seed(1))
    framed = [
        torch.nn.functional.pad(x, (16,) * 4, value=128.0) for x in (one, (one + noise).round().clamp(0, 255))
    ]
    theirs, ours = [], []
    for x in framed:
        linear = reference.srgb_to_linear(x[0].permute(1, 2, 0).numpy())
        theirs.append(reference.make_positive_xyb(reference.linear_rgb_to_xyb(linear).transpose(1, 0, 2)))
        ours.append(xyb(torch.from_numpy(linear).permute(2, 0, 1)[None].float()))
        np.testing.assert_allclose(ours[-1][0].permute(1, 2, 0).numpy(), theirs[-1], atol=2e-5)
    a, b = theirs
    means = [reference.blur_image(x) for x in (a, b, a * a, b * b, a * b)]
    wanted = reference.ssim_map(*means)[::2]
    np.testing.assert_allclose(_unlike(*ours)[0].mean((1, 2)).numpy(), wanted, rtol=2e-3)


@pytest.mark.parametrize("side", [1, 5, 6, 11, 16, 64])
def test_small_pictures_have_the_scales_that_they_have_room_for(side: int) -> None:
    x = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(2))
    assert (float(dissimilarity(x, 1 - x)) > 0) == (side > 5)
