"""Regions of interest over a real server: with a small real codec, whose files show what has come to it."""

import io
from collections.abc import Iterator

import httpx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image

from model.codec import Codec
from model.images.files import read_image
from model.options import EncodeOptions
from model.types import Limits, Pixels, Roi
from service.client import Client, InvalidParameterError
from service.client import Roi as SentRoi
from service.jobs.operations import Compress
from tests.conftest import picture
from tests.service.fakes import png
from tests.service.server import serving

ARRAY = picture(90, 150)
MASK = np.full((90, 150), 128, np.uint8)
MASK[:70, :60] = 192
ROI = "0,0,60,70,4"
WRONG = "urn:cwic:problem:invalid-parameter"


@pytest.fixture(scope="module")
def server(tiny_codec: Codec, tiny_2018_codec: Codec) -> Iterator[httpx.Client]:
    """A client of a service with a model of all rates, the default, and one of one rate."""
    with serving(tiny_codec, tiny_2018_codec, max_pixels=50_000, max_body_bytes=300_000) as client:
        yield client


def grey_png(mask: Pixels, **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(mask).save(file, "PNG", **options)
    return file.getvalue()


def form(mask: bytes, data: bytes | None = None) -> dict[str, tuple[str, bytes]]:
    return {"file": ("photo.png", data or png(ARRAY)), "roi": ("mask.png", mask)}


@given(height=st.integers(1, 130), width=st.integers(1, 130), data=st.data())
@settings(max_examples=15)
def test_rectangles_and_the_mask_that_says_the_same_make_one_file(
    server: httpx.Client, tiny_codec: Codec, height: int, width: int, data: st.DataObject
) -> None:
    array = picture(height, width)
    mask, rois = np.full((height, width), 128, np.uint8), []
    for _ in range(data.draw(st.integers(1, 3))):
        x, y = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
        w, h = data.draw(st.integers(1, width - x)), data.draw(st.integers(1, height - y))
        octave = data.draw(st.integers(-4, 3))
        mask[y : y + h, x : x + w] = 128 + 32 * octave
        rois.append(Roi(x, y, w, h, 2.0**octave))
    words = [f"{roi.x},{roi.y},{roi.width},{roi.height},{roi.weight}" for roi in rois]
    by_query = server.post("/compress", params={"roi": words}, content=png(array)).raise_for_status()
    by_mask = server.post("/compress", files=form(grey_png(mask), png(array))).raise_for_status()
    assert by_query.content == by_mask.content == tiny_codec.encode(array, EncodeOptions(roi=rois))
    assert float(by_mask.headers["X-CWIC-Bpp"]) == pytest.approx(
        8 * len(by_mask.content) / (height * width), abs=1e-4
    )


def test_a_region_is_better_and_the_file_says_that_it_has_a_plane(
    server: httpx.Client, tiny_codec: Codec
) -> None:
    def sent(**params: str) -> bytes:
        return server.post("/compress", params={"quality": "30", **params}, content=png(ARRAY)).content

    plain, better = sent(), sent(roi="0,0,64,64,16")
    facts = [server.post("/inspect", content=file).json()["plane"] for file in (plain, better)]
    assert facts == [False, True]
    errors = [
        float(np.square(tiny_codec.decode(file)[:64, :64] - ARRAY[:64, :64].astype(float)).mean())
        for file in (plain, better)
    ]
    assert errors[1] < errors[0]
    assert len(better) > len(plain)


def test_pixels_are_those_of_the_upright_picture(server: httpx.Client, tiny_codec: Codec) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    turned = png(np.ascontiguousarray(np.rot90(ARRAY)), exif=exif.tobytes())
    assert np.array_equal(read_image(turned, limits=Limits()).array, ARRAY)
    expected = tiny_codec.encode(ARRAY, EncodeOptions(roi=MASK))
    turned_mask = grey_png(np.ascontiguousarray(np.rot90(MASK)), exif=exif)
    for answer in (
        server.post("/compress", params={"roi": ROI}, content=turned),
        server.post("/compress", files=form(grey_png(MASK), turned)),
        server.post("/compress", files=form(turned_mask, turned)),
    ):
        assert answer.raise_for_status().content == expected


@pytest.mark.parametrize(
    ("roi", "reason"),
    [
        ("", "X,Y,W,H in pixels and a WEIGHT behind them, got ''"),
        ("0,0,10,10", "X,Y,W,H in pixels and a WEIGHT"),
        ("0,0,10,10,x", "X,Y,W,H in pixels and a WEIGHT"),
        ("0,0,10,10,0", "the weight of a region of interest is 1/16 to 16, got 0.0"),
        ("0,0,10,10,nan", "1/16 to 16, got nan"),
        ("0,0,10,10,-inf", "1/16 to 16, got -inf"),
    ],
)
def test_words_that_are_no_region_are_refused_by_name_before_the_body(
    server: httpx.Client, roi: str, reason: str
) -> None:
    answer = server.post("/compress", params={"roi": ["0,0,10,10,2", roi]}, content=b"no picture")
    assert (answer.status_code, answer.json()["type"]) == (422, WRONG)
    (error,) = answer.json()["errors"]
    assert error["name"] == "roi"
    assert reason in error["reason"]


def test_there_are_at_most_64_rectangles(server: httpx.Client) -> None:
    assert server.post("/compress", params={"roi": [ROI] * 64}, content=png(ARRAY)).status_code == 200
    answer = server.post("/compress", params={"roi": [ROI] * 65}, content=png(ARRAY))
    assert (answer.status_code, answer.json()["type"]) == (422, WRONG)
    assert "roi" in answer.json()["detail"]


@pytest.mark.parametrize("roi", ["140,0,11,10,2", "0,0,0,10,2", "0,0,10,-10,2", "-1,0,10,10,2"])
def test_a_rectangle_that_is_not_inside_the_picture_is_refused(server: httpx.Client, roi: str) -> None:
    answer = server.post("/compress", params={"roi": roi}, content=png(ARRAY))
    assert (answer.status_code, answer.json()["type"]) == (422, WRONG)
    (error,) = answer.json()["errors"]
    assert error["name"] == "roi"
    assert "is not inside 150x90" in error["reason"]


@pytest.mark.parametrize(
    ("mask", "status", "reason"),
    [
        (grey_png(MASK[:-1]), 422, "A mask of 150x89 pixels for a picture of 150x90"),
        (grey_png(np.ascontiguousarray(MASK.T)), 422, "a mask of 90x150 pixels for a picture of 150x90"),
        (grey_png(np.zeros((1, 1), np.uint8)), 422, "A mask of 1x1 pixels"),
        (grey_png(ARRAY), 422, "the mask of regions of interest has colours"),
        (b"", 422, "the mask of regions of interest: the picture is empty"),
        (b"neither", 415, "the mask of regions of interest: no picture format begins with"),
        (grey_png(MASK)[:90], 422, "the mask of regions of interest: PNG of 90 bytes cannot be decoded"),
        (grey_png(np.zeros((250, 201), np.uint8)), 422, "the limit is 50000 (CWIC_MAX_PIXELS)"),
    ],
)
def test_a_mask_that_does_not_do_is_refused(
    server: httpx.Client, mask: bytes, status: int, reason: str
) -> None:
    answer = server.post("/compress", files=form(mask))
    assert answer.status_code == status
    assert reason in answer.json()["detail"]


def test_masks_and_rectangles_do_not_go_together(server: httpx.Client) -> None:
    answer = server.post("/compress", params={"roi": ROI}, files=form(grey_png(MASK)))
    assert answer.status_code == 422
    assert answer.json()["errors"] == [{"name": "roi", "reason": "Rectangles or a mask, not both"}]


def test_a_lossless_file_has_no_regions_of_interest(server: httpx.Client) -> None:
    params = {"lossless": "true"}
    by_query = server.post("/compress", params={**params, "roi": ROI}, content=b"no picture").json()
    assert (by_query["status"], by_query["type"]) == (422, WRONG)
    assert "a lossless file has neither" in by_query["detail"]
    by_mask = server.post("/compress", params=params, files=form(grey_png(MASK))).json()
    assert (by_mask["status"], by_mask["type"], by_mask["errors"][0]["name"]) == (422, WRONG, "roi")
    assert "A lossless file keeps all of the picture" in by_mask["detail"]


def test_a_model_of_one_rate_has_no_regions_of_interest(server: httpx.Client) -> None:
    model = {"model": "tiny-2018"}
    for answer in (
        server.post("/compress", params={**model, "roi": ROI}, content=b"no picture"),
        server.post("/compress", params=model, files=form(grey_png(MASK))),
    ):
        assert answer.status_code == 422
        reason = "the model 'tiny-2018' has one rate; leave roi out"
        assert answer.json()["errors"] == [{"name": "roi", "reason": reason}]


@pytest.mark.parametrize(
    ("path", "files", "reason"),
    [
        ("/compress", [("file", b"1"), ("file", b"2")], "The field `file` comes 2 times"),
        ("/compress", [("file", b"1"), ("roi", b"2"), ("roi", b"3")], "Too many files"),
        ("/compress", [("roi", b"2")], "needs a file in the field `file`"),
        ("/compress", [("file", b"1"), ("mask", b"2")], "Unexpected fields 'mask'"),
        ("/importance-map", [("file", b"1"), ("roi", b"2")], "Too many files"),
        ("/inspect", [("roi", b"2")], "needs a file in the field `file`"),
    ],
)
def test_other_forms_are_refused(
    server: httpx.Client, path: str, files: list[tuple[str, bytes]], reason: str
) -> None:
    answer = server.post(path, files=files)
    assert (answer.status_code, answer.json()["type"]) == (400, "urn:cwic:problem:bad-form")
    assert reason in answer.json()["detail"]


def test_a_mask_that_is_text_is_refused(server: httpx.Client) -> None:
    answer = server.post("/compress", files={"file": png(ARRAY)}, data={"roi": ROI})
    assert (answer.status_code, answer.json()["type"]) == (400, "urn:cwic:problem:bad-form")
    assert "The field `roi` has text instead of a file" in answer.json()["detail"]


def test_other_endpoints_have_no_regions_of_interest(server: httpx.Client) -> None:
    for path in ("/importance-map", "/compare"):
        answer = server.post(path, params={"roi": ROI}, content=png(ARRAY))
        assert (answer.status_code, answer.json()["errors"][0]["name"]) == (422, "roi")


def test_the_body_limit_counts_masks(server: httpx.Client) -> None:
    answer = server.post("/compress", files=form(bytes(300_000)))
    assert (answer.status_code, answer.json()["limit"]) == (413, 300_000)


@pytest.mark.parametrize("masked", [False, True])
def test_admission_counts_the_pixels_of_masks(tiny_codec: Codec, *, masked: bool) -> None:
    operation = Compress.of(png(ARRAY), codec=tiny_codec, options=EncodeOptions(), limits=Limits())
    other = Compress.of(
        png(ARRAY),
        codec=tiny_codec,
        options=EncodeOptions(),
        limits=Limits(),
        mask=grey_png(MASK) if masked else None,
    )
    assert other.held_pixels == operation.held_pixels * (2 if masked else 1)
    assert (other.kind == operation.kind) is not masked


def test_the_client_of_python_sends_both(server: httpx.Client, tiny_codec: Codec) -> None:
    expected = tiny_codec.encode(ARRAY, EncodeOptions(roi=MASK))
    with Client(str(server.base_url)) as client:
        assert client.compress(png(ARRAY), roi=[SentRoi(0, 0, 60, 70, 4.0)]).data == expected
        assert client.compress(png(ARRAY), roi=grey_png(MASK)).data == expected
        with pytest.raises(InvalidParameterError, match="is not inside 150x90"):
            client.compress(png(ARRAY), roi=[SentRoi(0, 0, 160, 70, 4.0)])
