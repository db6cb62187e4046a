"""Make the golden files anew, until 1.0 when a checkpoint changes: `python -m tests.renew_golden`."""

import json

from model.checkpoints import available, golden_picture, load_codec
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
        for name, (array, quality) in pictures_of(model, fixed_rate=codec.info.fixed_rate).items():
            data = codec.encode(array, quality=quality)
            (GOLDEN / f"{name}.cwic").write_bytes(data)
            digests[f"{name}.cwic"] = codes_digest(codec, data)
    (GOLDEN / "codes.json").write_text(json.dumps(digests, indent=2) + "\n")


def pictures_of(model: str, *, fixed_rate: bool) -> dict[str, tuple[Pixels, float | None]]:
    """What a model codes, by the files' names."""
    if fixed_rate:
        return {
            f"{model}-pattern": (golden_picture(), None),
            f"{model}-alpha": (picture(97, 130, channels=4), None),
        }
    return {
        "pattern-5": (golden_picture(), 5),
        "smooth-50": (picture(97, 130), 50),
        "alpha-75": (picture(64, 50, channels=4), 75),
        "pattern-100": (golden_picture(), 100),
    }


if __name__ == "__main__":
    renew()
