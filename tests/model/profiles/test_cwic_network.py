import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from model.checkpoints import load_codec, save_checkpoint
from model.config import CodecConfig
from model.context.quantise import rdo_quantise
from model.context.rates import logistic_bits
from model.errors import CheckpointFormatError
from model.options import EncodeOptions
from model.profiles.base import level_plane
from model.profiles.cwic.network import CwicNetwork, as_trained
from model.profiles.cwic.transforms import dct_basis, distortion_weight, lambda_at
from model.profiles.export import dequantise, logistic_tables, quantise
from tests.conftest import TINY, picture


def batch(height: int = 64, width: int = 96) -> tuple[Tensor, Tensor]:
    x = torch.from_numpy(picture(height, width)).permute(2, 0, 1)[None].float() / 255
    conditions = torch.zeros(1, 2, height // 16, width // 16)
    conditions[:, 0] = 0.6
    return x, conditions


def shaken(amount: float) -> CwicNetwork:
    """A network whose layers are no longer blocked by zeros."""
    torch.manual_seed(0)
    network = CwicNetwork(TINY)
    for parameter in network.parameters():
        parameter.data += amount * torch.randn_like(parameter)
    return network


def test_estimated_rates_are_those_of_real_files(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What the integer export and the range coder cost against the float model."""
    torch.manual_seed(1)
    network = CwicNetwork(TINY)
    for group in network.context.named().values():
        assert group.out.bias is not None
        group.out.bias.data[group.spec.size :] = 2.5  # wide enough that no likelihood is at its floor
    tables = logistic_tables()
    path = tmp_path_factory.mktemp("rate") / "net"
    save_checkpoint(quantise(network, map_tables=tables, code_tables=tables), TINY, path, card={})
    codec = load_codec("net", model_dir=path.parent, device="cpu")
    x, conditions = batch(256, 320)
    with torch.no_grad():
        output = network(x, conditions)
    array = (x[0].permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()
    file = codec.encode(array, EncodeOptions(quality=1 + 99 * 0.6, lossless=False))
    sections = {
        section.name: section.length * 8 / (256 * 320) for section in codec.read(file).info().sections
    }
    codes = sum(size for name, size in sections.items() if name.startswith("codes"))
    assert codes == pytest.approx(float(output.code_bpp), rel=0.03)
    assert sections["map"] == pytest.approx(float(output.map_bpp), rel=0.05, abs=0.001)
    decoded = torch.from_numpy(codec.decode(file).copy()).permute(2, 0, 1) / 255
    assert (decoded - output.x_hat[0].clamp(0, 1)).abs().mean() < 0.01


@pytest.mark.parametrize("noise", [False, True])
def test_gradients_reach_every_parameter(noise: bool) -> None:
    network = shaken(0.01)
    x, conditions = batch()
    output = network(x, conditions, noise=noise)
    loss = (output.x_hat - x).square().mean() * 1000 + output.code_bpp.sum() + output.map_bpp.sum()
    loss.backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().max() > 0, name


def test_the_gradients_for_the_analysis_alone_change_no_value_and_reach_it() -> None:
    network = shaken(0.01)
    x, conditions = batch()
    trained, encoded = network(x, conditions), network(x, conditions, alone=True)
    for ours, theirs in zip(encoded, trained, strict=True):
        torch.testing.assert_close(ours, theirs)
    encoded.code_bpp.sum().backward()
    for name, parameter in network.transforms.analysis.features.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("there", [0.0, 1.0])
def test_latents_are_drawn_to_their_codes_where_these_are_coded(there: float) -> None:
    torch.manual_seed(0)
    y = (3 * torch.randn(2, 5, 7)).requires_grad_()
    mean = torch.randn(2, 5, 7, requires_grad=True)
    log_scale, present = torch.zeros(2, 5, 7), torch.full((2, 1, 1), there)
    weight = torch.tensor([2.0, math.inf]).view(2, 1, 1)  # the second picture's codes are the nearest
    first = torch.tensor([True, False]).view(2, 1, 1)
    free = as_trained(y, mean, log_scale, weight, there=present, drawn=torch.zeros_like(first))
    by_price = torch.autograd.grad(free[1].sum(), (y, mean), retain_graph=True)
    torch.testing.assert_close(by_price[0], -by_price[1])
    pull = there * 2 * 2.0 * (y[0] - free[0][0]).detach()
    for alone in (False, True):
        codes, bits = as_trained(y, mean, log_scale, weight, there=present, drawn=first, alone=alone)
        torch.testing.assert_close((codes, bits), free)
        by_codes = torch.autograd.grad(codes.sum(), (y, mean), retain_graph=True)
        by_bits = torch.autograd.grad(bits.sum(), (y, mean))
        torch.testing.assert_close(by_codes[0], torch.full_like(y, there))
        torch.testing.assert_close(by_bits[0], torch.stack([pull, by_price[0][1]]))
        # Where the analysis is alone, the first picture's means move its codes, and no bits.
        torch.testing.assert_close(by_codes[1][0], torch.full_like(y[0], 1.0 if alone else 1 - there))
        torch.testing.assert_close(by_codes[1][1], torch.full_like(y[1], 1 - there))
        torch.testing.assert_close(by_bits[1][0], torch.zeros_like(y[0]) if alone else by_price[1][0])
        torch.testing.assert_close(by_bits[1][1], by_price[1][1])


def test_thawing_a_checkpoint_gives_the_weights_that_were_frozen() -> None:
    network = shaken(0.1)
    tables = logistic_tables()
    restored = dequantise(quantise(network, map_tables=tables, code_tables=tables), TINY)
    state = network.state_dict()
    assert set(restored) == set(state)
    for name, tensor in state.items():
        assert (restored[name] - tensor).abs().max() < 1e-2, name


def test_levels_keep_the_leading_channels_and_none_is_empty() -> None:
    network = CwicNetwork(TINY)
    mask = network.mask(torch.tensor([1.0, 2, 3, 4]).view(1, 1, 1, 4))[0, :, 0]
    assert mask.sum(0).tolist() == list(TINY.kept)
    assert torch.equal(mask, mask.sort(0, descending=True).values)


def test_logistic_bits_are_those_of_the_distribution() -> None:
    values = torch.arange(-400, 401).double()
    for mean, log_scale in ((0.0, -3.0), (0.3, 0.0), (-7.7, 2.0), (40.4, 3.5)):
        bits = logistic_bits(values, torch.tensor(mean), torch.tensor(log_scale))
        assert float((2**-bits).sum()) == pytest.approx(1, abs=1e-3)
    bounded = logistic_bits(values[398:404], torch.tensor(0.2), torch.tensor(1.0), low=-2, high=3)
    assert float((2**-bounded).sum()) == pytest.approx(1, abs=1e-6)


def test_rounding_saves_bits_only_where_they_cost_more_than_the_error() -> None:
    residual = torch.tensor([0.6, 0.6, -1.4, 0.2])

    def chosen(log_scale: float, weight: float) -> list[float]:
        scales = torch.full((4,), log_scale)
        return rdo_quantise(
            residual, lambda values: logistic_bits(values, 0.0, scales), torch.tensor(weight)
        ).tolist()

    assert chosen(4.0, 5.0) == [1, 1, -1, 0]
    assert chosen(-4.0, 5.0) == [0, 0, 0, 0]
    assert chosen(-4.0, 1e6) == [1, 1, -1, 0]


def test_the_gain_gives_the_step_that_fits_lambda() -> None:
    network = CwicNetwork(TINY)
    quality = torch.tensor([0.0, 0.5, 1.0]).view(1, 1, 1, 3)
    conditions = torch.cat([quality, torch.zeros_like(quality)], 1)
    lambdas = lambda_at(TINY, quality)
    assert float(lambdas[0, 0, 0, 0]) == pytest.approx(TINY.lambda_min)
    assert float(lambdas[0, 0, 0, 2]) == pytest.approx(TINY.lambda_max)
    step = 255 / network.transforms.gain(conditions)[0, 0, 0]
    assert torch.allclose(step**2 / 12 * lambdas[0, 0, 0] * 2 * math.log(2), torch.ones(3))


def test_the_dct_basis_is_orthonormal() -> None:
    basis = dct_basis(192).reshape(192, 192)
    assert np.allclose(basis @ basis.T, np.eye(192), atol=1e-5)
    assert np.ptp(dct_basis(1)) < 1e-6  # the first is the mean of luma


def test_padding_is_to_whole_cells() -> None:
    assert [TINY.padded_size(1, 1), TINY.padded_size(16, 17), TINY.padded_size(512, 768)] == [
        (16, 16),
        (16, 32),
        (512, 768),
    ]


@pytest.mark.parametrize(
    "changes",
    [
        {"profile": "other"},
        {"groups": (4, 8)},
        {"kept": (4, 8, 8, 16)},
        {"kept": (4, 8, 20)},
        {"passes": (5, 2)},
        {"passes": (5, 2, 3)},
        {"tunes": ()},
        {"tunes": ("other",)},
        {"code_limit": 2000},
        {"lambda_min": 0.0},
        {"lambda_min": 1.0},
    ],
)
def test_configs_that_cannot_work_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(CheckpointFormatError):
        CodecConfig.from_json(json.dumps(json.loads(TINY.to_json()) | changes))
    assert CodecConfig.from_json(TINY.to_json()) == TINY


def test_groups_that_are_cut_off_cost_nothing_and_leave_the_predicted_means() -> None:
    network, planes = shaken(0.05), []
    network.transforms.synthesis.register_forward_pre_hook(lambda _layer, inputs: planes.append(inputs[1]))
    x, conditions = batch()
    twice = torch.cat([x, x]), torch.cat([conditions, conditions])
    with torch.no_grad():
        whole = network(*twice)
        cut = network(*twice, groups=torch.tensor([3.0, 1.0]))
    assert torch.equal(cut.code_bpp[0], whole.code_bpp[0])
    assert torch.equal(cut.x_hat[0], whole.x_hat[0])
    assert 0 < cut.code_bpp[1] < 0.9 * whole.code_bpp[1]
    assert not torch.equal(cut.x_hat[1], whole.x_hat[1])
    assert torch.equal(cut.levels, whole.levels)
    most = level_plane(
        torch.tensor(float(TINY.level_within(1))), TINY
    )  # what the synthesis is told, as in a file
    assert planes[0][1].max() > most
    assert torch.equal(planes[1], torch.stack([planes[0][0], planes[0][1].clamp(max=most)]))


def test_each_tune_has_its_own_gains() -> None:
    network = CwicNetwork(TINY)
    with torch.no_grad():
        network.transforms.log_gain[1] += 0.5
    conditions = torch.zeros(2, 2, 1, 1)
    conditions[1, 1] = 1
    psnr, visual = network.transforms.gain(conditions)
    assert torch.allclose(visual / psnr, torch.tensor(math.exp(0.5)))


def test_without_the_choice_every_residual_is_the_nearest() -> None:
    weight = distortion_weight(replace(TINY, rdo=0.0), torch.zeros(4))
    residual, scales = torch.tensor([0.2, 0.6, -1.4, 1.5]), torch.full((4,), -4.0)
    nearest = rdo_quantise(residual, lambda values: logistic_bits(values, 0.0, scales), weight)
    assert torch.equal(nearest, residual.round())
