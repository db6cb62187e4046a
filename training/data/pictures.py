"""Picture files by glob pattern, decoded to RGB; what is broken is skipped and counted, up to a point."""

import glob
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from model.errors import BrokenImageError, CwicError, ParameterError
from model.images.files import read_image
from model.types import Limits, Pixels

MAX_BROKEN_SHARE = 0.05
_LIMITS = Limits(max_pixels=250_000_000)  # one's own pictures, from the largest cameras


@dataclass(frozen=True)
class NamedPicture:
    """A decoded picture file: its path, and [H, W, 3] RGB (alpha is dropped)."""

    path: Path
    array: Pixels


@dataclass(frozen=True)
class Pictures:
    """What a set of patterns gave.

    Attributes:
        pictures: in the order of their paths.
        broken: files that could not be read.
        small: files with a side below the smallest one asked for.
    """

    pictures: tuple[NamedPicture, ...]
    broken: tuple[Path, ...]
    small: tuple[Path, ...]


def find_files(patterns: Iterable[str]) -> tuple[Path, ...]:
    """Files that match glob patterns (`**` crosses folders), each once, sorted.

    Raises:
        ParameterError: a pattern matches no file.
    """
    found: set[Path] = set()
    for pattern in patterns:
        matches = [path for path in map(Path, glob.iglob(pattern, recursive=True)) if path.is_file()]
        if not matches:
            raise ParameterError(f"no file matches {pattern!r}")
        found.update(matches)
    if not found:
        raise ParameterError("no file patterns given")
    return tuple(sorted(found))


def read_rgb(path: Path, *, limits: Limits | None = None) -> Pixels:
    """The picture in a file as [H, W, 3]; any error's message names the file.

    Raises:
        InputError: as `model.images.files.read_image`.
        BrokenImageError: also for a file that the system will not read.
    """
    try:
        array = read_image(path.read_bytes(), limits=limits or _LIMITS).array
    except CwicError as error:
        raise BrokenImageError(f"{path}: {error}") from error
    except OSError as error:
        raise BrokenImageError(f"{path}: {error.strerror}") from error
    return array[:, :, :3]


def decoded(files: Iterable[Path], *, min_side: int = 1) -> Iterator[Pixels]:
    """Pictures one after the other, without those that cannot be read or have a side below `min_side`."""
    for path in files:
        try:
            array = read_rgb(path)
        except BrokenImageError:
            continue
        if min(array.shape[:2]) >= min_side:
            yield array


def load_pictures(
    patterns: Iterable[str],
    *,
    min_side: int = 1,
    at_most: int | None = None,
    limits: Limits | None = None,
    progress: bool = False,
) -> Pictures:
    """All pictures of some glob patterns, or those of the first `at_most` files, decoded.

    Raises:
        ParameterError: a pattern matches nothing; or no picture is left with sides of `min_side` and above.
        BrokenImageError: more than 5 % of the files cannot be read; names the first.
    """
    files = find_files(patterns)[:at_most]
    kept: list[NamedPicture] = []
    small: list[Path] = []
    failures: list[tuple[Path, BrokenImageError]] = []
    for path, result in tqdm(
        _decode_all(files, limits), desc="pictures", total=len(files), disable=not progress
    ):
        if isinstance(result, BrokenImageError):
            failures.append((path, result))
        elif min(result.shape[:2]) < min_side:
            small.append(path)
        else:
            kept.append(NamedPicture(path, result))
    if len(failures) > MAX_BROKEN_SHARE * len(files):
        first = failures[0][1]
        raise BrokenImageError(
            f"{len(failures)} of {len(files)} pictures cannot be read (at most {MAX_BROKEN_SHARE:.0%} may), "
            f"the first: {first}"
        ) from first
    if not kept:
        raise ParameterError(
            f"none of {len(files)} pictures has sides of at least {min_side} pixels, the first: {files[0]}"
        )
    return Pictures(tuple(kept), tuple(path for path, _ in failures), tuple(small))


def _decode_all(
    files: tuple[Path, ...], limits: Limits | None
) -> Iterator[tuple[Path, Pixels | BrokenImageError]]:
    def decode(path: Path) -> Pixels | BrokenImageError:
        try:
            return read_rgb(path, limits=limits)
        except BrokenImageError as error:
            return error

    with ThreadPoolExecutor() as executor:  # Pillow decodes without the GIL
        yield from zip(files, executor.map(decode, files), strict=True)
