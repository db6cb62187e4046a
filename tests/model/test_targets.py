"""Files that reach a target: never beyond it, close to it, and by few encodings."""

import functools
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from model.checkpoints import load_codec
from model.cli import main
from model.codec import Codec
from model.container.format import inspect, quality_at
from model.decoder import DecodeTile, SynthesiseTile
from model.encoder import EncodeTile, RefineTile
from model.errors import ParameterError, TargetError
from model.hidden import without_hidden
from model.images.distortion import psnr, ssimulacra2
from model.images.writing import write_image
from model.options import REFINEMENTS, TARGETS, EncodeOptions
from model.steps import Step, Work, run
from model.tile_cache import TileCache
from model.types import Metadata, Pixels
from tests.conftest import picture
from tests.photo import photo_jpeg, pixels_of
from training.data.screens import screen
from training.data.synthetic import synthetic_picture

SIZES = ((1, 1), (9, 40), (64, 64), (150, 170), (300, 270))  # the last of four tiles
MODES = ("rgb", "grey", "alpha")


def of_mode(size: tuple[int, int], mode: str) -> Pixels:
    array = picture(*size, channels=4 if mode == "alpha" else 3, seed=sum(size))
    return array[..., :1].repeat(3, 2) if mode == "grey" else array


def coded(codec: Codec, array: Pixels, **options: Any) -> bytes:
    return codec.encode(array, EncodeOptions(tile=256, lossless=False, **options))


@functools.cache
def ends_of(codec: Codec, size: tuple[int, int], mode: str) -> tuple[bytes, bytes]:
    """The files of the lowest and the highest quality."""
    array = of_mode(size, mode)
    return coded(codec, array, quality=1), coded(codec, array, quality=100)


@pytest.fixture(scope="module")
def codec() -> Codec:
    """The default checkpoint."""
    return load_codec(device="cpu")


@functools.cache
def drawn_or_taken(name: str) -> Pixels:
    """A picture of several kinds of content, 240 x 320."""
    whole = pixels_of(photo_jpeg()) if name == "photo" else synthetic_picture(name)
    return np.ascontiguousarray(whole[:240, :320])


@given(size=st.sampled_from(SIZES), mode=st.sampled_from(MODES), share=st.floats(0, 1), bpp=st.booleans())
@settings(max_examples=25)
def test_a_file_has_97_to_100_percent_of_its_size(
    tiny_codec: Codec, size: tuple[int, int], mode: str, share: float, bpp: bool
) -> None:
    array = of_mode(size, mode)
    low, high = map(len, ends_of(tiny_codec, size, mode))
    target = math.floor(low * (high / low) ** share)
    # A size in bits for each pixel that is that many bytes, whatever the rounding of the division.
    asked = {"target_bpp": 8 * (target + 0.5) / (size[0] * size[1])} if bpp else {"target_bytes": target}
    file = coded(tiny_codec, array, **asked)
    assert len(file) <= target
    assert len(file) >= 0.97 * target or target < 500  # where no quality has just that many bytes
    assert tiny_codec.decode(file).shape == array.shape


@given(size=st.sampled_from(SIZES), mode=st.sampled_from(MODES), share=st.floats(0, 1))
@settings(max_examples=15)
def test_a_psnr_is_reached(tiny_codec: Codec, size: tuple[int, int], mode: str, share: float) -> None:
    array = of_mode(size, mode)
    seen = run(without_hidden(array, tile=1024))[..., :3]
    low, high = (
        min(99.0, psnr(seen, tiny_codec.decode(file)[..., :3])) for file in ends_of(tiny_codec, size, mode)
    )
    assume(low <= high)  # one pixel under random weights need not gain
    target = low + share * (high - low)
    file = coded(tiny_codec, array, target_psnr=target)
    assert psnr(seen, tiny_codec.decode(file)[..., :3]) >= target


@pytest.mark.parametrize("target", [28.0, 31.7, 36.0, 40.0])
def test_a_psnr_of_a_photo_is_hardly_passed(codec: Codec, target: float) -> None:
    array = drawn_or_taken("photo")
    file = codec.encode(array, EncodeOptions(target_psnr=target))
    assert target <= psnr(array, codec.decode(file)) <= target + 0.15


@pytest.mark.parametrize("mode", MODES)
def test_what_no_quality_reaches_is_an_error_that_has_the_range(tiny_codec: Codec, mode: str) -> None:
    size = (150, 170)
    array = of_mode(size, mode)
    files = ends_of(tiny_codec, size, mode)
    low, high = map(len, files)
    for target in (1, low - 1, math.ceil(high / 0.97) + 1):
        with pytest.raises(TargetError, match=f"target_bytes {target} .* {low} to {high} bytes"):
            coded(tiny_codec, array, target_bytes=target)
    rates = [8 * len(file) / (size[0] * size[1]) for file in files]
    with pytest.raises(TargetError, match=rf"{rates[0]:.4f} to {rates[1]:.4f} bits per pixel"):
        coded(tiny_codec, array, target_bpp=rates[0] * 0.9)
    reached = [psnr(array[..., :3], tiny_codec.decode(file)[..., :3]) for file in files]
    with pytest.raises(TargetError, match=rf"{reached[0]:.2f} to {reached[1]:.2f} dB"):
        coded(tiny_codec, array, target_psnr=reached[1] + 0.01)
    assert coded(tiny_codec, array, target_psnr=reached[0] - 5) == files[0]


def test_the_ends_of_the_range_are_reached(tiny_codec: Codec) -> None:
    array = of_mode((150, 170), "rgb")
    for file in ends_of(tiny_codec, (150, 170), "rgb"):
        assert 0.97 * len(file) <= len(coded(tiny_codec, array, target_bytes=len(file))) <= len(file)


def test_a_file_without_loss_is_taken_where_it_fits(tiny_codec: Codec) -> None:
    flat = np.full((100, 100, 3), 40, np.uint8)
    asked: dict[str, Any]
    for asked in ({"target_bytes": 300}, {"target_bpp": 1.0}, {"target_psnr": 30.0}, {"target_psnr": 400.0}):
        file = tiny_codec.encode(flat, EncodeOptions(**asked))
        assert inspect(file).profile == "lossless"
        assert np.array_equal(tiny_codec.decode(file), flat)
    size = len(file)
    with pytest.raises(TargetError):
        tiny_codec.encode(flat, EncodeOptions(target_bytes=size - 1))
    noisy = picture(150, 170)
    whole = len(tiny_codec.encode(noisy, EncodeOptions(lossless=True)))
    assert inspect(tiny_codec.encode(noisy, EncodeOptions(target_bytes=whole))).profile == "lossless"


@pytest.mark.parametrize("asked", [{"target_bytes": 10**400}, {"target_bpp": 1e308}, {"target_psnr": 1e308}])
def test_no_target_is_too_large_to_be_looked_at(tiny_codec: Codec, asked: dict[str, Any]) -> None:
    array = picture(70, 50)
    with pytest.raises(TargetError, match="out of reach"):
        coded(tiny_codec, array, **asked)
    if "target_psnr" not in asked:
        assert inspect(tiny_codec.encode(array, EncodeOptions(**asked))).profile == "lossless"


def test_metadata_and_a_plane_count(tiny_codec: Codec) -> None:
    array = picture(150, 170)
    plane = np.array([[20, 0, -20], [0, 0, 0], [0, 10, 0]], np.int8)
    target = len(coded(tiny_codec, array, quality=50, plane=plane)) + 3000
    file = coded(tiny_codec, array, target_bytes=target, plane=plane, metadata=Metadata(exif=b"x" * 3000))
    assert 0.97 * target <= len(file) <= target
    assert inspect(file).plane


@pytest.mark.parametrize("name", TARGETS)
def test_a_model_of_one_rate_has_no_targets(tiny_2018_codec: Codec, name: str) -> None:
    with pytest.raises(ParameterError, match="one rate"):
        tiny_2018_codec.encode(picture(40, 40), EncodeOptions(**{name: 30}))  # type: ignore[arg-type]


def test_a_map_has_no_target(tiny_codec: Codec) -> None:
    with pytest.raises(ParameterError, match="target_psnr"):
        tiny_codec.importance_map(picture(40, 40), EncodeOptions(target_psnr=30))


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"quality": 50, "target_bytes": 9}, "quality and target_bytes exclude each other"),
        ({"target_bpp": 1, "target_psnr": 30}, "target_bpp and target_psnr exclude each other"),
        ({"target_bytes": 0}, "target_bytes is a whole number of 1 and above, got 0"),
        ({"target_bytes": 9.5}, "got 9.5"),
        ({"target_bytes": True}, "got True"),
        ({"target_bpp": 0}, "target_bpp is a number above 0, got 0"),
        ({"target_psnr": math.nan}, "target_psnr is a number above 0, got nan"),
        ({"target_psnr": math.inf}, "got inf"),
        ({"target_ssimulacra2": "good"}, "got 'good'"),
        ({"target_bytes": 9, "lossless": True}, "nor target"),
    ],
)
def test_what_cannot_be_asked_is_refused(asked: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        EncodeOptions(**asked)


def test_ssimulacra2_is_reached(codec: Codec) -> None:
    pytest.importorskip("ssimulacra2")
    array = drawn_or_taken("photo")
    target = ssimulacra2(array, codec.decode(codec.encode(array, EncodeOptions(quality=55))))
    file = codec.encode(array, EncodeOptions(target_ssimulacra2=target))
    assert target <= ssimulacra2(array, codec.decode(file)) <= target + 2
    with pytest.raises(TargetError, match="points"):
        codec.encode(array, EncodeOptions(target_ssimulacra2=101))


def test_without_its_package_ssimulacra2_names_the_extra(
    tiny_codec: Codec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ssimulacra2", None)
    with pytest.raises(ParameterError, match=r"cwic\[ssimulacra2\]"):
        tiny_codec.encode(picture(40, 40), EncodeOptions(target_ssimulacra2=60))


def test_the_command_line_reaches_a_target_or_says_why_not(
    tiny_codec: Codec, tiny_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    array = picture(150, 170)
    source, out = tmp_path / "in.png", tmp_path / "out.cwic"
    source.write_bytes(write_image(array, format="png"))
    sizes = [len(tiny_codec.encode(array, EncodeOptions(quality=q, lossless=False))) for q in (1, 50)]
    line = [
        "compress",
        str(source),
        str(out),
        "--model-dir",
        str(tiny_dir),
        "--device",
        "cpu",
        "--target-bytes",
    ]
    assert main([*line, f"{sizes[0] - 1}"]) == 1
    assert f"out of reach: files of this picture have {sizes[0]} to" in capsys.readouterr().err
    assert not out.exists()
    assert main([*line, f"{sizes[1]}"]) == 0
    assert 0.97 * sizes[1] <= len(out.read_bytes()) <= sizes[1]
    facts = inspect(out.read_bytes())
    said = capsys.readouterr().err
    assert f"-> {facts.size} bytes" in said
    assert f"{facts.bpp:.3f} bpp, quality {facts.quality:g}" in said


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("mode", MODES)
def test_a_lossless_file_comes_back_bit_for_bit(any_codec: Codec, size: tuple[int, int], mode: str) -> None:
    array = of_mode(size, mode)
    file = any_codec.encode(array, EncodeOptions(lossless=True))
    assert inspect(file).profile == "lossless"
    assert np.array_equal(any_codec.decode(file), array)


class Counted:
    """Pixels that a work codes and decodes, as multiples of its picture's."""

    def __init__(self, work: Work[bytes], *, pixels: int) -> None:
        self._pixels = pixels
        self.encoded = self.decoded = self.synthesised = self.refined = 0.0
        self.file = run(self._watched(work))

    def _watched(self, work: Work[bytes]) -> Work[bytes]:
        results: Sequence[Any] | None = None
        while True:
            try:
                steps = work.send(results)  # type: ignore[arg-type] # None begins it
            except StopIteration as end:
                file: bytes = end.value
                return file
            self.encoded += self._share(steps, EncodeTile)
            self.decoded += self._share(steps, DecodeTile)
            self.synthesised += self._share(steps, SynthesiseTile)
            self.refined += self._share(steps, RefineTile)
            results = yield steps

    def _share(self, steps: Sequence[Step[Any]], kind: type[Step[Any]]) -> float:
        return sum(step.box.pixels for step in steps if isinstance(step, kind)) / self._pixels


@pytest.mark.parametrize("name", ["photo", "mountain", "page"])
def test_a_target_costs_few_encodings(codec: Codec, name: str) -> None:
    array = drawn_or_taken(name)
    pixels = array.shape[0] * array.shape[1]
    sizes, psnrs = [], []
    for quality in (35, 60, 80):  # files of 280 bytes and more: smaller ones grow in long steps
        file = codec.encode(array, EncodeOptions(quality=quality, lossless=False))
        counted = Counted(
            codec.encoding(array, EncodeOptions(target_bytes=len(file), lossless=False)), pixels=pixels
        )
        assert 0.97 * len(file) <= len(counted.file) <= len(file)
        assert counted.decoded == counted.synthesised == 0
        sizes.append(counted.encoded)
        reached = psnr(array, codec.decode(file))
        counted = Counted(
            codec.encoding(array, EncodeOptions(target_psnr=reached - 0.05, lossless=False)), pixels=pixels
        )
        assert counted.encoded == counted.synthesised
        assert counted.decoded == 0  # the codes are known
        psnrs.append(counted.encoded)
    assert max(sizes) < 4.5
    assert max(psnrs) < 5.5
    assert sum(sizes + psnrs) / 6 < 4


def test_an_effort_is_spent_on_what_was_found_without_it(codec: Codec) -> None:
    """Two refined files for a size at most, three for a quality; and of patches and none only what is taken."""
    photo = drawn_or_taken("photo")
    page = np.ascontiguousarray(screen("website")[160:448, 400:752])
    size = len(codec.encode(photo, EncodeOptions(quality=50, lossless=False)))
    cases = (
        (photo, EncodeOptions(target_bytes=size, effort=2), 2),
        (photo, EncodeOptions(target_psnr=33.0, effort=2), 3),
        (page, EncodeOptions(target_bytes=9000, effort=2), 2),
        (page, EncodeOptions(quality=50, effort=2), 1),
    )
    for array, options, most in cases:
        counted = Counted(codec.encoding(array, options), pixels=array.shape[0] * array.shape[1])
        assert REFINEMENTS[2] <= counted.refined <= most * REFINEMENTS[2]
        if options.target_bytes is not None:
            assert 0.97 * options.target_bytes <= len(counted.file) <= options.target_bytes
    assert any(section.name == "samples" for section in inspect(counted.file).sections)
    assert len(counted.file) <= len(codec.encode(page, EncodeOptions(quality=50)))


def test_a_target_analyses_pixels_once(codec: Codec, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the picture once, and of its sample once, however many trials there are."""
    array = drawn_or_taken("photo")
    target = len(codec.encode(array, EncodeOptions(quality=50, lossless=False)))
    transforms = codec._model.transforms
    analysed: list[int] = []
    features = transforms.features

    def counting(x: Tensor) -> tuple[Tensor, ...]:
        analysed.append(x.shape[2] * x.shape[3])
        return features(x)

    monkeypatch.setattr(transforms, "features", counting)
    work = codec.encoding(array, EncodeOptions(target_bytes=target, lossless=False))
    counted = Counted(work, pixels=array.shape[0] * array.shape[1])
    assert counted.encoded > 1
    assert sorted(analysed)[1:] == [array.shape[0] * array.shape[1]]


def test_a_file_of_a_target_is_that_of_its_quality(tiny_codec: Codec) -> None:
    """Several tiles, a plane and alpha, from what was kept of them."""
    array = of_mode((300, 270), "alpha")
    plane = np.array([[20, 0, -20, 0, 0]] * 5, np.int8)
    target = len(coded(tiny_codec, array, quality=60, plane=plane))
    file = coded(tiny_codec, array, target_bytes=target, plane=plane)
    position = tiny_codec.read(file).header.quality
    assert file == coded(tiny_codec, array, quality=quality_at(position), plane=plane)


def test_of_a_large_picture_only_the_first_tiles_are_kept(
    tiny_codec: Codec, monkeypatch: pytest.MonkeyPatch
) -> None:
    array = of_mode((300, 270), "rgb")  # four tiles
    low, high = (psnr(array, tiny_codec.decode(file)) for file in ends_of(tiny_codec, (300, 270), "rgb"))
    asked = EncodeOptions(tile=256, lossless=False, target_psnr=(low + high) / 2)
    whole = Counted(tiny_codec.encoding(array, asked), pixels=array.shape[0] * array.shape[1])
    window = 256 + 2 * tiny_codec._model.transforms.analysis_margin  # of which features are kept
    monkeypatch.setattr("model.tile_cache._KEPT", 2 * window**2)
    caches: list[TileCache] = []

    def cache(features: dict[int, tuple[Tensor, ...]]) -> TileCache:
        caches.append(TileCache(features))
        return caches[-1]

    monkeypatch.setattr("model.trials.TileCache", cache)
    part = Counted(tiny_codec.encoding(array, asked), pixels=array.shape[0] * array.shape[1])
    assert (whole.decoded, part.file) == (0, whole.file)
    assert 0 < part.decoded < part.synthesised
    assert {index for each in caches for index in (*(each.features or ()), *each.tiles)} == {0, 1}
