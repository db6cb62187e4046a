"""Make the golden files anew, until 1.0 when the default checkpoint changes: `python -m tests.renew_golden`."""

import json

from model.checkpoints import golden_picture, load_codec
from tests.conftest import picture
from tests.model.test_default_checkpoint import GOLDEN, codes_digest


def renew() -> None:
    """Write the files and the digests of their codes."""
    codec = load_codec(device="cpu")
    pictures = {
        "pattern-5": (golden_picture(), 5),
        "smooth-50": (picture(97, 130), 50),
        "alpha-75": (picture(64, 50, channels=4), 75),
        "pattern-100": (golden_picture(), 100),
    }
    digests = {}
    for old in GOLDEN.glob("*.cwic"):
        old.unlink()
    for name, (array, quality) in pictures.items():
        data = codec.encode(array, quality=quality)
        (GOLDEN / f"{name}.cwic").write_bytes(data)
        digests[f"{name}.cwic"] = codes_digest(codec, data)
    (GOLDEN / "codes.json").write_text(json.dumps(digests, indent=2) + "\n")


if __name__ == "__main__":
    renew()
