"""Effort: what is coded is improved by it, and decoded as by any other; its rounds can be given up."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from model.checkpoints import load_codec
from model.codec import Codec
from model.config import CwicConfig
from model.encoder import EncodeTile, RefineTile, TileEncoder
from model.errors import ParameterError
from model.images.distortion import ssimulacra2
from model.lossless_files import is_grey
from model.options import MAX_EFFORT, REFINEMENTS, EncodeOptions
from model.profiles.cwic.transforms import CwicTransforms, lambda_at
from model.rate_control import with_plane
from model.steps import run
from model.types import Pixels, Roi
from tests.conftest import picture
from tests.photo import photo_jpeg, pixels_of
from training.measure.bd_rate import Curve, bd_rate

ASKED = EncodeOptions(quality=30, tune="psnr", lossless=False)


@pytest.fixture(scope="module")
def codec() -> Codec:
    """The default checkpoint, which codes pictures as well as it can."""
    return load_codec(device="cpu")


def cost(codec: Codec, array: Pixels, options: EncodeOptions) -> float:
    """Bits of the file, and what its squared error is worth at its quality."""
    file = codec.encode(array, options)
    assert options.quality is not None
    assert isinstance(codec.config, CwicConfig)
    weight = float(lambda_at(codec.config, torch.tensor((options.quality - 1) / 99)))
    squares = np.square(array.astype(np.float64) - codec.decode(file)).mean(2).sum()
    return 8 * len(file) + weight * float(squares)


def test_more_effort_costs_less(codec: Codec) -> None:
    array = picture(96, 96)
    costs = [cost(codec, array, replace(ASKED, effort=effort)) for effort in range(MAX_EFFORT + 1)]
    assert costs == sorted(costs, reverse=True)
    assert costs[2] < 0.99 * costs[1]


def test_of_the_tune_visual_effort_is_spent_on_what_is_seen(codec: Codec) -> None:
    pytest.importorskip("ssimulacra2")
    array = np.ascontiguousarray(pixels_of(photo_jpeg())[:192, :256])

    def curve(effort: int) -> Curve:
        asked = [EncodeOptions(quality=q, tune="visual", effort=effort, lossless=False) for q in (10, 25, 40)]
        files = [codec.encode(array, each) for each in asked]
        return Curve.of(
            [len(file) for file in files], [ssimulacra2(array, codec.decode(file)) for file in files]
        )

    assert bd_rate(curve(2), curve(1)) < -3


@pytest.mark.parametrize("effort", [0, 2])
@pytest.mark.parametrize(
    ("size", "options"),
    [
        ((1, 1), EncodeOptions(quality=60)),
        ((50, 37), EncodeOptions(quality=100, tune="visual")),
        ((40, 90), EncodeOptions(quality=20, roi=[Roi(0, 0, 30, 30, 8)])),
        ((100, 300), EncodeOptions(quality=40, tile=256)),
    ],
)
def test_files_decode_to_what_the_encoder_chose(
    tiny_codec: Codec, size: tuple[int, int], options: EncodeOptions, effort: int
) -> None:
    """Of every tile, its margin and odd sizes included: levels as refined, and the same bytes once more."""
    array, asked = picture(*size), replace(options, effort=effort, lossless=False)
    file = tiny_codec.encode(array, asked)
    assert tiny_codec.encode(array, asked) == file
    assert tiny_codec.decode(file).shape == array.shape
    levels, _ = tiny_codec.decode_codes(file)
    tiles = TileEncoder(
        tiny_codec._model, array, with_plane(asked, tiny_codec.config, array), grey=is_grey(array)
    )
    for index in range(tiles.grid.count):
        latents = None
        for done in range(REFINEMENTS[effort]):
            [latents] = RefineTile.run(
                [RefineTile(tiles, index, latents, 1 - done / REFINEMENTS[effort])], _go_on
            )
        _, chosen = EncodeTile(tiles, index, latents).coded(_go_on)
        rows, columns = tiles.grid.box(index).slices(tiles.grid.bounds, tiny_codec.config.map_stride)
        assert torch.equal(levels[0, rows, columns], chosen[0, 0])


def test_rounds_end_between_two_steps(tiny_codec: Codec) -> None:
    class GivenUpError(Exception):
        pass

    calls = 0

    def check() -> None:
        nonlocal calls
        calls += 1
        if calls == 5:
            raise GivenUpError

    with pytest.raises(GivenUpError):
        tiny_codec.encode(picture(64, 64), replace(ASKED, effort=3), check=check)
    assert calls == 5


def test_a_round_can_be_given_up_between_its_networks(tiny_codec: Codec) -> None:
    seen: list[str] = []
    tiles = TileEncoder(tiny_codec._model, picture(64, 64), replace(ASKED, effort=2))
    transforms = tiny_codec._model.transforms
    assert isinstance(transforms, CwicTransforms)
    hook = transforms.synthesis.register_forward_hook(lambda *_: seen.append("synthesis"))
    try:
        RefineTile.run([RefineTile(tiles, 0, None, 1)], lambda: seen.append("check"))
    finally:
        hook.remove()
    assert seen[-3:] == ["check", "synthesis", "check"]
    assert seen.count("check") == 4  # before the analysis and before the context models too


def test_every_round_is_a_step_that_others_can_come_before(tiny_codec: Codec) -> None:
    work = TileEncoder(tiny_codec._model, picture(64, 64), replace(ASKED, effort=2)).encoding()
    results, kinds = None, []
    for _ in range(REFINEMENTS[2] + 1):
        steps = work.send(results)  # type: ignore[arg-type] # None begins it
        kinds += [type(step) for step in steps]
        results = [type(step).run([step], _go_on)[0] for step in steps]
    assert kinds == [RefineTile] * REFINEMENTS[2] + [EncodeTile]


def test_effort_goes_with_a_target_and_inference_mode(tiny_codec: Codec) -> None:
    array = picture(160, 160)
    most = len(tiny_codec.encode(array, replace(ASKED, quality=60)))
    with torch.inference_mode():
        file = tiny_codec.encode(array, EncodeOptions(target_bytes=most, effort=2, lossless=False))
    assert 0.97 * most <= len(file) <= most


def test_grey_pictures_stay_grey(tiny_codec: Codec) -> None:
    array = np.repeat(picture(48, 48)[..., :1], 3, axis=2)
    file = run(tiny_codec.encoding(array, replace(ASKED, effort=2)))
    assert is_grey(tiny_codec.decode(file))


@pytest.mark.parametrize("effort", [-1, 4, 1.0, True, "2", None])
def test_what_is_no_effort_is_refused(effort: object) -> None:
    with pytest.raises(ParameterError, match="effort is 0 to 3"):
        EncodeOptions(effort=effort)  # type: ignore[arg-type]


def test_effort_is_refused_where_there_is_none_to_choose(tiny_2018_codec: Codec) -> None:
    with pytest.raises(ParameterError, match="effort"):
        tiny_2018_codec.encode(picture(32, 32), EncodeOptions(effort=2))
    with pytest.raises(ParameterError, match="nor effort"):
        EncodeOptions(effort=2, lossless=True)


def _go_on() -> None:
    pass
