import math
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.checkpoints import load_codec
from model.codec import Codec
from model.config import CwicConfig
from model.container.format import QUALITY_STEPS, Section, pack, truncate
from model.context.coder import SymbolCoder
from model.decoder import TileDecoder
from model.encoder import TileEncoder
from model.errors import FileError, ParameterError, PayloadError, TruncatedFileError
from model.options import DecodeOptions, EncodeOptions
from model.rate_control import resolve_setting
from model.steps import Work, run
from model.types import Pixels, Region
from tests.conftest import TINY, picture
from tests.effort import PATIENCE

HEIGHT, WIDTH = 300, 620  # tiles of 256 in two rows and three columns, of four sizes


@pytest.fixture(scope="module")
def array() -> Pixels:
    return picture(HEIGHT, WIDTH, seed=5)


def options(codec: Codec, *, quality: float = 70, tile: int = 256, **more: object) -> EncodeOptions:
    chosen = None if codec.info.fixed_rate else quality
    return EncodeOptions(quality=chosen, tile=tile, lossless=False, **more)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def tiled(any_codec: Codec, array: Pixels) -> bytes:
    return any_codec.encode(array, options(any_codec))


def test_tiles_leave_no_seam(any_codec: Codec, array: Pixels, tiled: bytes) -> None:
    """Pixels differ by one level at most from those of the same codes in one piece; codes see the same window."""
    whole = any_codec.encode(array, options(any_codec, tile=1024))
    found = any_codec.decode(tiled)
    apart = np.abs(found.astype(int) - any_codec.decode(whole))
    assert (apart > 1).mean() < 0.02  # contexts that end at borders choose another residual now and then
    levels, codes = any_codec.decode_codes(tiled)
    container = any_codec.read(tiled)
    one_piece = any_codec._model.transforms.synthesise(
        codes[None].float() / 32,
        levels[None],
        torch.tensor([container.header.quality / QUALITY_STEPS, 0.0]).view(1, 2, 1, 1),
    )
    pixels = (one_piece[0] * 255).round().clamp(0, 255).permute(1, 2, 0).numpy()[:HEIGHT, :WIDTH]
    assert np.abs(found.astype(int) - pixels).max() <= 1


@given(data=st.data())
@settings(max_examples=25)
def test_a_region_has_the_pixels_of_the_whole(any_codec: Codec, tiled: bytes, data: st.DataObject) -> None:
    x, y = data.draw(st.integers(0, WIDTH - 1)), data.draw(st.integers(0, HEIGHT - 1))
    width, height = data.draw(st.integers(1, WIDTH - x)), data.draw(st.integers(1, HEIGHT - y))
    part = any_codec.decode(tiled, DecodeOptions(region=Region(x, y, width, height)))
    assert np.array_equal(part, any_codec.decode(tiled)[y : y + height, x : x + width])


def test_a_region_decodes_only_the_tiles_that_its_margin_touches(
    any_codec: Codec, tiled: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[int] = []
    real = SymbolCoder.decode_codes

    def counting(
        self: SymbolCoder, payloads: list[list[bytes]], *args: object, **kwargs: object
    ) -> torch.Tensor:
        decoded.append(len(payloads))
        return real(self, payloads, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(SymbolCoder, "decode_codes", counting)
    any_codec.decode(tiled, DecodeOptions(region=Region(0, 0, 100, 100)))
    assert sum(decoded) == 4  # the window of tile 0 reaches into its right, lower and lower right neighbours
    decoded.clear()
    any_codec.decode(tiled)
    assert sum(decoded) == 6  # each tile once


def test_of_a_tall_picture_no_more_tiles_are_kept_than_a_band_needs(tiny_codec: Codec) -> None:
    file = tiny_codec.read(tiny_codec.encode(picture(24 * 256, 16), options(tiny_codec)))
    decoder = TileDecoder(tiny_codec._model, file)
    kept = []
    for band in decoder.grid.bands(range(24)):
        run(decoder.pixels(band))
        kept.append(sorted(decoder._tiles))
    assert kept == [list(range(9)), list(range(7, 17)), list(range(15, 24))]  # and one on each side


@pytest.mark.parametrize(
    "region", [(0, 0, 0, 5), (0, 0, WIDTH + 1, 5), (-1, 0, 5, 5), (WIDTH, 0, 1, 1), (0, 290, 9, 11)]
)
def test_regions_outside_the_picture_are_refused(
    any_codec: Codec, tiled: bytes, region: tuple[int, ...]
) -> None:
    with pytest.raises(ParameterError, match="is not inside 620x300"):
        any_codec.decode(tiled, DecodeOptions(region=Region(*region)))


def test_alpha_and_lossless_files_have_regions_too(any_codec: Codec) -> None:
    array = picture(HEIGHT, WIDTH, channels=4)
    region = Region(200, 100, 300, 170)
    for asked in (options(any_codec), EncodeOptions(lossless=True)):
        file = any_codec.encode(array, asked)
        whole = any_codec.decode(file)
        assert np.array_equal(whole[..., 3], array[..., 3])
        assert np.array_equal(any_codec.decode(file, DecodeOptions(region=region)), whole[100:270, 200:500])


def test_codes_do_not_depend_on_how_many_tiles_are_coded_together(
    any_dir: Path, any_codec: Codec, array: Pixels, tiled: bytes
) -> None:
    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            other = load_codec(any_codec.info.name, model_dir=any_dir, device="cpu")
            assert other._model.symbols.parallel(512 * 512) == threads
            for ours, theirs in zip(any_codec.decode_codes(tiled), other.decode_codes(tiled), strict=True):
                assert torch.equal(ours, theirs)
            assert any_codec.decode(other.encode(array, options(other))).shape == array.shape
    finally:
        torch.set_num_threads(before)


def test_requests_share_the_threads_of_a_codec_and_a_damaged_one_costs_the_others_nothing(
    tiny_dir: Path, tiny_codec: Codec, array: Pixels
) -> None:
    tiled = tiny_codec.encode(array, options(tiny_codec))
    expected, file = tiny_codec.decode_codes(tiled)[1], tiny_codec.read(tiled)
    payloads = list(file.payloads)
    payloads[file.header.grid.count + 1] = b"\xff" * 9  # group 0 of the second tile
    damaged = pack(file.header, payloads)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        other = load_codec("tiny", model_dir=tiny_dir, device="cpu")
    finally:
        torch.set_num_threads(before)
    assert other._model.symbols.parallel(256 * 256) > 1

    def decode(index: int) -> bool:
        if index % 2:
            return torch.equal(other.decode_codes(tiled)[1], expected)
        with pytest.raises(PayloadError):
            other.decode_codes(damaged)
        return True

    with ThreadPoolExecutor(4) as requests:
        assert all(requests.map(decode, range(12)))


def test_no_tile_sees_another(any_codec: Codec, array: Pixels, tiled: bytes) -> None:
    """A tile's payloads stay as they are when a far one changes."""
    other = array.copy()
    other[:, 500:] = 255 - other[:, 500:]
    changed = any_codec.read(any_codec.encode(other, options(any_codec)))
    file = any_codec.read(tiled)
    for tile in (0, 3):
        assert changed.payload(Section.MAP, tile) == file.payload(Section.MAP, tile)
        assert changed.payload(Section.CODES, tile, 1) == file.payload(Section.CODES, tile, 1)
    assert changed.payload(Section.CODES, 2) != file.payload(Section.CODES, 2)


def test_a_file_ends_with_the_last_tile_that_has_the_last_group(
    tiny_codec: Codec, monkeypatch: pytest.MonkeyPatch
) -> None:
    def encoding(_: TileEncoder) -> Work[list[list[bytes]]]:
        yield ()
        return [[b"m0", b"00", b"01", b"02"], [b"m1", b"10"], [b"m2", b"20", b"21"]]

    monkeypatch.setattr(TileEncoder, "encoding", encoding)
    payloads = tiny_codec.read(tiny_codec.encode(picture(9, 700), options(tiny_codec))).payloads
    assert payloads == (b"m0", b"m1", b"m2", b"00", b"10", b"20", b"01", b"", b"21", b"02")


def error(found: Pixels, array: Pixels) -> float:
    return float(np.square(found.astype(float) - array).mean())


def test_every_permitted_prefix_decodes_and_all_others_are_refused(any_codec: Codec, tiled: bytes) -> None:
    file = any_codec.read(tiled)
    required = file.header.required
    start = len(tiled) - sum(len(payload) for payload in file.payloads)
    ends = start + np.cumsum([len(payload) for payload in file.payloads])
    whole = any_codec.decode(tiled)
    for count in range(len(file.payloads)):
        cut = tiled[: ends[count]]
        if len(cut) == len(tiled):
            continue
        with pytest.raises(FileError):
            any_codec.decode(cut)
        if count + 1 < required:
            with pytest.raises(TruncatedFileError):
                any_codec.decode(cut, DecodeOptions(allow_truncated=True))
        elif count % 3 == 0:
            assert any_codec.decode(cut, DecodeOptions(allow_truncated=True)).shape == whole.shape
    everything = any_codec.decode(tiled[: ends[-2] + 1], DecodeOptions(allow_truncated=True))
    assert np.array_equal(
        everything, any_codec.decode(tiled[: ends[-2]], DecodeOptions(allow_truncated=True))
    )


def test_a_truncated_file_decodes_as_the_cut_one_does(any_codec: Codec, tiled: bytes) -> None:
    file = any_codec.read(tiled)
    for count in (file.header.required, len(file.payloads) - 2):
        shorter = pack(file.header, file.payloads[:count])
        assert truncate(tiled, len(shorter)) == shorter
        cut = tiled[: len(tiled) - sum(len(payload) for payload in file.payloads[count:])]
        if len(cut) < len(tiled):
            expected = any_codec.decode(cut, DecodeOptions(allow_truncated=True))
            assert np.array_equal(any_codec.decode(shorter), expected)


def test_missing_residuals_leave_the_predicted_means(tiny_codec: Codec, array: Pixels) -> None:
    """Not zeros, which masked codes are; and the groups that are there have the codes of the whole file."""
    file = tiny_codec.read(tiny_codec.encode(array, options(tiny_codec, tile=1024)))
    shorter = pack(file.header, file.payloads[: file.header.required])
    levels, codes = tiny_codec.decode_codes(shorter)
    whole_levels, whole = tiny_codec.decode_codes(pack(file.header, file.payloads))
    assert torch.equal(levels, whole_levels)
    assert torch.equal(codes[:4], whole[:4])
    assert not torch.equal(codes, whole)
    kept = torch.tensor([0, *TINY.kept])[levels].repeat_interleave(2, 1).repeat_interleave(2, 2)
    under = torch.arange(TINY.channels).view(-1, 1, 1) < kept
    assert codes[4:][under[4:]].any()
    assert not codes[~under].any()


def test_fewer_groups_mask_the_later_ones(any_codec: Codec, tiled: bytes) -> None:
    groups = len(any_codec.config.groups)
    assert np.array_equal(any_codec.decode(tiled, DecodeOptions(groups=groups)), any_codec.decode(tiled))
    assert np.array_equal(any_codec.decode(tiled, DecodeOptions(groups=32)), any_codec.decode(tiled))
    first = any_codec.decode(tiled, DecodeOptions(groups=1))
    assert not np.array_equal(first, any_codec.decode(tiled))
    file = any_codec.read(tiled)
    required, later = file.payloads[: file.header.required], file.payloads[file.header.required :]
    for others in ((), [b"\xff" * 9] * len(later)):  # they are not looked at
        other = pack(file.header, [*required, *others])
        assert np.array_equal(any_codec.decode(other, DecodeOptions(groups=1)), first)


def test_more_groups_make_better_pictures(tiny_dir: Path, array: Pixels) -> None:
    """In float32: the last group of the tiny codec makes less of a difference than bfloat16 does."""
    codec = load_codec("tiny", model_dir=tiny_dir, device="cpu", dtype="float32")
    file = codec.encode(array, options(codec, quality=90))
    errors = [error(codec.decode(file, DecodeOptions(groups=n)), array) for n in (1, 2, 3)]
    assert errors == sorted(errors, reverse=True)


def test_a_plane_gives_a_region_more_quality(tiny_codec: Codec, array: Pixels) -> None:
    plane = np.zeros((5, 10), np.int8)
    plane[1:4, 4:8] = 24
    without = tiny_codec.encode(array, options(tiny_codec, quality=30))
    base = tiny_codec.decode(without)
    file = tiny_codec.encode(array, options(tiny_codec, quality=30, plane=plane))
    assert len(file) > 1.1 * len(without)
    assert tiny_codec.read(file).info().plane
    found = tiny_codec.decode(file)
    inside = np.s_[80:240, 272:496]
    assert error(found[inside], array[inside]) < error(base[inside], array[inside])
    region = Region(250, 60, 200, 180)
    assert np.array_equal(tiny_codec.decode(file, DecodeOptions(region=region)), found[60:240, 250:450])


def test_a_plane_of_zeros_is_no_plane(tiny_codec: Codec, array: Pixels) -> None:
    flat = options(tiny_codec, plane=np.zeros((5, 10), np.int8))
    assert tiny_codec.encode(array, flat) == tiny_codec.encode(array, options(tiny_codec))


def test_a_constant_plane_is_another_quality(tiny_codec: Codec, array: Pixels) -> None:
    plane = np.full((5, 10), 16, np.int8)
    moved = tiny_codec.encode(array, EncodeOptions(quality=50.5, lossless=False, plane=plane))
    higher = tiny_codec.encode(array, EncodeOptions(quality=75.25, lossless=False))
    for ours, theirs in zip(tiny_codec.decode_codes(moved), tiny_codec.decode_codes(higher), strict=True):
        assert (ours != theirs).double().mean() < 0.001  # one is broadcast, the other is not


def test_memory_bounds_how_many_tiles_are_coded_at_once(any_codec: Codec) -> None:
    many = any_codec._model.symbols
    assert many.parallel(2048 * 2048) == 1
    assert many.parallel(1024 * 1024) <= 4


def test_small_tiles_are_coded_together_on_one_thread_too(any_codec: Codec) -> None:
    many = any_codec._model.symbols
    assert many.parallel(128 * 128) >= 16
    assert many.parallel(1) == 64


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_forked_process_codes_several_tiles_too(tiny_codec: Codec, array: Pixels) -> None:
    file = tiny_codec.encode(array, options(tiny_codec))
    expected = tiny_codec.decode_codes(file)[1]
    child = os.fork()
    if not child:
        status = 1
        try:
            signal.alarm(math.ceil(PATIENCE))  # a thread that was left behind would be waited for for ever
            torch.set_num_threads(1)
            status = 0 if torch.equal(tiny_codec.decode_codes(file)[1], expected) else 1
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0


def test_narrow_pictures_may_have_a_plane(tiny_codec: Codec) -> None:
    for height, width in ((17, 16), (33, 1), (40, 15), (17, 17), (16, 16)):
        array = picture(height, width)
        plane = np.ones((1, 1), np.int8)
        file = tiny_codec.encode(array, options(tiny_codec, plane=plane))
        assert tiny_codec.decode(file).shape == array.shape
        assert tiny_codec.importance_map(array, options(tiny_codec, plane=plane)).shape == array.shape[:2]


def test_a_plane_is_taken_as_it_was(tiny_codec: Codec) -> None:
    plane = np.ones((1, 1), np.int8)
    asked = options(tiny_codec, plane=plane)
    plane[:] = 127
    assert tiny_codec.decode(tiny_codec.encode(picture(40, 40), asked)).shape == (40, 40, 3)
    assert asked.plane is not None
    with pytest.raises(ValueError, match="read-only"):
        asked.plane[:] = 3


@pytest.mark.parametrize(
    "wrong",
    [
        {"plane": np.zeros((5, 11), np.int8)},
        {"plane": [[1]]},
        {"quality": "50"},
        {"quality": True},
        {"quality": np.array([50, 60])},
        {"tile": 1024.0},
        {"tile": 4096},
        {"lossless": 0},
        {"plane": np.zeros((5, 10), np.int16)},
        {"plane": np.full((5, 10), 65, np.int8)},
        {"tile": 100},
        {"tile": 128},
        {"tune": "other"},
        {"lossless": True, "quality": 50},
    ],
)
def test_options_that_cannot_be_are_refused(
    tiny_codec: Codec, array: Pixels, wrong: dict[str, object]
) -> None:
    with pytest.raises(ParameterError):
        tiny_codec.encode(array, EncodeOptions(**wrong))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "wrong",
    [
        {"groups": 0},
        {"groups": 33},
        {"groups": 1.5},
        {"groups": "1"},
        {"region": (0, 0, 10, 10)},
        {"region": Region(0.5, 0, 10, 10)},  # type: ignore[arg-type]
    ],
)
def test_decode_options_that_cannot_be_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ParameterError):
        DecodeOptions(**wrong)  # type: ignore[arg-type]


def test_a_tune_that_was_not_trained_is_refused(tiny_codec: Codec, array: Pixels) -> None:
    config = tiny_codec.config
    assert isinstance(config, CwicConfig)
    assert (
        tiny_codec.read(tiny_codec.encode(array, options(tiny_codec, tune="visual"))).info().tune == "visual"
    )
    psnr_only = replace(config, tunes=("psnr",))
    with pytest.raises(ParameterError, match="trained for psnr, not for 'visual'"):
        resolve_setting(EncodeOptions(tune="visual"), psnr_only, height=9, width=9)


def test_grey_pictures_come_back_grey(any_codec: Codec) -> None:
    array = np.repeat(picture(90, 70, channels=1), 3, 2)
    file = any_codec.encode(array, options(any_codec))
    assert any_codec.read(file).info().grey
    assert np.ptp(any_codec.decode(file), axis=2).max() == 0
