"""Command-line arguments that measuring commands share."""

import argparse
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from model.checkpoints import DEFAULT_MODEL, DEFAULT_MODEL_DIR, load_codec
from model.errors import ParameterError
from model.protocol import PictureCodec

PICTURE_SUFFIXES = (".avif", ".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")


def add_model_arguments(parser: argparse.ArgumentParser, *, several: bool = False) -> None:
    """Which checkpoint, or checkpoints where `several`, and where they run."""
    if several:
        parser.add_argument(
            "--models",
            "--model",
            type=_names,
            default=(DEFAULT_MODEL,),
            metavar="NAME,NAME,…",
            help=f"checkpoints ({DEFAULT_MODEL})",
        )
    else:
        parser.add_argument("--model", default=DEFAULT_MODEL, metavar="NAME", help="checkpoint (%(default)s)")
    parser.add_argument(
        "--model-dir",
        type=Path,
        default=DEFAULT_MODEL_DIR,
        metavar="DIR",
        help="folder of checkpoints (the ones that come with cwic)",
    )
    parser.add_argument("--device", default="cpu", help="auto, cpu, cuda or cuda:N (%(default)s)")


def codec_of(args: argparse.Namespace) -> PictureCodec:
    """The checkpoint that `add_model_arguments` asks for; raises CheckpointError."""
    return load_codec(args.model, model_dir=args.model_dir, device=args.device)


def codecs_of(args: argparse.Namespace) -> tuple[PictureCodec, ...]:
    """The checkpoints that `add_model_arguments` with `several` asks for; raises CheckpointError."""
    return tuple(load_codec(name, model_dir=args.model_dir, device=args.device) for name in args.models)


def quality(text: str) -> float:
    """An argument that is a quality of our codec, 1 to 100."""
    value = float(text)
    if not 1 <= value <= 100:
        raise argparse.ArgumentTypeError(f"quality is 1 to 100, got {text}")
    return value


def pictures_in(folder: Path) -> tuple[Path, ...]:
    """The picture files of a folder, sorted; raises ParameterError where there are none."""
    files = tuple(sorted(path for path in folder.glob("*") if path.suffix.lower() in PICTURE_SUFFIXES))
    if not files:
        raise ParameterError(f"no pictures in {folder} (known are {', '.join(PICTURE_SUFFIXES)})")
    return files


def check_folder(out: Path) -> None:
    """Make a folder to write to: fail before the work, not after it; raises ParameterError."""
    with writing(out):
        out.mkdir(exist_ok=True)
        with tempfile.TemporaryFile(dir=out):
            pass


def check_file(out: Path) -> None:
    """Try whether a file can be written, and leave no trace: fail before the work; raises ParameterError."""
    with _named(out):
        if out.exists():
            out.open("ab").close()
        else:  # the folders that are missing are made when it is written
            with tempfile.TemporaryFile(dir=next(each for each in out.absolute().parents if each.exists())):
                pass


@contextmanager
def writing(out: Path) -> Iterator[None]:
    """Write a file, in a folder that is made where there is none; what fails is a ParameterError with its name."""
    with _named(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        yield


@contextmanager
def _named(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ParameterError(f"{out} cannot be written: {error.strerror or error}") from error


def _names(text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(part.strip() for part in text.split(",")))
    if not all(names):
        raise argparse.ArgumentTypeError(f"names with commas between them, got {text!r}")
    return names
