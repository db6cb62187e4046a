"""The `cwic` command, in front of a fake codec: streams, files, messages and exit statuses."""

import io
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image

from model import cli
from model.codec import Codec
from model.command_line.codecs import Checkpoints
from model.container import format as file_format
from model.container.format import Container, Header, Section
from model.errors import CheckpointNotFoundError, ParameterError, SelfTestError, WrongModelError
from model.images.files import read_image
from model.images.maps import heat_colours, overlay
from model.images.writing import write_image
from model.options import DEFAULT_QUALITY, DecodeOptions, EncodeOptions
from model.protocol import DEFAULT_DECODE_OPTIONS, DEFAULT_ENCODE_OPTIONS, PictureCodec
from model.steps import Work
from model.types import Limits, ModelInfo, Pixels, Region
from tests.conftest import picture
from tests.containers import ReadsContainers

PICTURE = np.arange(6 * 8 * 3, dtype=np.uint8).reshape(6, 8, 3)
ROOT = Path(__file__).parents[2]


def packed(
    array: Pixels, *, model_id: str = "", quality: float = DEFAULT_QUALITY, tune: str = "psnr"
) -> bytes:
    """A sound .cwic file whose payloads are plain samples; of no checkpoint (lossless) or of one.

    A file of a checkpoint has two channel groups, the second of which means nothing.
    """
    height, width, channels = array.shape
    header = Header(
        width=width,
        height=height,
        profile="cwic" if model_id else "lossless",
        tile=file_format.DEFAULT_TILE,
        model_id=bytes.fromhex(model_id),
        quality=round((quality - 1) / 99 * file_format.QUALITY_STEPS) if model_id else 0,
        tune=tune,
        alpha=channels == 4,
    )
    alpha = [b""] * (channels == 4)
    payloads = [b"map", *alpha, array.tobytes(), b"more"] if model_id else [array.tobytes()]
    return file_format.pack(header, payloads)


@dataclass(frozen=True)
class FakeCodec(ReadsContainers):
    """Keeps pictures as they are. Claims one model id, as a checkpoint does.

    Of a decoding of one group it makes a black picture, so that one sees which option has come to it.
    """

    model_id: str

    @property
    def info(self) -> ModelInfo:
        return ModelInfo(
            f"fake-{self.model_id}",
            "cwic",
            self.model_id,
            self.model_id * 8,
            1,
            1,
            "cpu",
            "float32",
            fixed_rate=False,
        )

    def encoding(self, array: Pixels, options: EncodeOptions = DEFAULT_ENCODE_OPTIONS) -> Work[bytes]:
        yield ()
        if options.lossless:
            return packed(array)
        quality = DEFAULT_QUALITY if options.quality is None else options.quality
        return packed(array, model_id=self.model_id, quality=quality, tune=options.tune or "psnr")

    def decoding(
        self, file: bytes | Container, options: DecodeOptions = DEFAULT_DECODE_OPTIONS
    ) -> Work[Pixels]:
        yield ()
        container = self.opened(file)
        header = container.header
        if header.model_id not in (b"", bytes.fromhex(self.model_id)):
            raise WrongModelError(f"made with {header.model_id.hex()}, not with {self.model_id}")
        payload = container.payload(Section.SAMPLES if header.lossless else Section.CODES, 0)
        assert payload is not None
        array = np.frombuffer(payload, np.uint8).reshape(header.height, header.width, -1)
        left, top, right, bottom = (options.region or Region(0, 0, header.width, header.height)).edges
        if right > header.width or bottom > header.height:
            raise ParameterError(f"region to {right},{bottom} of {header.width}x{header.height}")
        return array[top:bottom, left:right] * np.uint8(options.groups != 1)

    def mapping(
        self, source: Pixels | bytes | Container, options: EncodeOptions = DEFAULT_ENCODE_OPTIONS
    ) -> Work[Pixels]:
        yield ()
        array = source if isinstance(source, np.ndarray) else self.decode(source)
        return np.full(array.shape[:2], round(options.quality or DEFAULT_QUALITY), np.uint8)

    def kept_codes(self, file: bytes | Container) -> int:
        return int(self.decode(file).size)


@dataclass
class FakeCheckpoints:
    """Two checkpoints in every folder."""

    DEFAULT_MODEL_DIR: Path = Path("built-in")
    error: Exception | None = None
    loaded: list[tuple[str, Path, str]] = field(default_factory=list)

    def available(self, model_dir: Path) -> tuple[str, ...]:
        return () if model_dir.name == "empty" else ("default", "other")

    def load_codec(self, name: str, *, model_dir: Path, device: str, limits: Limits | None) -> PictureCodec:
        assert limits is not None
        self.loaded.append((name, model_dir, device))
        if self.error is not None:
            raise self.error
        return FakeCodec("11111111" if name == "default" else "22222222")


@pytest.fixture
def fake() -> FakeCheckpoints:
    return FakeCheckpoints()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "in.png"
    path.write_bytes(write_image(PICTURE, format="png"))
    return path


def test_a_picture_survives_compress_and_decompress(
    source: Path, tmp_path: Path, fake: FakeCheckpoints, capsys: pytest.CaptureFixture[str]
) -> None:
    file, back = tmp_path / "a.cwic", tmp_path / "b.png"
    assert cli.main(["compress", str(source), str(file)], checkpoints=fake) == 0
    summary = capsys.readouterr().err
    assert summary.count("\n") == 1
    assert f"8x6: {source.stat().st_size} -> {file.stat().st_size} bytes" in summary
    assert f"{8 * file.stat().st_size / 48:.3f} bpp, quality 50, tune psnr, model fake-11111111" in summary
    assert cli.main(["decompress", str(file), str(back)], checkpoints=fake) == 0
    np.testing.assert_array_equal(read_image(back.read_bytes(), limits=Limits()).array, PICTURE)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.cwic", "b.png", "in.png"]


class Streams:
    """Standard input and output as bytes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, given: bytes) -> None:
        self.out = io.BytesIO()
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given)))
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(self.out))


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


def test_inspect_tells_the_header_without_a_checkpoint(
    tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    (tmp_path / "a.cwic").write_bytes(packed(PICTURE))
    size = (tmp_path / "a.cwic").stat().st_size
    assert cli.main(["inspect", str(tmp_path / "a.cwic")]) == 0
    text = capsysbinary.readouterr().out.decode()
    assert f"size            {size}\n" in text
    assert "width           8\n" in text
    assert "mean_importance" not in text
    assert cli.main(["inspect", str(tmp_path / "a.cwic"), "--json"]) == 0
    facts = json.loads(capsysbinary.readouterr().out)
    assert (facts["width"], facts["height"], facts["size"], facts["quality"]) == (8, 6, size, None)
    assert (facts["profile"], facts["tune"], facts["grey"]) == ("lossless", None, False)
    assert (facts["tile"], facts["tiles"], facts["plane"], facts["truncated"]) == (1024, 1, False, False)
    assert facts["sections"] == [{"name": "samples", "length": PICTURE.size, "bpp": 24}]


def test_inspect_tells_the_mean_importance_where_it_is_asked_for(
    tmp_path: Path, fake: FakeCheckpoints, capsys: pytest.CaptureFixture[str]
) -> None:
    coded = packed(PICTURE, model_id="22222222")
    for data, mean in (
        (coded, round(50 / 255, 4)),
        (coded[:-1], round(50 / 255, 4)),
        (packed(PICTURE), None),
    ):
        (tmp_path / "a.cwic").write_bytes(data)
        arguments = ["inspect", str(tmp_path / "a.cwic"), "--importance", "--model-dir", str(tmp_path)]
        assert cli.main([*arguments, "--json"], checkpoints=fake) == 0
        assert json.loads(capsys.readouterr().out)["mean_importance"] == mean
        assert cli.main(arguments, checkpoints=fake) == 0
        assert f"mean_importance {'-' if mean is None else mean}\n" in capsys.readouterr().out
    assert [name for name, *_ in fake.loaded] == ["default", "other"] * 4
    assert {folder for _, folder, _ in fake.loaded} == {tmp_path}


def test_inspect_tells_of_several_files_and_of_those_that_fail(
    tmp_path: Path, fake: FakeCheckpoints, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [str(tmp_path / name) for name in ("a.cwic", "text", "absent", "b.cwic")]
    for name in names[::3]:
        Path(name).write_bytes(packed(PICTURE, model_id="22222222"))
    Path(names[1]).write_bytes(b"text")
    assert cli.main(["inspect", *names]) == 1
    said = capsys.readouterr()
    paragraphs = said.out.strip().split("\n\n")
    assert [each.splitlines()[0].split() for each in paragraphs] == [["file", name] for name in names[::3]]
    assert f"{names[1]}: " in said.err
    assert f"{names[2]}: No such file" in said.err
    assert "2 of 4 files cannot be read" in said.err
    arguments = ["inspect", *names[::3], "--importance", "--json"]
    assert cli.main(arguments, checkpoints=fake) == 0
    facts = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(each["file"], each["mean_importance"]) for each in facts] == [
        (name, round(50 / 255, 4)) for name in names[::3]
    ]
    assert [name for name, *_ in fake.loaded] == ["default", "other"]  # once each, for all files


def test_the_map_of_a_file_that_was_cut_needs_permission(
    tmp_path: Path, fake: FakeCheckpoints, capsys: pytest.CaptureFixture[str]
) -> None:
    cut, out, photo = tmp_path / "cut.cwic", tmp_path / "map.png", tmp_path / "a.png"
    cut.write_bytes(packed(PICTURE, model_id="11111111")[:-1])
    photo.write_bytes(write_image(PICTURE, format="png"))
    arguments = ["importance-map", str(cut), str(out)]
    assert cli.main(arguments, checkpoints=fake) == 1
    assert not out.exists()
    assert cli.main([*arguments, "--allow-truncated"], checkpoints=fake) == 0
    assert read_image(out.read_bytes(), limits=Limits()).array.shape[:2] == PICTURE.shape[:2]
    assert cli.main(["importance-map", str(photo), str(out), "--allow-truncated"], checkpoints=fake) == 2
    assert "--allow-truncated is for .cwic files" in capsys.readouterr().err


@pytest.mark.parametrize(
    "option", [["--model", "x"], ["--model-dir", "x"], ["--device", "cuda"], ["--max-pixels", "9"]]
)
def test_inspect_refuses_options_that_would_do_nothing(
    option: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.cwic").write_bytes(packed(PICTURE))
    assert cli.main(["inspect", str(tmp_path / "a.cwic"), *option]) == 2
    assert f"{option[0]} is for --importance" in capsys.readouterr().err


def test_inspect_tells_what_is_there_of_a_file_that_was_cut(
    tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    (tmp_path / "cut").write_bytes(packed(PICTURE, model_id="11111111", quality=30, tune="visual")[:-1])
    assert cli.main(["inspect", str(tmp_path / "cut")]) == 0
    facts = dict(line.split(maxsplit=1) for line in capsysbinary.readouterr().out.decode().splitlines())
    assert (facts["quality"], facts["tune"], facts["lowest_level"]) == ("30.0", "visual", "1")
    assert (facts["grey"], facts["plane"], facts["truncated"]) == ("no", "no", "yes")
    assert facts["sections"] == f"map 3 (0.5000 bpp), codes0 {PICTURE.size} (24.0000 bpp)"
    assert cli.main(["inspect", str(tmp_path / "cut"), "--json"]) == 0
    assert json.loads(capsysbinary.readouterr().out)["truncated"] is True


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
    assert f"ends at byte {len(whole) - 1} of {len(whole)}; allow_truncated decodes it" in said
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
    out = [] if command == "inspect" else [str(tmp_path / "out.png")]
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
        ("22222222", ["default", "other"]),
        ("11111111", ["default"]),
        ("", ["default"]),
    ):
        (tmp_path / "a.cwic").write_bytes(packed(PICTURE, model_id=model_id))
        fake.loaded.clear()
        assert (
            cli.main(["decompress", str(tmp_path / "a.cwic"), str(tmp_path / "a.png")], checkpoints=fake) == 0
        )
        assert [name for name, *_ in fake.loaded] == loaded
    (tmp_path / "a.cwic").write_bytes(packed(PICTURE, model_id="33333333"))
    assert cli.main(["decompress", str(tmp_path / "a.cwic"), str(tmp_path / "a.png")], checkpoints=fake) == 1
    assert "33333333" in capsys.readouterr().err


def test_where_the_checkpoint_comes_from_can_be_said(
    source: Path, tmp_path: Path, fake: FakeCheckpoints
) -> None:
    arguments = ["compress", str(source), str(tmp_path / "a.cwic")]
    assert cli.main(arguments, checkpoints=fake) == 0
    options = ["--model", "other", "--model-dir", str(tmp_path), "--device", "cpu"]
    assert cli.main([*arguments, *options], checkpoints=fake) == 0
    assert fake.loaded == [("default", Path("built-in"), "auto"), ("other", tmp_path, "cpu")]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "COMMAND"),
        (["frobnicate"], "frobnicate"),
        (["compress", "IN"], "OUT"),
        (["compress", "IN", "OUT", "--quality", "high"], "high"),
        (["compress", "IN", "OUT", "--quality", "101"], "101"),
        (["compress", "IN", "OUT", "--quality", "nan"], "nan"),
        (["compress", "IN", "OUT", "--tune", "speed"], "speed"),
        (["compress", "IN", "OUT", "--lossless", "--quality", "9"], "neither quality nor tune"),
        (["compress", "IN", "OUT", "--lossless", "--tune", "psnr"], "neither quality nor tune"),
        (["compress", "IN", "OUT", "--lossless", "--target-psnr", "40"], "nor target"),
        (["compress", "IN", "OUT", "--quality", "9", "--target-bytes", "99"], "exclude each other"),
        (["compress", "IN", "OUT", "--target-bpp", "1", "--target-ssimulacra2", "80"], "exclude each other"),
        (["compress", "IN", "OUT", "--target-bytes", "0"], "1 and above, got 0"),
        (["compress", "IN", "OUT", "--target-bytes", "9.5"], "9.5"),
        (["compress", "IN", "OUT", "--target-psnr", "nan"], "above 0, got nan"),
        (["compress", "IN", "OUT", "--max-pixels", "0"], "got 0"),
        (["importance-map", "IN", "OUT", "--format", "png", "--quality", "0"], "got 0"),
        (
            ["decompress", "FILE", "OUT", "--format", "png", "--region", "1,2,3"],
            "X,Y,W,H in pixels, got '1,2,3'",
        ),
        (["decompress", "FILE", "OUT", "--format", "png", "--region", "a,b,c,d"], "got 'a,b,c,d'"),
        (["decompress", "FILE", "OUT", "--format", "png", "--region", "0,0,9,6"], "region"),
        (["decompress", "FILE", "OUT", "--format", "png", "--groups", "0"], "got 0"),
        (["decompress", "FILE", "OUT", "--format", "png", "--groups", "few"], "few"),
        (["truncate", "FILE", "OUT"], "--bytes"),
        (["truncate", "FILE", "OUT", "--bytes", "half"], "half"),
        (["truncate", "FILE", "OUT", "--bytes", "9", "--quality", "9"], "--quality"),
        (["importance-map", "IN", "OUT.png", "--style", "blue"], "blue"),
        (["importance-map", "IN", "OUT.png", "--style", "overlay", "--size", "map"], "size of the picture"),
        (["decompress", "IN", "OUT.bmp"], ".png, .jpg, .jpeg, .webp"),
        (["decompress", "IN", "OUT", "--format", "gif"], "gif"),
    ],
)
def test_a_wrong_command_line_is_one_line_and_status_2(
    arguments: list[str],
    message: str,
    source: Path,
    tmp_path: Path,
    fake: FakeCheckpoints,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "a.cwic").write_bytes(packed(PICTURE))
    places = {"IN": str(source), "OUT": str(tmp_path / "out"), "FILE": str(tmp_path / "a.cwic")}
    assert cli.main([places.get(word, word) for word in arguments], checkpoints=fake) == 2
    said = capsys.readouterr()
    assert message in said.err
    assert (said.out, said.err.count("\n")) == ("", 1)
    assert not (tmp_path / "out").exists()


def test_transparency_is_not_put_into_a_jpeg(
    tmp_path: Path, fake: FakeCheckpoints, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.cwic").write_bytes(packed(np.zeros((2, 2, 4), np.uint8)))
    assert cli.main(["decompress", str(tmp_path / "a.cwic"), str(tmp_path / "a.jpg")], checkpoints=fake) == 2
    assert "transparency" in capsys.readouterr().err
    assert not (tmp_path / "a.jpg").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["compress", "missing", "out"], "missing: No such file"),
        (["compress", "folder", "out"], "folder: Is a directory"),
        (["compress", "in.png", "folder"], "folder: is a folder"),
        (["compress", "in.png", "nowhere/out"], "nowhere/out: its folder does not exist"),
        (["compress", "text", "out"], "68 65 6c 6c 6f"),
        (
            ["compress", "in.png", "out", "--max-pixels", "47"],
            "max_pixels is 47, got 48; --max-pixels raises it",
        ),
        (["compress", "a.cwic", "out"], "a .cwic file"),
        (["decompress", "in.png", "out.png"], "does not start with CWIC"),
        (["decompress", "a.cwic", "out.png", "--max-pixels", "47"], "max_pixels is 47"),
        (["decompress", "cut", "out.png"], "the file ends at byte"),
        (["inspect", "text"], "does not start with CWIC"),
        (["truncate", "text", "out", "--bytes", "9"], "does not start with CWIC"),
        (["truncate", "cut", "out", "--bytes", "9"], "the file ends at byte"),
        (["importance-map", "text", "out.png"], "68 65 6c 6c 6f"),
    ],
)
def test_a_refused_input_is_one_line_and_status_1(
    arguments: list[str],
    message: str,
    source: Path,
    tmp_path: Path,
    fake: FakeCheckpoints,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(source.parent)
    (tmp_path / "folder").mkdir()
    (tmp_path / "text").write_text("hello")
    (tmp_path / "a.cwic").write_bytes(packed(PICTURE))
    (tmp_path / "cut").write_bytes(packed(PICTURE)[:-9])
    before = sorted(tmp_path.rglob("*"))
    assert cli.main(arguments, checkpoints=fake) == 1
    said = capsys.readouterr()
    assert message in said.err
    assert (said.out, said.err.count("\n")) == ("", 1)
    assert said.err.startswith("cwic: ")
    assert sorted(tmp_path.rglob("*")) == before, "nothing half written"


@given(
    data=st.binary(max_size=200),
    command=st.sampled_from(("compress", "decompress", "truncate", "importance-map", "inspect")),
)
@settings(max_examples=100)
def test_no_input_gets_a_traceback(data: bytes, command: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        Streams(patch, data)
        errors = io.StringIO()
        patch.setattr(sys, "stderr", errors)
        arguments = [command, "-"] if command == "inspect" else [command, "-", "-"]
        arguments += ["--bytes", "99"] if command == "truncate" else []
        assert cli.main(arguments, checkpoints=FakeCheckpoints()) == 1
        assert errors.getvalue().count("\n") == 1


@pytest.mark.parametrize("error", [CheckpointNotFoundError("no cwic in x"), SelfTestError("other\ncodes")])
def test_a_bad_installation_is_status_3(
    error: Exception, source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["compress", str(source), str(tmp_path / "out")]
    assert cli.main(arguments, checkpoints=FakeCheckpoints(error=error)) == 3
    assert capsys.readouterr().err == f"cwic: {' '.join(str(error).split())}\n"


def test_a_folder_without_checkpoints_is_status_3(
    source: Path, tmp_path: Path, fake: FakeCheckpoints, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["compress", str(source), str(tmp_path / "out"), "--model-dir", str(tmp_path / "empty")]
    assert cli.main(arguments, checkpoints=fake) == 3
    assert "no checkpoint in" in capsys.readouterr().err


def test_an_existing_file_is_replaced_and_a_link_stays_a_link(
    source: Path, tmp_path: Path, fake: FakeCheckpoints
) -> None:
    target, link = tmp_path / "old.cwic", tmp_path / "link.cwic"
    target.write_bytes(b"old")
    link.symlink_to(target)
    assert cli.main(["compress", str(source), str(link)], checkpoints=fake) == 0
    assert link.is_symlink()
    assert target.read_bytes() == packed(PICTURE, model_id="11111111")
    assert target.stat().st_mode & 0o777 == 0o666 & ~_umask()
    assert cli.main(["compress", str(source), os.devnull], checkpoints=fake) == 0
    assert not Path(os.devnull).is_file()


def test_an_existing_file_keeps_its_mode(source: Path, tmp_path: Path, fake: FakeCheckpoints) -> None:
    target = tmp_path / "secret.cwic"
    target.touch(mode=0o600)
    assert cli.main(["compress", str(source), str(target)], checkpoints=fake) == 0
    assert target.stat().st_mode & 0o777 == 0o600
    assert target.stat().st_size


def test_a_picture_is_not_replaced_by_its_own_file(
    source: Path, tmp_path: Path, fake: FakeCheckpoints, capsys: pytest.CaptureFixture[str]
) -> None:
    before = source.read_bytes()
    (tmp_path / "link").symlink_to(source)
    for out in (source, tmp_path / "link"):
        assert cli.main(["compress", str(source), str(out)], checkpoints=fake) == 2
        assert "IN and OUT are one file" in capsys.readouterr().err
    assert source.read_bytes() == before


def test_an_open_file_or_pipe_is_written_to_as_it_stands(
    source: Path, tmp_path: Path, fake: FakeCheckpoints
) -> None:
    with (tmp_path / "log").open("ab") as file:
        file.write(b"head")
        file.flush()
        assert cli.main(["compress", str(source), f"/dev/fd/{file.fileno()}"], checkpoints=fake) == 0
    assert (tmp_path / "log").read_bytes() == b"head" + packed(PICTURE, model_id="11111111")
    reader, writer = os.pipe()
    assert cli.main(["compress", str(source), f"/dev/fd/{writer}"], checkpoints=fake) == 0
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        assert pipe.read() == packed(PICTURE, model_id="11111111")


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="files in memory are Linux's")  # noqa: S108  # asked for, not written to
def test_a_file_in_memory_is_replaced_as_any_other(source: Path, fake: FakeCheckpoints) -> None:
    with tempfile.NamedTemporaryFile(dir="/dev/shm") as file:  # a name of its own
        file.write(b"old")
        file.flush()
        assert cli.main(["compress", str(source), file.name], checkpoints=fake) == 0
        assert Path(file.name).read_bytes() == packed(PICTURE, model_id="11111111")


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory")])
def test_memory_that_runs_out_is_one_line_and_status_1(
    source: Path,
    tmp_path: Path,
    fake: FakeCheckpoints,
    error: Exception,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(*_: object, **__: object) -> bytes:
        raise error

    monkeypatch.setattr(FakeCodec, "encode", fail)
    assert cli.main(["compress", str(source), str(tmp_path / "out")], checkpoints=fake) == 1
    assert capsys.readouterr().err == "cwic: not enough memory for a picture of this size\n"


def _umask() -> int:
    value = os.umask(0)
    os.umask(value)
    return value


@pytest.mark.skipif(os.geteuid() == 0 if hasattr(os, "geteuid") else True, reason="root may write anywhere")
def test_an_unwritable_folder_is_status_1(source: Path, tmp_path: Path, fake: FakeCheckpoints) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    assert cli.main(["compress", str(source), str(closed / "out")], checkpoints=fake) == 1


def test_a_failed_write_leaves_the_old_file(
    source: Path, tmp_path: Path, fake: FakeCheckpoints, capsys: pytest.CaptureFixture[str]
) -> None:
    name = "x" * 250  # itself a legal name, but the temporary file's is too long
    (tmp_path / name).write_bytes(b"old")
    assert cli.main(["compress", str(source), str(tmp_path / name)], checkpoints=fake) == 1
    assert (tmp_path / name).read_bytes() == b"old"
    assert capsys.readouterr().err.count("\n") == 1


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-W", "error", "-m", "model.cli", *arguments]


def test_a_closed_pipe_ends_quietly(tmp_path: Path) -> None:
    (tmp_path / "a.cwic").write_bytes(packed(PICTURE))
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(  # noqa: S603 - our own command line
        command("inspect", str(tmp_path / "a.cwic")),
        cwd=ROOT,
        stdout=writer,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, b"")


def test_help_version_and_inspect_import_neither_torch_nor_pillow(tmp_path: Path) -> None:
    (tmp_path / "a.cwic").write_bytes(packed(PICTURE))
    script = (
        "import sys; from model.cli import main; "
        f"codes = [main(['--help']), main(['--version']), main(['inspect', {str(tmp_path / 'a.cwic')!r}])]; "
        "sys.exit(any(codes) or bool({'torch', 'PIL'} & set(sys.modules)))"
    )
    done = subprocess.run(  # noqa: S603 - our own command line
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "importance-map" in done.stdout
    assert "cwic " in done.stdout


def test_the_real_checkpoints_module_fits() -> None:
    from model import checkpoints

    fits: Checkpoints = checkpoints
    assert fits.DEFAULT_MODEL_DIR.name == "weights"
