"""training.commands.benchmark, training.measure.memory and the command line around them."""

import importlib.util
import itertools
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

from model.checkpoints import load_codec
from model.codec import Codec
from model.config import Tune
from model.errors import ParameterError
from model.options import DecodeOptions, EncodeOptions, Target
from model.types import Pixels
from tests.training.training_fakes import JpegInABox, fail_to_load, noise, scene, write_png
from training.__main__ import COMMANDS, main
from training.commands import arguments
from training.commands.benchmark import (
    Subject,
    Timing,
    effort_table,
    memory_table,
    prefix_table,
    region_table,
    speed_table,
    subject_of,
    target_table,
    tile_table,
    time_all,
)
from training.data.pictures import read_rgb
from training.measure.compressai_reference import Hyperprior
from training.measure.efforts import measure_efforts
from training.measure.memory import MemoryUse, measure_memory, synthetic_photo
from training.measure.metrics import psnr
from training.measure.prefixes import measure_prefixes
from training.measure.regions import measure_regions
from training.measure.targets import measure_targets
from training.measure.tiles import measure_tiles


def test_codecs_are_timed_in_turns_and_the_first_round_does_not_count() -> None:
    calls: list[str] = []

    def subject(name: str) -> Subject:
        def compress(array: Pixels) -> bytes:
            calls.append(f"{name} compresses")
            return array.tobytes()

        def decompress(data: bytes) -> bytes:
            calls.append(f"{name} decompresses")
            return data

        return Subject(name, compress, decompress)

    timings = time_all([subject("a"), subject("b")], [noise(4, 4), noise(5, 5)], rounds=2)
    assert calls == ["a compresses", "a decompresses", "b compresses", "b decompresses"] * 2 * 3
    assert [timing.name for timing in timings] == ["a", "b"]
    assert all(timing.compress > 0 and timing.decompress > 0 for timing in timings)


def test_our_codec_is_timed_at_the_quality_asked_for() -> None:
    codec = JpegInABox()
    time_all([subject_of(codec, 77)], [scene(16, 16)], rounds=1)
    assert set(codec.seen) == {77}


def test_the_speed_table_is_markdown_with_milliseconds_and_ratios() -> None:
    table = speed_table((Timing("ours", 0.1, 0.2), Timing("theirs", 0.4, 0.25)), [noise(4, 4)], 3, "cpu")
    assert "| compress | 100 ms | 400 ms | 0.25 |" in table
    assert "| decompress | 200 ms | 250 ms | 0.80 |" in table


def test_the_memory_table_is_markdown_in_mebibytes() -> None:
    assert "| encoded | 300 MiB |" in memory_table(MemoryUse(4000, 3000, 200 << 20, 300 << 20, 400 << 20))


@pytest.mark.parametrize("pixels", [1, 1000, 200_000])
def test_a_synthetic_photo_has_about_the_pixels_asked_for(pixels: int) -> None:
    height, width, channels = synthetic_photo(pixels).shape
    assert channels == 3
    assert height * width == pytest.approx(pixels, rel=0.02)


def test_memory_is_measured_in_a_process_of_its_own(tmp_path: Path) -> None:
    path = write_png(tmp_path / "a.png", scene(32, 48))
    use = measure_memory(JpegInABox, path, quality=50)
    assert (use.width, use.height) == (48, 32)
    assert 0 < use.loaded <= use.encoded <= use.decoded < 2 << 30


def test_tile_sizes_are_measured_beside_one_piece(tiny_codec: Codec) -> None:
    arrays = [scene(300, 420), scene(280, 270, seed=1)]
    ticks = itertools.count()
    small, one = measure_tiles(tiny_codec, arrays, quality=60, tiles=(256, 512), clock=lambda: next(ticks))
    assert (small.tile, one.tile) == (256, 512)
    sizes = [
        sum(len(tiny_codec.encode(a, EncodeOptions(quality=60, tile=tile, lossless=False))) for a in arrays)
        for tile in (256, 512)
    ]
    assert [small.size, one.size] == sizes
    assert (small.whole, small.region) == (1, 1)
    assert abs(small.psnr - one.psnr) < 1
    assert tile_table([small, one]).splitlines()[-1] == "| 512 | +0.00 % | +0.000 dB | 1000 ms | 1000 ms |"


def test_prefixes_are_measured_beside_files_of_their_size(tiny_codec: Codec) -> None:
    arrays = [scene(140, 120), scene(100, 150, seed=1)]
    rows, half = measure_prefixes(tiny_codec, arrays, quality=90)
    files = [tiny_codec.encode(array, EncodeOptions(quality=90, lossless=False)) for array in arrays]
    assert [row.groups for row in rows] == [1, 2, 3]
    assert [row.share for row in rows] == sorted({row.share for row in rows})
    whole = statistics.fmean(psnr(a, tiny_codec.decode(file)) for a, file in zip(arrays, files, strict=True))
    assert (rows[-1].share, rows[-1].cut, rows[-1].preview) == (1, whole, whole)
    first = [tiny_codec.decode(file, DecodeOptions(groups=1)) for file in files]
    assert rows[0].preview == statistics.fmean(psnr(a, b) for a, b in zip(arrays, first, strict=True))
    assert rows[0].share <= half.share < 1
    assert half.behind <= half.most
    lines = prefix_table(rows, half).splitlines()
    assert lines[4] == f"| 3 | 100% | {whole:.2f} dB | {whole:.2f} dB |"
    assert f"at most {half.most:.2f} dB." in lines[-1]


def test_targets_are_measured_beside_files_of_the_quality_that_they_found(tiny_codec: Codec) -> None:
    array = scene(140, 120)
    file = tiny_codec.encode(array, EncodeOptions(quality=50, lossless=False))
    rate, reached = 8 * len(file) / (140 * 120), psnr(array, tiny_codec.decode(file))
    asked = (Target("target_bpp", rate), Target("target_psnr", reached), Target("target_psnr", 98))
    ticks = itertools.cycle((0.0, 6.0, 6.0, 8.0))  # six seconds to a target, two to its quality
    rate_use, psnr_use = measure_targets(tiny_codec, [array], targets=asked, clock=lambda: next(ticks))
    for use in (rate_use, psnr_use):
        assert (use.pictures, use.seconds, use.ratio, use.longest) == (1, 6, 3, 3)
    assert 0.97 * rate <= rate * rate_use.farthest <= rate
    assert rate_use.size == pytest.approx(rate_use.farthest * len(file))
    assert psnr_use.psnr - reached == pytest.approx(psnr_use.farthest)
    assert psnr_use.farthest >= 0
    lines = target_table([rate_use, psnr_use]).splitlines()
    assert lines[2].startswith(f"| {rate:g} bpp | 1 | {100 * rate_use.farthest:.1f} % |")
    assert lines[3].startswith(f"| {reached:g} dB | 1 | +{psnr_use.farthest:.2f} dB |")
    assert all(line.endswith("| 6000 ms | 3.0x | 3.0x |") for line in lines[2:])


def test_regions_are_measured_in_files_of_one_size(tiny_codec: Codec) -> None:
    arrays = [scene(256, 256), scene(256, 320, seed=1)]
    rows = measure_regions(tiny_codec, arrays, quality=70, weights=(1.0, 4.0))
    files = [tiny_codec.encode(array, EncodeOptions(quality=70, lossless=False)) for array in arrays]
    bpp = statistics.fmean(tiny_codec.read(file).info().bpp for file in files)
    assert [(row.weight, row.bpp) for row in rows] == [(1, bpp), (4, bpp)]
    assert abs(rows[0].inside) < 0.2  # another file only by the search for its quality
    assert abs(rows[0].outside) < 0.2
    assert rows[1].inside > rows[0].inside
    assert rows[1].outside < rows[0].outside
    assert all(row.least <= row.inside for row in rows)
    last = region_table(rows).splitlines()[-1]
    assert last == (f"| 4 | {rows[1].inside:+.2f} dB | {rows[1].least:+.2f} dB | {rows[1].outside:+.2f} dB |")


@pytest.mark.parametrize(("tune", "equal"), [("psnr", "PSNR"), ("visual", "SSIMULACRA2")])
def test_efforts_are_measured_beside_the_default_one(tiny_codec: Codec, tune: Tune, equal: str) -> None:
    codec, array = tiny_codec, scene(64, 64)
    if tune == "visual":
        pytest.importorskip("ssimulacra2")
        codec = load_codec(device="cpu")  # an untrained one has no SSIMULACRA2 to speak of
    spans = (1.0, 1.0, 2.0, 2.0, 8.0, 8.0, 40.0, 40.0)  # seconds of the four efforts, at two qualities each
    times = itertools.accumulate(x for span in spans for x in (0.0, span))
    rows = measure_efforts(codec, [array], tune=tune, qualities=(30.0, 90.0), clock=lambda: next(times))
    found = [(row.effort, row.seconds, row.ratio) for row in rows]
    assert found == [(0, 1, 0.5), (1, 2, 1), (2, 8, 4), (3, 40, 20)]
    assert (rows[1].bd_rate, rows[1].worst) == (0, 0)
    assert all(row.bd_rate == row.worst for row in rows)
    head, *_, last = effort_table(rows).splitlines()
    assert head.startswith(f"| effort, `{tune}` | bytes at equal {equal} |")
    assert last == f"| 3 | {rows[3].bd_rate:+.1f} % | {rows[3].worst:+.1f} % | 40.0 s | 20.0x |"


@pytest.mark.parametrize("two", [["--tiles", "--prefixes"], ["--prefixes", "--roi"], ["--roi", "--effort"]])
def test_tiles_prefixes_and_regions_are_measured_one_at_a_time(two: list[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["benchmark", "pictures", *two])


def test_an_error_there_is_an_error_here() -> None:
    with pytest.raises(ParameterError, match="nothing to load here"):
        measure_memory(fail_to_load, 100, quality=50)


def test_without_compressai_the_message_says_how_to_install_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(arguments, "load_codec", lambda *_, **__: JpegInABox())
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    monkeypatch.delitem(sys.modules, "compressai", raising=False)
    assert main(["benchmark", str(folder)]) == 2
    assert "pip install --no-deps compressai" in capsys.readouterr().err


def test_the_hyperprior_gives_back_a_picture_of_the_same_size() -> None:
    pytest.importorskip("scipy", reason="CompressAI is optional")
    try:
        network = Hyperprior()
    except ParameterError as error:
        pytest.skip(str(error))
    picture = scene(70, 90)
    assert network.decompress(network.compress(picture)).shape == picture.shape


def test_nothing_to_measure_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["benchmark"]) == 2
    assert "--memory" in capsys.readouterr().err


@pytest.mark.parametrize("options", [["--rounds", "0"], ["--memory", "0"], ["--quality", "101"]])
def test_wrong_options_are_refused(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["benchmark", *options])
    assert "got" in capsys.readouterr().err


def test_help_lists_every_command_and_imports_no_torch() -> None:
    code = (
        "import sys; from training.__main__ import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603 (our own code)
    assert all(name in done.stdout for name in COMMANDS)


def test_no_command_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main([])
    assert "COMMAND" in capsys.readouterr().err


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One picture."""
    write_png(tmp_path / "pictures" / "a.png", scene(24, 24))
    assert read_rgb(tmp_path / "pictures" / "a.png").shape == (24, 24, 3)
    return tmp_path / "pictures"
