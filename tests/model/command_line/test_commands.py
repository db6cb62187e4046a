"""What the commands of `cwic` do, in front of a fake codec."""

from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from model import cli
from model.codec import Codec
from model.container import format as file_format
from model.container.format import Container
from model.images.files import read_image
from model.images.maps import heat_colours, overlay
from model.images.writing import write_image
from model.options import DecodeOptions
from model.types import Limits, Region
from tests.conftest import picture
from tests.model.command_line.fakes import PICTURE, FakeCheckpoints, Streams, packed


def test_a_picture_survives_compress_and_decompress(
    source: Path, tmp_path: Path, fake: FakeCheckpoints, capsys: pytest.CaptureFixture[str]
) -> None:
    file, back = tmp_path / "a.cwic", tmp_path / "b.png"
    assert cli.main(["compress", str(source), str(file)], checkpoints=fake) == 0
    summary = capsys.readouterr().err
    assert summary.count("\n") == 1
    before, after = source.stat().st_size, file.stat().st_size
    assert f"8x6: {before} -> {after} bytes ({after / before:.2f}x larger), " in summary
    assert f"{8 * file.stat().st_size / 48:.3f} bpp, quality 50, tune psnr, model fake-11111111" in summary
    assert cli.main(["decompress", str(file), str(back)], checkpoints=fake) == 0
    np.testing.assert_array_equal(read_image(back.read_bytes(), limits=Limits()).array, PICTURE)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.cwic", "b.png", "in.png"]


@pytest.mark.parametrize(
    "words", [["IN", "--quality", "5", "--", "OUT"], ["--quality", "5", "--", "IN", "OUT"]]
)
def test_behind_two_dashes_all_are_paths(
    words: list[str], source: Path, tmp_path: Path, fake: FakeCheckpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    places = {"IN": source.name, "OUT": "--lossless"}
    assert cli.main(["compress", *(places.get(word, word) for word in words)], checkpoints=fake) == 0
    assert file_format.inspect((tmp_path / "--lossless").read_bytes()).quality == pytest.approx(5, abs=0.1)
    assert cli.main(["inspect", source.name, "--json", "--", "--lossless"], checkpoints=fake) == 1


def test_an_option_that_is_not_there_is_refused_with_the_help_of_its_command(
    source: Path, fake: FakeCheckpoints, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in (["--speed", "--", "out"], ["out", "--speed"], ["out", "--speed", "--", "--tune"]):
        assert cli.main(["compress", str(source), "--quality", "5", *words], checkpoints=fake) == 2
        assert capsys.readouterr().err == (
            f"cwic: unrecognized arguments: {' '.join(words)} (see `cwic compress --help`)\n"
        )


def test_a_dash_is_a_standard_stream(
    source: Path, fake: FakeCheckpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Streams(monkeypatch, source.read_bytes())
    assert cli.main(["compress", "-", "-"], checkpoints=fake) == 0
    second = Streams(monkeypatch, first.out.getvalue())
    assert cli.main(["decompress", "-", "-"], checkpoints=fake) == 0
    assert second.out.getvalue().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("name", "options", "magic"),
    [
        ("x.PNG", [], b"\x89PNG"),
        ("x.jpg", [], b"\xff\xd8"),
        ("x.webp", [], b"RIFF"),
        ("x", ["--format", "jpeg"], b"\xff\xd8"),
    ],
)
def test_the_suffix_or_the_option_gives_the_format(
    name: str, options: list[str], magic: bytes, tmp_path: Path, fake: FakeCheckpoints
) -> None:
    (tmp_path / "a.cwic").write_bytes(packed(PICTURE))
    for command in ("decompress", "importance-map"):
        status = cli.main(
            [command, str(tmp_path / "a.cwic"), str(tmp_path / name), *options], checkpoints=fake
        )
        assert status == 0
        assert (tmp_path / name).read_bytes().startswith(magic)


def test_an_importance_map_is_of_a_picture_or_of_a_file(
    source: Path, tmp_path: Path, fake: FakeCheckpoints, capsys: pytest.CaptureFixture[str]
) -> None:
    out, file = tmp_path / "map.png", tmp_path / "a.cwic"
    file.write_bytes(packed(PICTURE))
    for arguments, level in (([str(source), "--quality", "70"], 70), ([str(source)], 50), ([str(file)], 50)):
        assert cli.main(["importance-map", arguments[0], str(out), *arguments[1:]], checkpoints=fake) == 0
        array = read_image(out.read_bytes(), limits=Limits()).array
        assert array.shape == PICTURE.shape
        assert (array == level).all()
    for option, value in (("--quality", "9"), ("--tune", "psnr")):
        assert cli.main(["importance-map", str(file), str(out), option, value], checkpoints=fake) == 2
        assert f"{option} is for pictures; a .cwic file has its own" in capsys.readouterr().err


def test_a_map_is_drawn_as_it_is_asked_for(source: Path, tmp_path: Path, fake: FakeCheckpoints) -> None:
    out, file = tmp_path / "map.png", tmp_path / "a.cwic"
    file.write_bytes(packed(PICTURE, model_id="11111111"))
    grey = np.full(PICTURE.shape[:2], 50, np.uint8)
    for path in (source, file):
        for options, expected in (
            (["--style", "grey", "--size", "picture"], np.repeat(grey[..., None], 3, 2)),
            (["--style", "heat"], heat_colours()[grey]),
            (["--style", "heat", "--size", "map"], heat_colours()[grey[:1, :1]]),
            (["--style", "overlay"], overlay(grey, PICTURE)),
        ):
            assert cli.main(["importance-map", str(path), str(out), *options], checkpoints=fake) == 0
            np.testing.assert_array_equal(read_image(out.read_bytes(), limits=Limits()).array, expected)


def test_a_file_is_cut_to_a_size_without_a_checkpoint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, out, data = tmp_path / "a.cwic", tmp_path / "b.cwic", packed(PICTURE, model_id="11111111")
    file.write_bytes(data)
    for size, cut in ((len(data) - 1, file_format.truncate(data, len(data) - 1)), (len(data), data)):
        assert cli.main(["truncate", str(file), str(out), "--bytes", str(size)]) == 0
        assert capsys.readouterr().err == f"cwic: {len(data)} -> {len(cut)} bytes\n"
        assert out.read_bytes() == cut
        assert len(cut) <= size
        assert not file_format.unpack(cut, limits=Limits()).truncated
    out.unlink()
    assert cli.main(["truncate", str(file), str(out), "--bytes", "9"]) == 2
    smallest = len(file_format.truncate(data, len(data) - 1))
    assert f"cut to 9 bytes, {smallest} are needed at least" in capsys.readouterr().err
    file.write_bytes(packed(PICTURE))
    assert cli.main(["truncate", str(file), str(out), "--bytes", "9"]) == 2
    assert "a lossless file cannot be cut" in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize(
    ("options", "rate", "profile", "tune"),
    [
        (["--tune", "visual", "--quality", "30"], "quality 30, tune visual, model fake", "cwic", "visual"),
        (["--tune", "psnr"], "quality 50, tune psnr, model fake", "cwic", "psnr"),
        (["--lossless"], "bpp, lossless\n", "lossless", None),
    ],
)
def test_what_a_file_is_made_for_can_be_said_and_the_summary_repeats_it(
    options: list[str],
    rate: str,
    profile: str,
    tune: str | None,
    source: Path,
    tmp_path: Path,
    fake: FakeCheckpoints,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.main(["compress", str(source), str(tmp_path / "a.cwic"), *options], checkpoints=fake) == 0
    assert rate in capsys.readouterr().err
    info = file_format.inspect((tmp_path / "a.cwic").read_bytes())
    assert (info.profile, info.tune) == (profile, tune)


def test_a_region_or_a_preview_of_a_file_is_decoded_on_request(tmp_path: Path, fake: FakeCheckpoints) -> None:
    file, out = tmp_path / "a.cwic", tmp_path / "a.png"
    file.write_bytes(packed(PICTURE, model_id="11111111"))
    for options, expected in (
        (["--region", "1,2,3,4"], PICTURE[2:6, 1:4]),
        (["--region", "0, 0, 8, 6", "--groups", "2"], PICTURE),
        (["--groups", "1"], 0 * PICTURE),
    ):
        assert cli.main(["decompress", str(file), str(out), *options], checkpoints=fake) == 0
        np.testing.assert_array_equal(read_image(out.read_bytes(), limits=Limits()).array, expected)


def test_a_file_that_was_cut_is_decoded_with_permission_only(
    tmp_path: Path, fake: FakeCheckpoints, capsys: pytest.CaptureFixture[str]
) -> None:
    file, out, whole = tmp_path / "a.cwic", tmp_path / "a.png", packed(PICTURE, model_id="11111111")
    file.write_bytes(whole[:-1])
    arguments = ["decompress", str(file), str(out)]
    assert cli.main(arguments, checkpoints=fake) == 1
    assert cli.main(["importance-map", *arguments[1:]], checkpoints=fake) == 1
    said = capsys.readouterr().err
    assert f"ends at byte {len(whole) - 1} of {len(whole)}; --allow-truncated decodes it" in said
    assert not out.exists()
    assert cli.main([*arguments, "--allow-truncated"], checkpoints=fake) == 0
    np.testing.assert_array_equal(read_image(out.read_bytes(), limits=Limits()).array, PICTURE)
    file.write_bytes(whole[:-5])
    assert cli.main([*arguments, "--allow-truncated"], checkpoints=fake) == 1
    assert "are needed at least to decode it" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["compress", "decompress", "importance-map", "inspect", "truncate"])
def test_a_file_is_parsed_once_for_each_command(
    command: str, source: Path, tmp_path: Path, fake: FakeCheckpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.cwic").write_bytes(packed(PICTURE, model_id="22222222"))
    given = [str(source) if command == "compress" else str(tmp_path / "a.cwic")]
    parsed, unpack = [], file_format.unpack

    def spy(data: bytes, *, limits: Limits, allow_truncated: bool = False) -> Container:
        parsed.append(data)
        return unpack(data, limits=limits, allow_truncated=allow_truncated)

    monkeypatch.setattr(file_format, "unpack", spy)
    out = (
        [] if command == "inspect" else [str(tmp_path / f"out.{'cwic' if command == 'compress' else 'png'}")]
    )
    out += ["--bytes", "999"] if command == "truncate" else []
    assert cli.main([command, *given, *out], checkpoints=fake) == 0
    assert len(parsed) == 1


def test_the_options_come_to_a_real_codec(
    tiny_codec: Codec, tiny_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    array, there = picture(80, 120), ["--model-dir", str(tiny_dir), "--device", "cpu"]
    source, file, out = tmp_path / "a.png", tmp_path / "a.cwic", tmp_path / "b.png"
    source.write_bytes(write_image(array, format="png"))
    assert cli.main(["compress", str(source), str(file), "--tune", "visual", "--quality", "40", *there]) == 0
    assert "quality 40, tune visual, model tiny" in capsys.readouterr().err
    data = file.read_bytes()
    options = ["--region", "100,20,20,30", "--groups", "1"]
    assert cli.main(["decompress", str(file), str(out), *options, *there]) == 0
    part = tiny_codec.decode(data, DecodeOptions(region=Region(100, 20, 20, 30), groups=1))
    np.testing.assert_array_equal(read_image(out.read_bytes(), limits=Limits()).array, part)
    file.write_bytes(data[:-1])
    assert cli.main(["decompress", str(file), str(out), *there]) == 1
    assert cli.main(["decompress", str(file), str(out), "--allow-truncated", *there]) == 0
    assert cli.main(["compress", str(source), str(file), "--lossless", *there]) == 0
    assert cli.main(["decompress", str(file), str(out), *there]) == 0
    np.testing.assert_array_equal(read_image(out.read_bytes(), limits=Limits()).array, array)
    capsys.readouterr()
    assert cli.main(["importance-map", str(file), str(out), *there]) == 1
    assert "a lossless file has no importance map" in capsys.readouterr().err


def test_metadata_is_dropped_and_told_or_kept_on_request(
    tiny_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    there = ["--model-dir", str(tiny_dir), "--device", "cpu"]
    source, file, out = tmp_path / "a.jpg", tmp_path / "a.cwic", tmp_path / "b.jpg"
    exif = Image.Exif()
    exif[ExifTags.Base.Artist], exif[ExifTags.Base.Orientation] = "Somebody", 6
    Image.fromarray(picture(40, 56)).save(source, exif=exif)
    for options, artist, told in (([], None, True), (["--metadata", "keep"], "Somebody", False)):
        assert cli.main(["compress", str(source), str(file), *options, *there]) == 0
        assert ("exif-dropped" in capsys.readouterr().err) == told
        assert cli.main(["decompress", str(file), str(out), *there]) == 0
        with Image.open(out) as image:
            assert image.size == (40, 56)
            assert image.getexif().get(ExifTags.Base.Artist) == artist
            assert ExifTags.Base.Orientation not in image.getexif()


def test_a_model_of_one_rate_says_so_and_refuses_a_quality(
    tiny_2018_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, there = tmp_path / "a.png", ["--model-dir", str(tiny_2018_dir), "--device", "cpu"]
    source.write_bytes(write_image(picture(40, 56), format="png"))
    for options, status, message in (
        ([], 0, ", one rate, model tiny-2018"),
        (["--quality", "50"], 2, "quality"),
        (["--tune", "psnr"], 2, "tune"),
    ):
        assert cli.main(["compress", str(source), str(tmp_path / "a.cwic"), *options, *there]) == status
        said = capsys.readouterr().err
        assert message in said
        assert said.count("\n") == 1


def test_a_file_is_decoded_by_the_checkpoint_that_made_it(
    tmp_path: Path, fake: FakeCheckpoints, capsys: pytest.CaptureFixture[str]
) -> None:
    for model_id, loaded in (
        ("22222222", ["other"]),
        ("11111111", ["default"]),
        ("", []),
    ):
        (tmp_path / "a.cwic").write_bytes(packed(PICTURE, model_id=model_id))
        fake.loaded.clear()
        assert (
            cli.main(["decompress", str(tmp_path / "a.cwic"), str(tmp_path / "a.png")], checkpoints=fake) == 0
        )
        assert [name for name, *_ in fake.loaded] == loaded
    without = ["--model-dir", str(tmp_path / "empty")]
    back = ["decompress", str(tmp_path / "a.cwic"), str(tmp_path / "a.png"), *without]
    assert cli.main([*back, "--region", "1,2,3,4"], checkpoints=fake) == 0  # lossless: it needs none
    array = read_image((tmp_path / "a.png").read_bytes(), limits=Limits()).array
    np.testing.assert_array_equal(array, PICTURE[2:6, 1:4])
    (tmp_path / "a.cwic").write_bytes(packed(PICTURE, model_id="33333333"))
    assert cli.main(back, checkpoints=fake) == 3
    capsys.readouterr()
    assert cli.main(["decompress", str(tmp_path / "a.cwic"), str(tmp_path / "a.png")], checkpoints=fake) == 1
    assert "33333333" in capsys.readouterr().err


def test_where_the_checkpoint_comes_from_can_be_said(
    source: Path, tmp_path: Path, fake: FakeCheckpoints
) -> None:
    arguments = ["compress", str(source), str(tmp_path / "a.cwic")]
    assert cli.main(arguments, checkpoints=fake) == 0
    options = ["--model", "other", "--model-dir", str(tmp_path), "--device", "cpu", "--dtype", "float32"]
    assert cli.main([*arguments, *options], checkpoints=fake) == 0
    assert fake.loaded == [
        ("default", Path("built-in"), "auto", "auto"),
        ("other", tmp_path, "cpu", "float32"),
    ]
