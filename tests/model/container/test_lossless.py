import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image, ImageDraw

from model.container import lossless
from model.errors import PayloadError
from model.types import Pixels

shapes = st.tuples(st.integers(1, 50), st.integers(1, 9), st.sampled_from([1, 3, 4]))
samples = arrays.arrays(np.uint8, shapes)
flat = st.builds(lambda shape, value: np.full(shape, value, np.uint8), shapes, st.integers(0, 255))


def noise(*shape: int) -> Pixels:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def screenshot(width: int = 640, height: int = 480) -> Pixels:
    image = Image.new("RGB", (width, height), (246, 246, 248))
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 0, width, 30), fill=(36, 41, 47))
    for row in range(40, height, 14):
        draw.text(
            (10 + row % 50, row),
            "The quick brown fox jumps over the lazy dog. " * 2,
            fill=(row % 200, 30, 60),
        )
    return np.array(image)


@given(samples | flat)
def test_samples_survive(array: Pixels) -> None:
    unpacked = lossless.unpack(lossless.pack(array), array.shape)
    assert unpacked.dtype == np.uint8
    assert unpacked.shape == array.shape
    assert np.array_equal(unpacked, array)


@pytest.mark.parametrize(
    "shape", [(1, 1, 1), (1, 1, 4), (1, 3000, 3), (3000, 1, 1), (1, lossless.MAX_SIDE, 4)]
)
def test_narrow_pictures_survive(shape: tuple[int, int, int]) -> None:
    array = noise(*shape)
    assert np.array_equal(lossless.unpack(lossless.pack(array), shape), array)


@pytest.mark.parametrize("alpha", [0, 255])
def test_colours_survive_under_any_alpha(alpha: int) -> None:
    array = noise(9, 11, 4)
    array[..., 3] = alpha
    assert np.array_equal(lossless.unpack(lossless.pack(array), array.shape), array)


def test_views_of_larger_arrays_survive() -> None:
    array = noise(40, 60, 4)[5:30:2, 7:50, :3]
    assert np.array_equal(lossless.unpack(lossless.pack(array), array.shape), array)
    assert np.array_equal(
        lossless.unpack(lossless.pack(array[..., 1:2]), (*array.shape[:2], 1)), array[..., 1:2]
    )


def test_a_single_channel_costs_nothing_more_than_itself() -> None:
    array = noise(64, 64, 1)
    assert len(lossless.pack(array)) < array.size + 100


def test_payloads_have_no_head_but_their_own() -> None:
    for width in range(1, 20):
        payload = lossless.pack(noise(3, width, 3))
        assert payload[0] == 0x2F
        assert int.from_bytes(payload[1:3], "little") & 0x3FFF == width - 1
    lengths = {len(lossless.pack(noise(3, width, 3))) % 2 for width in range(1, 20)}
    assert lengths == {0, 1}


@pytest.mark.parametrize(
    "shape", [(0, 1, 3), (1, 0, 3), (lossless.MAX_SIDE + 1, 1, 3), (1, lossless.MAX_SIDE + 1, 3), (2, 2, 2)]
)
def test_shapes_that_webp_does_not_have_are_our_own_mistake(shape: tuple[int, int, int]) -> None:
    with pytest.raises(AssertionError):
        lossless.pack(np.zeros(shape, np.uint8))


@given(samples, st.integers(0, 400))
def test_a_payload_at_the_limit_is_not_made(array: Pixels, limit: int) -> None:
    payload = lossless.pack(array)
    assert lossless.pack_below(array, limit=limit) == (payload if len(payload) < limit else None)


def test_payloads_of_another_shape_are_refused() -> None:
    payload = lossless.pack(noise(4, 5, 3))
    for shape in ((5, 4, 3), (4, 6, 3), (3, 5, 3), (4, 5 + 16384, 3)):
        with pytest.raises(PayloadError, match=f"expected {shape[1]}x{shape[0]} samples"):
            lossless.unpack(payload, shape)
    with pytest.raises(PayloadError, match="channels that are not equal"):
        lossless.unpack(payload, (4, 5, 1))
    for channels in (1, 3):
        with pytest.raises(PayloadError, match=f"of {channels} channels, got 5x4 of 4"):
            lossless.unpack(lossless.pack(noise(4, 5, 4)), (4, 5, channels))


def test_payloads_of_another_version_are_refused() -> None:
    payload = bytearray(lossless.pack(noise(4, 5, 3)))
    payload[4] |= 0x20
    with pytest.raises(PayloadError, match="version 1"):
        lossless.unpack(bytes(payload), (4, 5, 3))


@given(samples | flat, st.data())
def test_a_truncation_is_refused_or_another_picture(array: Pixels, data: st.DataObject) -> None:
    """A decoder takes what is missing at the end for zeros and may be done before it notices."""
    payload = lossless.pack(array)
    cut = payload[: data.draw(st.integers(0, len(payload) - 1))]
    try:
        assert lossless.unpack(cut, array.shape).shape == array.shape
    except PayloadError:
        pass
    if len(cut) == len(payload) - 1 and len(cut) % 2 and not payload[-1]:  # WebP's padding stands in for it
        assert np.array_equal(lossless.unpack(cut, array.shape), array)


def test_a_truncation_by_more_than_a_few_bytes_is_refused() -> None:
    payload = lossless.pack(noise(20, 20, 3))
    for length in range(len(payload) - 16):
        with pytest.raises(PayloadError):
            lossless.unpack(payload[:length], (20, 20, 3))


@given(samples | flat, st.data())
def test_damage_is_refused_or_another_picture(array: Pixels, data: st.DataObject) -> None:
    payload = bytearray(lossless.pack(array))
    for _ in range(data.draw(st.integers(1, 3))):
        bit = data.draw(st.integers(0, 8 * len(payload) - 1))
        payload[bit // 8] ^= 1 << bit % 8
    try:
        assert lossless.unpack(bytes(payload), array.shape).shape == array.shape
    except PayloadError:
        pass


@given(st.binary(max_size=60))
def test_random_bytes_are_refused_or_a_picture(data: bytes) -> None:
    head = b"\x2f" + (4 | 3 << 14).to_bytes(4, "little")
    for payload in (data, head + data):
        try:
            assert lossless.unpack(payload, (4, 5, 3)).shape == (4, 5, 3)
        except PayloadError:
            pass


def test_a_bomb_is_refused_without_being_unpacked() -> None:
    bomb = lossless.pack(np.zeros((4000, 4000, 3), np.uint8))
    assert len(bomb) < 10_000
    with pytest.raises(PayloadError, match="expected 2x2 samples of 3 channels, got 4000x4000"):
        lossless.unpack(bomb, (2, 2, 3))


def test_pillow_does_not_warn_of_pictures_that_were_expected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    array = noise(12, 12, 3)
    assert np.array_equal(lossless.unpack(lossless.pack(array), array.shape), array)


@pytest.mark.parametrize(
    "array",
    [
        np.full((600, 500, 3), 77, np.uint8),
        np.linspace(0, 255, 600 * 500).reshape(600, 500, 1).repeat(3, 2).astype(np.uint8),
        screenshot(),
        255 - screenshot(),
        screenshot()[..., :1],
        np.concatenate([screenshot(), np.full((480, 640, 1), 9, np.uint8)], axis=2),
        noise(400, 500, 1) // 128 * np.uint8(255),
        np.random.default_rng(1).integers(0, 256, (16, 3), dtype=np.uint8)[noise(400, 500) // 16],
        np.full((1, 70_000, 3), 5, np.uint8),
        np.full((70_000, 1, 4), 5, np.uint8),
    ],
)
def test_drawn_pictures_are_tried(array: Pixels) -> None:
    if max(array.shape) <= lossless.MAX_SIDE:
        assert lossless.worth_trying(array, limit=len(lossless.pack(array)) + 1)
    assert lossless.worth_trying(array, limit=array.size // 10 + 1)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_pictures_far_above_the_limit_are_not_tried(channels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    photo_like = noise(600, 500, channels)
    monkeypatch.setattr(lossless, "pack", lambda _: pytest.fail("packed"))
    assert not lossless.worth_trying(photo_like, limit=photo_like.size // 10)
    assert lossless.pack_below(photo_like, limit=photo_like.size // 10) is None
