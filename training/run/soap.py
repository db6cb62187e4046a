"""SOAP: Adam in the eigenbasis of Shampoo's preconditioner, for convolution kernels."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

_TINY = 1e-8  # added to the root of the second moment, as in Adam
_LEAST = 1e-12  # on the diagonal of a covariance when its basis is first computed: zeros have one, too
_State = dict[str, Any]  # of a parameter: tensors by their names, and the number of steps
_SIDES = {"rows": 0, "columns": 1}  # of a gradient's matrix, with their dimensions


class Soap(torch.optim.Optimizer):
    """The method of Vyas et al., "SOAP: Improving and Stabilizing Shampoo using Adam" (2024), arXiv 2409.11321.

    A kernel's gradient [out, in k k] is a matrix G here. Averages of G G^T and G^T G are kept, and Adam runs in the
    basis of their eigenvectors, where the entries of G are nearly uncorrelated. Every `every` steps the basis takes
    one round of orthogonal iteration towards the eigenvectors of today; between, it stands still. A side longer than
    `longest` keeps its own basis. The first step only makes the basis and moves nothing.
    """

    def __init__(
        self,
        groups: Iterable[dict[str, Any]],
        *,
        lr: float = 1e-3,
        beta: float = 0.95,
        every: int = 10,
        longest: int = 600,
    ) -> None:
        """Keep the groups of kernels.

        Args:
            groups: of parameters of two dimensions or more, as all optimisers of torch take them.
            lr: learning rate of groups that have none of their own; entries of the basis move by about it.
            beta: share of the last average in the next one, for both moments and the covariances.
            every: steps between two rounds of the basis.
            longest: side of a matrix that has a basis, in entries.
        """
        super().__init__(groups, {"lr": lr, "beta": beta, "every": every, "longest": longest})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]  # no loss comes back
        """Move every parameter that has a gradient."""
        assert closure is None
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                gradient = parameter.grad.flatten(1)  # [out, in k k]
                state = self.state[parameter]
                if not state:
                    state.update(_begun(gradient, group["longest"], 1 - group["beta"]))
                    continue
                direction = _direction(state, gradient, group["beta"])
                parameter.add_(direction.view_as(parameter), alpha=-group["lr"])
                _remember(state, gradient, 1 - group["beta"])
                if int(state["step"]) % group["every"] == 0:
                    _turn(state)


def _begun(gradient: Tensor, longest: int, share: float) -> _State:
    """The state after a first gradient: its covariances and their eigenvectors, largest first."""
    still = torch.zeros_like(gradient, memory_format=torch.contiguous_format)
    state: _State = {"step": 0, "mean": still, "square": still.clone()}
    for side, dimension in _SIDES.items():
        length = gradient.shape[dimension]
        if length <= longest:
            state[side] = gradient.new_zeros(length, length)
    _remember(state, gradient, share)
    for side in _with_basis(state):
        covariance = state[side] + _LEAST * torch.eye(len(state[side])).to(gradient)
        state[f"{side}_basis"] = torch.linalg.eigh(covariance)[1].flip(1)
    return state


def _direction(state: _State, gradient: Tensor, beta: float) -> Tensor:
    """Adam's step in the basis, brought back; the moments take the gradient in."""
    state["step"] += 1
    unbiased = 1 - beta ** int(state["step"])
    state["mean"].lerp_(gradient, 1 - beta)
    state["square"].lerp_(_turned(state, gradient).square(), 1 - beta)
    scale = (state["square"] / unbiased).sqrt().add_(_TINY).mul_(unbiased)
    direction: Tensor = _turned(state, state["mean"]) / scale
    if "rows_basis" in state:
        direction = state["rows_basis"] @ direction
    if "columns_basis" in state:
        direction = direction @ state["columns_basis"].mT
    return direction


def _turned(state: _State, matrix: Tensor) -> Tensor:
    """In the basis."""
    if "rows_basis" in state:
        matrix = state["rows_basis"].mT @ matrix
    if "columns_basis" in state:
        matrix = matrix @ state["columns_basis"]
    return matrix


def _remember(state: _State, gradient: Tensor, share: float) -> None:
    """Take the gradient into the averages of the covariances."""
    for side in _with_basis(state):
        rows = gradient if side == "rows" else gradient.mT
        state[side].lerp_(rows @ rows.mT, share)


def _turn(state: _State) -> None:
    """One round of orthogonal iteration; the second moment follows the order of the eigenvalues.

    All is computed before any of it is kept: what fails on the way leaves basis and moment fitting each other.
    """
    turned = {"square": state["square"]}
    for side in _with_basis(state):
        basis = state[f"{side}_basis"]
        ahead = state[side] @ basis
        order = (basis * ahead).sum(0).argsort(descending=True)
        turned["square"] = turned["square"].index_select(_SIDES[side], order)
        turned[f"{side}_basis"] = torch.linalg.qr(ahead[:, order])[0]
    state.update(turned)


def _with_basis(state: _State) -> list[str]:
    return [side for side in _SIDES if side in state]
