import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from model.entropy.range_coder import Decoder, Encoder
from model.entropy.symbols import code_symbols
from model.entropy.tables import FRACTIONS, SCALES, UNARY, Ints, SymbolTables, split_mean
from model.errors import PayloadError
from model.profiles.export import logistic_tables

TABLES = logistic_tables()


def encode(
    values: Ints, mean: Ints, scale: Ints, low: int, high: int, tables: SymbolTables = TABLES
) -> bytes:
    coder = Encoder()
    code_symbols(coder, tables, mean=mean, scale=scale, low=low, high=high, values=values)
    return coder.finish()


def decode(payload: bytes, mean: Ints, scale: Ints, low: int, high: int) -> Ints:
    coder = Decoder(payload)
    values = code_symbols(coder, TABLES, mean=mean, scale=scale, low=low, high=high, values=None)
    coder.finish()
    return values


@st.composite
def symbols(draw: st.DrawFn) -> tuple[Ints, Ints, Ints, int, int]:
    low = draw(st.integers(-2047, 0))
    high = draw(st.integers(low, 2047))
    count = draw(st.integers(0, 60))

    def ints(a: int, b: int) -> Ints:
        return np.array(draw(st.lists(st.integers(a, b), min_size=count, max_size=count)), np.int32)

    return ints(low, high), ints(-70000, 70000), ints(0, SCALES - 1), low, high


@given(symbols())
@settings(max_examples=200)
def test_symbols_survive_coding(case: tuple[Ints, Ints, Ints, int, int]) -> None:
    values, mean, scale, low, high = case
    assert np.array_equal(decode(encode(*case), mean, scale, low, high), values)


def test_coded_size_is_the_entropy_of_the_model() -> None:
    generator = np.random.default_rng(0)
    count = 50_000
    mean = generator.integers(-200, 200, count).astype(np.int32)
    index = generator.integers(30, 70, count).astype(np.int32)
    scale = np.exp((index - 48) / 8 - 1) + 0.04
    uniform = generator.uniform(size=count)
    values = np.rint(mean / FRACTIONS + scale * np.log(uniform / (1 - uniform))).astype(np.int32)
    bits = 8 * len(encode(values, mean, index, -2047, 2047))

    def sigmoid(x: NDArray[np.float64]) -> NDArray[np.float64]:
        return 1 / (1 + np.exp(-x))

    distance = np.abs(values - mean / FRACTIONS)
    ideal = -np.log2(sigmoid((0.5 - distance) / scale) - sigmoid((-0.5 - distance) / scale)).sum()
    assert bits == pytest.approx(ideal, rel=0.01)


def test_a_two_valued_code_costs_at_most_one_decision_each() -> None:
    generator = np.random.default_rng(0)
    values = generator.integers(0, 2, 4096).astype(np.int32)
    mean = np.full(4096, FRACTIONS // 2, np.int32)  # half way between 0 and 1
    assert 8 * len(encode(values, mean, np.full(4096, 40, np.int32), 0, 1)) < 4096 * 1.02


def test_a_one_valued_alphabet_costs_nothing() -> None:
    ones = np.ones(100, np.int32)
    assert encode(ones, ones * 500, ones * 5, 1, 1) == b""


def test_costs_agree_with_the_coder() -> None:
    generator = np.random.default_rng(0)
    count = 20_000
    mean = generator.integers(-300, 300, count).astype(np.int32)
    scale = generator.integers(0, SCALES, count).astype(np.int32)
    centre, fraction = split_mean(mean)
    distance = generator.integers(-UNARY, UNARY + 1, count)
    values = (centre + distance).astype(np.int32)
    cost = TABLES.costs[scale * FRACTIONS + fraction, distance + UNARY + 1].sum()
    assert 8 * len(encode(values, mean, scale, -2047, 2047)) == pytest.approx(cost, rel=0.01)


@given(st.binary(min_size=1, max_size=64), st.integers(1, 40))
def test_a_payload_that_no_encoder_wrote_is_refused_or_is_what_its_symbols_give(
    payload: bytes, count: int
) -> None:
    mean, scale = np.zeros(count, np.int32), np.full(count, 60, np.int32)
    try:
        values = decode(payload, mean, scale, -7, 8)
    except PayloadError:
        return
    assert encode(values, mean, scale, -7, 8) == payload


def test_damaged_payloads_never_decode_to_the_same_symbols() -> None:
    values, scale = np.arange(-5, 6, dtype=np.int32), np.full(11, 60, np.int32)
    payload = encode(values, values * 0, scale, -7, 8)
    for damaged in (payload + b"\x01", payload + bytes(8), payload[:-1], b""):
        try:
            assert not np.array_equal(decode(damaged, values * 0, scale, -7, 8), values)
        except PayloadError:
            continue
