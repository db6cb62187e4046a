"""The endpoints that do work, over a real server, with a codec that loses nothing."""

import hashlib
import io
import re
import socket

import httpx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image

from model.container import format as file_format
from model.images.maps import heat_colours, overlay
from model.images.writing import MEDIA_TYPES
from model.options import EncodeOptions
from model.types import Limits, Pixels
from service.api.parameters import DecompressQuery, PictureFormat
from tests.effort import PATIENCE, wait_until
from tests.service.fakes import LAST_GROUP, FakeCodec, picture_array, pixels, png
from tests.service.server import metric


def test_a_picture_comes_back_through_compress_and_decompress(client: httpx.Client) -> None:
    compressed = client.post("/compress", content=png())
    assert compressed.status_code == 200
    assert compressed.headers["Content-Type"] == "image/x-cwic"
    assert compressed.content.startswith(b"CWIC")
    picture = client.post("/decompress", content=compressed.content)
    assert picture.headers["Content-Type"] == "image/png"
    assert np.array_equal(pixels(picture.content), picture_array())


@given(width=st.integers(1, 40), height=st.integers(1, 40), quality=st.floats(1, 100))
@settings(max_examples=25)
def test_every_size_and_quality_goes_through(
    client: httpx.Client, width: int, height: int, quality: float
) -> None:
    array = picture_array(width, height)
    file = client.post("/compress", params={"quality": quality}, content=png(array)).content
    facts = client.post("/inspect", content=file).json()
    assert (facts["width"], facts["height"]) == (width, height)
    assert facts["quality"] == pytest.approx(quality, abs=0.1)  # a step of the axis, and rounding
    assert np.array_equal(pixels(client.post("/decompress", content=file).content), array)


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "image/png"},
        {"Content-Type": "image/jpeg"},
        {"Content-Type": "application/octet-stream"},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": "nonsense"},
        {},
    ],
)
def test_the_bytes_decide_and_not_the_content_type(client: httpx.Client, headers: dict[str, str]) -> None:
    assert client.post("/compress", content=png(), headers=headers).status_code == 200


def test_a_multipart_field_works_like_a_raw_body(client: httpx.Client) -> None:
    raw = client.post("/compress", content=png())
    form = client.post("/compress", files={"file": ("photo.png", png(), "image/png")})
    assert form.content == raw.content
    back = client.post("/decompress", files={"file": ("photo.cwic", form.content)})
    assert np.array_equal(pixels(back.content), picture_array())


@pytest.mark.parametrize("picture_format", sorted(MEDIA_TYPES))
def test_format_chooses_the_output(client: httpx.Client, picture_format: str) -> None:
    file = FakeCodec().encode(picture_array())
    by_query = client.post(
        "/decompress", params={"format": picture_format}, content=file, headers={"Accept": "text/html"}
    )
    by_header = client.post("/decompress", content=file, headers={"Accept": MEDIA_TYPES[picture_format]})
    assert (
        by_query.headers["Content-Type"] == by_header.headers["Content-Type"] == MEDIA_TYPES[picture_format]
    )
    assert by_query.content == by_header.content
    assert by_header.headers["Vary"] == "Accept"


def test_the_formats_of_the_api_are_those_that_can_be_written() -> None:
    assert set(PictureFormat.__args__) == set(MEDIA_TYPES)  # type: ignore[attr-defined] # a Literal's values
    assert DecompressQuery().format is None


def test_a_format_that_cannot_hold_the_picture_is_not_chosen_by_accept(client: httpx.Client) -> None:
    transparent = FakeCodec().encode(np.zeros((4, 5, 4), np.uint8))
    wide = FakeCodec().encode(np.zeros((1, 17_000, 3), np.uint8))
    for file, accept, chosen in (
        (transparent, "image/jpeg, image/png;q=0.9", "image/png"),
        (wide, "image/webp,*/*;q=0.8", "image/png"),
    ):
        answer = client.post("/decompress", content=file, headers={"Accept": accept})
        assert (answer.status_code, answer.headers["Content-Type"]) == (200, chosen)
    answer = client.post("/decompress", content=transparent, headers={"Accept": "image/jpeg"})
    assert answer.status_code == 406
    assert "image/jpeg" not in answer.json()["detail"].partition(";")[0]


def test_an_accept_header_that_cannot_be_met_is_406(client: httpx.Client) -> None:
    answer = client.post(
        "/decompress", content=FakeCodec().encode(picture_array()), headers={"Accept": "text/html"}
    )
    assert answer.status_code == 406
    assert "image/png" in answer.json()["detail"]
    assert answer.headers["Vary"] == "Accept"


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


def test_a_lossless_file_needs_no_model_and_has_no_map(client: httpx.Client, lossless_file: bytes) -> None:
    facts = client.post("/inspect", content=lossless_file).json()
    assert (facts["profile"], facts["model_id"]) == ("lossless", "")
    assert facts["quality"] is facts["tune"] is facts["lowest_level"] is None
    answer = client.post("/decompress", content=lossless_file)
    assert np.array_equal(pixels(answer.content), picture_array())
    problem = client.post("/importance-map", content=lossless_file).json()
    assert problem["type"].endswith("no-importance-map")
    assert problem["detail"] == "a lossless file has no importance map"


def test_inspect_tells_the_facts_of_a_file(client: httpx.Client) -> None:
    file = FakeCodec().encode(picture_array(), EncodeOptions(quality=30, tune="visual"))
    codes = file_format.inspect(file).sections[1].length
    assert client.post("/inspect", content=file).json() == {
        "version": 2,
        "width": 24,
        "height": 16,
        "channels": 3,
        "profile": "cwic",
        "model_id": "0badc0de",
        "quality": 30.0,
        "tune": "visual",
        "grey": False,
        "lowest_level": 1,
        "tile": 1024,
        "tiles": 1,
        "plane": False,
        "truncated": False,
        "sections": [
            {"name": "map", "length": 0, "bpp": 0},
            {"name": "codes0", "length": codes, "bpp": 8 * codes / (24 * 16)},
            {"name": "codes1", "length": len(LAST_GROUP), "bpp": 8 * len(LAST_GROUP) / (24 * 16)},
        ],
        "size": len(file),
        "bpp": 8 * len(file) / (24 * 16),
        "mean_importance": None,
    }


def test_inspect_tells_the_mean_importance_where_it_is_asked_for(
    client: httpx.Client, lossless_file: bytes
) -> None:
    file = FakeCodec().encode(picture_array())
    for body in (file, file[:-1]):
        facts = client.post("/inspect", params={"importance": "true"}, content=body).json()
        assert facts == client.post("/inspect", content=body).json() | {"mean_importance": 100 / 255}
    facts = client.post("/inspect", params={"importance": "true"}, content=lossless_file).json()
    assert facts["mean_importance"] is None
    foreign = FakeCodec(model_id="ffffffff").encode(picture_array())
    assert client.post("/inspect", content=foreign).is_success
    answer = client.post("/inspect", params={"importance": "true"}, content=foreign)
    assert answer.json()["type"] == "urn:cwic:problem:wrong-model"


def test_a_file_that_was_cut_in_transfer_is_inspected_and_decoded_with_permission_only(
    client: httpx.Client,
) -> None:
    cut = FakeCodec().encode(picture_array())[:-1]
    facts = client.post("/inspect", content=cut).json()
    assert (facts["truncated"], facts["size"], facts["width"]) == (True, len(cut), 24)
    assert [each["name"] for each in facts["sections"]] == ["map", "codes0"]
    for path in ("/decompress", "/importance-map"):
        answer = client.post(path, content=cut)
        assert (answer.status_code, answer.json()["type"]) == (422, "urn:cwic:problem:truncated-file")
        detail = answer.json()["detail"]
        assert f"ends at byte {len(cut)} of {len(cut) + 1}; allow_truncated decodes it" in detail
    permitted = client.post("/decompress", params={"allow_truncated": "true"}, content=cut)
    assert np.array_equal(pixels(permitted.content), picture_array())
    refused = client.post("/decompress", params={"allow_truncated": "false"}, content=cut)
    assert refused.status_code == 422
    without_codes = cut[: -len(LAST_GROUP)]
    assert client.post("/inspect", content=without_codes).status_code == 422
    answer = client.post("/decompress", params={"allow_truncated": "true"}, content=without_codes)
    assert answer.json()["type"] == "urn:cwic:problem:truncated-file"
    assert f"{len(cut) - len(LAST_GROUP) + 1} are needed at least" in answer.json()["detail"]


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


def test_a_region_is_a_part_of_the_picture(client: httpx.Client) -> None:
    for file in (
        FakeCodec().encode(picture_array()),
        FakeCodec().encode(picture_array(), EncodeOptions(lossless=True)),
    ):
        answer = client.post("/decompress", params={"region": "3,5,10,7"}, content=file)
        assert np.array_equal(pixels(answer.content), picture_array()[5:12, 3:13])
        assert float(answer.headers["X-CWIC-Bpp"]) == pytest.approx(8 * len(file) / (24 * 16), abs=1e-4)


def test_a_region_may_have_a_format_that_its_picture_is_too_long_for(client: httpx.Client) -> None:
    file = FakeCodec().encode(np.zeros((1, 17_000, 3), np.uint8))
    answer = client.post("/decompress?region=9,0,99,1", content=file, headers={"Accept": "image/webp"})
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "image/webp")


def test_fewer_groups_are_a_preview_of_the_full_size(client: httpx.Client) -> None:
    file = FakeCodec().encode(picture_array())
    for groups, expected in ((1, picture_array() // 2), (2, picture_array()), (32, picture_array())):
        answer = client.post("/decompress", params={"groups": groups}, content=file)
        assert np.array_equal(pixels(answer.content), expected)


@pytest.mark.parametrize(
    ("params", "name", "reason"),
    [
        ({"region": "0,0,25,16"}, "region", "region 25x16 at 0,0 is not inside 24x16"),
        ({"region": "24,0,1,1"}, "region", "region 1x1 at 24,0 is not inside 24x16"),
        ({"region": "-1,0,5,5"}, "region", "is not inside"),
        ({"region": "0,0,0,5"}, "region", "is not inside"),
        ({"region": "1,2,3"}, "region", "a region is X,Y,W,H in pixels, got '1,2,3'"),
        ({"region": "a,b,c,d"}, "region", "a region is X,Y,W,H in pixels, got 'a,b,c,d'"),
        ({"region": ""}, "region", "a region is X,Y,W,H"),
        ({"region": f"0,0,5,{'9' * 5000}"}, "region", "a region is X,Y,W,H"),
        ({"groups": "0"}, "groups", "greater than or equal to 1"),
        ({"groups": "33"}, "groups", "less than or equal to 32"),
        ({"groups": "few"}, "groups", "integer"),
        ({"allow_truncated": "perhaps"}, "allow_truncated", "boolean"),
    ],
)
def test_what_cannot_be_decoded_is_refused_by_name(
    client: httpx.Client, params: dict[str, str], name: str, reason: str
) -> None:
    problem = client.post("/decompress", params=params, content=FakeCodec().encode(picture_array())).json()
    assert (problem["status"], problem["type"]) == (422, "urn:cwic:problem:invalid-parameter")
    assert [each["name"] for each in problem["errors"]] == [name]
    assert reason in problem["errors"][0]["reason"]


def test_a_file_is_cut_to_a_size(client: httpx.Client) -> None:
    file = FakeCodec().encode(picture_array())
    cut = client.post("/truncate", params={"bytes": len(file) - 1}, content=file)
    assert cut.headers["Content-Type"] == "image/x-cwic"
    assert cut.content == file_format.truncate(file, len(file) - 1)
    assert cut.headers["X-CWIC-Model"] == "0badc0de"
    assert float(cut.headers["X-CWIC-Bpp"]) == pytest.approx(8 * len(cut.content) / (24 * 16), abs=1e-4)
    assert np.array_equal(pixels(client.post("/decompress", content=cut.content).content), picture_array())
    facts = client.post("/inspect", content=cut.content).json()
    assert (facts["truncated"], [each["name"] for each in facts["sections"]]) == (False, ["map", "codes0"])
    assert client.post("/truncate", params={"bytes": len(file)}, content=file).content == file


def test_a_file_of_a_model_that_is_not_loaded_is_cut_too(client: httpx.Client, lossless_file: bytes) -> None:
    foreign = FakeCodec(model_id="ffffffff").encode(picture_array())
    answer = client.post("/truncate", params={"bytes": len(foreign) - 1}, content=foreign)
    assert answer.headers["X-CWIC-Model"] == "ffffffff"
    whole = client.post("/truncate", params={"bytes": len(lossless_file)}, content=lossless_file)
    assert whole.content == lossless_file
    assert "X-CWIC-Model" not in whole.headers


def test_a_size_that_no_part_of_a_file_has_is_refused_with_the_smallest(
    client: httpx.Client, lossless_file: bytes
) -> None:
    file = FakeCodec().encode(picture_array())
    smallest = len(file_format.truncate(file, len(file) - 1))
    assert client.post("/truncate", params={"bytes": smallest}, content=file).is_success
    for body, limit, reason in (
        (file, smallest - 1, f"{smallest} are needed at least"),
        (lossless_file, 9, f"a lossless file cannot be cut: {len(lossless_file)} bytes are needed"),
        (file, 0, "greater than or equal to 1"),
    ):
        problem = client.post("/truncate", params={"bytes": limit}, content=body).json()
        assert (problem["status"], problem["errors"][0]["name"]) == (422, "bytes")
        assert reason in problem["detail"]
    assert client.post("/truncate", content=file).json()["errors"][0]["name"] == "bytes"
    cut = client.post("/truncate", params={"bytes": len(file)}, content=file[:-1])
    assert cut.json()["type"] == "urn:cwic:problem:truncated-file"


@pytest.mark.parametrize(
    "path", ["/decompress", "/importance-map", "/inspect", "/inspect?importance=true", "/truncate?bytes=9999"]
)
@pytest.mark.parametrize("codec", [FakeCodec(), FakeCodec(name="other", model_id="07e41d00")])
def test_a_file_is_parsed_once_for_each_request(
    client: httpx.Client, path: str, codec: FakeCodec, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, parsed = codec.encode(picture_array()), []
    unpack = file_format.unpack

    def spy(data: bytes, *, limits: Limits, allow_truncated: bool = False) -> file_format.Container:
        parsed.append(data)
        return unpack(data, limits=limits, allow_truncated=allow_truncated)

    monkeypatch.setattr(file_format, "unpack", spy)
    assert client.post(path, content=file).is_success
    assert parsed == [file]


def test_a_model_is_chosen_by_name_and_a_files_by_its_id(client: httpx.Client) -> None:
    file = client.post("/compress", params={"model": "other"}, content=png())
    assert file.headers["X-CWIC-Model"] == "07e41d00"
    assert client.post("/decompress", content=file.content).headers["X-CWIC-Model"] == "07e41d00"
    assert client.post("/compress", content=png()).headers["X-CWIC-Model"] == "0badc0de"


@pytest.mark.parametrize("path", ["/compress", "/importance-map"])
def test_an_unknown_model_is_404_and_names_those_there_are(client: httpx.Client, path: str) -> None:
    answer = client.post(path, params={"model": "nope"}, content=png())
    assert answer.status_code == 404
    assert "fake, other" in answer.json()["detail"]


def test_a_file_of_a_model_that_is_not_loaded_is_refused(client: httpx.Client) -> None:
    file = FakeCodec(model_id="ffffffff").encode(picture_array())
    for path in ("/decompress", "/importance-map"):
        answer = client.post(path, content=file)
        assert answer.json()["type"] == "urn:cwic:problem:wrong-model"
        assert "ffffffff" in answer.json()["detail"]


def test_models_lists_the_default_first(client: httpx.Client) -> None:
    models = client.get("/models").json()["models"]
    assert [(each["name"], each["default"]) for each in models] == [
        ("fake", True),
        ("other", False),
        ("fixed", False),
    ]


def test_models_tells_which_have_one_rate(client: httpx.Client) -> None:
    models = client.get("/models").json()["models"]
    assert [each["name"] for each in models if each["fixed_rate"]] == ["fixed"]


def test_without_a_quality_the_default_is_taken(client: httpx.Client) -> None:
    file = client.post("/compress", content=png()).content
    assert client.post("/inspect", content=file).json()["quality"] == 50
    importance = client.post("/importance-map", content=png()).content
    assert np.array_equal(pixels(importance), np.full((16, 24), 50, np.uint8))


def test_a_model_of_one_rate_works_without_a_quality(client: httpx.Client) -> None:
    file = client.post("/compress", params={"model": "fixed"}, content=png())
    assert file.headers["X-CWIC-Model"] == "f1edf1ed"
    facts = client.post("/inspect", content=file.content).json()
    assert (facts["quality"], facts["lowest_level"]) == (None, 0)
    assert client.post("/importance-map", params={"model": "fixed"}, content=png()).is_success


@pytest.mark.parametrize("path", ["/compress", "/importance-map"])
def test_a_quality_for_a_model_of_one_rate_is_422_and_named(client: httpx.Client, path: str) -> None:
    answer = client.post(path, params={"model": "fixed", "quality": 50}, content=png())
    assert (answer.status_code, answer.json()["type"]) == (422, "urn:cwic:problem:invalid-parameter")
    assert answer.json()["errors"][0]["name"] == "quality"
    assert "'fixed' has one rate" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("params", "reason"),
    [
        ({"quality": 50, "target_bytes": 900}, "quality and target_bytes exclude each other"),
        ({"target_bpp": 1, "target_psnr": 30}, "target_bpp and target_psnr exclude each other"),
        ({"target_bytes": 900, "lossless": "true"}, "nor target"),
        ({"quality": 50, "lossless": "true"}, "neither quality"),
        ({"tune": "psnr", "lossless": "true"}, "nor tune"),
        ({"target_bytes": 0}, "target_bytes"),
        ({"target_bytes": 1.5}, "target_bytes"),
        ({"target_bpp": "nan"}, "target_bpp"),
        ({"target_psnr": -1}, "target_psnr"),
        ({"target_ssimulacra2": "inf"}, "target_ssimulacra2"),
        ({"model": "fixed", "target_bytes": 900}, "one rate; leave target_bytes out"),
        ({"effort": 3}, "At most 2 here (CWIC_MAX_EFFORT), got 3"),
        ({"effort": 4}, "effort"),
        ({"effort": -1}, "effort"),
        ({"effort": "much"}, "effort"),
        ({"effort": 2, "lossless": "true"}, "nor effort"),
        ({"model": "fixed", "effort": 2}, "one rate; leave effort out"),
    ],
)
def test_targets_and_efforts_that_cannot_be_are_refused_before_the_body_is_read(
    client: httpx.Client, params: dict[str, str], reason: str
) -> None:
    answer = client.post("/compress", params=params, content=b"no picture")
    assert (answer.status_code, answer.json()["type"]) == (422, "urn:cwic:problem:invalid-parameter")
    assert reason in answer.json()["detail"]


@pytest.mark.parametrize("path", ["/importance-map", "/compare", "/decompress"])
@pytest.mark.parametrize("name", ["target_bytes", "lossless"])
def test_a_target_is_of_compress_only(client: httpx.Client, path: str, name: str) -> None:
    problem = client.post(path, params={name: 1}, content=png()).json()
    assert (problem["status"], problem["errors"][0]["name"]) == (422, name)


def test_a_quality_for_a_model_of_one_rate_is_refused_before_the_body_is_sent(client: httpx.Client) -> None:
    head = (
        b"POST /compress?model=fixed&quality=50 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n"
    )
    with socket.create_connection(
        (client.base_url.host, client.base_url.port or 80), timeout=PATIENCE
    ) as connection:
        connection.sendall(head)
        assert connection.recv(1000).startswith(b"HTTP/1.1 422")


@pytest.mark.parametrize(("name", "value"), [("quality", "20"), ("tune", "psnr"), ("model", "fake")])
def test_what_does_not_apply_to_the_map_of_a_file_is_refused(
    client: httpx.Client, name: str, value: str
) -> None:
    answer = client.post("/importance-map", params={name: value}, content=FakeCodec().encode(picture_array()))
    assert (answer.status_code, answer.json()["errors"][0]["name"]) == (422, name)
    assert "a .cwic file has its own" in answer.json()["detail"]


@pytest.mark.parametrize("quality", ["0", "100.5", "nan", "inf", "-5", "best", ""])
def test_a_quality_out_of_range_is_422_and_named(client: httpx.Client, quality: str) -> None:
    answer = client.post("/compress", params={"quality": quality}, content=png())
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["name"] == "quality"


@pytest.mark.parametrize("path", ["/compress", "/decompress", "/importance-map", "/inspect"])
def test_a_misspelt_parameter_is_refused(client: httpx.Client, path: str) -> None:
    answer = client.post(path, params={"qualty": 5}, content=png())
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["name"] == "qualty"


def test_limits_on_pictures_are_422_and_name_their_setting(client: httpx.Client) -> None:
    for array, setting, limit, actual in [
        (picture_array(101, 100), "CWIC_MAX_PIXELS", 10_000, 10_100),
        (picture_array(501, 2), "CWIC_MAX_DIMENSION", 500, 501),
    ]:
        problem = client.post("/compress", content=png(array)).json()
        assert problem["status"] == 422
        assert (problem["limit"], problem["actual"]) == (limit, actual)
        assert f"of {actual} pixels" in problem["detail"]
        assert f"the limit is {limit} ({setting})" in problem["detail"]


@pytest.mark.parametrize(
    ("path", "body", "status", "slug"),
    [
        ("/compress", b"", 400, "empty-body"),
        ("/compress", b"hello, world", 415, "unsupported-image"),
        ("/compress", png()[:-40], 422, "broken-image"),
        ("/compress", FakeCodec().encode(picture_array()), 415, "unsupported-image"),
        ("/decompress", png(), 415, "not-cwic"),
        ("/decompress", b"CWIC", 422, "truncated-file"),
        ("/decompress", b"CWIC\x02\x03" + bytes(20), 422, "damaged-file"),
        ("/truncate?bytes=99", png(), 415, "not-cwic"),
        ("/truncate?bytes=99", b"CWIC\x02\x03" + bytes(20), 422, "damaged-file"),
        ("/inspect", png(), 415, "not-cwic"),
        ("/importance-map", b"CWIC", 422, "truncated-file"),
    ],
)
def test_bad_input_is_the_right_problem(
    client: httpx.Client, path: str, body: bytes, status: int, slug: str
) -> None:
    answer = client.post(path, content=body)
    assert (answer.status_code, answer.json()["type"]) == (status, f"urn:cwic:problem:{slug}")
    assert client.get("/livez").is_success


@given(body=st.binary(max_size=300))
@settings(max_examples=50)
def test_no_bytes_make_the_service_fail(client: httpx.Client, body: bytes) -> None:
    for path in ("/compress", "/inspect", "/importance-map", "/truncate?bytes=100"):
        assert client.post(path, content=body).status_code in {400, 415, 422}


def test_answers_tell_time_size_model_and_content(client: httpx.Client) -> None:
    answer = client.post("/compress", content=png())
    stages = re.findall(r"(\w+);dur=[\d.]+", answer.headers["Server-Timing"])
    assert stages == ["read", "inspect", "queue", "decode", "pack"]
    assert float(answer.headers["X-CWIC-Bpp"]) == pytest.approx(8 * len(answer.content) / (24 * 16), abs=1e-4)
    assert answer.headers["ETag"] == f'"{hashlib.sha256(answer.content).hexdigest()[:32]}"'
    assert "X-CWIC-Notes" not in answer.headers
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_notes_say_what_reading_changed(client: httpx.Client) -> None:
    deep = (np.arange(16 * 16, dtype=np.uint16) * 256).reshape(16, 16)
    answer = client.post("/compress", content=png(deep))  # type: ignore[arg-type] # 16 bits on purpose
    assert answer.headers["X-CWIC-Notes"] == "depth-16-to-8"


def test_metadata_is_kept_on_request_and_else_told(client: httpx.Client) -> None:
    tags = Image.Exif()
    tags[ExifTags.Base.Artist] = "Somebody"
    data = png(exif=tags.tobytes())
    for params, artist, notes in (
        ({}, None, "exif-dropped"),
        ({"metadata": "drop"}, None, "exif-dropped"),
        ({"metadata": "keep"}, "Somebody", None),
    ):
        file = client.post("/compress", params=params, content=data)
        assert file.headers.get("X-CWIC-Notes") == notes
        picture = client.post("/decompress", content=file.content)
        with Image.open(io.BytesIO(picture.content)) as image:
            assert image.getexif().get(ExifTags.Base.Artist) == artist
    for path in ("/compress", "/compare"):  # of which the second one makes no file
        answer = client.post(path, params={"metadata": "some"}, content=data)
        assert (answer.status_code, answer.json()["errors"][0]["name"]) == (422, "metadata")


def test_work_is_measured(client: httpx.Client) -> None:
    names = [
        "cwic_bits_per_pixel_count",
        "cwic_compression_ratio_count",
        'cwic_stage_duration_seconds_count{op="compress",stage="decode"}',
        'cwic_http_requests_total{method="POST",route="/compress",status="200"}',
        'cwic_http_request_duration_seconds_count{method="POST",route="/compress"}',
    ]
    before = [metric(client, name) for name in names]
    large, tiny = png(picture_array(64, 64)), png(picture_array(1, 1))
    client.post("/compress", content=large)
    assert [metric(client, name) for name in names] == [each + 1 for each in before]
    client.post("/compress", content=tiny)  # its bits per pixel say nothing
    assert metric(client, names[0]) == before[0] + 1


def test_operations_pixels_and_bytes_are_counted_by_model_and_route(client: httpx.Client) -> None:
    work, route = 'op="compress"', 'route="/compress"'
    names = [
        f'cwic_operations_total{{model="other",{work}}}',
        f'cwic_pixels_total{{model="other",{work}}}',
        f"cwic_received_bytes_total{{{route}}}",
        f"cwic_sent_bytes_total{{{route}}}",
    ]
    before = [metric(client, name) for name in names]
    picture = png()
    answer = client.post("/compress?model=other", content=picture)
    wait_until(lambda: metric(client, names[3]) > before[3])
    counted = [metric(client, name) - own for name, own in zip(names, before, strict=True)]
    assert counted == [1, 24 * 16, len(picture), len(answer.content)]
