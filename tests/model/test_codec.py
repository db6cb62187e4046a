import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.checkpoints import load_codec
from model.codec import Codec
from model.config import PROFILES
from model.container import format as file_format
from model.entropy.range_coder import Sink
from model.entropy.tables import FRACTIONS
from model.errors import (
    FileError,
    HeaderError,
    InputError,
    LimitError,
    NoImportanceMapError,
    ParameterError,
    PayloadError,
    TruncatedFileError,
    WrongModelError,
)
from model.options import DecodeOptions, EncodeOptions
from model.types import Check, Limits, Pixels
from tests.conftest import TINY_2018_EMPTY, paper_network, picture, save_network


def psnr(a: Pixels, b: Pixels) -> float:
    mse = float(np.mean((a.astype(float) - b) ** 2))
    return 10 * math.log10(255**2 / max(mse, 1e-6))


class StoppedError(Exception):
    pass


class StopAt:
    """A check that counts its calls and raises at one of them."""

    def __init__(self, last: int) -> None:
        self.calls = 0
        self.last = last

    def __call__(self) -> None:
        self.calls += 1
        if self.calls == self.last:
            raise StoppedError


def at(codec: Codec, quality: float) -> EncodeOptions:
    """Coded, never lossless, at the quality where there is one to choose."""
    return EncodeOptions(quality=None if codec.info.fixed_rate else quality, lossless=False)


def changed(codec: Codec, file: bytes, payloads: Sequence[bytes] | None = None, **facts: object) -> bytes:
    """A file whose header or payloads say something else, under right checksums."""
    container = codec.read(file)
    header = replace(container.header, **facts)  # type: ignore[arg-type]
    return file_format.pack(header, container.payloads if payloads is None else payloads)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("width", [1, 9, 16, 17, 33])
def test_narrow_pictures_depend_on_nothing_but_their_pixels(
    any_codec: Codec, any_dir: Path, dtype: str, width: int
) -> None:
    codec = load_codec(any_codec.info.name, model_dir=any_dir, device="cpu", dtype=dtype)
    array = picture(300, width)
    files = set()
    for size in range(1000, 60_000, 6000):
        torch.full((size,), math.nan)  # what the next tensors may find in their memory
        files.add(codec.encode(array.copy()))
    assert len(files) == 1


@given(height=st.integers(1, 70), width=st.integers(1, 70), channels=st.sampled_from([3, 4]))
@settings(max_examples=25)
def test_every_size_round_trips(any_codec: Codec, height: int, width: int, channels: int) -> None:
    array = picture(height, width, channels=channels)
    file = any_codec.encode(array, at(any_codec, 80))
    decoded = any_codec.decode(file)
    assert decoded.shape == array.shape
    assert decoded.dtype == np.uint8
    assert np.array_equal(decoded[..., 3:], array[..., 3:])
    assert any_codec.encode(array, at(any_codec, 80)) == file
    assert np.array_equal(any_codec.decode(file), decoded)


@given(height=st.integers(1, 70), width=st.integers(1, 70))
@settings(max_examples=25)
def test_every_size_keeps_its_brightness(tiny_codec: Codec, height: int, width: int) -> None:
    array = np.repeat(picture(height, width, channels=1), 3, 2)
    decoded = tiny_codec.decode(tiny_codec.encode(array, EncodeOptions(quality=80)))
    assert np.abs(decoded.mean((0, 1)) - array.mean((0, 1))).max() < 16


def test_quality_trades_size_for_distortion(tiny_codec: Codec) -> None:
    array = picture(160, 208)
    files = [tiny_codec.encode(array, EncodeOptions(quality=quality)) for quality in (1, 30, 60, 90)]
    sizes = [len(file) for file in files]
    assert sizes == sorted(set(sizes))
    errors = [psnr(tiny_codec.decode(file), array) for file in files]
    assert errors == sorted(set(errors))


def test_what_is_smaller_lossless_is_kept_losslessly(any_codec: Codec) -> None:
    for array in (picture(1, 1), picture(2, 1), np.full((300, 200, 3), 77, np.uint8)):
        file = any_codec.encode(array)
        lossless = any_codec.encode(array, EncodeOptions(lossless=True))
        assert len(file) == min(len(lossless), len(any_codec.encode(array, at(any_codec, 50))))
        assert any_codec.read(lossless).info().profile == "lossless"
        assert np.array_equal(any_codec.decode(lossless), array)
        assert len(lossless) < 80 + array.size // 200
        with pytest.raises(NoImportanceMapError):
            any_codec.importance_map(lossless)


def test_noise_is_never_much_larger_than_it_was(any_codec: Codec) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    assert len(any_codec.encode(noise, at(any_codec, 100))) < noise.size + 60


@pytest.fixture(scope="module")
def array() -> Pixels:
    return picture(112, 144, seed=3)


def test_codes_do_not_depend_on_threads_or_precision(any_dir: Path, any_codec: Codec, array: Pixels) -> None:
    file = any_codec.encode(array, at(any_codec, 70))
    levels, codes = any_codec.decode_codes(file)
    other = load_codec(any_codec.info.name, model_dir=any_dir, device="cpu", dtype="bfloat16")
    assert psnr(other.decode(file), any_codec.decode(file)) > 40
    back = other.encode(array, at(any_codec, 70))  # files travel both ways
    assert any_codec.decode(back).shape == array.shape
    before = torch.get_num_threads()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            for codec in (any_codec, other):
                other_levels, other_codes = codec.decode_codes(file)
                assert torch.equal(other_levels, levels)
                assert torch.equal(other_codes, codes)
    finally:
        torch.set_num_threads(before)


def test_codes_do_not_depend_on_the_callers_autocast(any_codec: Codec, array: Pixels) -> None:
    file = any_codec.encode(array, at(any_codec, 70))
    expected = any_codec.decode_codes(file)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = any_codec.decode_codes(file)
        made_inside = any_codec.encode(array, at(any_codec, 70))
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    assert psnr(any_codec.decode(made_inside), any_codec.decode(file)) > 30


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_codes_do_not_depend_on_the_device(any_dir: Path, any_codec: Codec, array: Pixels) -> None:
    on_gpu = load_codec(any_codec.info.name, model_dir=any_dir, device="cuda")
    for codec, other in ((any_codec, on_gpu), (on_gpu, any_codec)):
        file = codec.encode(array, at(any_codec, 70))
        for ours, theirs in zip(codec.decode_codes(file), other.decode_codes(file), strict=True):
            assert torch.equal(ours, theirs)


def test_threads_share_a_codec(any_codec: Codec) -> None:
    arrays = [picture(64, 80, seed=seed) for seed in range(6)]
    expected = [any_codec.encode(array) for array in arrays]
    found: list[bytes | None] = [None] * 6

    def work(index: int) -> None:
        found[index] = any_codec.encode(arrays[index])

    threads = [threading.Thread(target=work, args=(index,)) for index in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == expected


def test_every_truncation_of_a_small_file_is_refused(any_codec: Codec) -> None:
    file = any_codec.encode(picture(40, 40))
    for cut in range(len(file)):
        with pytest.raises(FileError):
            any_codec.decode(file[:cut])


def test_every_bit_flip_of_a_small_file_is_refused(any_codec: Codec) -> None:
    file = any_codec.encode(picture(40, 40))
    for bit in range(8 * len(file)):
        flipped = bytearray(file)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises((FileError, LimitError)):
            any_codec.decode(bytes(flipped))


@given(data=st.data())
@settings(max_examples=40)
def test_payloads_behind_right_checksums_never_crash(any_codec: Codec, data: st.DataObject) -> None:
    file = any_codec.encode(picture(40, 56), at(any_codec, 70))
    payloads = list(any_codec.read(file).payloads)
    index = data.draw(st.sampled_from([k for k, payload in enumerate(payloads) if payload]))
    payload = bytearray(payloads[index])
    for _ in range(data.draw(st.integers(1, 4))):
        payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    payloads[index] = bytes(payload)
    try:
        assert any_codec.decode(changed(any_codec, file, payloads)).shape == (40, 56, 3)
    except InputError:
        pass


def test_importance_maps_of_picture_and_file_agree(any_codec: Codec) -> None:
    array = picture(75, 130)
    file = any_codec.encode(array, at(any_codec, 60))
    found = any_codec.importance_map(file)
    assert found.shape == (75, 130)
    assert np.array_equal(found, any_codec.importance_map(array, at(any_codec, 60)))
    lowest = any_codec.config.lowest_level
    assert set(np.unique(found)) <= {255 * level // 4 for level in range(lowest, lowest + 4)}


def test_a_check_ends_the_work_at_whichever_step_it_raises(any_codec: Codec) -> None:
    array = picture(75, 130)
    file = any_codec.encode(array)
    passes = 2 * len(any_codec.config.groups)
    works: list[tuple[Callable[[Check], object], int]] = [
        (lambda check: any_codec.encode(array, check=check), passes),
        (lambda check: any_codec.decode(file, check=check), passes),
        (lambda check: any_codec.importance_map(array, check=check), 1),
        (lambda check: any_codec.importance_map(file, check=check), 1),
    ]
    for work, least in works:
        counted = StopAt(0)
        work(counted)
        assert counted.calls >= least
        for last in (1, (counted.calls + 1) // 2, counted.calls):
            stop = StopAt(last)
            with pytest.raises(StoppedError):
                work(stop)
            assert stop.calls == last


def test_files_of_another_model_are_refused_by_name(any_codec: Codec) -> None:
    other = changed(any_codec, any_codec.encode(picture(40, 40), at(any_codec, 50)), model_id=b"abcd")
    with pytest.raises(WrongModelError, match="61626364"):
        any_codec.decode(other)


def test_files_say_which_profile_made_them_and_what_its_lowest_level_is(any_codec: Codec) -> None:
    info = any_codec.read(any_codec.encode(picture(40, 56), at(any_codec, 50))).info()
    config = any_codec.config
    assert (info.profile, info.lowest_level) == (config.profile, config.lowest_level)
    assert (info.quality is None) == config.fixed_rate == any_codec.info.fixed_rate


def test_headers_that_contradict_the_model_are_refused_before_a_payload_is_read(any_codec: Codec) -> None:
    config = any_codec.config
    file = any_codec.encode(picture(40, 56), at(any_codec, 1))
    garbage = [b"\xff" * 9 for _ in any_codec.read(file).payloads]
    other_profile = next(name for name in PROFILES if name != config.profile)
    contradictions: list[dict[str, object]] = [{"profile": other_profile, "lowest_level": 1, "quality": 0}]
    if config.profile == "cvpr2018":
        contradictions.append({"lowest_level": 1 - config.lowest_level})
    for facts in contradictions:
        hostile = changed(any_codec, file, garbage, **facts)
        for read in (any_codec.decode, any_codec.decode_codes, any_codec.importance_map):
            with pytest.raises(HeaderError, match=r"in a file of (model|profile)"):
                read(hostile)


def test_a_quality_is_refused_where_there_is_none_to_choose(tiny_2018_codec: Codec) -> None:
    array = picture(40, 56)

    def sink() -> Sink:
        pytest.fail("nothing should be coded")

    for use in (
        lambda: tiny_2018_codec.encode(array, EncodeOptions(quality=50)),
        lambda: tiny_2018_codec.encode(array, EncodeOptions(tune="psnr")),
        lambda: tiny_2018_codec.encode(array, EncodeOptions(plane=np.ones((1, 1), np.int8))),
        lambda: tiny_2018_codec.importance_map(array, EncodeOptions(quality=50)),
        lambda: tiny_2018_codec.write_to(sink, array, EncodeOptions(quality=50)),
    ):
        with pytest.raises(ParameterError, match="profile cvpr2018 has one rate"):
            use()


def test_levels_say_how_many_leading_codes_a_place_has(any_codec: Codec, array: Pixels) -> None:
    config = any_codec.config
    levels, codes = any_codec.decode_codes(any_codec.encode(array, at(any_codec, 70)))
    each = config.map_stride // 8
    kept = torch.tensor([0] * config.lowest_level + list(config.kept))[levels]
    kept = kept.repeat_interleave(each, 1).repeat_interleave(each, 2)
    inside = torch.arange(config.channels).view(-1, 1, 1) < kept
    assert config.lowest_level <= levels.min() < levels.max() <= config.highest_level
    assert not codes[~inside].any()
    if config.profile == "cvpr2018":
        assert set(codes[inside].tolist()) == {-FRACTIONS, FRACTIONS}


def test_a_picture_of_empty_places_only_has_no_codes(tmp_path: Path) -> None:
    network = paper_network(TINY_2018_EMPTY)
    last = network.transforms.encoder.importance[-1].bias
    assert isinstance(last, torch.Tensor)
    last.data -= 1000
    codec = load_codec("empty", model_dir=save_network(network, tmp_path, "empty"), device="cpu")
    file = codec.encode(picture(100, 60), at(codec, 50))
    assert [section.length for section in codec.read(file).info().sections[1:]] == [0]
    levels, codes = codec.decode_codes(file)
    assert not levels.any()
    assert not codes.any()
    assert not codec.importance_map(file).any()
    assert np.array_equal(
        codec.decode(file), codec.decode(codec.encode(picture(100, 60, seed=1), at(codec, 50)))
    )
    payloads = codec.read(file).payloads
    for hidden in (b"\x01", b"\0\0\0\0", b"\xff" * 20):
        with pytest.raises(PayloadError):
            codec.decode(changed(codec, file, [*payloads, hidden]))


@pytest.mark.parametrize("quality", [0, 0.99, 100.01, float("nan"), -5])
def test_quality_out_of_range_is_refused(quality: float) -> None:
    with pytest.raises(ParameterError, match="quality is 1 to 100"):
        EncodeOptions(quality=quality)


@pytest.mark.parametrize("shape", [(4, 4), (4, 4, 1), (4, 4, 5), (0, 4, 3), (4, 0, 3)])
def test_arrays_that_are_no_pictures_are_refused(any_codec: Codec, shape: tuple[int, ...]) -> None:
    with pytest.raises(ParameterError, match="expected uint8"):
        any_codec.encode(np.zeros(shape, np.uint8))


def test_lossless_work_can_be_ended_too(any_codec: Codec) -> None:
    array = picture(75, 130, channels=4)
    for work in (EncodeOptions(lossless=True), at(any_codec, 50)):
        counted = StopAt(0)
        any_codec.encode(array, work, check=counted)
        stop = StopAt(counted.calls)
        with pytest.raises(StoppedError):
            any_codec.encode(array, work, check=stop)
        assert counted.calls >= 1


def test_maps_of_cut_files_need_permission_as_their_pictures_do(any_codec: Codec) -> None:
    file = any_codec.encode(picture(75, 130), at(any_codec, 60))
    with pytest.raises(TruncatedFileError):
        any_codec.importance_map(file[:-1])
    cut = any_codec.read(file[:-1], allow_truncated=True)
    with pytest.raises(TruncatedFileError, match="allow_truncated"):
        any_codec.decode(cut)
    assert any_codec.decode(cut, DecodeOptions(allow_truncated=True)).shape == (75, 130, 3)


def test_bytes_of_any_kind_will_do(any_codec: Codec) -> None:
    file = any_codec.encode(picture(40, 56), at(any_codec, 60))
    for kind in (bytearray, memoryview):
        assert np.array_equal(any_codec.decode(kind(file)), any_codec.decode(file))  # type: ignore[arg-type]


def test_limits_hold_for_pictures_and_for_files(any_dir: Path, any_codec: Codec) -> None:
    small = load_codec(any_codec.info.name, model_dir=any_dir, device="cpu", limits=Limits(max_pixels=100))
    with pytest.raises(LimitError, match="max_pixels is 100, got 144"):
        small.encode(picture(12, 12))
    with pytest.raises(LimitError, match="max_pixels is 100, got 144"):
        small.decode(any_codec.encode(picture(12, 12)))
    with pytest.raises(LimitError, match="max_pixels is 100, got 144"):
        small.decode(any_codec.read(any_codec.encode(picture(12, 12))))
