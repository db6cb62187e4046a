"""Blocks that are kept without loss in a coded picture: which ones, what they bring, and what is refused."""

from dataclasses import replace

import numpy as np
import pytest

from model.checkpoints import load_codec
from model.codec import Codec
from model.container import lossless
from model.container.format import Section, inspect, pack, truncate
from model.encoder import coded_file
from model.errors import PayloadError
from model.images.distortion import coarse_psnr, psnr
from model.options import DecodeOptions, EncodeOptions
from model.patches import has_sharp_flat_blocks, with_patches
from model.source import Source, source_of
from model.steps import run
from model.types import Pixels, Region
from tests.conftest import picture
from tests.photo import photo_jpeg, pixels_of
from training.data.screens import SCREENS, screen
from training.data.synthetic import synthetic_picture

PHOTO = pixels_of(photo_jpeg())


@pytest.fixture(scope="module")
def codec() -> Codec:
    """The default checkpoint."""
    return load_codec(device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def website() -> Pixels:
    """Part of a page, letters beside part of a photograph, 288 x 352."""
    return np.ascontiguousarray(screen("website")[160:448, 400:752])


def samples(file: bytes) -> int:
    """Bytes of the patches of a file."""
    return sum(section.length for section in inspect(file).sections if section.name == "samples")


def patched(array: Pixels, decoded: Pixels, *, size: int = 1000) -> Source | None:
    source = run(source_of(array, tile=256))
    found = run(with_patches(source, decoded, size=size, quality=0.5, tile=256))
    if found is None:
        return None
    assert found[0].fixed <= found[1] <= found[0].fixed + size
    return found[0]


@pytest.mark.parametrize("name", SCREENS)
def test_screens_have_sharp_flat_blocks(name: str) -> None:
    array = screen(name)
    assert has_sharp_flat_blocks(array)
    assert has_sharp_flat_blocks(np.tile(array, (4, 3, 1)))


@pytest.mark.parametrize(
    "array", [PHOTO, synthetic_picture("mountain"), picture(200, 300), np.full((100, 90, 3), 7, np.uint8)]
)
def test_photographs_noise_and_a_plain_ground_have_none(array: Pixels) -> None:
    assert not has_sharp_flat_blocks(array)


@pytest.mark.parametrize("shape", [(1, 1), (31, 500), (500, 31)])
def test_pictures_smaller_than_a_block_have_none(shape: tuple[int, int]) -> None:
    assert not has_sharp_flat_blocks(np.zeros((*shape, 3), np.uint8))


@pytest.mark.parametrize(
    "options",
    [
        EncodeOptions(quality=20, tune="psnr"),
        EncodeOptions(quality=50, tune="psnr", effort=0),
        EncodeOptions(quality=80, tune="psnr"),
        EncodeOptions(quality=50, tune="visual"),
    ],
)
def test_letters_beside_a_photograph_take_fewer_bytes_and_are_closer(
    codec: Codec, website: Pixels, options: EncodeOptions
) -> None:
    plain = codec.encode(website, replace(options, lossless=False))
    file = codec.encode(website, options)
    assert not samples(plain)
    assert 0 < samples(file) < len(file) < len(plain)
    assert (inspect(file).profile, inspect(file).quality) == ("cwic", inspect(plain).quality)
    own, other = codec.decode(file), codec.decode(plain)
    assert psnr(website, own) > psnr(website, other)
    assert coarse_psnr(website, own) >= coarse_psnr(website, other)


def test_a_size_is_used_for_a_closer_picture(codec: Codec, website: Pixels) -> None:
    asked = EncodeOptions(target_bytes=9000)
    file = codec.encode(website, asked)
    plain = codec.encode(website, EncodeOptions(target_bytes=9000, lossless=False))
    assert samples(file)
    assert 0.97 * 9000 <= len(file) <= 9000
    assert psnr(website, codec.decode(file)) > psnr(website, codec.decode(plain)) + 1


def test_a_size_beyond_the_highest_quality_with_patches_takes_it(codec: Codec, website: Pixels) -> None:
    """Where a picture coded as a whole would fill the size and be farther from the original."""
    top = codec.encode(website, EncodeOptions(quality=100))
    size = round(len(top) / 0.96)
    plain = codec.encode(website, EncodeOptions(target_bytes=size, lossless=False))
    file = codec.encode(website, EncodeOptions(target_bytes=size))
    assert samples(top)
    assert samples(file)
    assert len(file) <= size
    assert 0.97 * size <= len(plain) <= size
    assert psnr(website, codec.decode(file)) > psnr(website, codec.decode(plain))


def test_a_quality_is_reached_in_fewer_bytes(codec: Codec, website: Pixels) -> None:
    file = codec.encode(website, EncodeOptions(target_psnr=38.0))
    plain = codec.encode(website, EncodeOptions(target_psnr=38.0, lossless=False))
    assert samples(file)
    assert psnr(website, codec.decode(file)) >= 38
    assert len(file) < 0.9 * len(plain)


def test_regions_prefixes_and_alpha_keep_the_patches(codec: Codec, website: Pixels) -> None:
    alpha = np.full((*website.shape[:2], 1), 255, np.uint8)
    alpha[:100, :80] = 0
    array = np.concatenate([website, alpha], 2)
    file = codec.encode(array, EncodeOptions(quality=40, tile=256))
    assert samples(file)
    whole = codec.decode(file)
    assert np.array_equal(whole[..., 3:], alpha)
    for region in (Region(0, 0, 352, 288), Region(250, 40, 90, 230), Region(300, 270, 1, 1)):
        part = whole[region.y : region.y + region.height, region.x : region.x + region.width]
        assert np.array_equal(codec.decode(file, DecodeOptions(region=region)), part)
    least = codec.decode(file, DecodeOptions(groups=1))
    cut = truncate(file, round(0.8 * len(file)))
    equal = (whole == codec.decode(cut)).all(2) & (whole == least).all(2)
    assert samples(cut) == samples(file)
    assert equal.mean() > 0.3  # which no coded pixel would be


def test_blocks_go_where_they_cost_less() -> None:
    array = np.full((64, 100, 3), 200, np.uint8)
    array[8:24:4, 4:28] = 0  # lines: sharp
    array[32:, :32] = np.random.default_rng(1).integers(0, 256, (32, 32, 3))  # sharp, but not flat
    array[:32, 32:64] = np.arange(32, dtype=np.uint8)[:, None, None] + 10  # shades: not sharp
    decoded = array.astype(int)
    decoded[:, :64] += 9
    found = patched(array, decoded.clip(0, 255).astype(np.uint8))
    assert found is not None
    patches = lossless.unpack(found.patches[0], (64, 100, 4))
    there = patches[..., 3] == 255
    expected = np.zeros((64, 100), bool)
    expected[:32, :32] = expected[:, 64:] = expected[32:, 32:64] = True
    assert np.array_equal(there, expected)
    assert np.array_equal(patches[there, :3], array[there])
    assert not patches[~there].any()
    assert np.array_equal(found.coded[~there], array[~there])
    assert found.array is not found.coded
    assert np.array_equal(found.array, array)


def test_close_colours_are_made_equal_where_the_coded_block_is_no_closer() -> None:
    generator = np.random.default_rng(3)
    array = np.full((64, 64, 3), 200, np.uint8)
    array[8:56:8] = 20
    array = (array + generator.integers(-2, 3, array.shape)).astype(np.uint8)
    coded_badly = np.roll(array, 4, axis=0) - 9
    found = patched(array, coded_badly)
    assert found is not None
    patches = lossless.unpack(found.patches[0], (64, 64, 4))
    assert (patches[..., 3] == 255).all()
    assert len(np.unique(patches[..., :3].reshape(-1, 3), axis=0)) < 100
    assert 0 < np.abs(patches[..., :3].astype(int) - array).max() <= 32
    assert patched(array, array) is None


def test_tiles_without_patches_have_an_empty_payload() -> None:
    array = picture(256, 512)
    array[:, 256:] = 255
    array[100:110, 300:310] = 0
    decoded = array.copy()
    decoded[:, 256:] //= 2
    found = patched(array, decoded)
    assert found is not None
    assert not found.patches[0]
    assert found.patches[1]
    assert found.fixed == len(found.patches[1])


def test_patches_that_are_neither_there_nor_not_are_refused(tiny_codec: Codec) -> None:
    array = picture(40, 50)
    source = run(source_of(array, tile=256))
    half = np.zeros((40, 50, 4), np.uint8)
    half[:20] = 255
    for alpha, message in ((255, None), (254, "an alpha between"), (1, "an alpha between")):
        half[:20, :, 3] = alpha
        given = Source(array=array, coded=source.coded, grey=False, patches=(lossless.pack(half),))
        file = run(coded_file(tiny_codec._model, given, EncodeOptions(tile=256)))
        if message is None:
            assert (tiny_codec.decode(file)[:20] == 255).all()
        else:
            with pytest.raises(PayloadError, match=message):
                tiny_codec.decode(file)


def test_patches_of_another_size_are_refused(tiny_codec: Codec) -> None:
    array = picture(40, 50)
    for payload in (lossless.pack(picture(40, 49, channels=4)), b"/nonsense"):
        given = Source(array=array, coded=array, grey=False, patches=(payload,))
        file = run(coded_file(tiny_codec._model, given, EncodeOptions(tile=256)))
        container = tiny_codec.read(file)
        assert container.payload(Section.SAMPLES, 0) == payload
        assert pack(container.header, container.payloads) == file
        with pytest.raises(PayloadError):
            tiny_codec.decode(file)
