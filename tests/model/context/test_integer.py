from collections.abc import Sequence

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
    _float32_is_exact,
    absent_layers,
    conditions_around,
    first_products,
    inside_plane,
    padded_rows,
)
from model.context.network import (
    COARSE,
    LINEAR_SCALE,
    ContextModel,
    GroupContext,
    code_features,
)
from model.context.passes import (
    AT_ONCE,
    CHECKERBOARD,
    COARSE_TO_FINE,
    Pattern,
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
    for group in model.groups().values():
        before = torch.split(codes[:, : group.spec.start], list(group.spec.previous), 1)
        own = codes[:, group.spec.start : group.spec.start + group.spec.size]
        _compare(group, own, before, conditions, largest_code=limit * FRACTIONS)


def test_integer_predictions_of_averages_and_details_are_those_of_the_float_model() -> None:
    torch.manual_seed(0)
    model = ContextModel(TINY)
    for parameter in model.parameters():
        parameter.data = torch.randn_like(parameter) * 0.01
    limit, size = 2 * 1023 * FRACTIONS, TINY.groups[0]
    averages = torch.randint(-limit, limit + 1, (2, size, 6, 7))
    details = torch.randint(-limit, limit + 1, (2, 3 * size, 6, 7))
    conditions = torch.randint(-256, 257, (2, 3, 6, 7))
    assert model.averages is not None
    assert model.details is not None
    _compare(model.averages, averages, [], conditions, largest_code=limit)
    _compare(model.details, details, [averages], conditions, largest_code=limit)


def _compare(
    group: GroupContext,
    own: torch.Tensor,
    before: Sequence[torch.Tensor],
    conditions: torch.Tensor,
    *,
    largest_code: int,
) -> None:
    """Of all passes, of codes in 1 / FRACTIONS, [2, C, 6, 7]."""
    spec, saturation = group.spec, saturation_table()
    everywhere = padded_rows(torch.arange(2 * 6 * 7), 6, 7)

    def planes(part: torch.Tensor, gain: int) -> CodePlanes:
        made = CodePlanes.empty((2, 6, 7), part.shape[1], device=CPU, gain=gain)
        made.put(everywhere, part.permute(0, 2, 3, 1).reshape(-1, part.shape[1]), saturation)
        return made

    grid = pass_grid(spec.pattern, 6, 7, device=CPU)
    integer = IntegerGroup(spec, quantise_group(group), largest_code=largest_code, device=CPU)
    base = group.base(conditions / ACTIVATION_ONE, torch.cat([own[:, :0], *before], 1) / FRACTIONS)
    for step in range(spec.passes):
        seen = (grid < step)[None, None]
        known = own * seen
        at = torch.nonzero((grid == step).flatten())[:, 0]
        mean, log_scale = group(base, known / FRACTIONS, seen.float(), at)
        positions = torch.nonzero((grid == step).flatten().repeat(2))[:, 0]
        found_mean, found_scale = integer.predict(
            step,
            padded_rows(positions, 6, 7),
            conditions=conditions_around(conditions)[positions],
            previous=[planes(part, spec.previous_gain) for part in before],
            local=planes(known, spec.gain),
            inside=inside_plane(2, 6, 7, device=CPU),
        )
        want_mean, want_scale = mean.flatten(0, 1), log_scale.flatten(0, 1)
        assert (found_mean / FRACTIONS - want_mean).abs().max() < 2.6 / FRACTIONS
        distance = (found_scale - SCALE_ZERO) / SCALES_PER_UNIT - want_scale
        assert distance.abs().max() < 0.7 / SCALES_PER_UNIT


def test_products_of_exported_first_layers_are_exact_in_float32_as_they_are() -> None:
    torch.manual_seed(0)
    for group in ContextModel(TINY).named().values():
        for parameter in group.parameters():
            parameter.data = torch.randn_like(parameter)
        first = first_products(group.spec, {**absent_layers(group.spec), **quantise_group(group)})
        for weight, largest in (first.conditioning, *first.previous, first.local):
            most = float((largest @ weight.long().abs()).max())
            assert most < FLOAT32_EXACT
        assert most > 0 or group.spec.passes == 1


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
    product = ExactLinear(weight, largest=torch.full((terms,), largest), device=CPU)
    assert torch.equal(product.add_to(torch.zeros(7, 5).double(), x.float()).long(), x @ weight)
    extreme = torch.full((1, terms), largest) * weight[:, :1].T.sign()
    assert torch.equal(product.add_to(torch.zeros(1, 5).double(), extreme.float()).long(), extreme @ weight)
    if product._digits is not None:
        base, digits = product._digits
        assert sum(digit.double() * base**k for k, digit in enumerate(digits)).equal(weight.double())
        assert all(float(digit.abs().sum(0).max()) * largest < FLOAT32_EXACT for digit in digits)


@pytest.mark.parametrize("newer", [False, True])
def test_products_stay_exact_where_torch_may_round_float32(newer: bool) -> None:
    weight = torch.randint(-32767, 32768, (80, 5), generator=torch.Generator().manual_seed(0))
    x = torch.randint(-255, 256, (7, 80), generator=torch.Generator().manual_seed(1))
    product = ExactLinear(weight, largest=torch.full((80,), 255), device=CPU)
    matmul = torch.backends.mkldnn.matmul  # type: ignore[attr-defined]  # absent from the stubs
    assert _float32_is_exact()
    if newer:
        matmul.fp32_precision = "bf16"
    else:
        torch.set_float32_matmul_precision("medium")
    try:
        assert not _float32_is_exact()  # whether this processor rounds or not
        assert torch.equal(product.add_to(torch.zeros(7, 5).double(), x.float()).long(), x @ weight)
    finally:
        torch.set_float32_matmul_precision("highest")
        matmul.fp32_precision = "none"
    assert _float32_is_exact()


def test_the_saturation_table_is_odd_and_bounded() -> None:
    table = saturation_table().int()
    assert torch.equal(table, -table.flip(0))
    assert int(table.max()) == ACTIVATION_ONE
