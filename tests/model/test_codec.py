import math
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model import bitstream
from model.checkpoints import load_codec
from model.codec import Codec
from model.errors import (
    FileError,
    InputError,
    LimitError,
    NoImportanceMapError,
    ParameterError,
    WrongModelError,
)
from model.types import Limits, Pixels
from tests.conftest import picture


def psnr(a: Pixels, b: Pixels) -> float:
    mse = float(np.mean((a.astype(float) - b) ** 2))
    return 10 * math.log10(255**2 / max(mse, 1e-6))


@given(height=st.integers(1, 70), width=st.integers(1, 70), channels=st.sampled_from([3, 4]))
@settings(max_examples=25, deadline=None)
def test_every_size_round_trips(tiny_codec: Codec, height: int, width: int, channels: int) -> None:
    grey = picture(height, width, channels=1)
    array = np.concatenate([grey, grey, grey, picture(height, width, channels=1, seed=1)], 2)[..., :channels]
    decoded = tiny_codec.decode(tiny_codec.encode(array, quality=80))
    assert decoded.shape == array.shape
    assert decoded.dtype == np.uint8
    assert np.abs(decoded[..., :3].mean((0, 1)) - array[..., :3].mean((0, 1))).max() < 16
    assert np.array_equal(decoded[..., 3:], array[..., 3:])


def test_quality_trades_size_for_distortion(tiny_codec: Codec) -> None:
    array = picture(160, 208)
    files = [tiny_codec.encode(array, quality=quality) for quality in (1, 30, 60, 90)]
    sizes = [len(file) for file in files]
    assert sizes == sorted(set(sizes))
    errors = [psnr(tiny_codec.decode(file), array) for file in files]
    assert errors == sorted(set(errors))


def test_tiny_and_flat_pictures_are_stored_losslessly_when_that_is_smaller(tiny_codec: Codec) -> None:
    for array in (picture(1, 1), picture(3, 2), np.full((300, 200, 3), 77, np.uint8)):
        file = tiny_codec.encode(array)
        assert tiny_codec.inspect(file).profile == "stored"
        assert np.array_equal(tiny_codec.decode(file), array)
        assert len(file) < 80 + array.size // 200
        with pytest.raises(NoImportanceMapError):
            tiny_codec.importance_map(file)


def test_noise_is_never_larger_than_stored(tiny_codec: Codec) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    assert len(tiny_codec.encode(noise, quality=100)) < noise.size + 60


@pytest.fixture(scope="module")
def array() -> Pixels:
    return picture(112, 144, seed=3)


def test_codes_do_not_depend_on_threads_or_precision(
    tiny_dir: Path, tiny_codec: Codec, array: Pixels
) -> None:
    file = tiny_codec.encode(array, quality=70)
    levels, codes = tiny_codec.decode_codes(file)
    before = torch.get_num_threads()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            for dtype in ("float32", "bfloat16"):
                other = load_codec("tiny", model_dir=tiny_dir, device="cpu", dtype=dtype)
                other_levels, other_codes = other.decode_codes(file)
                assert torch.equal(other_levels, levels)
                assert torch.equal(other_codes, codes)
                assert psnr(other.decode(file), tiny_codec.decode(file)) > 40
                decoded = tiny_codec.decode_codes(other.encode(array, quality=70))  # files travel both ways
                assert decoded[1].shape == codes.shape
    finally:
        torch.set_num_threads(before)


def test_codes_do_not_depend_on_the_callers_autocast(tiny_codec: Codec, array: Pixels) -> None:
    file = tiny_codec.encode(array, quality=70)
    expected = tiny_codec.decode_codes(file)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = tiny_codec.decode_codes(file)
        made_inside = tiny_codec.encode(array, quality=70)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    assert psnr(tiny_codec.decode(made_inside), tiny_codec.decode(file)) > 30


def test_files_and_codes_do_not_depend_on_the_batch(tiny_codec: Codec) -> None:
    arrays = [picture(48, 64, seed=seed) for seed in range(4)]
    alone = [tiny_codec.encode(array, quality=70) for array in arrays]
    together = tiny_codec.encode_batch(arrays, quality=70)
    assert [tiny_codec.decode_codes(a)[1].tolist() for a in alone] == [
        tiny_codec.decode_codes(b)[1].tolist() for b in together
    ]
    for picture_alone, in_batch in zip(
        map(tiny_codec.decode, alone), tiny_codec.decode_batch(alone), strict=True
    ):
        assert np.abs(picture_alone.astype(int) - in_batch).max() <= 1


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_codes_do_not_depend_on_the_device(tiny_dir: Path, tiny_codec: Codec, array: Pixels) -> None:
    on_gpu = load_codec("tiny", model_dir=tiny_dir, device="cuda")
    for codec, other in ((tiny_codec, on_gpu), (on_gpu, tiny_codec)):
        file = codec.encode(array, quality=70)
        for ours, theirs in zip(codec.decode_codes(file), other.decode_codes(file), strict=True):
            assert torch.equal(ours, theirs)


def test_threads_share_a_codec(tiny_codec: Codec) -> None:
    arrays = [picture(64, 80, seed=seed) for seed in range(6)]
    expected = [tiny_codec.encode(array) for array in arrays]
    found: list[bytes | None] = [None] * 6

    def work(index: int) -> None:
        found[index] = tiny_codec.encode(arrays[index])

    threads = [threading.Thread(target=work, args=(index,)) for index in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == expected


def test_bands_leave_no_seam(tiny_codec: Codec, monkeypatch: pytest.MonkeyPatch) -> None:
    array = picture(700, 48)
    file = tiny_codec.encode(array, quality=90)
    whole = tiny_codec.decode(file)
    monkeypatch.setattr("model.codec._BAND_PIXELS", 48 * 128)
    wide = tiny_codec.encode(array.swapaxes(0, 1), quality=90)
    assert psnr(tiny_codec.decode(wide).swapaxes(0, 1), array) > psnr(whole, array) - 0.5
    assert np.abs(tiny_codec.decode(file).astype(int) - whole).max() <= 1
    assert abs(len(tiny_codec.encode(array, quality=90)) - len(file)) <= 8


def test_every_truncation_of_a_small_file_is_refused(tiny_codec: Codec) -> None:
    file = tiny_codec.encode(picture(40, 40))
    for cut in range(len(file)):
        with pytest.raises(FileError):
            tiny_codec.decode(file[:cut])


def test_every_bit_flip_of_a_small_file_is_refused(tiny_codec: Codec) -> None:
    file = tiny_codec.encode(picture(40, 40))
    for bit in range(8 * len(file)):
        flipped = bytearray(file)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(FileError):
            tiny_codec.decode(bytes(flipped))


@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_payloads_behind_right_checksums_never_crash(tiny_codec: Codec, data: st.DataObject) -> None:
    container = bitstream.unpack(tiny_codec.encode(picture(40, 56), quality=70), limits=Limits())
    kind = data.draw(st.sampled_from(sorted(container.sections)))
    payload = bytearray(container.sections[kind])
    for _ in range(data.draw(st.integers(1, 4))):
        payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    sections = {**container.sections, kind: bytes(payload)}
    hostile = bitstream.Container(**{**vars(container), "sections": sections})
    try:
        assert tiny_codec.decode(bitstream.pack(hostile)).shape == (40, 56, 3)
    except InputError:
        pass


def test_importance_maps_of_picture_and_file_agree(tiny_codec: Codec) -> None:
    array = picture(75, 130)
    file = tiny_codec.encode(array, quality=60)
    found = tiny_codec.importance_map(file)
    assert found.shape == (75, 130)
    assert np.array_equal(found, tiny_codec.importance_map(array, quality=60))
    assert set(np.unique(found)) <= {255 * level // 4 for level in range(1, 5)}


def test_files_of_another_model_are_refused_by_name(tiny_codec: Codec) -> None:
    container = bitstream.unpack(tiny_codec.encode(picture(40, 40)), limits=Limits())
    other = bitstream.pack(bitstream.Container(**{**vars(container), "model_id": b"abcd"}))
    with pytest.raises(WrongModelError, match="61626364"):
        tiny_codec.decode(other)


@pytest.mark.parametrize("quality", [0, 0.99, 100.01, float("nan"), -5])
def test_quality_out_of_range_is_refused(tiny_codec: Codec, quality: float) -> None:
    with pytest.raises(ParameterError, match="quality is 1 to 100"):
        tiny_codec.encode(picture(8, 8), quality=quality)


@pytest.mark.parametrize("shape", [(4, 4), (4, 4, 1), (4, 4, 5), (0, 4, 3), (4, 0, 3)])
def test_arrays_that_are_no_pictures_are_refused(tiny_codec: Codec, shape: tuple[int, ...]) -> None:
    with pytest.raises(ParameterError, match="expected uint8"):
        tiny_codec.encode(np.zeros(shape, np.uint8))


def test_limits_hold_for_pictures_and_for_files(tiny_dir: Path, tiny_codec: Codec) -> None:
    small = load_codec("tiny", model_dir=tiny_dir, device="cpu", limits=Limits(max_pixels=100))
    with pytest.raises(LimitError, match="max_pixels is 100, got 144"):
        small.encode(picture(12, 12))
    with pytest.raises(LimitError, match="max_pixels is 100, got 144"):
        small.decode(tiny_codec.encode(picture(12, 12)))


def test_batches_of_unequal_pictures_are_refused(tiny_codec: Codec) -> None:
    with pytest.raises(ParameterError):
        tiny_codec.encode_batch([picture(8, 8), picture(8, 9)])
    files = [tiny_codec.encode(picture(48, 48), quality=quality) for quality in (40, 90)]
    with pytest.raises(ParameterError):
        tiny_codec.decode_batch(files)
