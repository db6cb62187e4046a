"""The `cwic` command: pictures to .cwic files and back, and what files tell; `-` stands for a standard stream.

Exit status:
    0   done
    1   the input was refused, or a file cannot be read or written
    2   the command line asks for something that does not exist or does not fit
    3   no usable checkpoint on this machine
    130 interrupted

Every failure is one line on standard error. An output file appears whole or not at all.
"""

import argparse
import dataclasses
import json
import os
import re
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import NoReturn, Protocol

from model.command_line.files import UsageError, check_output, read, say, write
from model.config import TUNES
from model.container import format as file_format
from model.errors import (
    CheckpointError,
    CheckpointNotFoundError,
    DeviceError,
    InputError,
    LimitError,
    ParameterError,
)
from model.options import DEFAULT_QUALITY, MAP_SIZES, MAP_STYLES, DecodeOptions, EncodeOptions, MapOptions
from model.protocol import PictureCodec
from model.steps import run
from model.types import FileInfo, Limits, Region

# torch, numpy's and Pillow's parts are imported where they are used: `cwic --help` and `inspect` are instant.

_SUFFIXES = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".webp": "webp"}
_MAX_PIXELS = 100_000_000  # a person at their own machine, not a stranger at a service's: 2.5 times its limit
_CODEC_DEFAULTS = {"model": None, "model_dir": None, "device": "auto", "max_pixels": _MAX_PIXELS}
_QUALITY = f"1 to 100 (default: {DEFAULT_QUALITY:g}); not for models of one rate"


class Checkpoints(Protocol):
    """Where codecs come from: `model.checkpoints`, or something like it in a test."""

    DEFAULT_MODEL_DIR: Path

    def available(self, model_dir: Path) -> tuple[str, ...]:
        """Names of the checkpoints in a folder, the default first."""

    def load_codec(self, name: str, *, model_dir: Path, device: str, limits: Limits | None) -> PictureCodec:
        """The codec of a name; raises CheckpointError."""


def main(argv: Sequence[str] | None = None, *, checkpoints: Checkpoints | None = None) -> int:
    """Run one command.

    Args:
        argv: the command line without the program's name; by default, the process's.
        checkpoints: where codecs come from; by default, `model.checkpoints`.

    Returns the exit status (see the module's docstring).
    """
    try:
        args = _parser().parse_args(argv)
        return _COMMANDS[args.command](args, checkpoints)
    except SystemExit:  # --help and --version
        return 0
    except (UsageError, ParameterError, DeviceError) as exc:
        return _fail(2, exc)
    except LimitError as exc:
        return _fail(1, f"{exc}" + ("; --max-pixels raises it" if exc.name == "max_pixels" else ""))
    except InputError as exc:
        return _fail(1, exc)
    except CheckpointError as exc:
        return _fail(3, exc)
    except BrokenPipeError:
        # The reader has gone, which is its right. Python would complain once more when it flushes at exit.
        with suppress(OSError, ValueError, AttributeError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as exc:
        return _fail(1, f"{exc.filename}: {exc.strerror}" if exc.filename and exc.strerror else exc)
    except (MemoryError, RuntimeError) as exc:
        return _fail(1, _memory_ran_out(exc))
    except KeyboardInterrupt:
        return 130


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One line instead of argparse's several, and no exit."""
        raise UsageError(f"{message} (see `{self.prog} --help`)")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="cwic", description="Learned image compression. `-` is standard input or output.")
    parser.add_argument("--version", action="version", version=f"cwic {_version()}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=_Parser)

    compress = commands.add_parser("compress", help="a picture to a .cwic file")
    _add_paths(compress, "picture: PNG, JPEG, WebP, AVIF, GIF, TIFF, BMP or PPM", ".cwic file")
    compress.add_argument("--quality", type=float, help=_QUALITY)
    compress.add_argument(
        "--tune", choices=TUNES, help="what the file is made to be good at (default: the model's)"
    )
    compress.add_argument("--lossless", action="store_true", help="keep the picture as it is")
    _add_codec(compress)

    decompress = commands.add_parser("decompress", help="a .cwic file to a picture")
    _add_paths(decompress, ".cwic file", "picture: .png, .jpg or .webp")
    decompress.add_argument(
        "--region", metavar="X,Y,W,H", type=Region.of, help="only this part of the picture, in pixels"
    )
    decompress.add_argument(
        "--groups",
        metavar="N",
        type=int,
        help="a preview of full size from the first N groups of channels; 1 is the roughest",
    )
    decompress.add_argument(
        "--allow-truncated",
        action="store_true",
        help="decode a file that was cut in transfer as far as it goes",
    )
    _add_format(decompress)
    _add_codec(decompress)

    truncate = commands.add_parser(
        "truncate", help="a .cwic file to a smaller one of less detail, without decoding"
    )
    _add_paths(truncate, ".cwic file", ".cwic file")
    truncate.add_argument(
        "--bytes", metavar="N", type=int, required=True, help="the size that it may have at most"
    )

    importance = commands.add_parser("importance-map", help="where a picture's bits go, as a picture")
    _add_paths(importance, "picture or .cwic file", "picture: .png, .jpg or .webp")
    importance.add_argument("--quality", type=float, help=f"{_QUALITY}; for pictures only")
    importance.add_argument(
        "--tune", choices=TUNES, help="as of `compress`; for pictures only (default: the model's)"
    )
    importance.add_argument(
        "--style",
        choices=MAP_STYLES,
        default=MAP_STYLES[0],
        help="default: %(default)s; overlay: over the picture",
    )
    importance.add_argument(
        "--size",
        choices=MAP_SIZES,
        default=MAP_SIZES[0],
        help="default: %(default)s; map: a pixel for each level",
    )
    _add_format(importance)
    _add_codec(importance)

    inspect = commands.add_parser("inspect", help="what a .cwic file says about itself")
    inspect.add_argument("input", metavar="IN", help=".cwic file")
    inspect.add_argument("--json", action="store_true", help="print JSON")
    inspect.add_argument(
        "--importance", action="store_true", help="decode the importance map too, and print its mean"
    )
    _add_codec(inspect)
    return parser


def _add_paths(parser: argparse.ArgumentParser, source: str, target: str) -> None:
    parser.add_argument("input", metavar="IN", help=source)
    parser.add_argument("output", metavar="OUT", help=f"{target}; overwritten if it exists")


def _add_format(parser: argparse.ArgumentParser) -> None:
    choices = sorted(set(_SUFFIXES.values()))
    parser.add_argument("--format", choices=choices, help="default: by OUT's suffix, png for `-`")


def _add_codec(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(**_CODEC_DEFAULTS)
    parser.add_argument("--model", metavar="NAME", help="checkpoint (default: the one that fits)")
    parser.add_argument(
        "--model-dir", metavar="DIR", type=Path, help="folder of checkpoints (default: built in)"
    )
    parser.add_argument("--device", help="auto, cpu, cuda or cuda:N (default: %(default)s)")
    parser.add_argument("--max-pixels", metavar="N", type=int, help="refuse larger (default: %(default)s)")


def _compress(args: argparse.Namespace, checkpoints: Checkpoints | None) -> int:
    from model.images.files import read_image

    options = EncodeOptions(quality=args.quality, tune=args.tune, lossless=args.lossless or None)
    check_output(args.input, args.output)
    data = read(args.input)
    picture = read_image(data, limits=_limits(args))
    codec = _load(args, checkpoints)
    file = codec.encode(picture.array, options)
    write(args.output, file)
    info = file_format.inspect(file)
    words = [
        f"{info.width}x{info.height}: {len(data)} -> {len(file)} bytes ({len(data) / len(file):.2f}x smaller)",
        f"{info.bpp:.3f} bpp",
        *_rate(info),
        *([f"model {codec.info.name}"] if info.model_id else []),
        *picture.notes,
    ]
    say(", ".join(words))
    return 0


def _rate(info: FileInfo) -> list[str]:
    """What a file was made at."""
    if info.profile == "lossless":
        return ["lossless"]
    return ["one rate"] if info.quality is None else [f"quality {info.quality:g}", f"tune {info.tune}"]


def _decompress(args: argparse.Namespace, checkpoints: Checkpoints | None) -> int:
    from model.images.writing import write_image

    options = DecodeOptions(region=args.region, groups=args.groups, allow_truncated=args.allow_truncated)
    format = _format(args)
    check_output(args.input, args.output)
    data, limits = read(args.input), _limits(args)
    # Refuses what is damaged before the slow imports.
    file = file_format.unpack(data, limits=limits, allow_truncated=options.allow_truncated)
    array = _load(args, checkpoints, file=file).decode(file, options)
    write(args.output, write_image(array, format=format))
    return 0


def _truncate(args: argparse.Namespace, checkpoints: Checkpoints | None) -> int:
    del checkpoints  # needs none
    check_output(args.input, args.output)
    data = read(args.input)
    cut = file_format.truncate(data, args.bytes)
    write(args.output, cut)
    say(f"{len(data)} -> {len(cut)} bytes")
    return 0


def _importance_map(args: argparse.Namespace, checkpoints: Checkpoints | None) -> int:
    from model.images.files import read_image
    from model.images.maps import drawing
    from model.images.writing import write_image

    options = EncodeOptions(quality=args.quality, tune=args.tune)
    drawn = MapOptions(style=args.style, size=args.size)
    format = _format(args)
    check_output(args.input, args.output)
    data = read(args.input)
    if data.startswith(file_format.MAGIC):
        for name in ("quality", "tune"):
            if getattr(args, name) is not None:
                raise UsageError(f"--{name} is for pictures; a .cwic file has its own")
        file = file_format.unpack(data, limits=_limits(args))
        work = drawing(_load(args, checkpoints, file=file), file, options, drawn)
    else:
        picture = read_image(data, limits=_limits(args)).array
        work = drawing(_load(args, checkpoints), picture, options, drawn)
    write(args.output, write_image(run(work), format=format))
    return 0


def _inspect(args: argparse.Namespace, checkpoints: Checkpoints | None) -> int:
    for name in ("model", "model_dir", "device", "max_pixels"):
        if not args.importance and getattr(args, name) != _CODEC_DEFAULTS[name]:
            raise UsageError(f"--{name.replace('_', '-')} is for --importance; the rest needs no checkpoint")
    limits = _limits(args) if args.importance else file_format.UNLIMITED
    file = file_format.unpack(read(args.input), limits=limits, allow_truncated=True)
    info = file.info()
    facts = dataclasses.asdict(info) | {"bpp": round(info.bpp, 4)}
    if args.importance:
        facts["mean_importance"] = _mean_importance(args, checkpoints, file=file)
    if args.json:
        text = json.dumps(facts, indent=2)
    else:
        facts["sections"] = ", ".join(f"{s.name} {s.length} ({s.bpp:.4f} bpp)" for s in info.sections)
        text = "\n".join(f"{name:15} {_fact(value)}" for name, value in facts.items())
    write("-", f"{text}\n".encode())
    return 0


def _mean_importance(
    args: argparse.Namespace, checkpoints: Checkpoints | None, *, file: file_format.Container
) -> float | None:
    """Of a file's map, in four digits; None for a lossless file, which has none."""
    from model.images.maps import mean_importance

    if file.header.lossless:
        return None
    return round(run(mean_importance(_load(args, checkpoints, file=file), file)), 4)


def _fact(value: object) -> object:
    """A fact of a file as a person reads it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "-" if value in (None, "") else value


_COMMANDS = {
    "compress": _compress,
    "decompress": _decompress,
    "truncate": _truncate,
    "importance-map": _importance_map,
    "inspect": _inspect,
}


def _version() -> str:
    try:
        return metadata.version("cwic")
    except metadata.PackageNotFoundError:
        return "unknown"


def _limits(args: argparse.Namespace) -> Limits:
    if args.max_pixels < 1:
        raise UsageError(f"--max-pixels is at least 1, got {args.max_pixels}")
    return Limits(max_pixels=args.max_pixels)


def _format(args: argparse.Namespace) -> str:
    """The picture format to write; raises UsageError where nothing says which."""
    if args.format is not None:
        return str(args.format)
    if args.output == "-":
        return "png"
    suffix = Path(args.output).suffix.lower()
    if suffix not in _SUFFIXES:
        raise UsageError(
            f"OUT ends with one of {', '.join(_SUFFIXES)}, got {args.output!r}; or give --format"
        )
    return _SUFFIXES[suffix]


def _load(
    args: argparse.Namespace, checkpoints: Checkpoints | None, *, file: file_format.Container | None = None
) -> PictureCodec:
    """The codec that the command line names, or else the one that made a file, or else the default."""
    if checkpoints is None:
        from model import checkpoints as real

        checkpoints = real
    model_dir = args.model_dir or checkpoints.DEFAULT_MODEL_DIR
    names = (args.model,) if args.model else checkpoints.available(model_dir)
    if not names:
        raise CheckpointNotFoundError(f"no checkpoint in {model_dir}")
    wanted = file.header.model_id.hex() if file else ""
    for name in names:
        codec = checkpoints.load_codec(name, model_dir=model_dir, device=args.device, limits=_limits(args))
        if wanted in ("", codec.info.model_id):
            break
    return codec  # one that does not fit says so itself, with both ids


def _memory_ran_out(error: Exception) -> str:
    """What to say of it; raises what is something else, as torch has no error of its own for this."""
    if isinstance(error, RuntimeError) and not re.search("(allocate|out of) memory", f"{error}"):
        raise error
    return "not enough memory for a picture of this size"


def _fail(status: int, reason: object) -> int:
    say(" ".join(f"{reason}".split()))
    return status


if __name__ == "__main__":
    sys.exit(main())
