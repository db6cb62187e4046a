"""training.run.soap: Adam in the eigenbasis, and kernels as matrices."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from training.run import soap
from training.run.soap import Soap


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def rotation(side: int, *, seed: int) -> Tensor:
    basis: Tensor = torch.linalg.qr(random(side, side, seed=seed).double())[0]
    return basis


def stepped(kernel: Tensor, gradients: list[Tensor], *, lr: float = 1e-3, **options: Any) -> nn.Parameter:
    """A parameter after a step for each gradient."""
    parameter = nn.Parameter(kernel.clone())
    optimiser = Soap([{"params": [parameter]}], lr=lr, **options)
    for gradient in gradients:
        parameter.grad = gradient.clone()
        optimiser.step()
    return parameter


def test_without_a_basis_it_is_adam_from_the_second_step_on() -> None:
    kernel, *gradients = (random(16, 20, seed=seed) for seed in range(6))
    other = nn.Parameter(kernel.clone())
    adam = torch.optim.Adam([other], lr=1e-2, betas=(0.95, 0.95))
    for gradient in gradients[1:]:
        other.grad = gradient.clone()
        adam.step()
    moved = stepped(kernel, gradients, lr=1e-2, longest=0)
    assert torch.allclose(moved, other, atol=1e-6)
    assert not torch.allclose(moved, stepped(kernel, gradients, lr=1e-2), atol=1e-3)


def test_a_rotated_problem_is_solved_by_rotated_steps() -> None:
    gradients = [random(16, 16, seed=seed).double() for seed in range(7)]
    left, right = rotation(16, seed=8), rotation(16, seed=9)
    kernel = torch.zeros(16, 16, dtype=torch.float64)
    moved = stepped(kernel, gradients, every=2)
    rotated = stepped(kernel, [left @ gradient @ right for gradient in gradients], every=2)
    assert float(moved.detach().abs().max()) > 1e-3
    assert torch.allclose(rotated, left @ moved @ right, atol=1e-9)


def test_a_side_that_is_too_long_keeps_its_own_basis() -> None:
    parameter = nn.Parameter(torch.zeros(8, 20))
    optimiser = Soap([{"params": [parameter]}], longest=10)
    parameter.grad = random(8, 20)
    optimiser.step()
    state = optimiser.state[parameter]
    assert state["rows_basis"].shape == (8, 8)
    assert "columns_basis" not in state


def test_the_basis_follows_the_covariances() -> None:
    """Gradients of one covariance: after a few rounds the basis makes it diagonal, largest first."""
    spread = torch.linspace(4, 0.1, 16)
    turned = rotation(16, seed=3).float()
    parameter = nn.Parameter(torch.zeros(16, 16))
    optimiser = Soap([{"params": [parameter]}], lr=0.0, beta=0.98, every=1)
    for seed in range(300):
        parameter.grad = turned @ (spread[:, None] * random(16, 16, seed=seed))
        optimiser.step()
    state = optimiser.state[parameter]
    basis = state["rows_basis"]
    found = basis.mT @ state["rows"] @ basis
    beside = found - torch.diag(found.diagonal())
    assert float(beside.norm() / found.norm()) < 0.05
    assert torch.equal(found.diagonal().argsort(descending=True)[:8], torch.arange(8))
    assert torch.allclose(basis.mT @ basis, torch.eye(16), atol=1e-5)


def test_it_needs_fewer_steps_than_adam_where_directions_are_mixed() -> None:
    """Least squares on random samples whose variances span four orders of magnitude, in a turned basis."""
    mixing = torch.logspace(0, -2, 24)[:, None] * rotation(24, seed=2).float()
    target = random(16, 24, seed=3)

    def error_after(make: Any, lr: float) -> float:
        weight = nn.Parameter(torch.zeros(16, 24))
        optimiser = make([{"params": [weight]}])
        for step in range(200):
            optimiser.param_groups[0]["lr"] = lr * (1 - step / 200)
            optimiser.zero_grad()
            samples = random(64, 24, seed=step) @ mixing
            loss = (samples @ (weight - target).T).square().mean()
            loss.backward()  # type: ignore[no-untyped-call]  # torch's own
            optimiser.step()
        return float((mixing @ (weight - target).T).square().mean().detach())

    rates = (0.01, 0.02, 0.05, 0.1, 0.2)
    adam = min(error_after(torch.optim.Adam, lr) for lr in rates)
    assert min(error_after(Soap, lr) for lr in rates) < 0.5 * adam


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_kernels_are_matrices_whatever_their_layout(layout: torch.memory_format) -> None:
    kernel, gradient = random(16, 8, 3, 3), random(16, 8, 3, 3, seed=1)
    flat = stepped(kernel.flatten(1), [gradient.flatten(1)] * 2)
    moved = stepped(kernel.to(memory_format=layout), [gradient.to(memory_format=layout)] * 2)
    assert torch.equal(moved.flatten(1), flat)


def test_a_parameter_without_a_gradient_stays() -> None:
    parameter = nn.Parameter(random(16, 16))
    before = parameter.detach().clone()
    optimiser = Soap([{"params": [parameter]}])
    optimiser.step()
    assert torch.equal(parameter, before)
    assert not optimiser.state[parameter]


def test_a_state_that_is_read_back_goes_on_exactly() -> None:
    gradients = [random(16, 4, 2, 2, seed=seed) for seed in range(4)]
    kernel = random(16, 4, 2, 2, seed=9)
    whole = stepped(kernel, gradients)
    first = nn.Parameter(kernel.clone())
    optimiser = Soap([{"params": [first]}])
    second = optimiser
    for index, gradient in enumerate(gradients):
        if index == 2:
            second = Soap([{"params": [first]}])
            second.load_state_dict(optimiser.state_dict())
        first.grad = gradient.clone()
        second.step()
    assert torch.equal(first, whole)


def test_a_round_that_breaks_off_leaves_basis_and_moment_fitting(monkeypatch: pytest.MonkeyPatch) -> None:
    parameter = nn.Parameter(torch.zeros(16, 20))
    optimiser = Soap([{"params": [parameter]}], every=10)
    for seed in range(5):
        parameter.grad = random(16, 20, seed=seed)
        optimiser.step()
    state = optimiser.state[parameter]
    before = {name: state[name].clone() for name in ("square", "rows_basis", "columns_basis")}
    real, calls = torch.linalg.qr, []

    def breaking(matrix: Tensor) -> Any:
        calls.append(matrix)
        if len(calls) == 2:  # the columns, after the rows
            raise KeyboardInterrupt
        return real(matrix)

    monkeypatch.setattr(torch.linalg, "qr", breaking)
    with pytest.raises(KeyboardInterrupt):
        soap._turn(state)
    assert all(torch.equal(state[name], value) for name, value in before.items())
