from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from model.config import Cvpr2018Config
from model.profiles.cvpr2018.operators import binarize
from model.profiles.cvpr2018.transforms import Decoder, Encoder
from tests.conftest import picture
from training.measure.metrics import psnr_of_mse
from training.recipes.transform_start import (
    MIN_WIDTH,
    Component,
    EmbeddedQuantizer,
    Floats,
    Room,
    _Zigzag,
    allocate,
    fitted_components,
    start,
)

CONFIG = Cvpr2018Config()
ROOM = Room(features=2 * CONFIG.width, corners=CONFIG.width * 7 // 8, prefixes=4 * CONFIG.width)
ENDLESS = Room(features=10**6, corners=10**6, prefixes=10**6)
DISTRIBUTIONS = ("normal", "laplace", "uniform", "exponential")


@pytest.fixture(scope="module")
def blocks() -> Tensor:
    return torch.cat([blocks_of(pixels(256, 256, seed=seed)) for seed in range(4)])


@pytest.fixture(scope="module")
def components(blocks: Tensor) -> list[Component]:
    return fitted_components(blocks, CONFIG.channels)


@pytest.fixture(scope="module")
def bare(blocks: Tensor) -> tuple[Encoder, Decoder]:
    """Networks that were all zeros before: the transform coder and nothing else."""
    encoder, decoder = Encoder(CONFIG), Decoder(CONFIG)
    for parameter in (*encoder.parameters(), *decoder.parameters()):
        parameter.data.zero_()
    start(encoder, decoder, blocks)
    return encoder.requires_grad_(False), decoder.requires_grad_(False)


def pixels(height: int, width: int, *, seed: int) -> Tensor:
    return torch.from_numpy(picture(height, width, seed=seed)).permute(2, 0, 1)[None].float() / 127.5 - 1


def blocks_of(x: Tensor) -> Tensor:
    """[N, 192], row by row."""
    return torch.nn.functional.unfold(x, 8, stride=8)[0].T


def samples_of(distribution: str, count: int, *, seed: int) -> Floats:
    generator = np.random.default_rng(seed)
    drawn: Floats = getattr(generator, distribution)(size=count)
    drawn /= drawn.std()
    return drawn


def cells_of(values: Floats, quantizer: EmbeddedQuantizer, bits: int) -> tuple[Floats, Floats]:
    """The cell of each value after some bits, and those bits as -1 and 1, [N, bits].

    Each bit halves the cell. The code is a Gray code: in every second cell the lower half is the 1.
    """
    cell = np.zeros(len(values), int)
    signs = np.empty((len(values), bits))
    for bit in range(bits):
        upper = values > quantizer.splits[bit][cell]
        signs[:, bit] = np.where(upper ^ ((cell % 2 == 0) & (bit > 0)), 1, -1)
        cell = 2 * cell + upper
    return cell, signs


def coefficients(blocks: Tensor, component: Component) -> Floats:
    """Of a component, scaled to variance 1."""
    values: Floats = ((blocks @ component.basis).double().numpy() - component.mean) / component.scale
    return values


@given(st.sampled_from(DISTRIBUTIONS), st.integers(64, 3000), st.integers(0, 99))
def test_cells_are_nested_and_every_bit_helps(distribution: str, count: int, seed: int) -> None:
    samples = samples_of(distribution, count, seed=seed)
    quantizer = EmbeddedQuantizer.fitted(samples)
    edges = np.array([-np.inf, np.inf])
    for bit, splits in enumerate(quantizer.splits):
        assert len(splits) == 2**bit
        assert (edges[:-1] < splits).all()
        assert (splits < edges[1:]).all()
        edges = np.sort(np.concatenate([edges, splits]))
    for bits, (means, error) in enumerate(zip(quantizer.means, quantizer.errors, strict=True)):
        cell, _ = cells_of(samples, quantizer, bits)
        for index, mean in enumerate(means):
            assert samples[cell == index].mean() == pytest.approx(mean)
        assert np.square(samples - means[cell]).mean() == pytest.approx(error)
    assert (np.diff(quantizer.errors) < 0).all()


@given(st.sampled_from(DISTRIBUTIONS), st.integers(32, 60), st.integers(0, 99))
def test_no_other_first_cut_leaves_less_error(distribution: str, count: int, seed: int) -> None:
    samples = samples_of(distribution, count, seed=seed)
    ordered = np.sort(samples)
    errors = [
        np.square(ordered[:i] - ordered[:i].mean()).sum() + np.square(ordered[i:] - ordered[i:].mean()).sum()
        for i in range(1, count)
    ]
    assert EmbeddedQuantizer.fitted(samples).errors[1] == pytest.approx(min(errors) / count)


def test_codes_of_neighbouring_cells_differ_in_one_bit() -> None:
    quantizer = EmbeddedQuantizer.fitted(samples_of("laplace", 20_000, seed=0))
    bits = len(quantizer.splits)
    cell, signs = cells_of(quantizer.means[-1], quantizer, bits)
    assert cell.tolist() == list(range(2**bits))
    assert (np.abs(np.diff(signs, axis=0)).sum(1) == 2).all()


@given(st.integers(1, 4), st.integers(0, 999))
def test_a_zigzag_has_the_given_zeros_and_changes_its_sign_at_each(bit: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    zeros = np.cumsum(generator.uniform(0.05, 1, 2**bit)) - generator.uniform(0, 5)
    zigzag = _Zigzag(zeros)

    def value(at: Floats) -> Tensor:
        ramps = torch.relu(zigzag.signs * (torch.from_numpy(at).float()[:, None] - zigzag.corners))
        return zigzag.centre + (zigzag.slopes * ramps).sum(1)

    assert torch.allclose(value(zeros), torch.zeros(len(zeros)), atol=1e-5)
    between = np.concatenate([[zeros[0] - 1], (zeros[1:] + zeros[:-1]) / 2, [zeros[-1] + 1]])
    signs = torch.sign(value(between)).tolist()
    assert signs == [1 if index % 2 == 0 else -1 for index in range(2**bit + 1)]
    anywhere = value(np.linspace(zeros[0] - 1, zeros[-1] + 1, 2000))
    assert float(anywhere.min()) >= zigzag.lowest - 1e-5
    crossings = torch.sign(anywhere[anywhere != 0]).diff().ne(0).sum()
    assert int(crossings) == len(zeros)
    assert len(zigzag.signs) == len(zigzag.slopes) == len(zigzag.corners) == 2**bit


def test_components_are_those_of_the_largest_variance(blocks: Tensor, components: list[Component]) -> None:
    basis = torch.stack([component.basis for component in components])
    assert torch.allclose(basis @ basis.T, torch.eye(len(basis)), atol=1e-4)
    scales = [component.scale for component in components]
    assert scales == sorted(scales, reverse=True)
    for component in components[:5]:
        values = coefficients(blocks, component)
        assert values.mean() == pytest.approx(0, abs=1e-3)
        assert values.std() == pytest.approx(1, abs=1e-3)


def test_the_encoders_bits_are_the_codes_of_the_cells(
    bare: tuple[Encoder, Decoder], components: list[Component]
) -> None:
    x = pixels(128, 136, seed=50)
    own = blocks_of(x)
    bits = 2 * binarize(bare[0](x)[0])[0].flatten(1).T - 1  # [places, n]
    layout = allocate(components, bits=CONFIG.channels, room=ROOM)
    depths = {component: sum(other == component for other, _ in layout) for component, _ in layout}
    assert max(depths.values()) >= 3
    for index, depth in depths.items():
        _, signs = cells_of(coefficients(own, components[index]), components[index].quantizer, depth)
        channels = [layout.index((index, bit)) for bit in range(depth)]
        different = bits[:, channels] != torch.from_numpy(signs)
        assert different.double().mean() < 0.002  # float32 at a threshold


def test_a_bit_changes_once_at_each_of_its_thresholds(
    bare: tuple[Encoder, Decoder], components: list[Component]
) -> None:
    """As the largest component rises from one end to the other, and all others stay at their means."""
    first, layout = components[0], allocate(components, bits=CONFIG.channels, room=ROOM)
    others = sum((c.mean * c.basis for c in components[1:]), torch.zeros(192))
    values = np.linspace(-4, 4, 600)
    rising = others + (first.mean + first.scale * torch.from_numpy(values).float()[:, None]) * first.basis
    x = rising.view(-1, 3, 8, 8).permute(1, 2, 0, 3).reshape(1, 3, 8, -1)
    bits = binarize(bare[0](x)[0])[0, :, 0]  # [n, 600]
    flips = torch.zeros(599)
    for bit, splits in enumerate(first.quantizer.splits):
        if (0, bit) in layout:
            found = bits[layout.index((0, bit))].diff().abs()
            at = values[torch.nonzero(found)[:, 0]]
            assert np.allclose(at, splits, atol=0.03)
            flips += found
    assert flips.max() == 1  # a Gray code


@pytest.mark.parametrize("kept", [0, 1, 4, 20, 36, 64])
def test_the_decoder_gives_the_means_of_the_cells_that_the_kept_bits_tell(
    bare: tuple[Encoder, Decoder], components: list[Component], blocks: Tensor, kept: int
) -> None:
    encoder, decoder = bare
    x = pixels(64, 72, seed=51)
    codes = 2 * binarize(encoder(x)[0]) - 1
    codes[:, kept:] = 0
    found = blocks_of(decoder(codes)).double()
    layout = allocate(components, bits=CONFIG.channels, room=ROOM)
    used = [components[index] for index in sorted({component for component, _ in layout})]
    expected = (
        torch.zeros_like(found) + blocks.mean(0) - sum(c.mean * c.basis for c in used)
    )  # what no bit tells
    for component in used:
        index = components.index(component)
        depth = sum(other == index for other, _ in layout[:kept])
        cell, _ = cells_of(coefficients(blocks_of(x), component), component.quantizer, depth)
        value = component.mean + component.scale * torch.from_numpy(component.quantizer.means[depth][cell])
        expected += value[:, None] * component.basis
    assert (found - expected).abs().amax(1).double().quantile(0.99) < 1e-4  # but for bits at a threshold


def test_codes_that_no_encoder_makes_decode_to_something_bounded(bare: tuple[Encoder, Decoder]) -> None:
    """Bits that are kept without the bits before them are ignored."""
    generator = torch.Generator().manual_seed(0)
    codes = torch.randint(-1, 2, (1, CONFIG.channels, 8, 8), generator=generator).float()
    assert bare[1](codes).abs().max() < 20


@pytest.mark.parametrize(
    "config",
    [
        CONFIG,
        replace(CONFIG, width=MIN_WIDTH),
        replace(CONFIG, channels=128, levels=32, groups=(64, 64)),
        replace(CONFIG, channels=128, levels=32, groups=(64, 64), width=MIN_WIDTH),
        replace(CONFIG, channels=192, groups=(96, 96)),
    ],
    ids=lambda config: f"{config.channels}-{config.width}",
)
def test_started_networks_code_pictures_before_any_training(config: Cvpr2018Config, blocks: Tensor) -> None:
    torch.manual_seed(0)
    encoder, decoder = Encoder(config), Decoder(config)
    start(encoder, decoder, blocks)
    x = pixels(96, 128, seed=52)
    decibels = []
    with torch.no_grad():
        codes = 2 * binarize(encoder(x)[0]) - 1
        for kept in range(0, config.channels + 1, 8):
            mask = torch.arange(config.channels).view(-1, 1, 1) < kept
            decibels.append(psnr_of_mse(float((decoder(codes * mask) - x).square().mean()) * 127.5**2))
    assert decibels[-1] > 27
    assert decibels[2] > 22
    assert (np.diff(decibels) > -0.1).all()


def test_pictures_without_colour_are_enough_to_start_from(blocks: Tensor) -> None:
    config = replace(CONFIG, channels=128, levels=32, groups=(64, 64))
    encoder, decoder = Encoder(config), Decoder(config)
    start(encoder, decoder, blocks[:, :64].repeat(1, 3))
    assert all(torch.isfinite(weight).all() for weight in (*encoder.parameters(), *decoder.parameters()))
    assert max(float(weight.detach().abs().max()) for weight in encoder.parameters()) < 2**15  # of float16


def test_a_start_leaves_the_importance_net_alone_and_everything_able_to_learn(blocks: Tensor) -> None:
    torch.manual_seed(0)
    encoder, decoder = Encoder(CONFIG), Decoder(CONFIG)
    before = {name: tensor.clone() for name, tensor in encoder.importance.state_dict().items()}
    start(encoder, decoder, blocks)
    assert all(torch.equal(tensor, before[name]) for name, tensor in encoder.importance.state_dict().items())
    x = pixels(64, 64, seed=53)
    (decoder(2 * binarize(encoder(x)[0]) - 1) - x).square().mean().backward()
    for name, parameter in (*encoder.named_parameters(), *decoder.named_parameters()):
        assert torch.isfinite(parameter).all()
        assert parameter.requires_grad
        if not name.startswith("importance."):
            assert parameter.grad is not None
            assert parameter.grad.any(), name


def test_networks_that_are_too_narrow_are_refused(blocks: Tensor) -> None:
    narrow = replace(CONFIG, width=MIN_WIDTH - 8)
    with pytest.raises(AssertionError, match=f"{MIN_WIDTH}, got {MIN_WIDTH - 8}"):
        start(Encoder(narrow), Decoder(narrow), blocks)


@lru_cache
def made_up(count: int, *, seed: int) -> list[Component]:
    """Components with falling variances and cells of different kinds."""
    generator = np.random.default_rng(seed)
    kinds = [EmbeddedQuantizer.fitted(samples_of(kind, 4000, seed=seed)) for kind in DISTRIBUTIONS]
    scales = np.sort(generator.lognormal(0, 2, count))[::-1]
    return [
        Component(torch.zeros(192), float(scale), 0.0, kinds[generator.integers(len(kinds))])
        for scale in scales
    ]


@given(st.integers(1, 64), st.integers(0, 120), st.integers(0, 9))
@settings(max_examples=100)
def test_bits_come_in_order_and_within_what_the_networks_have_room_for(
    bits: int, hidden: int, seed: int
) -> None:
    components, units = made_up(64, seed=seed), 10 * bits
    room = Room(features=3 * bits, corners=hidden, prefixes=units)
    chosen = allocate(components, bits=bits, room=room)
    assert len(set(chosen)) == len(chosen) <= bits
    for component in {component for component, _ in chosen}:
        own = [bit for other, bit in chosen if other == component]
        assert own == list(range(len(own)))
    assert sum(2**bit for _, bit in chosen if bit) <= hidden
    assert sum(2 ** (bit + 1) for _, bit in chosen) <= units


@given(st.integers(1, 64), st.integers(0, 9))
@settings(max_examples=30)
def test_the_first_components_bits_come_first_and_the_others_by_what_they_save(bits: int, seed: int) -> None:
    components = made_up(64, seed=seed)
    chosen = allocate(components, bits=bits, room=ENDLESS)
    others = [each for each in chosen if each[0]]
    assert chosen == [(0, bit) for bit in range(len(chosen) - len(others))] + others

    def saved(component: int, bit: int) -> float:
        errors = components[component].quantizer.errors
        return components[component].scale ** 2 * (errors[bit] - errors[bit + 1])

    for done, (component, bit) in enumerate(others):
        depth = {other: sum(o == other for o, _ in others[:done]) for other in range(1, 64)}
        open_bits = [(o, d) for o, d in depth.items() if d < len(components[o].quantizer.splits)]
        assert saved(component, bit) == max(saved(*each) for each in open_bits)


def test_channels_without_room_stay_free() -> None:
    assert len(allocate(made_up(4, seed=0), bits=64, room=ENDLESS)) < 64
    assert len(allocate(made_up(64, seed=0), bits=64, room=Room(features=9, corners=99, prefixes=99))) < 9
