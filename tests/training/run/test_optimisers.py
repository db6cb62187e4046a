"""training.run.optimisers: what is moved by which optimiser, and one state for all."""

from typing import Any

import pytest
import torch

from model.config import CwicConfig, config_of
from model.profiles.cwic.network import CwicNetwork
from tests.training.commands.test_train import CODEC
from training.config import Stage, TrainConfig
from training.recipes.cwic import CwicRecipe
from training.run.optimisers import Optimisers, is_matrix, optimisers_of
from training.run.soap import Soap


@pytest.fixture
def network() -> CwicNetwork:
    torch.manual_seed(0)
    return CwicNetwork(codec())


def codec() -> CwicConfig:
    values: dict[str, Any] = {**CODEC, "stem_width": 16, "trunk_width": 16, "context_width": 16}
    made = config_of("cwic", **values)
    assert isinstance(made, CwicConfig)
    return made


def recipe() -> CwicRecipe:
    stage = Stage(name="a", steps=1)
    return CwicRecipe(TrainConfig(train_files=("a",), val_files=("b",), out="c", stages=(stage,)), codec())


def optimisers(network: CwicNetwork, **changes: Any) -> Optimisers:
    values: dict[str, Any] = {"name": "a", "steps": 1, "optimizer": "soap", "learning_rate": (2e-3,)}
    return optimisers_of(network, recipe(), Stage(**{**values, **changes}))


def shares(network: CwicNetwork, made: Optimisers) -> dict[str, float]:
    """Each trained parameter's share of the stage's learning rate."""
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    return {names[id(p)]: group["share"] for group in made.param_groups for p in group["params"]}


def fill_gradients(network: CwicNetwork) -> None:
    generator = torch.Generator().manual_seed(1)
    for parameter in network.parameters():
        if parameter.requires_grad:
            parameter.grad = torch.randn(parameter.shape, generator=generator)


@pytest.mark.parametrize(
    ("shape", "part", "matrix"),
    [
        ((16, 16, 1, 1), "synthesis", True),
        ((16, 2, 3, 3), "synthesis", True),
        ((16, 1, 3, 3), "synthesis", False),
        ((15, 64, 3, 3), "codes", False),
        ((64, 3, 8, 8), "blocks", False),
        ((64, 64), "synthesis", False),
        ((64,), "synthesis", False),
    ],
)
def test_kernels_with_two_real_sides_are_matrices(shape: tuple[int, ...], part: str, matrix: bool) -> None:
    assert is_matrix(torch.zeros(shape), part) is matrix


def test_soap_moves_the_matrices_and_adam_the_rest_beside_it(network: CwicNetwork) -> None:
    found = shares(network, optimisers(network, shares={"blocks": 0.25, "codes": 2}, adam_learning_rate=2e-4))
    assert set(found) == {name for name, _ in network.named_parameters()}
    for name, parameter in network.named_parameters():
        part = recipe().part_of(name)
        own = {"blocks": 0.25, "codes": 2}.get(part, 1.0)
        assert found[name] == pytest.approx(own if is_matrix(parameter, part) else own * 0.1), name
    assert {1.0, 2.0} <= set(found.values())


def test_adam_alone_moves_everything_at_the_stage_s_rate(network: CwicNetwork) -> None:
    found = shares(network, optimisers(network, optimizer="adam", shares={"map": 0.5}))
    assert set(found) == {name for name, _ in network.named_parameters()}
    assert all(share == (0.5 if ".map." in name else 1) for name, share in found.items())


@pytest.mark.parametrize("optimizer", ["adam", "soap"])
def test_parts_that_are_not_trained_are_frozen(network: CwicNetwork, optimizer: str) -> None:
    made = optimisers(network, optimizer=optimizer, parts=("codes",))
    assert shares(network, made).keys() == {n for n, p in network.named_parameters() if p.requires_grad}
    assert {recipe().part_of(name) for name in shares(network, made)} == {"codes"}


@pytest.mark.parametrize("optimizer", ["adam", "soap"])
def test_one_state_of_all_goes_on_exactly(network: CwicNetwork, optimizer: str) -> None:
    made = optimisers(network, optimizer=optimizer)
    for group in made.param_groups:
        group["lr"] = 1e-3
    fill_gradients(network)
    made.step()
    moments = made.moments()
    assert set(moments) == set(range(len(list(network.parameters()))))
    other = CwicNetwork(codec())
    other.load_state_dict(network.state_dict())
    again = optimisers(other, optimizer=optimizer)
    again.remember({number: {k: v.clone() for k, v in own.items()} for number, own in moments.items()})
    for group in again.param_groups:
        group["lr"] = 1e-3
    for each, optimiser in ((network, made), (other, again)):
        fill_gradients(each)
        optimiser.step()
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), other.parameters(), strict=True))
    made.zero_grad()
    assert all(parameter.grad is None for parameter in network.parameters())


def test_soap_comes_first_where_there_is_one(network: CwicNetwork) -> None:
    made = optimisers(network)
    first = made.param_groups[0]
    assert first["share"] == 1
    assert isinstance(made._members[0], Soap)
