"""`/inspect`, `/truncate`, and parts of files in `/decompress`."""

import httpx
import numpy as np
import pytest

from model.container import format as file_format
from model.options import EncodeOptions
from tests.service.fakes import LAST_GROUP, FakeCodec, picture_array, pixels


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
        "tolerance": None,
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
