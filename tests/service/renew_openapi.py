"""Writes the OpenAPI document that test_openapi.py compares with: `python tests/service/renew_openapi.py`."""

import json
import sys
from pathlib import Path

PATH = Path(__file__).with_name("openapi.json")
ROOT = Path(__file__).resolve().parents[2]


def document() -> str:
    """The document as it is committed; without the version, which every release changes."""
    from service.app import create_app
    from service.settings import Settings

    api = create_app(Settings()).openapi()
    return json.dumps({**api, "info": {**api["info"], "version": "any"}}, indent=1) + "\n"


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    PATH.write_text(document())
