"""A photograph that a test dependency ships, and what is left of it."""

import io
from pathlib import Path

import matplotlib as mpl
import numpy as np
from PIL import Image


def photo_jpeg() -> bytes:
    """A portrait of Grace Hopper, in the public domain, as matplotlib ships it."""
    return (Path(mpl.get_data_path()) / "sample_data/grace_hopper.jpg").read_bytes()


def psnr(one: bytes, other: bytes) -> float:
    """Peak signal-to-noise ratio of two picture files of one size, in dB."""
    first, second = (
        np.asarray(Image.open(io.BytesIO(each)).convert("RGB"), np.float64) for each in (one, other)
    )
    return float(10 * np.log10(255**2 / np.mean((first - second) ** 2)))
