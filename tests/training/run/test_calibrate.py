"""training.run.calibrate: probability tables fitted to what pictures need."""

import numpy as np

from model.codec import Codec
from model.entropy.range_coder import Encoder
from model.entropy.symbols import code_symbols
from model.options import EncodeOptions
from model.profiles.export import logistic_tables
from tests.conftest import picture
from training.run.calibrate import DecisionCounter, fit_tables


def test_fitted_tables_code_what_was_counted_in_fewer_bytes() -> None:
    generator = np.random.default_rng(0)
    values = generator.choice([0, 0, 0, 1, -1, 2], 4000).astype(np.int32)
    zeros, scale = np.zeros(4000, np.int32), np.full(4000, 60, np.int32)
    tables, counter = logistic_tables(), DecisionCounter()

    def size(tables_used: object) -> int:
        coder = Encoder()
        code_symbols(coder, tables_used, mean=zeros, scale=scale, low=-9, high=9, values=values)  # type: ignore[arg-type]
        return len(coder.finish())

    code_symbols(counter, tables, mean=zeros, scale=scale, low=-9, high=9, values=values)
    assert counter.finish() == b""
    assert size(counter.fitted(tables)) < 0.95 * size(tables)


def test_tiles_that_are_coded_together_are_all_counted(tiny_codec: Codec) -> None:
    array = picture(300, 620)
    one_by_one = [array[top : top + 256, left : left + 256] for top in (0, 256) for left in (0, 256, 512)]
    together = DecisionCounter()
    tiny_codec.write_to(lambda: together, array, EncodeOptions(quality=50, tile=256))
    alone = DecisionCounter()
    for part in one_by_one:
        tiny_codec.write_to(lambda: alone, part, EncodeOptions(quality=50))
    for tables in tiny_codec.tables:
        all_of_it, parts = (int(counter._counts[tables].sum()) for counter in (together, alone))
        assert 0.9 * parts < all_of_it < 1.1 * parts  # analyses differ at borders, decisions are as many
    again = DecisionCounter()
    tiny_codec.write_to(lambda: again, array, EncodeOptions(quality=50, tile=256))
    assert all(np.array_equal(again._counts[t], together._counts[t]) for t in tiny_codec.tables)


def test_the_fit_leaves_what_was_never_seen_as_it_was(tiny_codec: Codec) -> None:
    fitted = fit_tables(tiny_codec, [(picture(64, 64), EncodeOptions(quality=30))])
    for before, after in zip(tiny_codec.tables, fitted, strict=True):
        changed = (before.probabilities.astype(int) - after.probabilities) != 0
        assert 0 < changed.mean() < 0.5
