import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from model.config import CodecConfig, Cvpr2018Config, CwicConfig, config_of
from model.errors import CheckpointFormatError
from model.profiles.cvpr2018.transforms import Cvpr2018Transforms, Decoder, Encoder, ReleasedResidualBlock
from model.profiles.registry import transforms_of
from tests.conftest import TINY, TINY_2018, TINY_2018_EMPTY, picture

LOW_RATES = Cvpr2018Config()
HIGH_RATES = Cvpr2018Config(channels=128, levels=32, groups=(1, 1, 2, 4, 8, 16, 32, 64))
NO_QUALITY = torch.zeros(1, 1, 1, 1, dtype=torch.float64)


def described(net: nn.Module) -> str:
    """A network as its table in the design has it; `same` convolutions unless the padding is said."""
    return "; ".join(_parts(net))


def _parts(net: nn.Module) -> Iterator[str]:
    if isinstance(net, nn.Conv2d):
        size, stride = net.kernel_size[0], net.stride[0]
        same = (size - 1) // 2 if stride == 1 else (size - stride) // 2
        assert net.padding == (same, same)
        assert net.bias is not None
        assert (net.groups, net.dilation, net.padding_mode) == (1, (1, 1), "zeros")
        yield f"conv {size}x{size}/{stride} {net.in_channels}-{net.out_channels}"
    elif isinstance(net, ReleasedResidualBlock):
        assert [*map(described, net.children())] == [
            f"conv 3x3/1 {net.first.in_channels}-{net.first.out_channels}",
            f"conv 3x3/1 {net.second.in_channels}-{net.second.out_channels}",
        ]
        yield f"res {net.first.in_channels}-{net.first.out_channels}-{net.second.out_channels}"
    elif isinstance(net, nn.PixelShuffle):
        yield f"depth to space {net.upscale_factor}"
    elif isinstance(net, nn.ReLU):
        yield "relu"
    else:
        assert isinstance(net, nn.Sequential)
        for layer in net:
            yield from _parts(layer)


@pytest.mark.parametrize("config", [LOW_RATES, HIGH_RATES], ids=["64", "128"])
def test_the_networks_are_the_released_ones_layer_by_layer(config: Cvpr2018Config) -> None:
    n = config.channels
    encoder, decoder = Encoder(config), Decoder(config)
    assert described(encoder.features) == (
        "conv 8x8/4 3-128; relu; res 128-128-128; conv 4x4/2 128-256; relu; res 256-128-256; "
        "conv 3x3/1 256-256; relu; res 256-128-256"
    )
    assert described(encoder.codes) == f"conv 1x1/1 256-{n}"
    assert described(encoder.importance) == "conv 3x3/1 256-128; relu; conv 1x1/1 128-1"
    assert described(decoder.layers) == (
        f"conv 3x3/1 {n}-512; relu; res 512-128-512; conv 3x3/1 512-512; relu; res 512-128-512; depth to space 2; "
        "conv 3x3/1 128-256; relu; res 256-128-256; depth to space 4; conv 3x3/1 16-32; relu; conv 1x1/1 32-3"
    )
    assert {*dict(encoder.named_children())} == {"features", "codes", "importance"}
    assert {*dict(decoder.named_children())} == {"layers"}


@pytest.mark.parametrize(
    ("config", "millions"),
    [(LOW_RATES, (2.63, 0.30, 5.91)), (HIGH_RATES, (2.65, 0.30, 6.20))],
    ids=["64", "128"],
)
def test_they_have_as_many_parameters_as_the_released_ones(
    config: Cvpr2018Config, millions: tuple[float, float, float]
) -> None:
    encoder, decoder = Encoder(config), Decoder(config)
    importance = count(encoder.importance)
    found = (count(encoder) - importance, importance, count(decoder))
    assert tuple(round(parameters / 1e6, 2) for parameters in found) == millions


def count(net: nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


def test_the_residual_block_has_its_relu_before_the_sum_and_after_it() -> None:
    block = ReleasedResidualBlock(2, 3)
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.zero_()
        x = torch.tensor([2.0, -5.0]).view(1, 2, 1, 1)
        assert block(x).flatten().tolist() == [2, 0]
        block.second.bias.copy_(torch.tensor([-1.0, 7.0]))  # type: ignore[union-attr]  # it has one
        assert block(x).flatten().tolist() == [2, 2]  # -1 does not reach the sum
        block.first.bias.fill_(-4)  # type: ignore[union-attr]  # it has one
        block.second.weight.fill_(1)
        assert block(x).flatten().tolist() == [2, 2]  # nor does -4 the second convolution
        block.first.weight[0, 0, 1, 1] = 3  # the first hidden unit is 3 * 2 - 4, and 1 and 9 with the biases
        assert block(x).flatten().tolist() == [3, 4]


def test_a_block_leaves_its_input_alone() -> None:
    x = torch.randn(1, 8, 4, 4)
    before = x.clone()
    ReleasedResidualBlock(8, 4)(x)
    assert torch.equal(x, before)


@pytest.mark.parametrize("config", [TINY_2018, TINY_2018_EMPTY, HIGH_RATES], ids=["1", "0", "128"])
def test_shapes_and_ranges_are_those_that_the_codec_takes(config: Cvpr2018Config) -> None:
    torch.manual_seed(0)
    transforms = transforms_of(config)
    assert isinstance(transforms, Cvpr2018Transforms)
    x = torch.rand(2, 3, 24, 40) - 0.5
    with torch.no_grad():
        values, levels = transforms.analyse(transforms.features(x), NO_QUALITY)
        codes = torch.randint(-1, 2, (2, config.channels, 3, 5))
        decoded = transforms.synthesise(codes, levels, NO_QUALITY)
    assert (values.shape, values.dtype) == ((2, config.channels, 3, 5), torch.float32)
    assert 0 < values.min() < values.max() < 1
    assert (levels.shape, levels.dtype) == ((2, 1, 3, 5), torch.int64)
    assert config.lowest_level <= levels.min() <= levels.max() <= config.highest_level
    assert (decoded.shape, decoded.dtype) == ((2, 3, 24, 40), torch.float32)
    assert config.padded_size(17, 33) == (24, 40)


def test_pixels_enter_as_the_release_has_them_and_leave_the_same_way() -> None:
    torch.manual_seed(0)
    transforms = Cvpr2018Transforms(TINY_2018)
    pixels = torch.from_numpy(picture(32, 48)).permute(2, 0, 1)[None].float()
    codes = torch.randint(-1, 2, (1, 16, 4, 6))
    with torch.no_grad():
        values, levels = transforms.analyse(transforms.features(pixels / 255 - 0.5), NO_QUALITY)
        e, p = transforms.encoder((pixels - 127.5) / 127.5)
        out = transforms.synthesise(codes, levels, NO_QUALITY)
        decoded = transforms.decoder(codes.float())
    assert torch.allclose(values, e, atol=1e-6)
    assert torch.equal(levels, (4 * p).floor().long() + 1)
    assert torch.allclose(out * 255, decoded * 127.5 + 127.5, atol=1e-3)


def test_training_starts_with_almost_everything_kept_and_neutral_codes() -> None:
    torch.manual_seed(0)
    encoder = Encoder(TINY_2018)
    x = torch.from_numpy(picture(64, 64)).permute(2, 0, 1)[None].float() / 127.5 - 1
    with torch.no_grad():
        e, p = encoder(x)
    assert 0.85 < p.min() < p.mean() < 0.99
    assert 0.2 < e.min() < e.max() < 0.8


def positive(net: nn.Module) -> None:
    """Every layer a mean of its inputs, so that no ReLU cuts and nothing cancels."""
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d):
            assert layer.bias is not None
            nn.init.constant_(layer.weight, 1 / layer.weight[0].numel())
            nn.init.zeros_(layer.bias)


def reach(x: Tensor, out: Tensor) -> list[tuple[int, int]]:
    """First and last row, and column, of `x` that `out` depends on."""
    (gradient,) = torch.autograd.grad(out.sum(), x, retain_graph=True)
    seen = gradient[0].abs().sum(0) > 0
    return [(int(at.min()), int(at.max())) for at in torch.nonzero(seen).T]


def test_margins_are_the_whole_cells_that_the_receptive_fields_reach_into() -> None:
    config = replace(TINY_2018, width=8)
    transforms = Cvpr2018Transforms(config)
    positive(transforms)
    assert transforms.analysis_margin == transforms.synthesis_margin == 64
    first, last = 11 * 8, 12 * 8 - 1  # the pixels of place 11
    x = torch.ones(1, 3, 192, 200, requires_grad=True)
    e, p = transforms.encoder(x)
    assert reach(x, e[..., 11, 11]) == [(first - 54, last + 54)] * 2
    assert reach(x, p[..., 11, 11]) == [(first - 62, last + 62)] * 2
    codes = torch.ones(1, 16, 24, 25, requires_grad=True)
    decoded = transforms.decoder(codes)
    assert reach(codes, decoded[..., first : last + 1, first : last + 1]) == [(11 - 8, 11 + 8)] * 2


def test_what_is_outside_the_margins_changes_nothing_and_what_is_just_inside_does() -> None:
    torch.manual_seed(0)
    transforms = Cvpr2018Transforms(TINY_2018).double()
    margin = transforms.analysis_margin
    middle = slice(96, 104)  # pixels of place 12
    x = torch.rand(1, 3, 32, 200, dtype=torch.float64)
    outside, inside = x.clone(), x.clone()
    outside[..., : middle.start - margin] = outside[..., middle.stop + margin :] = 0.5
    inside[..., : middle.start - margin + 8] = inside[..., middle.stop + margin - 8 :] = 0.5
    with torch.no_grad():
        own, far, near = (logits(transforms.encoder, each)[..., 12] for each in (x, outside, inside))
    assert torch.allclose(own, far, rtol=0, atol=1e-13)
    assert (own - near).abs().max() > 1e-9


def logits(encoder: Encoder, x: Tensor) -> Tensor:
    """Of the importance, which sees furthest, before the sigmoid rounds them to float32."""
    out: Tensor = encoder.importance(encoder.features(x))
    return out


@pytest.mark.parametrize("config", [LOW_RATES, HIGH_RATES, TINY_2018, TINY_2018_EMPTY, TINY])
def test_configs_survive_their_json(config: CodecConfig) -> None:
    assert CodecConfig.from_json(config.to_json()) == config
    assert json.loads(config.to_json())["profile"] == config.profile


def test_the_convention_decides_which_levels_there_are() -> None:
    assert (TINY_2018.lowest_level, TINY_2018.highest_level) == (1, 4)
    assert (TINY_2018_EMPTY.lowest_level, TINY_2018_EMPTY.highest_level) == (0, 3)
    assert (CwicConfig().lowest_level, CwicConfig().highest_level) == (1, 16)
    assert Cvpr2018Config().lowest_level == 1


def test_bits_are_written_as_bits_and_seen_as_signs() -> None:
    assert TINY_2018.alphabet == (0, 1)
    assert TINY_2018.codes_of(torch.tensor([0, 1]).int().numpy()).tolist() == [-1, 1]


WRONG: list[dict[str, object]] = [
    {"lowest_level": 2},
    {"lowest_level": -1},
    {"lowest_level": None},
    {"width": 0},
    {"width": 12},
    {"width": -8},
    {"width": 16.0},
    {"levels": 5},
    {"levels": 1},
    {"groups": (1, 3)},
    {"groups": (1, 3, 12, 0)},
    {"groups": (-1, 5, 12)},
    {"channels": 200, "groups": (100, 100)},
    {"context_width": 0},
    {"map_width": -1},
    {"code_limit": 4},
    {"blocks": 2},
    {"profile": "lossless"},
    {"profile": ["cvpr2018"]},
    {"complete": True},
]


@pytest.mark.parametrize("changes", WRONG, ids=str)
def test_configs_that_cannot_work_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(CheckpointFormatError):
        CodecConfig.from_json(json.dumps(json.loads(TINY_2018.to_json()) | changes))


@pytest.mark.parametrize("lowest_level", [True, False, 0.0, 1.0], ids=str)
def test_a_lowest_level_that_is_no_whole_number_is_refused(lowest_level: object) -> None:
    with pytest.raises(CheckpointFormatError):
        CodecConfig.from_json(json.dumps(json.loads(TINY_2018.to_json()) | {"lowest_level": lowest_level}))


@pytest.mark.parametrize("missing", ["profile", "channels", "groups", "lowest_level", "width"])
def test_configs_that_lack_a_field_are_refused(missing: str) -> None:
    values = json.loads(TINY_2018.to_json())
    del values[missing]
    with pytest.raises(CheckpointFormatError, match=missing):
        CodecConfig.from_json(json.dumps(values))


def test_a_config_from_some_values_has_the_defaults_of_its_profile() -> None:
    assert config_of("cvpr2018") == Cvpr2018Config()
    assert config_of("cwic", blocks=2) == CwicConfig(blocks=2)
    assert config_of("cvpr2018", groups=[32, 32]) == Cvpr2018Config(groups=(32, 32))
    unknown: list[tuple[str, dict[str, Any]]] = [
        ("cvpr2018", {"blocks": 2}),
        ("cwic", {"lowest_level": 0}),
        ("other", {}),
    ]
    for profile, values in unknown:
        with pytest.raises(CheckpointFormatError):
            config_of(profile, **values)
