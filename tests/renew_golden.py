"""Make the golden files anew, until 1.0 when a checkpoint changes: `python -m tests.renew_golden`."""

import json

import numpy as np

from model.checkpoints import available, golden_picture, load_codec
from model.container.format import truncate
from model.options import EncodeOptions, Offsets
from model.types import Pixels
from tests.conftest import picture
from tests.model.test_shipped_checkpoints import GOLDEN, codes_digest


def renew() -> None:
    """Write the files and the digests of their codes."""
    digests = {}
    for old in GOLDEN.glob("*.cwic"):
        old.unlink()
    for model in available():
        codec = load_codec(model, device="cpu")
        for name, (array, options) in pictures_of(model, fixed_rate=codec.info.fixed_rate).items():
            data = codec.encode(array, options)
            (GOLDEN / f"{name}.cwic").write_bytes(data)
            digests[f"{name}.cwic"] = codes_digest(codec, data)
        if not codec.info.fixed_rate:
            cut = truncate(data, len(data) * 2 // 3)
            (GOLDEN / "truncated.cwic").write_bytes(cut)
            digests["truncated.cwic"] = codes_digest(codec, cut)
    (GOLDEN / "codes.json").write_text(json.dumps(digests, indent=2) + "\n")


def pictures_of(model: str, *, fixed_rate: bool) -> dict[str, tuple[Pixels, EncodeOptions]]:
    """What a model codes, by the files' names."""
    if fixed_rate:
        coded = EncodeOptions(lossless=False)
        return {
            f"{model}-pattern": (golden_picture(), coded),
            f"{model}-alpha": (picture(97, 130, channels=4), coded),
        }
    plane = np.arange(-14, 16, dtype=np.int8).reshape(3, 10)

    def at(quality: float, *, tile: int = 1024, plane: Offsets | None = None) -> EncodeOptions:
        return EncodeOptions(quality=quality, lossless=False, tile=tile, plane=plane)

    return {
        "pattern-5": (golden_picture(), at(5)),
        "smooth-50": (picture(97, 130), at(50)),
        "alpha-75": (picture(64, 50, channels=4), at(75)),
        "tiles-20": (picture(270, 300), at(20, tile=256)),
        "plane-30": (picture(140, 600), at(30, plane=plane)),
        "pattern-100": (golden_picture(), at(100)),
    }


if __name__ == "__main__":
    renew()
