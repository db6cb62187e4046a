import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.context.haar import DETAILS, FACTOR, join, split
from model.entropy.tables import FRACTIONS


@given(st.integers(0, 99), st.integers(1, 4), st.integers(1, 3))
@settings(max_examples=20)
def test_the_transform_is_orthonormal_and_its_inverse_exact(seed: int, rows: int, columns: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    values = torch.randint(-1023, 1024, (2, 3, FACTOR * rows, FACTOR * columns), generator=generator)
    codes = 2.0 * FRACTIONS * values.double()  # so that all averages and details are whole
    averages, details = split(codes)
    assert averages.shape == (2, 3, rows, columns)
    assert details.shape == (2, DETAILS * 3, rows, columns)
    assert averages.square().sum() + details.square().sum() == codes.square().sum()
    assert torch.equal(join(averages.long(), details.long()), codes.long())


def test_halves_are_rounded_up_in_every_type() -> None:
    averages = torch.tensor([1, -1, 2]).view(3, 1, 1, 1)
    details = torch.zeros(3, DETAILS, 1, 1, dtype=torch.long)
    want = torch.tensor([1, 0, 1]).view(3, 1, 1, 1).expand(3, 1, 2, 2)
    assert torch.equal(join(averages, details), want)
    assert torch.equal(join(averages.float(), details.float()), want.float())


def test_details_are_horizontal_vertical_diagonal() -> None:
    stripes = torch.tensor([[1.0, -1.0], [1.0, -1.0]]).view(1, 1, 2, 2)
    for index, square in enumerate((stripes, stripes.mT, stripes * stripes.mT)):
        averages, details = split(square)
        assert averages.item() == 0
        assert details.flatten().tolist() == [2.0 * (index == kind) for kind in range(DETAILS)]
