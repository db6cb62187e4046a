"""Programs that the checks run and that pip does not install."""

import os
import shutil

import pytest


def tool(name: str, package: str) -> str:
    """The path of a program; skips the test where it is not installed, and fails it for `docker/check`."""
    path = shutil.which(name)
    if path is None:
        message = f"{name} is not installed ({package})"
        if os.environ.get("REQUIRE_TOOLS"):
            pytest.fail(message)
        pytest.skip(message)
    return path
