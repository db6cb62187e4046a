"""The endpoints that do work, over a real server, with a codec that loses nothing."""

import hashlib
import io
import re

import httpx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image

from model.container import format as file_format
from model.images.writing import MEDIA_TYPES
from model.types import Limits
from service.api.parameters import DecompressQuery, PictureFormat
from tests.effort import wait_until
from tests.service.fakes import FakeCodec, picture_array, pixels, png
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


def test_a_lossless_file_needs_no_model_and_has_no_map(client: httpx.Client, lossless_file: bytes) -> None:
    facts = client.post("/inspect", content=lossless_file).json()
    assert (facts["profile"], facts["model_id"]) == ("lossless", "")
    assert facts["quality"] is facts["tune"] is facts["lowest_level"] is None
    answer = client.post("/decompress", content=lossless_file)
    assert np.array_equal(pixels(answer.content), picture_array())
    problem = client.post("/importance-map", content=lossless_file).json()
    assert problem["type"].endswith("no-importance-map")
    assert problem["detail"] == "a lossless file has no importance map"


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


def test_without_a_quality_the_default_is_taken(client: httpx.Client) -> None:
    file = client.post("/compress", content=png()).content
    assert client.post("/inspect", content=file).json()["quality"] == 50
    importance = client.post("/importance-map", content=png()).content
    assert np.array_equal(pixels(importance), np.full((16, 24), 50, np.uint8))


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
