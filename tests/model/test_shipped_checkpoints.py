"""The checkpoints that ship, and files that they made: every later version decodes them to the same codes."""

import hashlib
import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from model.checkpoints import DEFAULT_MODEL_DIR, available, load_codec
from model.codec import Codec
from model.container import format as file_format
from model.options import EncodeOptions
from model.types import Pixels
from tests.photo import photo_jpeg, pixels_of

GOLDEN = Path(__file__).parents[1] / "golden"


FIXED_RATE = sorted(path.stem for path in DEFAULT_MODEL_DIR.glob("cvpr2018/*.safetensors"))


@pytest.fixture(scope="module")
def codecs() -> dict[str, Codec]:
    """All that ship, by name, the default first."""
    return {name: load_codec(name, device="cpu") for name in available()}


@pytest.fixture(scope="module")
def codec(codecs: dict[str, Codec]) -> Codec:
    return codecs["cwic"]


@pytest.fixture(scope="module")
def photo() -> Pixels:
    return pixels_of(photo_jpeg())


def codes_digest(codec: Codec, data: bytes) -> str:
    """SHA-256 of a file's levels and codes."""
    levels, codes = codec.decode_codes(data)
    whole = torch.cat([levels.flatten(), codes.flatten()]).to(torch.int32)
    return hashlib.sha256(whole.numpy().astype("<i4").tobytes()).hexdigest()


def test_it_is_small_and_has_a_card() -> None:
    assert available()[0] == "cwic"
    card = json.loads((DEFAULT_MODEL_DIR / "cwic.json").read_text())
    assert {"training", "validation_curve", "licence", "sha256"} <= set(card)
    assert sum(path.stat().st_size for path in DEFAULT_MODEL_DIR.glob("cwic.*")) < 16 * 2**20


@pytest.mark.parametrize("name", sorted(json.loads((GOLDEN / "codes.json").read_text())))
def test_golden_files_decode_to_the_same_codes(codecs: dict[str, Codec], name: str) -> None:
    data = (GOLDEN / name).read_bytes()
    by_id = {codec.info.model_id: codec for codec in codecs.values()}
    expected = json.loads((GOLDEN / "codes.json").read_text())[name]
    assert codes_digest(by_id[file_format.inspect(data).model_id], data) == expected


def test_every_checkpoint_has_golden_files(codecs: dict[str, Codec]) -> None:
    ids = {file_format.inspect(path.read_bytes()).model_id for path in GOLDEN.glob("*.cwic")}
    assert ids == {codec.info.model_id for codec in codecs.values()}


def mse(a: Pixels, b: Pixels) -> float:
    return float(np.mean((a.astype(float) - b) ** 2))


def jpeg_of_quality(photo: Pixels, error: float) -> int:
    """The size of the smallest JPEG with at most that mean squared error."""
    for quality in range(1, 100):
        jpeg = io.BytesIO()
        Image.fromarray(photo).save(jpeg, "JPEG", quality=quality)
        if mse(np.asarray(Image.open(jpeg)), photo) <= error:
            break
    return len(jpeg.getvalue())


def test_a_photo_takes_less_than_half_the_bytes_of_a_jpeg_of_its_quality(codec: Codec, photo: Pixels) -> None:
    file = codec.encode(photo, EncodeOptions(quality=50))
    assert len(file) < 0.5 * jpeg_of_quality(photo, mse(codec.decode(file), photo))


@pytest.mark.parametrize("name", FIXED_RATE)
def test_the_papers_codec_is_smaller_than_jpeg_too(
    codecs: dict[str, Codec], name: str, photo: Pixels
) -> None:
    codec = codecs[name]
    assert codec.info.fixed_rate
    file = codec.encode(photo)
    assert len(file) < 0.9 * jpeg_of_quality(photo, mse(codec.decode(file), photo))
    coded = sum(section.length for section in codec.read(file).info().sections if section.name != "map")
    assert coded < 0.8 * codec.kept_codes(file) / 8  # the context model against raw bits under the mask


def test_flat_pictures_larger_than_any_training_crop_stay_flat(codec: Codec) -> None:
    for grey in (0, 12, 128, 250):
        noise = np.random.default_rng(0).integers(0, 2, (704, 720, 1))
        array = np.repeat(np.clip(grey + noise, 0, 255), 3, 2).astype(np.uint8)
        decoded = codec.decode(codec.encode(array, EncodeOptions(quality=30, lossless=False))).astype(int)
        assert np.abs(decoded - array).mean() < 8


def test_busy_places_keep_more_channels_than_flat_ones(codec: Codec) -> None:
    array = np.full((256, 512, 3), 100, np.uint8)
    array[:, 256:] = np.random.default_rng(0).integers(0, 256, (256, 256, 1))
    importance = codec.importance_map(array, EncodeOptions(quality=60))
    assert importance[:, 288:].mean() > 2 * importance[:, :224].mean()
