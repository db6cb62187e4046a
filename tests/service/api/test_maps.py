"""`/importance-map`: of pictures and of files, and how it is drawn."""

import httpx
import numpy as np
import pytest

from model.images.maps import heat_colours, overlay
from model.options import EncodeOptions
from model.types import Pixels
from tests.service.fakes import FakeCodec, picture_array, pixels, png


def test_an_importance_map_is_a_grey_png_of_the_pictures_size(client: httpx.Client) -> None:
    answer = client.post("/importance-map", params={"quality": 80}, content=png())
    assert answer.headers["Content-Type"] == "image/png"
    assert np.array_equal(pixels(answer.content), np.full((16, 24), 80, np.uint8))


@pytest.mark.parametrize("body", [png(), FakeCodec().encode(picture_array(), EncodeOptions(quality=40))])
def test_a_map_is_drawn_as_it_is_asked_for(client: httpx.Client, body: bytes) -> None:
    def drawn(**params: str) -> Pixels:
        return pixels(client.post("/importance-map", params=params, content=body).raise_for_status().content)

    grey = drawn()
    assert np.array_equal(drawn(style="grey", size="picture"), grey)
    assert np.array_equal(drawn(style="heat"), heat_colours()[grey])
    assert np.array_equal(drawn(style="heat", size="map"), heat_colours()[grey[:1, :2]])
    assert np.array_equal(drawn(size="map"), grey[:1, :2])
    assert np.array_equal(drawn(style="overlay"), overlay(grey, picture_array()))


def test_a_map_of_a_model_with_smaller_cells_is_larger(client: httpx.Client) -> None:
    params = {"model": "fixed", "size": "map"}
    assert pixels(client.post("/importance-map", params=params, content=png()).content).shape == (2, 3)


@pytest.mark.parametrize(
    ("params", "name", "reason"),
    [
        (
            {"style": "overlay", "size": "map"},
            "size",
            "an overlay has the size of the picture, not of the map",
        ),
        ({"style": "blue"}, "style", "'grey', 'heat' or 'overlay'"),
        ({"size": "small"}, "size", "'picture' or 'map'"),
    ],
)
def test_a_map_that_cannot_be_drawn_is_refused(
    client: httpx.Client, params: dict[str, str], name: str, reason: str
) -> None:
    problem = client.post("/importance-map", params=params, content=png()).json()
    assert (problem["status"], problem["errors"][0]["name"]) == (422, name)
    assert reason in problem["detail"]


def test_an_importance_map_of_a_file_is_the_files_own(client: httpx.Client) -> None:
    answer = client.post("/importance-map", content=FakeCodec().encode(picture_array()))
    assert np.array_equal(pixels(answer.content), np.full((16, 24), 100, np.uint8))


@pytest.mark.parametrize("style", ["grey", "overlay"])
def test_the_map_of_a_file_that_was_cut_needs_permission(client: httpx.Client, style: str) -> None:
    file, permitted = FakeCodec().encode(picture_array()), {"style": style, "allow_truncated": "true"}
    whole = client.post("/importance-map", params={"style": style}, content=file).raise_for_status()
    cut = client.post("/importance-map", params=permitted, content=file[:-1]).raise_for_status()
    assert cut.content == whole.content
    refused = client.post("/importance-map", params={"style": style}, content=file[:-1]).json()
    assert refused["type"] == "urn:cwic:problem:truncated-file"
    problem = client.post("/importance-map", params=permitted, content=png(picture_array())).json()
    assert (problem["status"], problem["errors"][0]["name"]) == (422, "allow_truncated")


@pytest.mark.parametrize(("name", "value"), [("quality", "20"), ("tune", "psnr"), ("model", "fake")])
def test_what_does_not_apply_to_the_map_of_a_file_is_refused(
    client: httpx.Client, name: str, value: str
) -> None:
    answer = client.post("/importance-map", params={name: value}, content=FakeCodec().encode(picture_array()))
    assert (answer.status_code, answer.json()["errors"][0]["name"]) == (422, name)
    assert "a .cwic file has its own" in answer.json()["detail"]
