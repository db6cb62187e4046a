"""The optimisers of a stage: what they move, how fast, and that they are saved as one."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from training.config import Stage, scheduled
from training.recipes.base import AnyNetwork, Recipe
from training.run.soap import Soap

_LEAST_SIDE = 16  # of a kernel as a matrix; below it there are no directions to speak of
_TRANSFORMS = "blocks"  # the part whose kernels are linear transforms, each row with a meaning of its own


class Optimisers:
    """Some optimisers, stepped, saved and resumed as one. Their parameters are numbered through."""

    def __init__(self, *members: torch.optim.Optimizer) -> None:
        self._members = members

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The groups of all; a change of a group's values is seen."""
        return [group for member in self._members for group in member.param_groups]

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for member in self._members:
            member.zero_grad()

    def step(self) -> None:
        """Move all parameters."""
        for member in self._members:
            member.step()

    def moments(self) -> dict[int, dict[str, Tensor]]:
        """What each parameter's optimiser remembers of it, by the parameter's number."""
        return {
            start + index: {name: torch.as_tensor(value) for name, value in state.items()}
            for start, member in self._numbered()
            for index, state in member.state_dict()["state"].items()
        }

    def remember(self, moments: Mapping[int, dict[str, Tensor]]) -> None:
        """Continue from what `moments` gave."""
        for start, member in self._numbered():
            numbers = range(start, start + _size(member))
            own = {number - start: moments[number] for number in numbers if number in moments}
            member.load_state_dict({**member.state_dict(), "state": own})

    def _numbered(self) -> list[tuple[int, torch.optim.Optimizer]]:
        """Each with the number of its first parameter."""
        starts = [sum(map(_size, self._members[:index])) for index in range(len(self._members))]
        return list(zip(starts, self._members, strict=True))


def optimisers_of(network: AnyNetwork, recipe: Recipe, stage: Stage) -> Optimisers:
    """What trains the parts of a stage; all others are frozen.

    Args:
        network: whose parameters are moved.
        recipe: that says which part a parameter belongs to.
        stage: with optimiser, learning rates and shares. A group's `share` is its learning rate over the stage's.
    """
    trained = recipe.trained(stage)
    kernels: dict[str, list[nn.Parameter]] = {part: [] for part in trained}
    others: dict[str, list[nn.Parameter]] = {part: [] for part in trained}
    for name, parameter in network.named_parameters():
        part = recipe.part_of(name)
        parameter.requires_grad_(part in trained)
        parameter.grad = None
        if part in trained:
            soap = stage.optimizer == "soap" and is_matrix(parameter, part)
            (kernels if soap else others)[part].append(parameter)
    beside = stage.adam_learning_rate / stage.learning_rate[0] if stage.optimizer == "soap" else 1.0
    members: list[torch.optim.Optimizer] = []
    if groups := _groups(kernels, stage, 1.0):
        members.append(Soap(groups))
    if groups := _groups(others, stage, beside):
        members.append(torch.optim.Adam(groups))
    return Optimisers(*members)


def is_matrix(parameter: Tensor, part: str) -> bool:
    """Whether SOAP moves it: a kernel that is a matrix [out, in k k] with sides that deserve the name."""
    kernel = parameter.ndim == 4 and part != _TRANSFORMS
    return kernel and min(parameter.shape[0], parameter[0].numel()) >= _LEAST_SIDE


def learning_rate(stage: Stage, step: int, done: float) -> float:
    """A linear rise, then the stage's values one after the other, each with the stage's schedule."""
    warm = min(1.0, (step + 1) / max(stage.warmup_steps, 1))
    return scheduled(stage.learning_rate, done) * _fall(stage, done) * warm


def _fall(stage: Stage, done: float) -> float:
    if stage.schedule == "constant":
        return 1.0
    within = 1.0 if done >= 1 else done * len(stage.learning_rate) % 1
    floor = stage.final_learning_rate
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * within))


def _groups(
    parameters: Mapping[str, list[nn.Parameter]], stage: Stage, factor: float
) -> list[dict[str, Any]]:
    return [
        {"params": own, "share": stage.shares.get(part, 1.0) * factor}
        for part, own in parameters.items()
        if own
    ]


def _size(optimiser: torch.optim.Optimizer) -> int:
    return sum(len(group["params"]) for group in optimiser.param_groups)
