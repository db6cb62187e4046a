"""The `cwic` command: pictures to .cwic files and back, and what files tell; `-` stands for a standard stream.

Of many files and folders, with `--output-dir`, one that fails does not keep the others from being done.

Exit status:
    0   done
    1   the input was refused, or a file cannot be read or written; of many, at least one
    2   the command line asks for something that does not exist or does not fit
    3   no usable checkpoint on this machine
    130 interrupted

Every failure is one line on standard error. An output file appears whole or not at all.
"""

import argparse
import dataclasses
import sys
from collections.abc import Collection, Sequence
from importlib import metadata
from pathlib import Path
from typing import NoReturn

from model.command_line.codecs import (
    CODEC_DEFAULTS,
    Checkpoints,
    LoadedOnce,
    add_codec,
    decoded,
    limits_of,
    load_named,
    source_of,
)
from model.command_line.encoding import QUALITY, add_encoding, encode_options
from model.command_line.files import UsageError, check_output, read, say, write
from model.command_line.outcomes import Outcome, attempt
from model.config import TUNES
from model.container import format as file_format
from model.options import MAP_SIZES, MAP_STYLES, DecodeOptions, MapOptions
from model.protocol import PictureCodec
from model.steps import run
from model.types import FileInfo, Pixels, Region

# Parts of torch, numpy, Pillow and batches are imported where they are used: `cwic --help` and `inspect` are instant.

_CWIC = ".cwic"
_SUFFIXES = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".webp": "webp"}


def main(argv: Sequence[str] | None = None, *, checkpoints: Checkpoints | None = None) -> int:
    """Run one command.

    Args:
        argv: the command line without the program's name; by default, the process's.
        checkpoints: where codecs come from; by default, `model.checkpoints`.

    Returns the exit status (see the module's docstring).
    """
    try:
        outcome = attempt(lambda: _run(_arguments(argv), checkpoints))
    except SystemExit:  # --help and --version
        return 0
    except KeyboardInterrupt:
        return 130
    if f"{outcome}":
        say(f"{outcome}")
    return outcome.status


def _run(args: argparse.Namespace, checkpoints: Checkpoints | None) -> Outcome:
    command = _COMMANDS[args.command]
    if "paths" not in args:
        return command(args, checkpoints)
    if args.output_dir is not None:
        return _batch(args, checkpoints)
    if args.jobs is not None:
        raise UsageError("--jobs is for --output-dir")
    if len(args.paths) != 2:
        raise UsageError(f"expected IN and OUT, or --output-dir; got {len(args.paths)} paths")
    args.input, args.output = args.paths
    return command(args, checkpoints)


def _batch(args: argparse.Namespace, checkpoints: Checkpoints | None) -> Outcome:
    """Many files; each that fails has a line of its own."""
    from model.command_line.batch import Worker, default_jobs, plan, run_all
    from model.images.files import SUFFIXES

    if args.command != "truncate":
        _check_options(args)
    if args.jobs is not None and args.jobs < 1:
        raise UsageError(f"--jobs is at least 1, got {args.jobs}")
    suffixes: Collection[str]
    if args.command == "compress":
        suffixes, suffix = SUFFIXES, _CWIC
    elif args.command == "truncate":
        suffixes, suffix = {_CWIC}, _CWIC
    else:
        suffixes = {_CWIC} if args.command == "decompress" else SUFFIXES | {_CWIC}
        suffix = next(each for each, name in _SUFFIXES.items() if name == (args.format or "png"))
    tasks = plan(args.paths, args.output_dir, suffixes=suffixes, suffix=suffix)
    most = default_jobs("cpu" if args.command == "truncate" else args.device)
    return run_all(tasks, Worker(_COMMANDS[args.command], args, checkpoints), jobs=args.jobs or most)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One line instead of argparse's several, and no exit."""
        raise UsageError(f"{message} (see `{self.prog} --help`)")


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = _parser()
    args, more = parser.parse_known_args(argv)  # what argparse knows not is also a path behind an option
    end = more.index("--") if "--" in more else len(more)
    if any(word != "-" and word.startswith("-") for word in more[:end]):
        hint = f"(see `{parser.prog} {args.command} --help`)"
        raise UsageError(f"unrecognized arguments: {' '.join(more)} {hint}")
    paths = args.inputs if args.command == "inspect" else args.paths
    paths += more[:end] + more[end + 1 :]
    return args


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="cwic", description="Learned image compression. `-` is standard input or output.")
    parser.add_argument("--version", action="version", version=f"cwic {_version()}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=_Parser)

    compress = commands.add_parser("compress", help="a picture to a .cwic file")
    _add_paths(compress, "picture: PNG, JPEG, WebP, AVIF, GIF, TIFF, BMP, PPM or HEIC", ".cwic file")
    add_encoding(compress)
    add_codec(compress)

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
    _add_allow_truncated(decompress)
    _add_format(decompress)
    add_codec(decompress)

    truncate = commands.add_parser(
        "truncate", help="a .cwic file to a smaller one of less detail, without decoding"
    )
    _add_paths(truncate, ".cwic file", ".cwic file")
    truncate.add_argument(
        "--bytes", metavar="N", type=int, required=True, help="the size that it may have at most"
    )

    importance = commands.add_parser("importance-map", help="where a picture's bits go, as a picture")
    _add_paths(importance, "picture or .cwic file", "picture: .png, .jpg or .webp")
    importance.add_argument("--quality", type=float, help=f"{QUALITY}; for pictures only")
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
    _add_allow_truncated(importance)
    _add_format(importance)
    add_codec(importance)

    inspect = commands.add_parser("inspect", help="what .cwic files say about themselves")
    inspect.add_argument("inputs", nargs="+", metavar="IN", help=".cwic file")
    inspect.add_argument("--json", action="store_true", help="print JSON, of several files a line for each")
    inspect.add_argument(
        "--importance", action="store_true", help="decode the importance map too, and print its mean"
    )
    add_codec(inspect)
    return parser


def _add_paths(parser: argparse.ArgumentParser, source: str, target: str) -> None:
    parser.usage = f"{parser.prog} [options] IN OUT\n       {parser.prog} [options] IN... --output-dir DIR"
    parser.add_argument(
        "paths", nargs="+", metavar="IN", help=f"{source}; with --output-dir also a folder of them"
    )
    parser.add_argument(
        "--output-dir", metavar="DIR", type=Path, help="folder for the results of any number of files"
    )
    parser.add_argument(
        "--jobs", metavar="N", type=int, help="files at a time (default: one for each CPU, with a GPU 1)"
    )
    parser.epilog = f"OUT: {target}. A file that exists is overwritten."


def _add_allow_truncated(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--allow-truncated", action="store_true", help="take a .cwic file that was cut in transfer"
    )


def _add_format(parser: argparse.ArgumentParser) -> None:
    choices = sorted(set(_SUFFIXES.values()))
    parser.add_argument("--format", choices=choices, help="default: by OUT's suffix, png for `-`")


def _check_options(args: argparse.Namespace) -> None:
    """Find out before the first of many files what none of them can have; raises UsageError, ParameterError."""
    limits_of(args)
    if args.command == "decompress":
        _decode_options(args)
        return
    encode_options(args)
    if args.command == "importance-map":
        _map_options(args)


def _map_options(args: argparse.Namespace) -> MapOptions:
    return MapOptions(style=args.style, size=args.size)


def _decode_options(args: argparse.Namespace) -> DecodeOptions:
    return DecodeOptions(region=args.region, groups=args.groups, allow_truncated=args.allow_truncated)


def _compress(args: argparse.Namespace, checkpoints: Checkpoints | None) -> Outcome:
    from model.images.files import SUFFIXES, read_image
    from model.images.metadata import read_metadata

    options = encode_options(args)
    check_output(args.input, args.output)
    if Path(args.output).suffix.lower() in SUFFIXES:  # `compress *.jpg` of two pictures
        raise UsageError(f"OUT is a .cwic file, got the name of a picture, {args.output!r}")
    data = read(args.input)
    picture = read_image(data, limits=limits_of(args))
    metadata, dropped = read_metadata(data, keep=args.metadata == "keep", limits=limits_of(args))
    options = dataclasses.replace(options, metadata=metadata)
    if args.roi_mask is not None:
        options = dataclasses.replace(options, roi=_mask(args))
    codec = load_named(args, checkpoints)
    file = codec.encode(picture.array, options)
    write(args.output, file)
    info = file_format.inspect(file)
    times = len(data) / len(file)
    change = f"{times:.2f}x smaller" if times >= 1 else f"{1 / times:.2f}x larger"
    words = [
        f"{info.width}x{info.height}: {len(data)} -> {len(file)} bytes ({change})",
        f"{info.bpp:.3f} bpp",
        *_rate(info),
        *([f"model {codec.info.name}"] if info.model_id else []),
    ]
    return Outcome(text=", ".join(words), notes=(*picture.notes, *dropped))


def _mask(args: argparse.Namespace) -> Pixels:
    from model.images.masks import read_mask

    if args.roi_mask == args.input == "-":
        raise UsageError("IN and --roi-mask are both `-`; one of them must be a file")
    return read_mask(read(args.roi_mask), limits=limits_of(args))


def _rate(info: FileInfo) -> list[str]:
    """What a file was made at."""
    if info.kept:
        return [info.kept]
    return ["one rate"] if info.quality is None else [f"quality {info.quality:g}", f"tune {info.tune}"]


def _decompress(args: argparse.Namespace, checkpoints: Checkpoints | None) -> Outcome:
    from model.images.writing import write_image

    options = _decode_options(args)
    format = _format(args)
    check_output(args.input, args.output)
    data, limits = read(args.input), limits_of(args)
    # Refuses what is damaged before the slow imports.
    file = file_format.unpack(data, limits=limits, allow_truncated=options.allow_truncated)
    array = decoded(file, options, lambda: load_named(args, checkpoints, file=file))
    write(args.output, write_image(array, format=format, metadata=file.metadata))
    return Outcome()


def _truncate(args: argparse.Namespace, checkpoints: Checkpoints | None) -> Outcome:
    del checkpoints  # needs none
    check_output(args.input, args.output)
    data = read(args.input)
    cut = file_format.truncate(data, args.bytes)
    write(args.output, cut)
    return Outcome(text=f"{len(data)} -> {len(cut)} bytes")


def _importance_map(args: argparse.Namespace, checkpoints: Checkpoints | None) -> Outcome:
    from model.images.files import read_image
    from model.images.maps import drawing
    from model.images.writing import write_image

    options = encode_options(args)
    drawn = _map_options(args)
    format = _format(args)
    check_output(args.input, args.output)
    data = read(args.input)
    if data.startswith(file_format.MAGIC):
        for name in ("quality", "tune"):
            if getattr(args, name) is not None:
                raise UsageError(f"--{name} is for pictures; a .cwic file has its own")
        file = file_format.unpack(data, limits=limits_of(args), allow_truncated=args.allow_truncated)
        work = drawing(load_named(args, checkpoints, file=file), file, options, drawn)
    else:
        if args.allow_truncated:
            raise UsageError("--allow-truncated is for .cwic files; a picture has to be whole")
        picture = read_image(data, limits=limits_of(args)).array
        work = drawing(load_named(args, checkpoints), picture, options, drawn)
    write(args.output, write_image(run(work), format=format))
    return Outcome()


def _inspect(args: argparse.Namespace, checkpoints: Checkpoints | None) -> Outcome:
    from model.command_line.inspection import inspect_files

    for name in CODEC_DEFAULTS:
        if not args.importance and getattr(args, name) != CODEC_DEFAULTS[name]:
            raise UsageError(f"--{name.replace('_', '-')} is for --importance; the rest needs no checkpoint")
    if not args.importance:
        return inspect_files(args.inputs, limits=file_format.UNLIMITED, as_json=args.json)
    once = LoadedOnce(source_of(checkpoints))

    def codec_of(file: file_format.Container) -> PictureCodec:
        return load_named(args, once, file=file)

    return inspect_files(args.inputs, limits=limits_of(args), as_json=args.json, codec_of=codec_of)


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


if __name__ == "__main__":
    sys.exit(main())
