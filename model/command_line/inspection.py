"""What .cwic files say about themselves, for people and as JSON."""

import dataclasses
import json
from collections.abc import Callable, Sequence
from functools import partial

from model.command_line.files import read, say, write
from model.command_line.outcomes import Outcome, attempt
from model.container import format as file_format
from model.container.format import Container
from model.protocol import PictureCodec
from model.steps import run
from model.types import Limits

CodecOf = Callable[[Container], PictureCodec]


def inspect_files(
    paths: Sequence[str], *, limits: Limits, as_json: bool, codec_of: CodecOf | None = None
) -> Outcome:
    """Print what files say; of several, each that fails has a line on standard error, and the status is 1.

    A fault of the installation, status 3, ends it early.

    Args:
        paths: of the files.
        limits: of their pictures.
        as_json: one document, or of several files a line for each.
        codec_of: the codec of a file, where the mean of its importance map is asked for too.
    """
    several = len(paths) > 1
    described = partial(_described, limits=limits, as_json=as_json, codec_of=codec_of, several=several)
    if not several:
        write("-", described(paths[0]).text.encode())
        return Outcome()
    failed = 0
    for path in paths:
        outcome = attempt(partial(described, path))
        if outcome.status == 3:
            return outcome
        if outcome.status:
            failed += 1
            say(f"{path}: {f'{outcome}'.removeprefix(f'{path}: ')}")
        else:
            # Not within the attempt: where it fails, more is of no use.
            write("-", outcome.text.encode(errors="surrogateescape"))
    return Outcome(1, f"{failed} of {len(paths)} files cannot be read") if failed else Outcome()


def _described(
    path: str, *, limits: Limits, as_json: bool, codec_of: CodecOf | None, several: bool
) -> Outcome:
    """What a file says, as the text of an outcome."""
    file = file_format.unpack(read(path), limits=limits, allow_truncated=True)
    info = file.info()
    facts: dict[str, object] = {"file": path} if several else {}
    facts |= dataclasses.asdict(info) | {"bpp": round(info.bpp, 4)}
    if codec_of is not None:
        facts["mean_importance"] = _mean_importance(file, codec_of)
    if as_json:
        text = json.dumps(facts, indent=None if several else 2)
    else:
        facts["sections"] = ", ".join(f"{s.name} {s.length} ({s.bpp:.4f} bpp)" for s in info.sections)
        text = "\n".join(f"{name:15} {_words(value)}" for name, value in facts.items()) + "\n" * several
    return Outcome(text=f"{text}\n")


def _mean_importance(file: Container, codec_of: CodecOf) -> float | None:
    """Of a file's map, in four digits; None for a lossless file, which has none."""
    from model.images.maps import mean_importance  # numpy, which the rest does not need

    return None if file.header.lossless else round(run(mean_importance(codec_of(file), file)), 4)


def _words(value: object) -> object:
    """A fact of a file as a person reads it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "-" if value in (None, "") else value
