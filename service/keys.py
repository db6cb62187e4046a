"""API keys: how they are written, where they come from, and how one is recognised. Knows no HTTP.

A key is written as itself, or with a name for the log before it, `phone:0f3a...`. Of a key only its SHA-256 is kept,
and only its name is ever shown.
"""

import hashlib
import logging
import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from hmac import compare_digest
from pathlib import Path

MIN_LENGTH = 16  # of random characters: too many to try over a network
SECONDS_BETWEEN_READS = 1.0

_COMMENT = re.compile(r"(^|\s)#.*")
_ENTRY = re.compile(r"(?:(?P<name>[A-Za-z0-9._-]{1,64}):)?(?P<key>.*)", re.DOTALL)
_VISIBLE = re.compile(r"[!-~]*")  # what a header can carry without quoting

logger = logging.getLogger("cwic.keys")


class KeysError(ValueError):
    """Keys that cannot be used; the message says where and why, and has nothing of a key."""


@dataclass(frozen=True)
class ApiKey:
    """A key that the service knows.

    Attributes:
        name: for the log: the one before it, or its place, such as `key-2`.
        digest: its SHA-256.
    """

    name: str
    digest: bytes = field(repr=False)


def keys_of_text(text: str) -> tuple[ApiKey, ...]:
    """The keys of a comma-separated text; raises KeysError."""
    return _parse((f"key {number}", entry.strip()) for number, entry in enumerate(text.split(","), 1))


def keys_of_file(content: bytes) -> tuple[ApiKey, ...]:
    """The keys of a file with one on each line, and comments from `#` to the line's end; raises KeysError."""
    try:
        lines = content.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as exc:
        # Without the cause, which has the content.
        raise KeysError(f"no UTF-8 text: byte {exc.start} does not fit") from None
    return _parse((f"line {number}", _COMMENT.sub("", line).strip()) for number, line in enumerate(lines, 1))


class KeyRing:
    """All keys of the service: those of a text for as long as it runs, those of a file as the file is now.

    A file that has become unusable is an error in the log, and the keys that were read last stay.
    Raises KeysError at construction, where the text or the file cannot be used.
    """

    def __init__(
        self, *, text: str | None, path: Path | None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._path = path
        self._clock = clock
        self._fixed = keys_of_text(text) if text is not None else ()
        self._content = b""
        self._fault = ""
        if path is not None:
            try:
                self._read(path)
            except OSError as exc:
                raise KeysError(f"{path} cannot be read: {exc.strerror}") from exc
            except KeysError as exc:
                raise KeysError(f"{path}: {exc}") from exc
        else:
            self._keys = self._fixed
        self._next_read = clock() + SECONDS_BETWEEN_READS

    def __bool__(self) -> bool:
        """Whether there are keys; without any the service is open."""
        return bool(self._keys)

    def find(self, sent: bytes) -> ApiKey | None:
        """The key that was sent; None where it is none of ours.

        Digests are compared, each in constant time and always all of them: how long it takes tells neither how
        long a key is, nor how much of it was right, nor which it was.
        """
        self._follow_file()
        digest = hashlib.sha256(sent).digest()
        found = None
        for key in self._keys:
            if compare_digest(key.digest, digest):
                found = key
        return found

    def _follow_file(self) -> None:
        if self._path is None or self._clock() < self._next_read:
            return
        self._next_read = self._clock() + SECONDS_BETWEEN_READS
        before, fault = self._content, ""
        try:
            self._read(self._path)
        except (OSError, KeysError) as exc:
            fault = str(exc)
        if fault and fault != self._fault:
            logger.error("The keys stay as they were: %s cannot be used: %s", self._path, fault)
        elif not fault and self._content != before:
            logger.info("Keys read again: %s", ", ".join(key.name for key in self._keys))
        self._fault = fault

    def _read(self, path: Path) -> None:
        # The content is compared and no time stamp: two changes within a clock tick have the same.
        content = path.read_bytes()
        digest = hashlib.sha256(content).digest()
        if digest != self._content:
            self._keys = (*self._fixed, *keys_of_file(content))
            self._content = digest


def _parse(entries: Iterable[tuple[str, str]]) -> tuple[ApiKey, ...]:
    """The keys of entries, each with where it is; empty ones are left out."""
    keys: list[ApiKey] = []
    for place, entry in entries:
        if not entry:
            continue
        parts = _ENTRY.fullmatch(entry)
        assert parts is not None, "the pattern takes everything"
        key = parts["key"]
        if not _VISIBLE.fullmatch(key):
            raise KeysError(f"{place} has characters other than visible ones of ASCII")
        if len(key) < MIN_LENGTH:
            raise KeysError(f"{place} has {len(key)} characters; a key has at least {MIN_LENGTH}")
        name = parts["name"] or f"key-{len(keys) + 1}"
        keys.append(ApiKey(name=name, digest=hashlib.sha256(key.encode()).digest()))
    if not keys:
        raise KeysError("no key in it")
    return tuple(keys)
