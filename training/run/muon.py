"""Muon: steps whose directions count alike, for convolution kernels."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of Jordan: steep at zero, and all ends between 0.7 and 1.2
_ROUNDS = 5
_LEAST_NORM = 1e-7  # a matrix of zeros stays one
_RMS = 0.2  # of a step's entries at a learning rate of 1: about Adam's


class Muon(torch.optim.Optimizer):
    """Momentum made orthogonal: the method of Keller Jordan (2024), https://kellerjordan.github.io/posts/muon.

    A kernel [out, in, k, k] is a matrix M [out, in k k] here. Where the momentum's matrix is U S V^T, the step is
    about U V^T: weak directions move as far as strong ones. It is scaled by 0.2 sqrt(max(out, in k k)), so that its
    entries are of Adam's size whatever the shape ("Muon is Scalable for LLM Training", arXiv 2502.16982).

    torch.optim.Muon takes matrices only and computes in bfloat16 always, which takes 16 times as long as float32
    on a CPU that has no instructions for it. On one that has them, `orthogonalised` is as fast in float32.
    """

    def __init__(self, groups: Iterable[dict[str, Any]], *, lr: float = 2e-3, momentum: float = 0.95) -> None:
        """Keep the groups of kernels.

        Args:
            groups: of parameters of two dimensions or more, as all optimisers of torch take them.
            lr: learning rate of groups that have none of their own; entries move by about 0.2 of it.
            momentum: share of the last momentum in the next one; Nesterov's.
        """
        super().__init__(groups, {"lr": lr, "momentum": momentum})

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
                    state["momentum"] = torch.zeros_like(gradient, memory_format=torch.contiguous_format)
                momentum = state["momentum"].mul_(group["momentum"]).add_(gradient)
                ahead = gradient + group["momentum"] * momentum
                direction = orthogonalised(ahead).view_as(parameter)
                parameter.add_(direction, alpha=-group["lr"] * _RMS * math.sqrt(max(ahead.shape)))


def orthogonalised(matrix: Tensor) -> Tensor:
    """About U V^T of a matrix U S V^T, by Newton-Schulz: singular values of 0.7 to 1.2 for all but the smallest.

    A round takes X to (a + b G + c G^2) X with G = X X^T, and with it every singular value s to a s + b s^3 + c s^5:

        0.1 -> 0.34 -> 0.99 -> 0.71 -> 1.11 -> 0.71

    All rounds are polynomials in the first G, a square of the shorter side: they are multiplied there, and the matrix
    itself is touched at the beginning and at the end only. That saves most of the work where it is long.
    """
    a, b, c = _COEFFICIENTS
    x = matrix.mT if matrix.shape[0] > matrix.shape[1] else matrix
    x = x / (x.norm() + _LEAST_NORM)
    square = x @ x.mT
    factor = product = torch.eye(len(square), device=x.device, dtype=x.dtype)
    for index in range(_ROUNDS):
        if index:
            square = factor @ square @ factor
        factor = torch.addmm(square, square, square, beta=b, alpha=c)
        factor.diagonal().add_(a)
        product = factor @ product if index else factor
    x = torch.mm(product, x)
    return x.mT if matrix.shape[0] > matrix.shape[1] else x
