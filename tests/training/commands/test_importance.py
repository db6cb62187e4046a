"""training.commands.importance: pictures beside their importance maps."""

import shutil
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from model.codec import Codec
from model.container.format import Container, Header, pack
from model.errors import ParameterError
from model.options import DecodeOptions, EncodeOptions
from model.protocol import DEFAULT_DECODE_OPTIONS, DEFAULT_ENCODE_OPTIONS
from model.steps import Work
from model.types import ModelInfo, Pixels
from tests.containers import ReadsContainers
from tests.training.training_fakes import boxed, made_up_info, noise, scene, write_png
from training.__main__ import main
from training.commands import arguments, importance
from training.commands.importance import MAX_ON_SHEET, Source, samples, sources_of, targets_of, tile_of
from training.data.synthetic import NAMES
from training.measure.sheet import coloured


@dataclass(frozen=True)
class HalfImportant(ReadsContainers):
    """The left half needs all channels, the right half needs none; files have 100 bytes."""

    name: str = "half"
    fixed_rate: bool = False
    lossless: bool = False
    seen: list[float | None] = field(default_factory=list)

    @property
    def info(self) -> ModelInfo:
        """Made up."""
        return made_up_info(self.name, fixed_rate=self.fixed_rate)

    def encoding(self, array: Pixels, options: EncodeOptions = DEFAULT_ENCODE_OPTIONS) -> Work[bytes]:
        """A hundred bytes, of which `inspect` reads the header."""
        yield ()
        self.seen.append(options.quality)
        if self.lossless:
            header = Header(width=array.shape[1], height=array.shape[0], profile="lossless", tile=4096)
            return pack(header, [bytes(100 - len(pack(header, [b""])) - 1)])
        empty = boxed(array, [b"", b""], model_id=self.info.model_id)
        return boxed(array, [b"", bytes(100 - len(empty) - 1)], model_id=self.info.model_id)

    def decoding(
        self, file: bytes | Container, options: DecodeOptions = DEFAULT_DECODE_OPTIONS
    ) -> Work[Pixels]:
        """Never asked for."""
        raise NotImplementedError

    def mapping(
        self, source: Pixels | bytes | Container, options: EncodeOptions = DEFAULT_ENCODE_OPTIONS
    ) -> Work[Pixels]:
        """White at the left."""
        yield ()
        assert isinstance(source, np.ndarray)
        self.seen.append(options.quality)
        grey = np.zeros(source.shape[:2], np.uint8)
        grey[:, : source.shape[1] // 2] = 255
        return grey

    def kept_codes(self, file: bytes | Container) -> int:
        """None that anybody asks for."""
        raise NotImplementedError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two pictures and a file that is none."""
    write_png(tmp_path / "pictures" / "a.png", scene(96, 300, seed=1))
    write_png(tmp_path / "pictures" / "b.png", scene(120, 256, seed=2))
    (tmp_path / "pictures" / "notes.txt").write_text("no picture")
    return tmp_path / "pictures"


@pytest.fixture
def half(monkeypatch: pytest.MonkeyPatch) -> HalfImportant:
    """The codec that the command loads."""
    codec = HalfImportant()
    monkeypatch.setattr(arguments, "load_codec", lambda *_, **__: codec)
    return codec


def load(path: Path) -> Pixels:
    with Image.open(path) as image:
        return np.asarray(image)


def holds(whole: Pixels, part: Pixels) -> tuple[int, int] | None:
    """Where a picture is found in another, as row and column."""
    height, width = part.shape[:2]
    candidates: NDArray[np.bool_] = np.all(whole[: 1 - height, : 1 - width] == part[0, 0], axis=2)
    for row, column in np.argwhere(candidates):
        if (whole[row : row + height, column : column + width] == part).all():
            return int(row), int(column)
    return None


def test_each_picture_gets_its_map_beside_it(folder: Path, half: HalfImportant, tmp_path: Path) -> None:
    assert main(["importance", str(folder), str(tmp_path / "out")]) == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.png", "b.png", "sheet.png"]
    drawn, picture = load(tmp_path / "out" / "a.png"), load(folder / "a.png")
    found = holds(drawn, picture)
    beside = holds(drawn, np.asarray(coloured(half.importance_map(picture))))
    assert found is not None
    assert beside is not None
    assert found[0] == beside[0]
    assert beside[1] >= found[1] + 300


def test_the_maps_of_several_checkpoints_stand_side_by_side(
    folder: Path, tiny_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("one", "two"):
        for file in tiny_dir.glob("tiny.*"):
            shutil.copy(file, tmp_path / f"{name}{file.suffix}")
    sizes = {}
    for models in ("one", "one,two"):
        out = tmp_path / models
        command = ["importance", str(folder), str(out), "--models", models, "--model-dir", str(tmp_path)]
        assert main(command) == 0
        sizes[models] = load(out / "a.png").shape[1]
        assert f"{out / 'sheet.png'}: 2 pictures" in capsys.readouterr().out
    assert sizes["one,two"] >= sizes["one"] + 300


def test_a_real_map_says_what_it_keeps(tiny_codec: Codec) -> None:
    picture = noise(64, 80)
    first, second = tile_of(Source("n.png", lambda: picture), [tiny_codec], quality=30)
    bits = 8 * len(tiny_codec.encode(picture, EncodeOptions(quality=30))) / (64 * 80)
    mean = tiny_codec.importance_map(picture, EncodeOptions(quality=30)).mean() / 255
    assert (first.caption, first.image.size) == ("n.png", (80, 64))
    assert second.caption.endswith(f"{bits:.3f} bpp, {100 * mean:.0f} % kept")
    assert second.image.size == (80, 64)


def test_the_caption_tells_the_rate_of_the_whole_file_and_the_mean_of_the_map() -> None:
    source = Source("a.png", lambda: scene(40, 50))
    assert tile_of(source, [HalfImportant()], quality=None)[1].caption == "0.400 bpp, 50 % kept"
    lossless = HalfImportant(lossless=True)
    assert tile_of(source, [lossless], quality=None)[1].caption == "lossless, 0.400 bpp, 50 % kept"


def test_quality_reaches_the_codecs_that_have_one() -> None:
    free, fixed = HalfImportant(), HalfImportant(fixed_rate=True)
    tile_of(Source("a.png", lambda: scene(40, 50)), [free, fixed], quality=30)
    assert free.seen == [30, 30]
    assert fixed.seen == [None, None]


def test_the_heading_names_the_checkpoint_and_the_quality_if_there_is_one() -> None:
    assert importance.heading(HalfImportant(), None) == "half, quality 50"
    assert importance.heading(HalfImportant(), 30.0) == "half, quality 30"
    assert importance.heading(HalfImportant(name="paper", fixed_rate=True), 30.0) == "paper"


def test_a_quality_where_there_is_none_to_choose_is_an_error(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(arguments, "load_codec", lambda *_, **__: HalfImportant(fixed_rate=True))
    out = str(tmp_path / "out")
    assert main(["importance", str(folder), out, "--model", "paper", "--quality", "30"]) == 2
    assert "paper: one rate only" in capsys.readouterr().err
    assert main(["importance", str(folder), out, "--model", "paper"]) == 0


def test_the_samples_need_no_folder(half: HalfImportant, tmp_path: Path) -> None:
    assert main(["importance", "--samples", str(tmp_path)]) == 0
    drawn = {path.stem for path in tmp_path.iterdir()}
    assert drawn == {"sheet", *NAMES, *(source.name for source in samples())}
    assert len(half.seen) == 2 * len(samples())


def test_picture_files_can_be_named_one_by_one(folder: Path, half: HalfImportant, tmp_path: Path) -> None:
    assert main(["importance", str(folder / "b.png"), str(folder / "a.png"), str(tmp_path / "out")]) == 0
    assert len(half.seen) == 4


@pytest.mark.parametrize(
    ("arguments_given", "message"),
    [
        (["OUT"], "--samples"),
        (["--samples", "FOLDER", "OUT"], "--samples"),
        (["EMPTY", "OUT"], "no pictures in"),
        (["MISSING", "OUT"], "no such file or folder"),
        (["FOLDER", "FILE"], "cannot be written"),
        (["FOLDER", "FILE/below"], "cannot be written"),
        (["FOLDER", "FOLDER"], "choose another OUT"),
    ],
)
@pytest.mark.usefixtures("half")
def test_what_cannot_be_done_is_said_before_any_work(
    folder: Path,
    tmp_path: Path,
    arguments_given: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "FILE").touch()
    (tmp_path / "EMPTY").mkdir()
    folder.rename(tmp_path / "FOLDER")
    given = [text if text.startswith("--") else str(tmp_path / text) for text in arguments_given]
    assert main(["importance", *given]) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.rglob("sheet.png"))


def test_names_with_nothing_between_the_commas_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["importance", "FOLDER", "OUT", "--models", "a,,b"])
    assert "got 'a,,b'" in capsys.readouterr().err


def test_pictures_of_one_name_are_told_apart_and_none_becomes_the_sheet(tmp_path: Path) -> None:
    for name in ("a.png", "a.webp", "b.png", "sheet.png"):
        write_png(tmp_path / name, scene(8, 8))
    names = [path.name for path in targets_of(sources_of([tmp_path]), tmp_path / "out")]
    assert names == ["a.png.png", "a.webp.png", "b.png", "sheet.png.png"]
    write_png(tmp_path / "more" / "b.png", scene(8, 8))
    with pytest.raises(ParameterError, match=r"b\.png\.png; rename one"):
        targets_of(sources_of([tmp_path, tmp_path / "more"]), tmp_path / "out")


def test_a_sheet_holds_so_many_pictures_and_says_of_how_many(
    half: HalfImportant, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    many = MAX_ON_SHEET + 2
    for index in range(many):
        write_png(tmp_path / "many" / f"{index}.png", noise(16, 16, seed=index))
    assert main(["importance", str(tmp_path / "many"), str(tmp_path / "out")]) == 0
    assert f"{MAX_ON_SHEET} of {many} pictures" in capsys.readouterr().out
    assert len(list((tmp_path / "out").iterdir())) == many + 1
    assert len(half.seen) == 2 * many
