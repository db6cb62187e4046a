from fractions import Fraction
from math import ceil, floor

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from model.profiles.cvpr2018.operators import binarize, importance_mask, quantize_importance

GRID = 4096  # importance in these tests is a multiple of 1 / GRID, so that L p is exact in float32

sizes = st.tuples(st.integers(1, 6), st.integers(2, 32)).map(
    lambda pair: (pair[0] * pair[1], pair[1])
)  # n, L
conventions = st.sampled_from([0, 1])


def mask_and_gradient(p: Tensor, *, channels: int, levels: int, lowest_level: int) -> tuple[Tensor, Tensor]:
    """The mask [n, N] of importance [N], and dm_k/dp [n, N]: row k from a copy of p of its own."""
    copies = p.expand(channels, 1, 1, -1).clone().requires_grad_()
    masks = importance_mask(copies, channels=channels, levels=levels, lowest_level=lowest_level)
    each = range(channels)
    (gradient,) = torch.autograd.grad(masks[each, each].sum(), copies)
    return masks[0, :, 0].detach(), gradient[:, 0, 0]


def literal_mask(p: Fraction, n: int, levels: int, lowest: int) -> list[int]:
    """The paper's equation, channel by channel, in exact numbers."""
    q = min(floor(levels * p), levels - 1)
    return [int(k <= Fraction(n, levels) * (q + lowest)) for k in range(1, n + 1)]


def literal_gradient(p: Fraction, n: int, levels: int, lowest: int) -> list[int]:
    """The same of its gradient."""
    out = []
    for k in range(1, n + 1):
        level = ceil(Fraction(k * levels, n)) - lowest
        out.append(levels if levels * p - 1 <= level < levels * p + 2 else 0)
    return out


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_a_bit_is_one_above_a_half_and_zero_at_it(dtype: torch.dtype) -> None:
    half = torch.tensor(0.5)
    e = torch.stack([torch.zeros(()), half - 2**-7, half, half + 2**-7, torch.ones(())]).to(dtype)
    bits = binarize(e)
    assert bits.tolist() == [0, 0, 0, 1, 1]
    assert bits.dtype == dtype
    assert binarize(torch.nextafter(half, torch.ones(()))).item() == 1
    assert binarize(torch.tensor([-3.0, 7.0])).tolist() == [0, 1]


def test_a_bits_gradient_is_that_of_the_identity_on_the_unit_interval() -> None:
    e = torch.tensor([-1.0, -1e-6, 0.0, 1e-6, 0.3, 0.5, 0.7, 1.0, 1.000001, 2.0], requires_grad=True)
    given_gradient = torch.tensor([1.0, 2.0, 3.0, -4.0, 5.0, -6.0, 7.0, 8.0, 9.0, 10.0])
    (gradient,) = torch.autograd.grad(binarize(e), e, given_gradient)
    assert gradient.tolist() == [0, 0, 3, -4, 5, -6, 7, 8, 0, 0]


@given(sizes, st.integers(0, GRID))
def test_importance_is_rounded_down_to_one_of_l_levels(size: tuple[int, int], position: int) -> None:
    _, levels = size
    p = torch.tensor([position / GRID], requires_grad=True)
    q = quantize_importance(p, levels=levels)
    assert q.tolist() == [min(position * levels // GRID, levels - 1)]
    assert q.dtype == p.dtype
    assert not q.requires_grad


def test_the_ends_of_importance_are_the_ends_of_the_levels() -> None:
    assert quantize_importance(torch.tensor([0.0, 1.0]), levels=16).tolist() == [0, 15]
    assert quantize_importance(torch.tensor([0.0, 1.0], dtype=torch.float64), levels=2).tolist() == [0, 1]


# n = 8, L = 4: channels in steps of two, which the levels 1, 1, 2, 2, 3, 3, 4, 4 of the paper add.
@pytest.mark.parametrize(
    ("p", "lowest_level", "kept", "first", "last"),
    [
        (0.0, 0, 0, 1, 2),  # window -1 <= level < 2 over levels 1..4
        (0.25, 0, 2, 1, 4),  # 0 <= level < 3
        (0.3, 0, 2, 1, 6),  # 0.2 <= level < 3.2
        (0.5, 0, 4, 1, 6),  # 1 <= level < 4
        (0.5625, 0, 4, 3, 8),  # 1.25 <= level < 4.25
        (0.75, 0, 6, 3, 8),  # 2 <= level < 5
        (1.0, 0, 6, 5, 8),  # 3 <= level < 6; Q is at most L - 1, so the last two are never kept
        (0.0, 1, 2, 1, 4),  # -1 <= level < 2 over levels 0..3
        (0.25, 1, 4, 1, 6),
        (0.3, 1, 4, 3, 8),
        (0.5, 1, 6, 3, 8),
        (0.5625, 1, 6, 5, 8),
        (0.75, 1, 8, 5, 8),
        (1.0, 1, 8, 7, 8),
    ],
)
def test_masks_and_their_gradients_by_hand(
    p: float, lowest_level: int, kept: int, first: int, last: int
) -> None:
    mask, gradient = mask_and_gradient(torch.tensor([p]), channels=8, levels=4, lowest_level=lowest_level)
    channel = torch.arange(1, 9)[:, None]
    assert torch.equal(mask, (channel <= kept).float())
    assert torch.equal(gradient, 4.0 * ((first <= channel) & (channel <= last)))


@given(sizes, conventions, st.lists(st.integers(0, GRID), min_size=1, max_size=6))
def test_masks_and_their_gradients_are_the_papers_equations(
    size: tuple[int, int], lowest_level: int, positions: list[int]
) -> None:
    channels, levels = size
    mask, gradient = mask_and_gradient(
        torch.tensor(positions) / GRID, channels=channels, levels=levels, lowest_level=lowest_level
    )
    for column, position in enumerate(positions):
        p = Fraction(position, GRID)
        assert mask[:, column].tolist() == literal_mask(p, channels, levels, lowest_level)
        assert gradient[:, column].tolist() == literal_gradient(p, channels, levels, lowest_level)


@pytest.mark.parametrize(("channels", "levels"), [(64, 16), (128, 32), (3, 3)])
@pytest.mark.parametrize("lowest_level", [0, 1])
def test_every_place_keeps_leading_channels_from_the_lowest_level_to_the_highest(
    channels: int, levels: int, lowest_level: int
) -> None:
    p = (torch.arange(GRID + 1) / GRID).view(1, 1, 1, -1)
    mask = importance_mask(p, channels=channels, levels=levels, lowest_level=lowest_level)[0, :, 0]
    kept = mask.sum(0)
    assert torch.equal(mask, mask.sort(0, descending=True).values)
    assert torch.equal(kept, kept.sort().values)
    step = channels // levels
    assert sorted(set(kept.tolist())) == [step * (level + lowest_level) for level in range(levels)]


def test_the_gradient_of_importance_is_the_sum_over_its_channels_where_they_are() -> None:
    places = [[0.3, 0.9], [0.5, 0.1]]
    p = torch.tensor(places).view(2, 1, 1, 2).requires_grad_()
    weight = torch.randn(2, 8, 1, 2, generator=torch.Generator().manual_seed(0))
    mask = importance_mask(p, channels=8, levels=4, lowest_level=0)
    assert mask.shape == weight.shape
    (gradient,) = torch.autograd.grad(mask, p, weight)
    for picture, place in ((0, 0), (0, 1), (1, 0), (1, 1)):
        slopes = literal_gradient(Fraction(places[picture][place]), 8, 4, 0)
        expected = (weight[picture, :, 0, place] * torch.tensor(slopes)).sum()
        assert float(gradient[picture, 0, 0, place]) == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize(("channels", "levels"), [(8, 4), (64, 16), (12, 12)])
@pytest.mark.parametrize("lowest_level", [0, 1])
def test_the_gradient_is_three_times_that_of_the_mask_under_jitter(
    channels: int, levels: int, lowest_level: int
) -> None:
    """dm_k/dp = 3 d/dp E[m_k(p + u)], u uniform from -1/L to 2/L, for channels that some levels keep and some not.

    A box of width 3/L turns the step at one level into a ramp of slope L/3; the straight-through window has the
    same width and the slope L, as if each of its three levels were the step.
    """
    fine = 8  # steps of the jitter within a level; importance lies between them, away from every edge
    jitter = torch.arange(-fine, 2 * fine, dtype=torch.float64) / (fine * levels)
    p = (torch.arange(levels * fine, dtype=torch.float64) + 0.5) / (levels * fine)
    h = 1 / (fine * levels)

    def expected_mask(at: Tensor) -> Tensor:
        jittered = (at[:, None] + jitter).view(1, 1, len(at), -1)
        mask = importance_mask(jittered, channels=channels, levels=levels, lowest_level=lowest_level)
        return mask[0].mean(-1)  # [n, N]

    slope = (expected_mask(p + h) - expected_mask(p)) / h
    _, gradient = mask_and_gradient(p + h / 2, channels=channels, levels=levels, lowest_level=lowest_level)
    varies = expected_mask(p).amax(1) > expected_mask(p).amin(1)
    assert int(varies.sum()) == channels - channels // levels  # all but those always kept, or never
    assert torch.allclose(3 * slope[varies], gradient[varies])


@given(sizes, conventions)
def test_over_all_importances_the_gradients_are_three_times_what_the_mask_gains(
    size: tuple[int, int], lowest_level: int
) -> None:
    """From p = 0 to 1 a place gains n - n/L channels.

    The paper's convention adds n/L more to three times that: level L is in the window near p = 1, though no p
    keeps its channels.
    """
    channels, levels = size
    p = (torch.arange(4 * levels, dtype=torch.float64) + 0.5) / (4 * levels)  # four in each level
    p = p.view(1, 1, 1, -1).requires_grad_()
    mask = importance_mask(p, channels=channels, levels=levels, lowest_level=lowest_level)
    (gradient,) = torch.autograd.grad(mask.sum(), p)
    kept = mask.detach()[0, :, 0].sum(0)
    gained, step = float(kept[-1] - kept[0]), channels // levels
    assert gained == channels - step
    assert float(gradient.mean()) == pytest.approx(3 * gained + step * (1 - lowest_level))
