"""`cwic compress --roi` and `--roi-mask`, with small real codecs."""

import io
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from model.cli import main
from model.codec import Codec
from model.options import EncodeOptions
from model.types import Roi
from tests.conftest import picture

ARRAY = picture(140, 200)
MASK = np.full((140, 200), 128, np.uint8)
MASK[:70, :60] = 192


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working folder with a picture, another of half the size, and a mask."""
    Image.fromarray(ARRAY).save(tmp_path / "photo.png")
    Image.fromarray(ARRAY[:70, :100]).save(tmp_path / "small.png")
    Image.fromarray(MASK).save(tmp_path / "mask.png")
    monkeypatch.chdir(tmp_path)


def compress(model_dir: Path, *words: str) -> int:
    return main(["compress", *words, "--model-dir", str(model_dir), "--device", "cpu"])


def test_rectangles_reach_the_codec_in_their_order(tiny_dir: Path, tiny_codec: Codec) -> None:
    words = ("--roi", "0,0,64,64,4", "--roi", "0,0,150,130,0.5")
    assert compress(tiny_dir, "photo.png", "photo.cwic", *words) == 0
    rois = [Roi(0, 0, 64, 64, 4), Roi(0, 0, 150, 130, 0.5)]
    assert Path("photo.cwic").read_bytes() == tiny_codec.encode(ARRAY, EncodeOptions(roi=rois))
    assert compress(tiny_dir, "photo.png", "other.cwic", *words[2:], *words[:2]) == 0
    assert Path("other.cwic").read_bytes() != Path("photo.cwic").read_bytes()


def test_a_mask_reaches_the_codec(tiny_dir: Path, tiny_codec: Codec, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = tiny_codec.encode(ARRAY, EncodeOptions(roi=MASK))
    assert expected != tiny_codec.encode(ARRAY)
    assert compress(tiny_dir, "photo.png", "photo.cwic", "--roi-mask", "mask.png") == 0
    assert Path("photo.cwic").read_bytes() == expected
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(Path("mask.png").read_bytes())))
    assert compress(tiny_dir, "photo.png", "photo.cwic", "--roi-mask", "-") == 0
    assert Path("photo.cwic").read_bytes() == expected


def test_pixels_are_those_of_the_upright_picture(tiny_dir: Path, tiny_codec: Codec) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    Image.fromarray(np.ascontiguousarray(np.rot90(ARRAY))).save("turned.png", exif=exif)
    assert compress(tiny_dir, "turned.png", "turned.cwic", "--roi", "100,0,100,140,4") == 0
    expected = tiny_codec.encode(ARRAY, EncodeOptions(roi=[Roi(100, 0, 100, 140, 4)]))
    assert Path("turned.cwic").read_bytes() == expected


def test_of_many_pictures_those_that_a_rectangle_does_not_fit_fail(
    tiny_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("photo.png", "small.png", "--output-dir", "out", "--jobs", "1", "--roi", "0,0,150,60,4")
    assert compress(tiny_dir, *words) == 1
    assert "small.png: roi 150x60 at 0,0 is not inside 100x70" in capsys.readouterr().err
    assert [path.name for path in Path("out").iterdir()] == ["photo.cwic"]


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["--roi", "0,0,60,70"], 2, "X,Y,W,H in pixels and a WEIGHT behind them, got '0,0,60,70'"),
        (["--roi", "0,0,60,70,17"], 2, "weight of a region of interest is 1/16 to 16, got 17.0"),
        (["--roi", "0,0,60,70,nan"], 2, "1/16 to 16, got nan"),
        (["--roi", "150,0,60,70,2"], 2, "roi 60x70 at 150,0 is not inside 200x140"),
        (["--roi", "0,0,0,70,2"], 2, "roi 0x70 at 0,0 is not inside 200x140"),
        (["--roi", "0,0,60,70,2", "--lossless"], 2, "a lossless file has neither"),
        (["--roi-mask", "mask.png", "--lossless"], 2, "--roi-mask is not for --lossless"),
        (["--roi", "0,0,60,70,2", "--roi-mask", "mask.png"], 2, "rectangles or a mask, not both"),
        (["--roi-mask", "small.png"], 2, "the mask of regions of interest has colours"),
        (["--roi-mask", "none.png"], 1, "none.png: No such file"),
        (["--roi-mask", "text"], 1, "the mask of regions of interest: no picture format begins with"),
        (["--roi-mask", "other.png"], 2, "a mask of 140x200 pixels for a picture of 200x140"),
    ],
)
def test_what_does_not_fit_is_one_line_and_writes_nothing(
    tiny_dir: Path,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    status: int,
    message: str,
) -> None:
    Path("text").write_text("neither")
    Image.fromarray(MASK.T).save("other.png")
    assert compress(tiny_dir, "photo.png", "photo.cwic", *words) == status
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1
    assert not Path("photo.cwic").exists()


def test_standard_input_is_the_picture_or_the_mask(
    tiny_dir: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(Path("photo.png").read_bytes())))
    assert compress(tiny_dir, "-", "photo.cwic", "--roi-mask", "-") == 2
    assert "IN and --roi-mask are both `-`" in capsys.readouterr().err


def test_a_model_of_one_rate_has_no_regions_of_interest(
    tiny_2018_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in (["--roi", "0,0,60,70,2"], ["--roi-mask", "mask.png"]):
        assert compress(tiny_2018_dir, "photo.png", "photo.cwic", *words) == 2
        assert "profile cvpr2018 has one rate" in capsys.readouterr().err
