"""Work in steps: who runs them, with which others, and that it makes no difference."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.codec import Codec
from model.decoder import DecodeTile, TileDecoder
from model.encoder import EncodeTile, TileEncoder
from model.options import EncodeOptions
from model.steps import Work, batches, run, together
from model.types import unchecked
from tests.conftest import picture
from tests.service.jobs.work import Picture, Tile


def test_results_come_in_the_order_of_their_steps() -> None:
    def work() -> Work[list[str]]:
        first = yield [Tile(Picture(name, key=name.islower()), 0) for name in "aBcD"]
        nothing = yield ()
        second = yield [Tile(Picture("z"), 0)]
        return [*first, *nothing, *second]

    assert run(work()) == list("aBcDz")


def test_steps_of_one_key_run_together_as_many_as_is_best() -> None:
    steps = [Tile(Picture(name, key=name.islower(), most=2), 0) for name in "aBcdEf"]
    names = ["".join(step.owner.name for step in batch) for batch in batches(steps)]
    assert names == ["ac", "df", "BE"]


def test_works_run_together_as_far_as_each_goes() -> None:
    def work(name: str, rounds: int) -> Work[str]:
        found: list[str] = []
        for number in range(rounds):
            found += yield [Tile(Picture(f"{name}{number}"), 0)] * number
        return "".join(found)

    asked: list[int] = []

    def watched() -> Work[list[str]]:
        both = together([work("a", 2), work("b", 4), work("c", 0)])
        steps = next(both)
        while True:
            asked.append(len(steps))
            results = yield steps
            try:
                steps = both.send(results)
            except StopIteration as end:
                found: list[str] = end.value
                return found

    assert run(watched()) == ["a1", "b1b2b2b3b3b3", ""]
    assert asked == [0, 2, 2, 3]


def test_the_check_ends_work_between_its_steps_and_closes_it() -> None:
    closed: list[bool] = []

    def work() -> Work[None]:
        try:
            yield ()
            yield [Tile(Picture("a"), 0)]
        finally:
            closed.append(True)

    def check() -> None:
        raise TimeoutError

    with pytest.raises(TimeoutError):
        run(work(), check)
    assert closed == [True]


def test_a_step_that_fails_fails_the_work() -> None:
    def fail(_: list[str]) -> None:
        raise ZeroDivisionError

    def work() -> Work[None]:
        yield [Tile(Picture("a", fail), 0)]

    with pytest.raises(ZeroDivisionError):
        run(work())


@settings(max_examples=3)
@given(st.lists(st.integers(0, 2**16), min_size=2, max_size=5), st.data())
def test_no_result_depends_on_its_batch(any_codec: Codec, seeds: list[int], data: st.DataObject) -> None:
    """Tiles of different pictures, qualities and tunes: the same bytes, codes and pixels as each one alone."""
    model = any_codec._model
    pictures = [picture(48, 64, seed=seed) for seed in seeds]
    fixed = any_codec.info.fixed_rate
    asked = [
        EncodeOptions(
            quality=None if fixed else data.draw(st.floats(1, 100)),
            tune=None
            if fixed or not any_codec.info.tunes
            else data.draw(st.sampled_from(any_codec.info.tunes)),
            effort=1 if fixed else data.draw(st.sampled_from([0, 1])),
            lossless=False,
        )
        for _ in pictures
    ]
    encoding = [EncodeTile(TileEncoder(model, *each), 0) for each in zip(pictures, asked, strict=True)]
    assert len({each.key for each in encoding}) == 1
    alone = [EncodeTile.run([each], unchecked)[0] for each in encoding]
    assert EncodeTile.run(encoding, unchecked) == alone
    files = [any_codec.read(any_codec.encode(*each)) for each in zip(pictures, asked, strict=True)]
    decoding = [DecodeTile(TileDecoder(model, file), 0) for file in files]
    for step, tile in zip(decoding, DecodeTile.run(decoding, unchecked), strict=True):
        for ours, theirs in zip(DecodeTile.run([step], unchecked)[0], tile, strict=True):
            assert torch.equal(ours, theirs)
