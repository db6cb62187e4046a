"""API keys: how they are written, that a file is followed, and that nothing tells more than yes or no."""

import logging
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service import keys
from service.keys import MIN_LENGTH, SECONDS_BETWEEN_READS, ApiKey, KeyRing, KeysError

ONE, TWO, THREE = (f"{letter}-secret-0123456789" for letter in "abc")

visible = st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters=":#,"))


class Clock:
    """A clock that stands until it is moved on."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def move(self) -> None:
        """Let so much time pass that a file is read again."""
        self.now += SECONDS_BETWEEN_READS


def names(ring: KeyRing, *sent: str) -> list[str | None]:
    """The names of the keys that were sent; None for one that is not known."""
    return [found.name if (found := ring.find(each.encode())) else None for each in sent]


def test_a_text_has_keys_with_and_without_names() -> None:
    ring = KeyRing(text=f"{ONE}, phone:{TWO},,", path=None)
    assert names(ring, ONE, TWO, f"phone:{TWO}", THREE, "") == ["key-1", "phone", None, None, None]


def test_a_file_has_a_key_on_each_line_and_comments(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(f"\ufeff# Schlüssel\n\n  {ONE}  # the first\r\nphone:{TWO}#2\n")
    ring = KeyRing(text=None, path=file)
    assert names(ring, ONE, TWO + "#2", TWO) == ["key-1", "phone", None]


def test_keys_of_both_places_count(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text(TWO)
    ring = KeyRing(text=ONE, path=tmp_path / "keys")
    assert None not in names(ring, ONE, TWO)


def test_without_any_there_are_no_keys() -> None:
    assert not KeyRing(text=None, path=None)
    assert KeyRing(text=ONE, path=None)


@given(first=visible, second=visible)
def test_a_key_is_found_exactly_where_it_is_sent_whole(first: str, second: str) -> None:
    first, second = first.ljust(MIN_LENGTH, "x"), second.ljust(MIN_LENGTH, "y")
    ring = KeyRing(text=f"one:{first},two:{second}", path=None)
    assert ring.find(first.encode()) is not None
    for sent in (first[:-1], first + "x", first.swapcase()):
        assert (ring.find(sent.encode()) is not None) == (sent in (first, second))


@pytest.mark.parametrize("sent", [ONE, TWO, THREE, "", "x" * 100_000])
def test_every_key_is_compared_whatever_is_sent(monkeypatch: pytest.MonkeyPatch, sent: str) -> None:
    compared: list[tuple[int, int]] = []

    def stub(known: bytes, digest: bytes) -> bool:
        compared.append((len(known), len(digest)))
        return known == digest

    monkeypatch.setattr(keys, "compare_digest", stub)
    KeyRing(text=f"{ONE},{TWO},{THREE[::-1]}", path=None).find(sent.encode())
    assert compared == [(32, 32)] * 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x" * (MIN_LENGTH - 1), "key 1 has 15 characters; a key has at least 16"),
        (f"{ONE},phone:short", "key 2 has 5 characters; a key has at least 16"),
        (f"phone:{ONE} and more", "key 1 has characters other than visible ones of ASCII"),
        (f"{ONE}é", "key 1 has characters other than visible ones of ASCII"),
        (" , ", "no key in it"),
    ],
)
def test_keys_that_cannot_be_used_are_refused_and_not_shown(text: str, message: str) -> None:
    with pytest.raises(KeysError) as caught:
        KeyRing(text=text, path=None)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no key in it"),
        (b"# none yet\n\n", "no key in it"),
        (b"# two\n\nphone:short", "line 3 has 5 characters; a key has at least 16"),
        (b"\xff" + ONE.encode(), "no UTF-8 text: byte 0 does not fit"),
    ],
)
def test_a_file_that_cannot_be_used_at_the_start_is_refused(
    tmp_path: Path, content: bytes, message: str
) -> None:
    file = tmp_path / "keys"
    file.write_bytes(content)
    with pytest.raises(KeysError) as caught:
        KeyRing(text=ONE, path=file)
    assert str(caught.value) == f"{file}: {message}"


@pytest.mark.parametrize("name", ["none", "."])
def test_a_file_that_cannot_be_read_at_the_start_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(KeysError, match=r"cannot be read: (No such file|Is a directory)"):
        KeyRing(text=None, path=tmp_path / name)


def test_a_file_is_read_again_when_it_changes_and_then_once_a_second(tmp_path: Path) -> None:
    file, clock = tmp_path / "keys", Clock()
    file.write_text(f"{ONE}\n{TWO}")
    ring = KeyRing(text=None, path=file, clock=clock)
    # what Kubernetes does: another file takes the name
    (tmp_path / "new").write_text(f"{TWO}\nphone:{THREE}")
    (tmp_path / "new").rename(file)
    assert names(ring, ONE, THREE) == ["key-1", None]
    clock.move()
    assert names(ring, ONE, TWO, THREE) == [None, "key-1", "phone"]


def test_a_change_that_leaves_size_and_time_stamp_alone_is_seen(tmp_path: Path) -> None:
    file, clock = tmp_path / "keys", Clock()
    file.write_text(ONE)
    ring, before = KeyRing(text=None, path=file, clock=clock), file.stat()
    file.write_text(TWO)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    clock.move()
    assert names(ring, ONE, TWO) == [None, "key-1"]


@pytest.mark.parametrize("content", ["", "phone:short", None])
def test_a_file_that_becomes_unusable_leaves_the_old_keys_and_one_error_in_the_log(
    tmp_path: Path, content: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    file, clock = tmp_path / "keys", Clock()
    file.write_text(ONE)
    ring = KeyRing(text=None, path=file, clock=clock)
    if content is None:
        file.unlink()
    else:
        file.write_text(content)
    for _ in range(3):
        clock.move()
        assert names(ring, ONE) == ["key-1"]
    [record] = caplog.records
    assert record.levelno == logging.ERROR
    assert record.getMessage().startswith(f"The keys stay as they were: {file} cannot be used: ")
    file.write_text(f"phone:{TWO}")
    clock.move()
    assert names(ring, ONE, TWO) == [None, "phone"]
    assert caplog.records[-1].getMessage() == "Keys read again: phone"
    assert ONE not in caplog.text
    assert "short" not in caplog.text


def test_a_key_shows_its_name_only() -> None:
    assert repr(ApiKey(name="phone", digest=b"digest")) == "ApiKey(name='phone')"
