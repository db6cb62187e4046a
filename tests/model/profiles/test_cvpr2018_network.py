from pathlib import Path

import pytest
import torch
from torch import Tensor

from model.checkpoints import load_codec
from model.config import Cvpr2018Config
from model.entropy.tables import FRACTIONS
from model.options import EncodeOptions
from model.profiles.cvpr2018.network import Cvpr2018Network
from model.profiles.export import dequantise, logistic_tables, quantise
from tests.conftest import TINY_2018, TINY_2018_EMPTY, paper_network, picture, save_network

both = pytest.mark.parametrize("config", [TINY_2018, TINY_2018_EMPTY], ids=["from 1", "from 0"])


def batch(height: int = 64, width: int = 96) -> Tensor:
    return torch.from_numpy(picture(height, width)).permute(2, 0, 1)[None].float() / 127.5 - 1


def shaken(config: Cvpr2018Config) -> Cvpr2018Network:
    """With context models that have an opinion, whose likelihoods stay away from those that tables end at."""
    network = paper_network(config)
    for parameter in network.context.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    for group in network.context.named().values():
        assert group.out.bias is not None
        group.out.bias.data[group.spec.size :] = 0.5
    return network


@both
def test_files_have_the_codes_and_the_rates_of_the_network(config: Cvpr2018Config, tmp_path: Path) -> None:
    """What the integer export and the range coder cost against the float model."""
    network = shaken(config)
    network.transforms.half().float()  # the precision of a checkpoint
    codec = load_codec("net", model_dir=save_network(network, tmp_path, "net"), device="cpu", dtype="float32")
    array = picture(256, 320)
    x = torch.from_numpy(array).permute(2, 0, 1)[None].float() / 127.5 - 1
    with torch.no_grad():
        output = network(x, masked=True, priced=True)
    file = codec.encode(array, EncodeOptions(lossless=False))
    levels, codes = codec.decode_codes(file)
    assert torch.equal(levels, output.levels[0].long())
    expected = (2 * (network.transforms.encoder(x)[0] > 0.5) - 1) * output.mask
    assert (codes / FRACTIONS != expected[0]).double().mean() < 0.001  # rounding at one half
    bpp = {section.name: section.length * 8 / (256 * 320) for section in codec.read(file).info().sections}
    assert sum(bpp[f"codes{k}"] for k in range(3)) == pytest.approx(float(output.code_bpp), rel=0.02)
    assert bpp["map"] == pytest.approx(float(output.map_bpp), rel=0.05)
    assert output.x_hat is not None
    decoded = torch.from_numpy(codec.decode(file).copy()).permute(2, 0, 1) / 127.5 - 1
    assert (decoded - output.x_hat[0].clamp(-1, 1)).abs().mean() < 0.01


@both
def test_gradients_reach_every_parameter_that_sees_something(config: Cvpr2018Config) -> None:
    """Not the weights of the map's only conditioning plane: the quality, which is zero where there is one rate."""
    network = shaken(config)
    x = batch()
    output = network(x, masked=True, priced=True)
    assert output.x_hat is not None
    loss = (output.x_hat - x).square().mean() * 100 + output.code_bpp.sum() + output.map_bpp.sum()
    loss.backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert bool(parameter.grad.any()) == (name != "context.map.conditioning.weight"), name


@both
def test_importance_hears_of_distortion_and_of_rate(config: Cvpr2018Config) -> None:
    network = shaken(config)
    x = batch()
    output = network(x, masked=True, priced=True)
    assert output.x_hat is not None
    for cost in ((output.x_hat - x).square().sum(), output.code_bpp.sum()):
        (gradient,) = torch.autograd.grad(cost, output.importance, retain_graph=True)
        assert (gradient != 0).double().mean() > 0.9


@both
def test_without_the_mask_every_code_is_kept_at_the_highest_level(config: Cvpr2018Config) -> None:
    network = shaken(config)
    output = network(batch(), masked=False, priced=True)
    assert output.mask.eq(1).all()
    assert output.levels.eq(config.highest_level).all()
    total = output.x_hat.sum() + output.code_bpp.sum() + output.map_bpp.sum()
    assert torch.autograd.grad(total, output.importance, allow_unused=True) == (None,)


@both
def test_with_the_mask_levels_say_how_many_codes_are_kept(config: Cvpr2018Config) -> None:
    output = paper_network(config)(batch(), masked=True, priced=False)
    assert torch.equal(output.mask.sum(1, keepdim=True), output.levels * config.step)
    assert sorted(set(output.levels.flatten().int().tolist())) == [
        *range(config.lowest_level, config.highest_level + 1)
    ]


def test_what_is_not_asked_for_is_not_computed() -> None:
    network = paper_network(TINY_2018)
    output = network(batch(), masked=True, priced=False, decoded=False)
    assert output.x_hat is None
    assert not output.code_bpp.any()
    assert not output.map_bpp.any()


def test_masked_codes_do_not_look_like_zero_bits() -> None:
    """The decoder sees a difference between a bit 0 and a code that is not there."""
    network = paper_network(TINY_2018)
    codes = -torch.ones(1, 16, 4, 4)
    with torch.no_grad():
        zeros, absent = network.transforms.decoder(codes), network.transforms.decoder(0 * codes)
    assert (zeros - absent).abs().max() > 0.01


def test_pictures_of_a_batch_have_the_rates_that_they_have_alone() -> None:
    network = shaken(TINY_2018)
    x = torch.cat([batch(), batch().flip(3), -batch()])
    with torch.no_grad():
        together = network(x, masked=True, priced=True)
        alone = [network(x[k : k + 1], masked=True, priced=True) for k in range(3)]
    assert torch.allclose(together.code_bpp, torch.cat([each.code_bpp for each in alone]))
    assert torch.allclose(together.map_bpp, torch.cat([each.map_bpp for each in alone]))


@both
def test_thawing_a_checkpoint_gives_the_weights_that_were_frozen(config: Cvpr2018Config) -> None:
    network = shaken(config)
    tables = logistic_tables(binary=True)
    restored = dequantise(quantise(network, map_tables=tables, code_tables=tables), config)
    state = network.state_dict()
    assert set(restored) == set(state)
    for name, tensor in state.items():
        assert torch.allclose(restored[name], tensor, rtol=1e-3, atol=1e-2), name
