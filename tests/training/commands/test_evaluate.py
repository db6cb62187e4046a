"""training.commands.evaluate and its parts: what is measured, compared, printed and written."""

import itertools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from model.container import format as file_format
from model.errors import BrokenImageError, ParameterError
from model.options import EncodeOptions
from model.protocol import DEFAULT_ENCODE_OPTIONS
from model.steps import Work
from model.types import ModelInfo, Pixels
from tests.training.training_fakes import MAP_SECTION, JpegInABox, made_up_info, noise, scene, write_png
from training.__main__ import main
from training.commands import arguments
from training.commands.evaluate import Ladder, Tuned, contenders_of
from training.measure.bd_rate import Curve
from training.measure.curves import Published, check_floor, compare, reaches, read_floor, read_published
from training.measure.files import Contender, Result, measure, measure_all
from training.measure.metrics import ms_ssim, ms_ssim_db, psnr
from training.measure.pillow_codecs import PILLOW_CODECS
from training.measure.plot import _lines, spread
from training.measure.report import command_line


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two pictures large enough for MS-SSIM."""
    write_png(tmp_path / "pictures" / "a.png", scene(168, 176, seed=1))
    write_png(tmp_path / "pictures" / "b.png", scene(161, 200, seed=2))
    return tmp_path / "pictures"


@pytest.fixture
def box(monkeypatch: pytest.MonkeyPatch) -> JpegInABox:
    """The codec that the commands load."""
    codec = JpegInABox()
    monkeypatch.setattr(arguments, "load_codec", lambda *_, **__: codec)
    return codec


def ours(qualities: tuple[float, ...] = (10, 50, 90)) -> Contender:
    return Contender(
        name="cwic",
        label="ours",
        codec=Tuned(JpegInABox(), None),
        qualities=qualities,
        inspect=file_format.inspect,
    )


WEBP = PILLOW_CODECS["webp"]
WEBP_LADDER = Contender(name="webp", label="WebP", codec=WEBP, qualities=(1, 20, 60, 88))


def write_json(path: Path, content: object) -> Path:
    path.write_text(json.dumps(content))
    return path


def test_a_row_counts_the_whole_file_and_measures_the_decoded_picture() -> None:
    picture = scene(170, 180)
    row = measure(ours(), picture, "x.png", quality=30)
    data = JpegInABox().encode(picture, EncodeOptions(quality=30))
    assert row.size == len(data)
    assert row.bpp == pytest.approx(8 * len(data) / (170 * 180))
    assert row.psnr_rgb == psnr(picture, JpegInABox().decode(data))
    assert row.ms_ssim_rgb == ms_ssim(picture, JpegInABox().decode(data))
    assert row.sections == {"map": len(MAP_SECTION), "codes0": len(JpegInABox().read(data).payloads[1])}
    assert (row.width, row.height) == (180, 170)
    assert min(row.encode_seconds, row.decode_seconds) > 0


def test_points_are_means_over_the_pictures(folder: Path) -> None:
    (result,) = measure_all([ours()], sorted(folder.iterdir()))
    assert [point.quality for point in result.points] == [10, 50, 90]
    for point in result.points:
        rows = [row for row in result.rows if row.quality == point.quality]
        assert [row.picture for row in rows] == ["a.png", "b.png"]
        assert point.bpp == pytest.approx(sum(row.bpp for row in rows) / 2)
        assert point.psnr_rgb == pytest.approx(sum(row.psnr_rgb for row in rows) / 2)
        assert point.section_bpp["map"] == pytest.approx((8 * 4 / (168 * 176) + 8 * 4 / (161 * 200)) / 2)


def test_small_pictures_have_psnr_but_no_ms_ssim(tmp_path: Path) -> None:
    small = write_png(tmp_path / "small.png", scene(160, 300))
    (result,) = measure_all([ours()], [small])
    assert {row.ms_ssim_rgb for row in result.rows} == {None}
    assert result.curve("ms_ssim") is None
    assert result.curve("psnr") is not None


def test_a_codec_that_loses_nothing_has_no_curve(tmp_path: Path) -> None:
    class Raw:
        def encode(self, array: np.ndarray[Any, np.dtype[np.uint8]], *, quality: float) -> bytes:
            del quality
            return array.tobytes()

        def decode(self, data: bytes) -> np.ndarray[Any, np.dtype[np.uint8]]:
            return np.frombuffer(data, dtype=np.uint8).reshape(10, 12, 3)

    path = write_png(tmp_path / "a.png", noise(10, 12))
    (result,) = measure_all([Contender(name="raw", label="raw", codec=Raw(), qualities=(1,))], [path])
    assert result.points[0].psnr_rgb == math.inf
    assert result.curve("psnr") is None


def test_a_broken_picture_ends_the_measurement(tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(BrokenImageError, match=r"broken\.png"):
        measure_all([ours()], [tmp_path / "broken.png"])


@pytest.mark.parametrize("name", PILLOW_CODECS)
def test_every_pillow_codec_writes_its_format_and_gives_more_for_more_bits(name: str) -> None:
    codec = PILLOW_CODECS[name]
    picture = scene(96, 80)
    files = [codec.encode(picture, quality=quality) for quality in (codec.qualities[0], codec.qualities[-1])]
    errors = [psnr(picture, codec.decode(data)) for data in files]
    assert len(files[0]) < len(files[1])
    assert errors[0] < errors[1]
    assert list(codec.qualities) == sorted(set(codec.qualities))


def test_avif_keeps_the_colours_of_single_pixels_where_chroma_is_whole() -> None:
    picture = np.zeros((32, 32, 3), np.uint8)
    picture[:, ::2, 0] = picture[:, 1::2, 2] = 255
    for half, whole in (("avif", "avif444"), ("avif-psnr", "avif444-psnr")):
        errors = [
            psnr(picture, codec.decode(codec.encode(picture, quality=88)))
            for codec in (PILLOW_CODECS[half], PILLOW_CODECS[whole])
        ]
        assert errors[1] > errors[0] + 10
        assert (PILLOW_CODECS[half].label[5:10], PILLOW_CODECS[whole].label[5:10]) == ("4:2:0", "4:4:4")


def test_jpeg_is_written_with_halved_chroma(tmp_path: Path) -> None:
    for name in ("jpeg", "jpeg-optimized"):
        path = tmp_path / "x.jpg"
        path.write_bytes(PILLOW_CODECS[name].encode(scene(32, 32), quality=50))
        with Image.open(path) as picture:
            layers = getattr(picture, "layer", None)
        assert layers is not None
        assert [layer[1:3] for layer in layers] == [(2, 2), (1, 1), (1, 1)]


def test_the_same_codec_under_another_name_has_a_bd_rate_of_zero(folder: Path) -> None:
    result, other = measure_all(
        [
            ours(),
            Contender(name="twin", label="twin", codec=Tuned(JpegInABox(), None), qualities=(10, 50, 90)),
        ],
        sorted(folder.iterdir()),
    )
    (rate,) = compare(result, [other], [])
    assert rate.kind == "measured"
    for values in (rate.means, rate.pictures):
        assert values["psnr"] == pytest.approx(0, abs=1e-9)
        assert values["ms_ssim"] == pytest.approx(0, abs=1e-9)
        assert values["ssimulacra2"] is None  # nobody asked for it


def test_the_two_bd_rates_differ_where_pictures_share_the_bits_differently(folder: Path) -> None:
    files = sorted(folder.iterdir())
    result, other = measure_all([ours(), WEBP_LADDER], files)
    rates = {}
    for path in files:
        alone, reference = measure_all([ours(), WEBP_LADDER], [path])
        rates[path.name] = compare(alone, [reference], [])[0].means["psnr"]
    (rate,) = compare(result, [other], [])
    known = [value for value in rates.values() if value is not None]
    assert rate.pictures["psnr"] == pytest.approx(sum(known) / len(known))
    assert rate.means["psnr"] != pytest.approx(rate.pictures["psnr"])


def test_ssimulacra2_is_measured_where_it_is_asked_for(folder: Path) -> None:
    result, other = measure_all(
        [
            ours(),
            Contender(name="twin", label="twin", codec=Tuned(JpegInABox(), None), qualities=(10, 50, 90)),
        ],
        sorted(folder.iterdir()),
        perceptual=True,
    )
    scores = [point.ssimulacra2 for point in result.points]
    assert scores == sorted(scores, key=lambda score: score or 0)
    assert all(score is not None and score < 100 for score in scores)
    (rate,) = compare(result, [other], [])
    assert rate.means["ssimulacra2"] == pytest.approx(0, abs=1e-9)


def test_published_curves_are_read_with_their_gaps(tmp_path: Path) -> None:
    path = write_json(
        tmp_path / "anchors.json",
        {
            "whole": {"bpp": [1, 2], "psnr_rgb": [30, 33], "ms_ssim_rgb": [0.9, 0.99], "source": "here"},
            "gaps": {"bpp": [1, 2, 3], "psnr_rgb": [30, None, 35], "ms_ssim_rgb": [None, None, None]},
            "point": {"bpp": [0.5], "psnr_rgb": [31]},
            "nothing": {"bpp": [1, 2]},
        },
    )
    assert read_published(path) == (
        Published(
            "whole", "here", Curve((1, 2), (30, 33)), Curve((1, 2), (ms_ssim_db(0.9), ms_ssim_db(0.99)))
        ),
        Published("gaps", "", Curve((1, 3), (30, 35)), None),
        Published("point", "", Curve((0.5,), (31,)), None),
    )


@pytest.mark.parametrize("text", ["", "[]", '{"a": 1}', '{"a": {"bpp": [1], "psnr_rgb": [1, 2]}}'])
def test_a_file_without_curves_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "anchors.json"
    path.write_text(text)
    with pytest.raises(ParameterError, match=r"anchors\.json"):
        read_published(path)
    with pytest.raises(ParameterError, match=r"anchors\.json"):
        read_floor(path)


def test_a_published_curve_elsewhere_has_no_bd_rate(folder: Path) -> None:
    (result,) = measure_all([ours()], sorted(folder.iterdir()))
    far = Published("far", "", Curve((1, 2), (90, 95)), None)
    (rate,) = compare(result, [], [far])
    assert (rate.means, rate.pictures) == ({"psnr": None, "ms_ssim": None}, {})


def test_the_rate_of_a_curve_is_over_the_pictures_that_have_its_metric(tmp_path: Path) -> None:
    large = write_png(tmp_path / "large.png", scene(161, 200))
    small = write_png(tmp_path / "small.png", noise(40, 40))
    (both,) = measure_all([ours()], [large, small])
    (alone,) = measure_all([ours()], [large])
    assert both.curve("ms_ssim") == alone.curve("ms_ssim")
    curve, lower = both.curve("psnr"), alone.curve("psnr")
    assert curve is not None
    assert lower is not None
    assert curve.bpp[0] > lower.bpp[0]


def test_no_file_of_ours_is_without_loss() -> None:
    asked: list[EncodeOptions] = []

    class Asked(JpegInABox):
        def encoding(self, array: Pixels, options: EncodeOptions = DEFAULT_ENCODE_OPTIONS) -> Work[bytes]:
            asked.append(options)
            return super().encoding(array, options)

    for codec in (Tuned(Asked(), "psnr", 3), Ladder((Asked(),))):
        codec.encode(scene(32, 32), quality=1)
    assert [options.lossless for options in asked] == [False, False]
    assert (asked[0].quality, asked[0].tune, asked[0].effort) == (1, "psnr", 3)


def test_every_format_has_a_colour_of_its_own_in_the_plot() -> None:
    curve = Curve((1, 2), (30, 33))
    named = [(name, curve) for name in ("ours", *PILLOW_CODECS)]
    lines = _lines(named, ())
    assert len({line.colour for line in lines}) == len(named)


def shifted(result: Result, decibels: float) -> Curve:
    return Curve.of([p.bpp for p in result.points], [p.psnr_rgb + decibels for p in result.points])


@pytest.mark.parametrize(("decibels", "reached"), [(-0.01, True), (0.01, False)])
def test_the_floor_is_reached_where_every_point_is_at_or_above_it(
    folder: Path, decibels: float, reached: bool
) -> None:
    (result,) = measure_all([ours()], sorted(folder.iterdir()))
    checks = check_floor(result, shifted(result, decibels))
    assert checks
    assert all(0.1 <= check.bpp <= 1.0 for check in checks)
    assert [check.difference for check in checks] == pytest.approx([-decibels] * len(checks))
    assert reaches(checks) is reached


def test_a_floor_that_no_point_can_be_compared_with_is_not_reached(folder: Path) -> None:
    (result,) = measure_all([ours()], sorted(folder.iterdir()))
    assert not reaches(check_floor(result, Curve((100, 200), (1, 2))))


def test_the_command_prints_tables_and_writes_json_and_a_plot(
    folder: Path, box: JpegInABox, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    published = {"bpp": [0.2, 4], "psnr_rgb": [25, 45], "ms_ssim_rgb": [0.8, 0.999], "source": "a paper"}
    anchors = write_json(tmp_path / "anchors.json", {"Published One": published})
    out, plot = tmp_path / "out.json", tmp_path / "out.png"
    options = ["--qualities", "10,50,90", "--against", "jpeg,webp", "--anchors", str(anchors)]
    assert main(["evaluate", str(folder), *options, "--json", str(out), "--plot", str(plot)]) == 0
    assert set(box.seen) == {10, 50, 90}
    text = capsys.readouterr().out
    for word in ("JPEG 4:2:0", "WebP method 6", "Published One", "0badc0de", "quality 50"):
        assert word in text
    content = json.loads(out.read_text())
    assert [codec["name"] for codec in content["codecs"]] == ["cwic", "jpeg", "webp"]
    assert len(content["codecs"][0]["rows"]) == 6
    assert [rate["reference"] for rate in content["bd_rates"]] == [
        "JPEG 4:2:0",
        "WebP method 6",
        "Published One",
    ]
    assert content["models"][0]["sha256"] == "0badc0de" * 8
    assert content["pictures"] == [
        {"name": "a.png", "width": 176, "height": 168},
        {"name": "b.png", "width": 200, "height": 161},
    ]
    assert {"torch", "pillow", "webp", "avif", "python"} <= set(content["versions"])
    with Image.open(plot) as picture:
        assert picture.format == "PNG"
        assert picture.width > 1000


def test_the_command_fails_below_the_floor_and_still_writes_what_it_found(
    folder: Path, box: JpegInABox, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (result,) = measure_all([ours()], sorted(folder.iterdir()))
    out = tmp_path / "out.json"
    for decibels, status in ((-1, 0), (1, 1)):
        curve = shifted(result, decibels)
        floor = write_json(tmp_path / "floor.json", {"bpp_total": curve.bpp, "psnr_rgb": curve.quality})
        options = ["--qualities", "10,50,90", "--against", "none", "--floor", str(floor)]
        assert main(["evaluate", str(folder), *options, "--json", str(out)]) == status
        assert f"{status and 2} of 2 points are below the floor" in capsys.readouterr().out
        assert json.loads(out.read_text())["floor"][0]["difference"] == pytest.approx(-decibels, abs=1e-5)
    assert box.seen


def test_a_real_checkpoint_is_measured_with_the_share_of_its_importance_map(
    folder: Path, tiny_dir: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.json"
    options = ["--model", "tiny", "--model-dir", str(tiny_dir), "--qualities", "50", "--against", "none"]
    assert main(["evaluate", str(folder), *options, "--json", str(out)]) == 0
    content = json.loads(out.read_text())
    assert content["models"][0]["name"] == "tiny"
    (point,) = content["codecs"][0]["means"]
    assert 0 < point["section_bpp"]["map"] < point["bpp"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--qualities", "0"], "quality is 1 to 100, got 0"),
        (["--qualities", "50,x"], "invalid"),
        (["--against", "jpeg,gif"], "got gif"),
    ],
)
def test_wrong_options_are_refused(
    options: list[str], message: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["evaluate", str(folder), *options])
    assert message in capsys.readouterr().err


def test_a_folder_without_pictures_is_an_error_without_a_traceback(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith("error: no pictures in ")


def test_our_codec_comes_first() -> None:
    names = [contender.name for contender in contenders_of((JpegInABox(),), (1, 2), ("webp", "jpeg"))]
    assert names == ["cwic", "webp", "jpeg"]
    hard = contenders_of((JpegInABox(),), (1, 2), (), effort=2)
    assert hard[0].label == "cwic (ours), effort 2"


def test_checkpoints_of_one_rate_have_one_effort() -> None:
    class OneRate(JpegInABox):
        @property
        def info(self) -> ModelInfo:
            return made_up_info("box", fixed_rate=True)

    assert contenders_of((OneRate(), OneRate()), (), ())[0].qualities == (1, 2)
    with pytest.raises(ParameterError, match="one effort"):
        contenders_of((OneRate(), OneRate()), (), (), effort=2)


def test_the_recorded_command_has_no_folders_of_this_machine() -> None:
    command = command_line(["evaluate", "/home/someone/kodak", "--json", "out/x.json"])
    assert command == "python -m training evaluate kodak --json out/x.json"


@pytest.mark.parametrize("values", [[5.0], [1, 1, 1], [9, 9.1, 0, 9.05], [10, 10, 10]])
def test_labels_are_spread_apart_and_stay_in_range(values: list[float]) -> None:
    placed = spread(values, 1, 0, 10)
    assert all(0 <= place <= 10 for place in placed)
    ranked = sorted(placed)
    assert all(after - before >= 1 - 1e-9 for before, after in itertools.pairwise(ranked))
