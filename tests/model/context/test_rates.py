import math
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from model.config import Cvpr2018Config
from model.context.network import ContextModel, rows_at
from model.context.passes import pass_grid
from model.context.rates import bernoulli_bits, logistic_bits, map_bits, scale_of
from model.entropy.range_coder import Encoder
from model.entropy.symbols import code_symbols
from model.entropy.tables import FRACTIONS, SCALE_ZERO, SCALES, SCALES_PER_UNIT
from model.profiles.export import logistic_tables
from tests.conftest import TINY_2018, TINY_2018_EMPTY

means = st.floats(-3, 4)
log_scales = st.floats(-6, 6)


def double(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


@given(means, log_scales)
def test_a_bit_costs_what_the_logistic_over_two_symbols_says(mean: float, log_scale: float) -> None:
    bits = double(0, 1)
    ours = bernoulli_bits(bits, double(mean), double(log_scale))
    assert torch.allclose(ours, logistic_bits(bits, double(mean), double(log_scale), low=0, high=1))
    assert float((2**-ours).sum()) == pytest.approx(1)


@given(means, log_scales)
def test_a_bits_gradient_is_what_flipping_it_costs(mean: float, log_scale: float) -> None:
    bits = double(0, 1).requires_grad_()
    cost = bernoulli_bits(bits, double(mean), double(log_scale))
    (gradient,) = torch.autograd.grad(cost.sum(), bits)
    flip = float(cost.detach().diff())
    assert gradient.tolist() == pytest.approx([flip, flip], abs=1e-9)


def test_rates_have_the_gradients_of_finite_differences() -> None:
    torch.manual_seed(0)
    bits = torch.randint(0, 2, (40,)).double()
    mean, log_scale = torch.empty(40).uniform_(0.05, 0.95).double(), torch.empty(40).uniform_(-3, 3).double()
    inputs = (mean.requires_grad_(), log_scale.requires_grad_())
    assert torch.autograd.gradcheck(partial(bernoulli_bits, bits), inputs)
    assert torch.autograd.gradcheck(partial(logistic_bits, bits, low=0, high=1), inputs)
    values = torch.randint(-4, 5, (40,)).double()
    assert torch.autograd.gradcheck(partial(logistic_bits, values), inputs)
    assert torch.autograd.gradcheck(partial(logistic_bits, values, low=-4, high=4), inputs)
    continuous = (values + 0.3).requires_grad_()  # as with noise for rounding
    assert torch.autograd.gradcheck(logistic_bits, (continuous, *inputs))


@pytest.mark.parametrize("price", [bernoulli_bits, partial(logistic_bits, low=0, high=1)])
def test_means_outside_the_alphabet_cost_what_its_ends_cost(price: partial[Tensor]) -> None:
    bits, log_scale = double(0, 1, 0, 1), double(-2)
    mean = double(-5, -0.01, 1.01, 6).requires_grad_()
    cost = price(bits, mean, log_scale)
    assert torch.equal(cost, price(bits, double(0, 0, 1, 1), log_scale))
    (gradient,) = torch.autograd.grad(cost.sum(), mean)
    assert not gradient.any()


def test_the_coder_writes_bits_at_their_estimated_cost() -> None:
    """With the binary tables, at every scale and for means of all fractions and beyond both ends."""
    generator = np.random.default_rng(0)
    count, tables = 60_000, logistic_tables(binary=True)
    mean = generator.integers(-2 * FRACTIONS, 3 * FRACTIONS, count).astype(np.int32)
    scale = generator.integers(0, SCALES, count).astype(np.int32)
    log_scale = torch.from_numpy((scale - SCALE_ZERO) / SCALES_PER_UNIT)
    one = torch.ones(count, dtype=torch.float64)
    likely = 2 ** -bernoulli_bits(one, torch.from_numpy(mean / FRACTIONS), log_scale)
    bits = (generator.uniform(size=count) < likely.numpy()).astype(np.int32)
    coder = Encoder()
    code_symbols(coder, tables, mean=mean, scale=scale, low=0, high=1, values=bits)
    estimated = bernoulli_bits(torch.from_numpy(bits), torch.from_numpy(mean / FRACTIONS), log_scale).sum()
    assert 8 * len(coder.finish()) == pytest.approx(float(estimated), rel=0.005)


def coding(bits: Tensor, at: Tensor, mean: Tensor, log_scale: Tensor) -> tuple[Tensor, Tensor]:
    here = rows_at(bits, at)
    return 2 * here - 1, bernoulli_bits(here, mean, log_scale)


def test_every_symbol_is_predicted_from_the_passes_before_and_from_nothing_else() -> None:
    """Changing one code changes the price of later passes only; its own price changes by itself alone."""
    torch.manual_seed(0)
    group = ContextModel(TINY_2018).groups()[2]
    for parameter in group.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    grid = pass_grid(group.spec.pattern, 8, 8, device=torch.device("cpu"))
    base = group.base(torch.randn(1, 2, 8, 8), torch.randn(1, group.spec.start, 8, 8))
    bits = torch.randint(0, 2, (1, group.spec.size, 8, 8)).float()
    for row, column in ((0, 0), (3, 4), (4, 4), (7, 6)):
        flipped = bits.clone()
        flipped[0, 5, row, column] = 1 - flipped[0, 5, row, column]
        with torch.no_grad():
            before, after = (group.walk(base, partial(coding, each))[1] for each in (bits, flipped))
        change = (before != after).any(1)[0]
        change[row, column] = False
        assert not (before != after)[0, [*range(5), *range(6, 12)], row, column].any()
        assert not change[grid <= grid[row, column]].any()
        assert change[grid > grid[row, column]].any() == (grid[row, column] < grid.max())


@pytest.mark.parametrize("config", [TINY_2018, TINY_2018_EMPTY], ids=["from 1", "from 0"])
def test_a_levels_price_is_a_distribution_over_the_levels_that_there_are(config: Cvpr2018Config) -> None:
    torch.manual_seed(0)
    group = ContextModel(config).map
    levels = torch.arange(config.lowest_level, config.highest_level + 1).float().view(-1, 1, 1, 1)
    bits = map_bits(group, levels, torch.zeros_like(levels), config).detach()
    assert bits.shape == (config.levels,)
    assert float((2**-bits).sum()) == pytest.approx(1, abs=1e-5)


def test_scales_have_a_floor_and_grow_with_their_logarithm() -> None:
    scale = scale_of(torch.linspace(-6, 6, 97).double())
    assert torch.equal(scale, scale.sort().values)
    assert float(scale[0]) == pytest.approx(0.04 + math.exp(-7))
