"""training.data.pictures and training.data.pool: which files are taken, and what crops are cut from them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from model.errors import BrokenImageError, ParameterError
from model.types import Limits, Pixels
from tests.training.training_fakes import noise, write_png
from training.data.pictures import find_files, load_pictures, read_rgb
from training.data.pool import PicturePool, load_pool


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def symmetries(crop: Pixels) -> list[Pixels]:
    """As it is, mirrored, transposed, mirrored and transposed (all four that the pool makes)."""
    turned = crop.transpose(1, 0, 2)
    return [crop, crop[:, ::-1], turned, turned[:, ::-1]]


def occurs_in(crop: Pixels, picture: Pixels) -> bool:
    """Whether one of the four symmetries of some window of the picture is the crop."""
    size = crop.shape[0]
    windows = np.lib.stride_tricks.sliding_window_view(picture, (size, size), axis=(0, 1))
    windows = windows.transpose(0, 1, 3, 4, 2)
    unturned = [crop, crop[:, ::-1], crop.transpose(1, 0, 2), crop[:, ::-1].transpose(1, 0, 2)]
    return any((windows == window).all(axis=(2, 3, 4)).any() for window in unturned)


@given(seed=st.integers(0, 2**32), patch=st.integers(1, 9))
def test_every_crop_is_a_window_of_a_picture(seed: int, patch: int) -> None:
    pictures = [noise(9, 30, seed=1), noise(17, 9, seed=2), noise(12, 12, seed=3)]
    crops = PicturePool.of(pictures).crops(5, patch, generator=seeded(seed))
    assert crops.shape == (5, 3, patch, patch)
    assert crops.dtype == torch.uint8
    for crop in crops.permute(0, 2, 3, 1).numpy():
        assert any(occurs_in(crop, picture) for picture in pictures)


def test_crops_that_fill_the_picture_come_in_all_four_symmetries_equally_often() -> None:
    picture = noise(6, 6)
    crops = PicturePool.of([picture]).crops(4000, 6, generator=seeded(0)).permute(0, 2, 3, 1).numpy()
    counts = [int((crops == turned).all(axis=(1, 2, 3)).sum()) for turned in symmetries(picture)]
    assert sum(counts) == 4000
    assert min(counts) > 850


def test_every_position_is_reached_up_to_the_borders() -> None:
    picture = np.arange(5 * 7 * 3, dtype=np.uint8).reshape(5, 7, 3)
    crops = PicturePool.of([picture]).crops(3000, 1, generator=seeded(0))
    assert len({int(value) for value in crops[:, 0, 0, 0]}) == 35


@given(seed=st.integers(0, 2**32))
def test_the_same_seed_gives_the_same_crops_and_then_others(seed: int) -> None:
    pool = PicturePool.of([noise(40, 50), noise(60, 33)])
    first, second = seeded(seed), seeded(seed)
    assert torch.equal(pool.crops(6, 16, generator=first), pool.crops(6, 16, generator=second))
    assert not torch.equal(pool.crops(6, 16, generator=first), pool.crops(6, 16, generator=seeded(seed)))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_same_seed_gives_the_same_crops_on_the_gpu() -> None:
    pictures = [noise(40, 50), noise(60, 33)]
    on_cpu = PicturePool.of(pictures).crops(9, 16, generator=seeded(3))
    on_gpu = PicturePool.of(pictures, device="cuda").crops(9, 16, generator=seeded(3))
    assert on_gpu.device.type == "cuda"
    assert torch.equal(on_cpu, on_gpu.cpu())


def test_a_picture_of_four_times_the_area_is_drawn_four_times_as_often() -> None:
    small, large = np.zeros((10, 10, 3), np.uint8), np.ones((20, 20, 3), np.uint8)
    crops = PicturePool.of([small, large]).crops(5000, 4, generator=seeded(0))
    assert float(crops[:, 0, 0, 0].double().mean()) == pytest.approx(0.8, abs=0.02)


def test_batches_are_in_channels_last_order() -> None:
    crops = PicturePool.of([noise(40, 50)]).crops(4, 16, generator=seeded(0))
    assert crops.is_contiguous(memory_format=torch.channels_last)


def test_a_crop_larger_than_a_picture_is_refused_with_both_sizes() -> None:
    with pytest.raises(ParameterError, match="crops of 16 pixels from pictures of 15"):
        PicturePool.of([noise(15, 50)]).crops(4, 16, generator=seeded(0))


def test_a_pool_of_nothing_is_refused() -> None:
    with pytest.raises(ParameterError, match="at least one"):
        PicturePool.of([])


def test_patterns_find_files_in_folders_below_each_once_and_sorted(tmp_path: Path) -> None:
    expected = [write_png(tmp_path / name, noise(2, 2)) for name in ("a.png", "b/c.png", "b/d/e.png")]
    (tmp_path / "b/notes.txt").write_text("no picture")
    assert list(find_files([f"{tmp_path}/**/*.png", f"{tmp_path}/a.*"])) == expected


def test_a_pattern_that_matches_nothing_is_named(tmp_path: Path) -> None:
    write_png(tmp_path / "a.png", noise(2, 2))
    with pytest.raises(ParameterError, match=r"no file matches '.*\*\.jpg'"):
        find_files([f"{tmp_path}/*.png", f"{tmp_path}/*.jpg"])


def test_no_patterns_are_refused() -> None:
    with pytest.raises(ParameterError, match="no file patterns"):
        find_files([])


def test_alpha_is_dropped(tmp_path: Path) -> None:
    picture = np.dstack([noise(4, 5), np.full((4, 5), 100, np.uint8)])
    Image.fromarray(picture).save(tmp_path / "alpha.png")
    assert np.array_equal(read_rgb(tmp_path / "alpha.png"), picture[:, :, :3])


def test_a_broken_picture_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"nothing of the kind")
    with pytest.raises(BrokenImageError, match=r"broken\.png: "):
        read_rgb(tmp_path / "broken.png")


def test_a_file_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(BrokenImageError, match=r"gone\.png: No such file"):
        read_rgb(tmp_path / "gone.png")


def test_a_picture_above_the_limits_is_named(tmp_path: Path) -> None:
    path = write_png(tmp_path / "large.png", noise(4, 4))
    with pytest.raises(BrokenImageError, match=r"large\.png: max_pixels is 15, got 16"):
        read_rgb(path, limits=Limits(max_pixels=15))


def test_a_few_broken_pictures_are_skipped_and_counted(tmp_path: Path) -> None:
    for number in range(19):
        write_png(tmp_path / f"{number:02}.png", noise(20, 20, seed=number))
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    pool = load_pool([f"{tmp_path}/*"], patch=8)
    assert len(pool) == 19
    assert [path.name for path in pool.broken] == ["broken.png"]


def test_more_than_a_twentieth_of_broken_pictures_is_refused_naming_the_first(tmp_path: Path) -> None:
    for number in range(18):
        write_png(tmp_path / f"{number:02}.png", noise(20, 20, seed=number))
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(BrokenImageError, match=r"1 of 19 pictures cannot be read .* first: .*broken\.png"):
        load_pictures([f"{tmp_path}/*"])


def test_pictures_smaller_than_a_crop_are_skipped_and_counted(tmp_path: Path) -> None:
    write_png(tmp_path / "large.png", noise(20, 16))
    write_png(tmp_path / "small.png", noise(200, 15))
    pool = load_pool([f"{tmp_path}/*"], patch=16)
    assert len(pool) == 1
    assert [path.name for path in pool.small] == ["small.png"]


def test_only_small_pictures_are_refused(tmp_path: Path) -> None:
    write_png(tmp_path / "small.png", noise(15, 15))
    with pytest.raises(ParameterError, match=r"none of 1 pictures has sides of at least 16 .*small\.png"):
        load_pool([f"{tmp_path}/*"], patch=16)


def test_the_pool_holds_the_pictures_pixels_in_order(tmp_path: Path) -> None:
    first, second = noise(8, 9, seed=1), noise(7, 8, seed=2)
    write_png(tmp_path / "1.png", first)
    write_png(tmp_path / "2.png", second)
    pool = load_pool([f"{tmp_path}/*.png"], patch=7)
    expected = np.concatenate([first.reshape(-1, 3), second.reshape(-1, 3)])
    assert np.array_equal(pool.pixels.numpy(), expected)
    assert pool.starts.tolist() == [0, 72]


def test_pictures_are_there_at_every_scale_that_holds_a_crop(tmp_path: Path) -> None:
    write_png(tmp_path / "a.png", noise(40, 60))
    write_png(tmp_path / "b.png", noise(22, 21))
    pool = load_pool([f"{tmp_path}/*"], patch=16, scales=(1, 0.75, 0.5))
    sizes = list(zip(pool.heights.tolist(), pool.widths.tolist(), strict=True))
    assert sizes == [(40, 60), (30, 45), (20, 30), (22, 21), (16, 16)]
    areas = torch.tensor([height * width for height, width in sizes])
    assert torch.allclose(pool.chances, areas / areas.sum())
    crops = pool.crops(64, 16, generator=seeded(0)).float()
    assert float(crops.flatten(1).std(1).min()) < 0.8 * float(
        crops.flatten(1).std(1).max()
    )  # noise, averaged


def test_enlarged_pictures_are_softer_and_drawn_less_often(tmp_path: Path) -> None:
    write_png(tmp_path / "a.png", noise(40, 60))
    pool = load_pool([f"{tmp_path}/*"], patch=16, scales=(1.5, 1, 0.5))
    assert pool.heights.tolist() == [60, 40, 20]
    assert torch.allclose(pool.chances, torch.tensor([16, 36, 9]) / 61)
    own, enlarged = (load_pool([f"{tmp_path}/*"], patch=16, scales=scales) for scales in ((1,), (1, 1.5)))
    steps = [
        part.float().diff(dim=0).square().mean() for part in (own.pixels, enlarged.pixels[len(own.pixels) :])
    ]
    assert steps[1] < 0.6 * steps[0]
