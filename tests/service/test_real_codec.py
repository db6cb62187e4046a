"""The service around a small real codec, loaded from its checkpoint as in production."""

from pathlib import Path

import numpy as np

from service.app import create_app
from service.settings import Settings
from tests.conftest import picture
from tests.service.fakes import pixels, png
from tests.service.server import running, wait_until


def test_a_picture_goes_through_a_real_codec_and_damage_to_its_file_is_refused(tiny_dir: Path) -> None:
    array = picture(50, 70)
    app = create_app(Settings(model_dir=tiny_dir, device="cpu"))
    with running(app) as client:
        wait_until(lambda: client.get("/readyz").is_success, seconds=30)
        file = client.post("/compress", params={"quality": 60}, content=png(array)).content
        facts = client.post("/inspect", content=file).json()
        assert (facts["width"], facts["height"], facts["size"]) == (70, 50, len(file))
        back = pixels(client.post("/decompress", content=file).content)
        assert back.shape == array.shape
        assert np.abs(back.astype(int) - array).mean() < 40
        assert pixels(client.post("/importance-map", content=file).content).shape == (50, 70)
        for damaged in (file[:-1], file + b"x", file[:20] + bytes([file[20] ^ 1]) + file[21:]):
            assert client.post("/decompress", content=damaged).status_code in {415, 422}
        assert client.get("/readyz").is_success
