"""training.data.screens and training.measure.screens: drawn screens, and what our files make of JPEG's sizes."""

import io
import math

import numpy as np
import pytest
from PIL import Image

from model.codec import Codec
from model.options import EncodeOptions
from tests.training.training_fakes import scene
from training.commands.benchmark import screen_table
from training.data.screens import HEIGHT, SCREENS, WIDTH, screen
from training.measure import screens
from training.measure.metrics import psnr
from training.measure.screens import OTHERS, drawn_screens, measure_screens


@pytest.mark.parametrize("name", SCREENS)
def test_a_screen_is_the_same_every_time_and_has_sharp_edges(name: str) -> None:
    drawn = screen(name)
    assert drawn.shape == (HEIGHT, WIDTH, 3)
    assert drawn.dtype == np.uint8
    assert (drawn == screen(name)).all()
    steps = np.abs(np.diff(drawn.astype(int), axis=1)).max(axis=2)
    assert (steps == 0).mean() > 0.2
    assert (steps > 60).mean() > 0.005


def test_files_of_the_size_of_a_jpeg_are_measured_beside_it(
    tiny_codec: Codec, monkeypatch: pytest.MonkeyPatch
) -> None:
    qualities = (5, 75)
    monkeypatch.setattr(screens, "QUALITIES", qualities)
    photo, text = scene(140, 120), screen("document")[80:208, 60:188]
    first, second = measure_screens(tiny_codec, {"photo": photo, "text": text})
    assert [(use.format, use.quality) for use in first.uses] == [
        (o.label, q) for o in OTHERS for q in qualities
    ]
    for use, (other, quality) in zip(first.uses, [(o, q) for o in OTHERS for q in qualities], strict=True):
        file = other.encode(photo, quality=quality)
        assert (use.size, use.psnr) == (len(file), psnr(photo, other.decode(file)))
    smallest = min(
        len(tiny_codec.encode(photo, EncodeOptions(quality=1, tune="psnr", lossless=False))), first.lossless
    )
    assert all((use.ours is None) == (use.size < smallest) for use in first.uses)
    assert any(use.ours is None for use in first.uses)
    assert any(use.ours is not None and not math.isinf(use.ours) for use in first.uses)
    assert second.lossless == len(tiny_codec.encode(text, EncodeOptions(lossless=True)))
    assert second.half == (second.lossless, True)
    assert all(use.ours == math.inf for use in second.uses if use.size >= second.lossless)
    lines = screen_table([first, second]).splitlines()
    assert lines[3].startswith(f"| text | {second.lossless} B | lossless |")
    assert "out of reach" in lines[2]
    counts = []
    for name in (other.label for other in OTHERS):
        uses = [use for use in (*first.uses, *second.uses) if use.format == name]
        good = sum(use.ours is not None and use.ours >= use.psnr for use in uses)
        counts.append(f"{name} in {good} of {2 * len(qualities)} cases")
    assert lines[-1] == f"No worse at the size of {counts[0]}, {counts[1]}, {counts[2]}."


def test_each_drawn_screen_comes_from_a_jpeg_file_too() -> None:
    pictures = drawn_screens()
    assert set(pictures) == {*SCREENS, *(f"{name}, once a JPEG" for name in SCREENS)}
    for name in SCREENS:
        file = io.BytesIO()
        Image.fromarray(screen(name)).save(file, "JPEG", quality=90, subsampling="4:2:0")
        assert np.array_equal(pictures[f"{name}, once a JPEG"], np.asarray(Image.open(file)))
