"""Where the codecs of the `cwic` command come from, and the options that say so."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from model.command_line.files import UsageError
from model.container.format import Container
from model.errors import CheckpointNotFoundError
from model.options import DecodeOptions
from model.protocol import PictureCodec
from model.steps import run
from model.types import PRECISIONS, Limits, Pixels

CODEC_DEFAULTS = {
    "model": None,
    "model_dir": None,
    "device": "auto",
    "dtype": "auto",
    "max_pixels": 100_000_000,  # a person at their own machine, not a stranger at a service's: 2.5 times its limit
}


class Checkpoints(Protocol):
    """Where codecs come from: `model.checkpoints`, or something like it in a test."""

    DEFAULT_MODEL_DIR: Path

    def available(self, model_dir: Path) -> tuple[str, ...]:
        """Names of the checkpoints in a folder, the default first."""

    def model_id(self, name: str, *, model_dir: Path) -> str:
        """The id that files of a checkpoint carry, by its card; raises CheckpointError."""

    def load_codec(
        self, name: str, *, model_dir: Path, device: str, dtype: str, limits: Limits | None
    ) -> PictureCodec:
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

    def model_id(self, name: str, *, model_dir: Path) -> str:
        """See `Checkpoints`."""
        return self._checkpoints.model_id(name, model_dir=model_dir)

    def load_codec(
        self, name: str, *, model_dir: Path, device: str, dtype: str, limits: Limits | None
    ) -> PictureCodec:
        """See `Checkpoints`; folder, device, dtype and limits are the same each time."""
        if name not in self._loaded:
            self._loaded[name] = self._checkpoints.load_codec(
                name, model_dir=model_dir, device=device, dtype=dtype, limits=limits
            )
        return self._loaded[name]


def source_of(checkpoints: Checkpoints | None) -> Checkpoints:
    """Where codecs come from; torch is imported here at the latest."""
    if checkpoints is None:
        from model import checkpoints as real

        return real
    return checkpoints


def add_codec(parser: argparse.ArgumentParser) -> None:
    """Declare the options of commands that need a codec."""
    parser.set_defaults(**CODEC_DEFAULTS)
    parser.add_argument("--model", metavar="NAME", help="checkpoint (default: the one that fits)")
    parser.add_argument(
        "--model-dir", metavar="DIR", type=Path, help="folder of checkpoints (default: built in)"
    )
    parser.add_argument("--device", help="auto, cpu, cuda or cuda:N (default: %(default)s)")
    parser.add_argument(
        "--dtype",
        choices=PRECISIONS,
        help="precision of the convolutions; auto measures which is faster here, so that two runs may make different "
        "files (default: %(default)s)",
    )
    parser.add_argument("--max-pixels", metavar="N", type=int, help="refuse larger (default: %(default)s)")


def limits_of(args: argparse.Namespace) -> Limits:
    """The largest pictures, by these options; raises UsageError."""
    if args.max_pixels < 1:
        raise UsageError(f"--max-pixels is at least 1, got {args.max_pixels}")
    return Limits(max_pixels=args.max_pixels)


def chosen(checkpoints: Checkpoints, model_dir: Path, file: Container | None) -> str:
    """The name of the checkpoint that made a file, or else of the default; raises CheckpointError.

    One that does not fit says so itself when it is to decode, with both ids.
    """
    names = checkpoints.available(model_dir)
    if not names:
        raise CheckpointNotFoundError(f"no checkpoint in {model_dir}")
    wanted = file.header.model_id.hex() if file else ""
    fitting = (name for name in names if wanted and checkpoints.model_id(name, model_dir=model_dir) == wanted)
    return next(fitting, names[0])


def decoded(file: Container, options: DecodeOptions, load: Callable[[], PictureCodec]) -> Pixels:
    """A file's picture, see `PictureCodec.decode`; a codec is loaded only where the file needs one."""
    if not file.header.lossless:
        return load().decode(file, options)
    from model.decoder import decode_picture

    return run(decode_picture(None, file, options))


def load_named(
    args: argparse.Namespace, checkpoints: Checkpoints | None, *, file: Container | None = None
) -> PictureCodec:
    """The codec that the command line names, or else the one that made a file, or else the default."""
    checkpoints = source_of(checkpoints)
    model_dir = args.model_dir or checkpoints.DEFAULT_MODEL_DIR
    name = args.model or chosen(checkpoints, model_dir, file)
    return checkpoints.load_codec(
        name, model_dir=model_dir, device=args.device, dtype=args.dtype, limits=limits_of(args)
    )
