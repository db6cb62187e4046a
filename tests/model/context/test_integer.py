import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.config import CodecConfig
from model.context.integer import (
    ACTIVATION_ONE,
    FLOAT32_EXACT,
    CodePlanes,
    ExactLinear,
    IntegerGroup,
    Plane,
    inside_plane,
    padded_rows,
)
from model.context.network import COARSE, COARSE_LIMIT, LINEAR_SCALE, ContextModel, code_features
from model.context.passes import (
    AT_ONCE,
    CHECKERBOARD,
    COARSE_TO_FINE,
    Pattern,
    group_specs,
    pass_grid,
    seen_taps,
)
from model.entropy.tables import FRACTIONS, SCALE_ZERO, SCALES_PER_UNIT
from model.profiles.export import quantise_group, saturation_table
from tests.conftest import TINY, TINY_2018

CPU = torch.device("cpu")


@pytest.mark.parametrize("pattern", [AT_ONCE, CHECKERBOARD, COARSE_TO_FINE])
def test_every_tap_of_a_pass_points_at_earlier_passes_only(pattern: Pattern) -> None:
    for step in range(max(map(max, pattern)) + 1):
        for i in range(4):
            for j in range(4):
                if pattern[i][j] == step:
                    for dy, dx in seen_taps(pattern, step):
                        assert pattern[(i + dy) % 4][(j + dx) % 4] < step


def test_padded_rows_find_positions_in_planes() -> None:
    values = torch.arange(2 * 3 * 5).reshape(2, 1, 3, 5)
    rows = padded_rows(torch.arange(30), 3, 5)
    assert torch.equal(Plane.of(values).rows[rows, 0].long(), torch.arange(30))


@pytest.mark.parametrize(("config", "limit"), [(TINY, 1023), (TINY, 9), (TINY_2018, 1)], ids=str)
def test_integer_predictions_are_those_of_the_float_model(config: CodecConfig, limit: int) -> None:
    """For codes in steps of 1 / FRACTIONS, small ones and ones beyond what the hidden layers tell apart."""
    torch.manual_seed(0)
    model = ContextModel(config)
    for parameter in model.parameters():
        parameter.data = torch.randn_like(parameter) * 0.1 / max(1, limit / 9)
    codes = torch.randint(-limit * FRACTIONS, limit * FRACTIONS + 1, (2, config.channels, 6, 7))
    conditions = torch.randint(-256, 257, (2, 1 + config.conditions, 6, 7))
    saturation = saturation_table()
    everywhere = padded_rows(torch.arange(2 * 6 * 7), 6, 7)

    def planes(part: torch.Tensor) -> CodePlanes:
        made = CodePlanes.empty((2, 6, 7), part.shape[1], device=CPU)
        made.put(everywhere, part.permute(0, 2, 3, 1).reshape(-1, part.shape[1]), saturation)
        return made

    for group, spec in zip(model.groups(), group_specs(config)[1], strict=True):
        grid = pass_grid(spec.pattern, 6, 7, device=CPU)
        integer = IntegerGroup(
            spec,
            quantise_group(group),
            largest=COARSE_LIMIT,
            largest_code=limit * FRACTIONS,
            device=CPU,
        )
        before = torch.split(codes[:, : spec.start], list(spec.previous), 1)
        base = group.base(conditions / ACTIVATION_ONE, codes[:, : spec.start] / FRACTIONS)
        for step in range(spec.passes):
            seen = (grid < step)[None, None]
            known = codes[:, spec.start : spec.start + spec.size] * seen
            at = torch.nonzero((grid == step).flatten())[:, 0]
            mean, log_scale = group(base, known / FRACTIONS, seen.float(), at)
            positions = torch.nonzero((grid == step).flatten().repeat(2))[:, 0]
            found_mean, found_scale = integer.predict(
                step,
                padded_rows(positions, 6, 7),
                conditions=Plane.of(conditions),
                previous=[planes(part).features for part in before],
                local=planes(known),
                inside=inside_plane(2, 6, 7, device=CPU),
            )
            want_mean, want_scale = mean.flatten(0, 1), log_scale.flatten(0, 1)
            assert (found_mean / FRACTIONS - want_mean).abs().max() < 2.6 / FRACTIONS
            distance = (found_scale - SCALE_ZERO) / SCALES_PER_UNIT - want_scale
            assert distance.abs().max() < 0.7 / SCALES_PER_UNIT


def test_codes_are_seen_as_training_sees_them() -> None:
    """Every code in steps of 1 / FRACTIONS: the coarse form exactly, the saturated one to half a step."""
    codes = torch.arange(-1023 * FRACTIONS, 1023 * FRACTIONS + 1)[:, None]
    planes = CodePlanes.empty((1, 1, len(codes)), 1, device=CPU)
    planes.put(padded_rows(torch.arange(len(codes)), 1, len(codes)), codes, saturation_table())
    found = planes.features.rows[padded_rows(torch.arange(len(codes)), 1, len(codes))]
    want = code_features(codes.view(1, 1, 1, -1) / FRACTIONS)[0, :, 0].T
    assert torch.equal(found[:, 0] / (COARSE * LINEAR_SCALE), want[:, 0])
    assert (found[:, 1] / ACTIVATION_ONE - want[:, 1]).abs().max() < 0.6 / ACTIVATION_ONE


@given(st.data())
@settings(max_examples=40)
def test_products_are_exact_in_digits_and_whole(data: st.DataObject) -> None:
    terms, largest = data.draw(st.integers(1, 900)), data.draw(st.integers(1, 8191))
    seed = torch.Generator().manual_seed(data.draw(st.integers(0, 99)))
    weight = torch.randint(-32767, 32768, (terms, 5), generator=seed)
    x = torch.randint(-largest, largest + 1, (7, terms), generator=seed)
    product = ExactLinear(weight, largest=largest, device=CPU)
    assert torch.equal(product.add_to(torch.zeros(7, 5).double(), x.float()).long(), x @ weight)
    extreme = torch.full((1, terms), largest) * weight[:, :1].T.sign()
    assert torch.equal(product.add_to(torch.zeros(1, 5).double(), extreme.float()).long(), extreme @ weight)
    if product._digits is not None:
        base, digits = product._digits
        assert sum(digit.double() * base**k for k, digit in enumerate(digits)).equal(weight.double())
        assert all(float(digit.abs().sum(0).max()) * largest < FLOAT32_EXACT for digit in digits)


def test_products_stay_exact_where_torch_may_round_float32() -> None:
    weight = torch.randint(-32767, 32768, (80, 5), generator=torch.Generator().manual_seed(0))
    x = torch.randint(-255, 256, (7, 80), generator=torch.Generator().manual_seed(1))
    product = ExactLinear(weight, largest=255, device=CPU)
    torch.set_float32_matmul_precision("medium")
    try:
        assert torch.equal(product.add_to(torch.zeros(7, 5).double(), x.float()).long(), x @ weight)
    finally:
        torch.set_float32_matmul_precision("highest")


def test_the_saturation_table_is_odd_and_bounded() -> None:
    table = saturation_table().int()
    assert torch.equal(table, -table.flip(0))
    assert int(table.max()) == ACTIVATION_ONE
