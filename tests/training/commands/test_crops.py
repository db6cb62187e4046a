"""training.commands.crops: sheets of what files look like, at sizes that can be compared."""

import itertools
from collections.abc import Sequence
from pathlib import Path

import pytest
from PIL import Image

from tests.training.training_fakes import scene, write_png
from training.__main__ import main
from training.commands import crops
from training.commands.crops import smallest_from
from training.measure.pillow_codecs import PILLOW_CODECS
from training.measure.sheet import Panel, Tile, compose

HEIGHT, WIDTH = 420, 400
Drawn = dict[str, tuple[list[str], list[Tile]]]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """With three pictures by the names of Kodak's, which are all that is drawn, at one rate."""
    names = {"face": "kodim04.png", "face paint": "kodim15.png", "houses, lettering": "kodim08.png"}
    for seed, name in enumerate(names.values()):
        write_png(tmp_path / "kodak" / name, scene(HEIGHT, WIDTH, seed=seed))
    monkeypatch.setattr(crops, "_CROPS", {what: (name, (100, 100)) for what, name in names.items()})
    monkeypatch.setattr(crops, "RATES", {"middle": 1.2})
    monkeypatch.setattr(crops, "_OTHERS", {"WebP": "webp", "JPEG": "jpeg-optimized"})
    monkeypatch.setattr(crops, "_SIZES", (9000,))
    monkeypatch.setattr(crops, "_PSNRS", (20.0,))
    return tmp_path / "kodak"


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Drawn:
    """The headings and tiles of every sheet that is composed, by its title."""
    sheets: Drawn = {}

    def record(tiles: Sequence[Tile], headings: Sequence[str], *, title: str, scale: bool) -> Image.Image:
        sheets[title] = list(headings), list(tiles)
        return compose(tiles, headings, title=title, scale=scale)

    monkeypatch.setattr(crops, "compose", record)
    return sheets


def size(panel: Panel) -> int:
    """Of the file, as the caption says."""
    words = panel.caption.split()
    return int(words[words.index("bytes,") - 1])


def test_the_sheets_have_files_of_comparable_sizes(
    folder: Path, tiny_dir: Path, tmp_path: Path, drawn: Drawn
) -> None:
    out = tmp_path / "new" / "sheets"
    assert main(["crops", str(folder), str(out), "--model", "tiny", "--model-dir", str(tiny_dir)]) == 0
    assert sorted(path.name for path in out.iterdir()) == [
        f"{name}.webp" for name in ("crops-middle", "prefixes", "regions", "targets")
    ]
    for path in out.iterdir():
        with Image.open(path) as sheet:
            assert sheet.width > 240

    _, rows = drawn["1.2 bits per pixel"]
    for _, visual, squared, *others in rows:
        assert size(visual) <= size(squared)
        assert all(size(other) >= size(squared) for other in others)
    headings, [(_, *prefixes)] = drawn["A file of quality 90, cut"]
    assert [size(each) for each in prefixes] == sorted({size(each) for each in prefixes})
    assert len(prefixes) == len(headings) - 1 == 3, "the groups of the tiny codec"
    _, regions = drawn["A region of interest, PSNR in it and elsewhere"]
    assert {size(each) for each in regions[0][1:]} == {size(each) for each in regions[1][1:]}
    assert len(drawn["Asked for a size, and for a PSNR"][1]) == 2


@pytest.mark.parametrize("name", ["avif", "webp", "jpeg-optimized"])
def test_another_format_has_the_lowest_quality_that_is_not_smaller(name: str) -> None:
    codec, array = PILLOW_CODECS[name], scene(96, 128)
    least = len(codec.encode(array, quality=40))
    file = smallest_from(codec, array, least)
    assert len(file) >= least
    files = [codec.encode(array, quality=quality) for quality in range(30, 51)]
    assert any(one == file and len(before) < least for before, one in itertools.pairwise(files))
    assert smallest_from(codec, array, 1 << 30) == codec.encode(array, quality=100)


def test_a_picture_that_is_missing_is_named(
    tmp_path: Path, tiny_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["crops", str(tmp_path), str(tmp_path), "--model", "tiny", "--model-dir", str(tiny_dir)]) == 2
    assert "kodim04.png" in capsys.readouterr().err


def test_a_checkpoint_of_one_rate_has_no_crops(
    folder: Path, tiny_2018_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["crops", str(folder), str(folder), "--model", "tiny-2018", "--model-dir", str(tiny_2018_dir)]
    assert main(argv) == 2
    assert "both tunes" in capsys.readouterr().err
