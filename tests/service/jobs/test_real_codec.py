"""The service around a small real codec, loaded from its checkpoint as in production."""

import shutil
from pathlib import Path
from typing import Literal

import httpx
import numpy as np
import pytest

from model.codec import Codec
from model.container.format import Container, inspect, truncate, unpack
from model.errors import CheckpointNotFoundError
from model.images.distortion import psnr
from model.images.maps import overlay
from model.options import DecodeOptions, EncodeOptions
from model.protocol import DEFAULT_DECODE_OPTIONS
from model.types import Limits, Pixels, Region
from service.app import create_app
from service.client import Client
from service.jobs.models import load_codecs, prove
from service.settings import Settings
from tests.conftest import picture
from tests.effort import wait_until
from tests.service.fakes import pixels, png
from tests.service.server import running, serving


def test_a_picture_goes_through_a_real_codec_and_damage_to_its_file_is_refused(tiny_dir: Path) -> None:
    array = picture(50, 70)
    app = create_app(Settings(model_dir=tiny_dir, device="cpu"))
    with running(app) as client:
        wait_until(lambda: client.get("/readyz").is_success)
        file = client.post("/compress", params={"quality": 60}, content=png(array)).content
        facts = client.post("/inspect", content=file).json()
        assert (facts["width"], facts["height"], facts["size"]) == (70, 50, len(file))
        back = pixels(client.post("/decompress", content=file).content)
        assert back.shape == array.shape
        assert np.abs(back.astype(int) - array).mean() < 40
        assert pixels(client.post("/importance-map", content=file).content).shape == (50, 70)
        cut = client.post("/inspect", content=file[:-1]).json()
        assert (cut["truncated"], cut["size"]) == (True, len(file) - 1)
        for damaged in (file[:-1], file + b"x", file[:20] + bytes([file[20] ^ 1]) + file[21:]):
            assert client.post("/decompress", content=damaged).status_code in {415, 422}
        assert client.get("/readyz").is_success


def test_parts_of_a_file_are_those_of_the_codec(tiny_codec: Codec) -> None:
    """Cut files, regions, previews, maps and their mean, of a file of four tiles."""
    array = picture(300, 270, channels=4)
    file = tiny_codec.encode(array, EncodeOptions(quality=70, tile=256, lossless=False))
    with serving(tiny_codec) as client:

        def answer(path: str, body: bytes) -> bytes:
            return client.post(path, content=body).raise_for_status().content

        cut = answer(f"/truncate?bytes={len(file) - 1}", file)
        assert cut == truncate(file, len(file) - 1)
        asked = {
            "region=200,250,70,50": DecodeOptions(region=Region(200, 250, 70, 50)),
            "groups=1": DecodeOptions(groups=1),
            "region=0,0,1,1&groups=2": DecodeOptions(region=Region(0, 0, 1, 1), groups=2),
        }
        for body in (file, cut):
            for query, options in asked.items():
                found = pixels(answer(f"/decompress?{query}", body))
                assert np.array_equal(found, tiny_codec.decode(body, options))
        assert client.post("/decompress", content=file[:-1]).json()["type"].endswith("truncated-file")
        permitted = pixels(answer("/decompress?allow_truncated=true", file[:-1]))
        assert np.array_equal(permitted, tiny_codec.decode(file[:-1], DecodeOptions(allow_truncated=True)))

        grey = tiny_codec.importance_map(file)
        over = pixels(answer("/importance-map?style=overlay", file))
        assert np.array_equal(over, overlay(grey, tiny_codec.decode(file)))
        assert np.array_equal(pixels(answer("/importance-map?size=map", file)), grey[::16, ::16])
        mean = client.post("/inspect?importance=true", content=file[:-1]).json()["mean_importance"]
        assert mean == pytest.approx(grey.mean() / 255)


def test_a_picture_that_is_nearly_kept_is_called_so(tiny_codec: Codec) -> None:
    array = np.full((160, 200, 3), (250, 240, 230), np.uint8)
    array[40:90, 30:150] = (10, 60, 120)
    array -= np.random.default_rng(1).integers(0, 5, (160, 200, 1), dtype=np.uint8)
    with serving(tiny_codec) as client, Client(str(client.base_url)) as library:
        found = client.post("/compress", content=png(array)).raise_for_status()
        assert found.headers["X-CWIC-Quality"] == "near-lossless"
        facts = library.inspect(found.content)
        assert (facts.profile, facts.quality) == ("lossless", None)
        assert library.compress(png(array)).quality is None
        kept = pixels(library.decompress(found.content).data)
    assert facts.tolerance
    assert 0 < np.abs(kept.astype(int) - array).max() <= facts.tolerance


@pytest.mark.parametrize("channels", [3, 4])
def test_targets_are_reached_through_the_service(tiny_codec: Codec, channels: int) -> None:
    array = picture(150, 170, channels=channels)
    body, pixels_of_it = png(array), 150 * 170
    low, high = (len(tiny_codec.encode(array, EncodeOptions(quality=q, lossless=False))) for q in (1, 100))
    middle = (low + high) // 2
    with serving(tiny_codec) as client:

        def answer(**params: float) -> httpx.Response:
            return client.post("/compress", params=params, content=body)

        for params, most in (
            ({"target_bytes": middle}, middle),
            ({"target_bpp": 8 * middle / pixels_of_it}, middle),
        ):
            found = answer(**params).raise_for_status()
            assert 0.97 * most <= len(found.content) <= most
            facts = inspect(found.content)
            assert float(found.headers["X-CWIC-Quality"]) == facts.quality
            assert float(found.headers["X-CWIC-Bpp"]) == pytest.approx(facts.bpp, abs=1e-4)
        whole = tiny_codec.encode(array, EncodeOptions(quality=60, lossless=False))
        wanted = psnr(array[..., :3], tiny_codec.decode(whole)[..., :3])
        found = answer(target_psnr=wanted).raise_for_status()
        assert psnr(array[..., :3], tiny_codec.decode(found.content)[..., :3]) >= wanted

        refused = answer(target_bytes=low - 1)
        assert (refused.status_code, refused.json()["type"]) == (422, "urn:cwic:problem:unreachable-target")
        assert f"{low} to {high} bytes" in refused.json()["detail"]
        assert (refused.json()["lowest"], refused.json()["highest"]) == (low, high)
        kept = client.post("/compress", params={"lossless": "true"}, content=body).raise_for_status()
        assert kept.headers["X-CWIC-Quality"] == "lossless"
        assert np.array_equal(tiny_codec.decode(kept.content), array)
        assert np.array_equal(pixels(client.post("/decompress", content=kept.content).content), array)


def test_the_models_that_are_named_are_served_the_first_one_as_the_default(
    tiny_dir: Path, tmp_path: Path
) -> None:
    for name in ("a", "b", "c"):
        for path in tiny_dir.glob("tiny.*"):
            shutil.copy(path, tmp_path / path.with_stem(name).name)

    def served(models: str) -> list[str]:
        values = {"model_dir": tmp_path, "models": models, "device": "cpu"}
        return [codec.info.name for codec in load_codecs(Settings.model_validate(values))]

    assert served("c,a") == ["c", "a"]
    assert served("") == ["a", "b", "c"]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_models_run_in_the_precision_that_the_settings_name(
    tiny_dir: Path, dtype: Literal["float32", "bfloat16"]
) -> None:
    (codec,) = load_codecs(Settings(model_dir=tiny_dir, device="cpu", dtype=dtype))
    assert codec.info.dtype == dtype


def test_a_named_model_that_is_not_in_the_folder_is_an_error_that_tells_what_is(tiny_dir: Path) -> None:
    settings = Settings(model_dir=tiny_dir, models=("tiny", "huge"))
    with pytest.raises(
        CheckpointNotFoundError, match=f"CWIC_MODELS names huge; in {tiny_dir} there are tiny$"
    ):
        load_codecs(settings)


@pytest.mark.parametrize("path", ["/decompress", "/importance-map", "/inspect", "/inspect?importance=true"])
def test_a_real_codec_parses_a_file_once_for_each_request(
    tiny_codec: Codec, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, parsed = tiny_codec.encode(picture(20, 30), EncodeOptions(lossless=False)), []

    def spy(data: bytes, *, limits: Limits, allow_truncated: bool = False) -> Container:
        parsed.append(data)
        return unpack(data, limits=limits, allow_truncated=allow_truncated)

    with serving(tiny_codec) as client:
        monkeypatch.setattr("model.codec.unpack", spy)
        assert client.post(path, content=file).is_success
    assert parsed == [file]


def test_a_codec_is_proven_by_a_file_that_its_networks_make(
    tiny_codec: Codec, monkeypatch: pytest.MonkeyPatch
) -> None:
    decode, decoded = Codec.decode, []

    def spy(self: Codec, file: bytes, options: DecodeOptions = DEFAULT_DECODE_OPTIONS) -> Pixels:
        decoded.append(inspect(file).profile)
        return decode(self, file, options)

    monkeypatch.setattr(Codec, "decode", spy)
    prove(tiny_codec)
    assert decoded == ["cwic"]
