"""Where the codecs of the `cwic` command come from."""

from pathlib import Path
from typing import Protocol

from model.protocol import PictureCodec
from model.types import Limits


class Checkpoints(Protocol):
    """Where codecs come from: `model.checkpoints`, or something like it in a test."""

    DEFAULT_MODEL_DIR: Path

    def available(self, model_dir: Path) -> tuple[str, ...]:
        """Names of the checkpoints in a folder, the default first."""

    def load_codec(self, name: str, *, model_dir: Path, device: str, limits: Limits | None) -> PictureCodec:
        """The codec of a name; raises CheckpointError."""


class LoadedOnce(Checkpoints):
    """Checkpoints of which each is loaded when it is first needed, and kept; for many files of one command line."""

    def __init__(self, checkpoints: Checkpoints) -> None:
        self.DEFAULT_MODEL_DIR = checkpoints.DEFAULT_MODEL_DIR
        self._checkpoints = checkpoints
        self._loaded: dict[str, PictureCodec] = {}

    def available(self, model_dir: Path) -> tuple[str, ...]:
        """See `Checkpoints`."""
        return self._checkpoints.available(model_dir)

    def load_codec(self, name: str, *, model_dir: Path, device: str, limits: Limits | None) -> PictureCodec:
        """See `Checkpoints`; folder, device and limits are the same each time."""
        if name not in self._loaded:
            self._loaded[name] = self._checkpoints.load_codec(
                name, model_dir=model_dir, device=device, limits=limits
            )
        return self._loaded[name]


def source_of(checkpoints: Checkpoints | None) -> Checkpoints:
    """Where codecs come from; torch is imported here at the latest."""
    if checkpoints is None:
        from model import checkpoints as real

        return real
    return checkpoints
