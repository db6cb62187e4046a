"""Writes the OpenAPI document that test_openapi.py compares with: `python -m tests.service.api.renew_openapi`."""

import json
from pathlib import Path

from service.app import create_app
from service.settings import Settings

PATH = Path(__file__).with_name("openapi.json")


def document() -> str:
    """The document as it is committed; without the version, which every release changes."""
    api = create_app(Settings()).openapi()
    return json.dumps({**api, "info": {**api["info"], "version": "any"}}, indent=1) + "\n"


if __name__ == "__main__":
    PATH.write_text(document())
