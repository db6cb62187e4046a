"""training.run.muon: orthogonal steps, and kernels as matrices."""

import math

import pytest
import torch
from torch import Tensor, nn

from training.run.muon import Muon, orthogonalised

SHAPES = [(16, 144), (144, 16), (32, 32)]


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def polar(matrix: Tensor) -> Tensor:
    """U V^T of U S V^T, exactly."""
    u, _, vt = torch.linalg.svd(matrix, full_matrices=False)
    product: Tensor = u @ vt
    return product


def stepped(kernel: Tensor, gradients: list[Tensor], *, lr: float = 2e-3) -> nn.Parameter:
    """A parameter after a step for each gradient."""
    parameter = nn.Parameter(kernel.clone())
    optimiser = Muon([{"params": [parameter]}], lr=lr)
    for gradient in gradients:
        parameter.grad = gradient.clone()
        optimiser.step()
    return parameter


@pytest.mark.parametrize("shape", SHAPES[:2])
def test_singular_values_come_close_to_one(shape: tuple[int, int]) -> None:
    values = torch.linalg.svdvals(orthogonalised(random(*shape)))
    assert 0.65 < float(values.min()) <= float(values.max()) < 1.25


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
def test_the_direction_is_that_of_the_singular_value_decomposition(
    shape: tuple[int, int], scale: float
) -> None:
    matrix = random(*shape) * scale
    cosine = torch.cosine_similarity(orthogonalised(matrix).flatten(), polar(matrix).flatten(), 0)
    assert float(cosine) > 0.96


@pytest.mark.parametrize("shape", SHAPES)
def test_multiplied_in_the_square_it_is_jordan_s_iteration(shape: tuple[int, int]) -> None:
    matrix = random(*shape)
    x = matrix.double() / matrix.norm()
    for _ in range(5):
        square = x @ x.mT
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    assert torch.allclose(orthogonalised(matrix).double(), x, atol=1e-4)


def test_singular_vectors_stay_as_they_are() -> None:
    values = torch.tensor([1.0, 0.3, 0.1, 0.03])
    found = orthogonalised(torch.diag(values))
    assert torch.allclose(found, torch.diag(found.diagonal()), atol=1e-6)


def test_nothing_is_made_of_nothing() -> None:
    assert torch.equal(orthogonalised(torch.zeros(16, 20)), torch.zeros(16, 20))


def test_a_step_is_nesterov_s_momentum_orthogonalised_and_scaled() -> None:
    kernel, first, second = (random(16, 20, seed=seed) for seed in range(3))
    momentum = 0.95 * first + second
    moves = [orthogonalised(g + 0.95 * m) for g, m in ((first, first), (second, momentum))]
    expected = kernel - 0.01 * 0.2 * math.sqrt(20) * (moves[0] + moves[1])
    assert torch.allclose(stepped(kernel, [first, second], lr=0.01), expected, atol=1e-6)


def test_entries_move_by_a_fifth_of_the_learning_rate() -> None:
    for shape in [(16, 144), (144, 16), (64, 64)]:
        moved = stepped(torch.zeros(shape), [random(*shape)], lr=1.0)
        assert float(moved.detach().square().mean().sqrt()) == pytest.approx(0.2, rel=0.2)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_kernels_are_matrices_whatever_their_layout(layout: torch.memory_format) -> None:
    kernel, gradient = random(16, 8, 3, 3), random(16, 8, 3, 3, seed=1)
    flat = stepped(kernel.flatten(1), [gradient.flatten(1)] * 2)
    moved = stepped(kernel.to(memory_format=layout), [gradient.to(memory_format=layout)] * 2)
    assert torch.equal(moved.flatten(1), flat)


def test_a_parameter_without_a_gradient_stays() -> None:
    parameter = nn.Parameter(random(16, 16))
    before = parameter.detach().clone()
    optimiser = Muon([{"params": [parameter]}])
    optimiser.step()
    assert torch.equal(parameter, before)
    assert not optimiser.state[parameter]


def test_a_state_that_is_read_back_goes_on_exactly() -> None:
    gradients = [random(16, 4, 2, 2, seed=seed) for seed in range(4)]
    kernel = random(16, 4, 2, 2, seed=9)
    whole = stepped(kernel, gradients)
    first = nn.Parameter(kernel.clone())
    optimiser = Muon([{"params": [first]}])
    second = optimiser
    for index, gradient in enumerate(gradients):
        if index == 2:
            second = Muon([{"params": [first]}])
            second.load_state_dict(optimiser.state_dict())
        first.grad = gradient.clone()
        second.step()
    assert torch.equal(first, whole)
