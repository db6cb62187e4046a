"""The setting of the C library's allocator."""

import sys

import pytest

from service.memory import limit_arenas


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's setting")
def test_the_allocator_takes_the_setting_unless_the_user_has_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MALLOC_ARENA_MAX", "8")
    assert not limit_arenas()
    monkeypatch.delenv("MALLOC_ARENA_MAX")
    assert limit_arenas()
