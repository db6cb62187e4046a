"""Parts of files: cut to a size, of fewer groups, of a region, and how good what is left is."""

import functools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.checkpoints import load_codec
from model.codec import Codec
from model.config import CwicConfig
from model.container.format import pack, truncate
from model.errors import ParameterError
from model.options import DecodeOptions, EncodeOptions
from model.types import Pixels, Region
from tests.conftest import picture
from tests.photo import photo_jpeg, pixels_of
from training.data.synthetic import NAMES, synthetic_picture

SIZES = ((1, 1), (17, 33), (70, 50), (40, 530), (300, 270))  # the last two of three and four tiles


@functools.cache
def file_of(codec: Codec, size: tuple[int, int], channels: int) -> bytes:
    quality = None if codec.info.fixed_rate else 80
    array = picture(*size, channels=channels, seed=size[0])
    return codec.encode(array, EncodeOptions(quality=quality, tile=256, lossless=False))


@given(size=st.sampled_from(SIZES), channels=st.sampled_from([3, 4]), data=st.data())
@settings(max_examples=15)
def test_a_cut_file_is_a_file_like_any_other(
    any_codec: Codec, size: tuple[int, int], channels: int, data: st.DataObject
) -> None:
    """It needs no permission, and its groups and regions are those that it has of the whole file."""
    file = file_of(any_codec, size, channels)
    whole = any_codec.read(file)
    smallest = len(pack(whole.header, whole.payloads[: whole.header.required]))
    limit = data.draw(st.integers(smallest, len(file)), label="bytes")
    cut = truncate(file, limit)
    assert len(cut) <= limit
    container = any_codec.read(cut)
    assert not container.truncated
    decoded = any_codec.decode(cut)
    assert decoded.shape == (*size, channels)

    y, x = (data.draw(st.integers(0, side - 1)) for side in size)
    region = Region(x, y, data.draw(st.integers(1, size[1] - x)), data.draw(st.integers(1, size[0] - y)))
    part = any_codec.decode(cut, DecodeOptions(region=region))
    assert np.array_equal(part, decoded[y : y + region.height, x : x + region.width])

    tiles = container.header.grid.count
    groups = 1 + (len(container.payloads) - container.header.required) // tiles  # those of all tiles
    asked = DecodeOptions(groups=data.draw(st.integers(1, groups), label="groups"))
    assert np.array_equal(any_codec.decode(cut, asked), any_codec.decode(file, asked))
    with pytest.raises(ParameterError, match=f"{smallest} are needed at least"):
        truncate(file, smallest - 1)


def test_the_synthesis_is_told_of_no_channel_that_is_not_there(
    any_codec: Codec, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = file_of(any_codec, (70, 50), 3)
    whole = any_codec.read(file)
    levels, _ = any_codec.decode_codes(file)
    told: list[torch.Tensor] = []
    transforms = any_codec._model.transforms
    synthesise = transforms.synthesise

    def telling(codes: torch.Tensor, levels: torch.Tensor, conditions: torch.Tensor) -> torch.Tensor:
        told.append(levels[0])
        return synthesise(codes, levels, conditions)

    monkeypatch.setattr(transforms, "synthesise", telling)
    for count in range(whole.header.required, len(whole.payloads) + 1):
        cut = any_codec.read(pack(whole.header, whole.payloads[:count]))
        any_codec.decode(cut)
        most = any_codec.config.level_within(1 + count - whole.header.required)
        last = count == len(whole.payloads)  # later groups, of which nothing is kept, have no section
        assert torch.equal(told.pop(), levels if last else levels.clamp(max=most))


@pytest.mark.parametrize(("groups", "level"), [(0, 1), (1, 1), (2, 4), (3, 8), (4, 12), (5, 15), (6, 16)])
def test_the_first_groups_are_kept_by_the_levels_up_to_one(groups: int, level: int) -> None:
    assert CwicConfig().level_within(groups) == level


@pytest.fixture(scope="module")
def codec() -> Codec:
    """The default checkpoint."""
    return load_codec(device="cpu")


def drawn_or_taken(name: str) -> Pixels:
    """A picture of several kinds of content, 192 x 192."""
    whole = pixels_of(photo_jpeg()) if name == "photo" else synthetic_picture(name)
    return np.ascontiguousarray(whole[96:288, 160:352])


def psnr(a: Pixels, b: Pixels) -> float:
    return float(10 * np.log10(255**2 / np.mean((a.astype(float) - b) ** 2)))


@pytest.mark.parametrize("quality", [50, 90])
@pytest.mark.parametrize("name", ["photo", *NAMES])
def test_every_section_more_makes_the_picture_better(codec: Codec, name: str, quality: float) -> None:
    array = drawn_or_taken(name)
    file = codec.encode(array, EncodeOptions(quality=quality, lossless=False))
    whole = codec.read(file)
    counts = range(whole.header.required, len(whole.payloads) + 1)
    sizes = [len(pack(whole.header, whole.payloads[:count])) for count in counts]
    cut = [psnr(codec.decode(truncate(file, size)), array) for size in sizes]
    preview = [psnr(codec.decode(file, DecodeOptions(groups=n + 1)), array) for n in range(len(sizes))]
    assert len(sizes) >= 4
    for found in (cut, preview):
        for place, gained in enumerate(np.diff(found)):
            # What a last, nearly empty section brings may be too little to be sure of.
            assert gained > (0 if sizes[place + 1] - sizes[place] > 0.01 * len(file) else -0.02), found
