"""What Schemathesis has to know of our bodies: bytes, some of them pictures and files. See fuzz_openapi.py."""

import os
from pathlib import Path
from typing import Any

import schemathesis
from hypothesis import strategies as st

_MEANT = [each.read_bytes() for each in sorted(Path(os.environ["FUZZ_BODIES"]).iterdir())]


def install() -> None:
    """Make bodies of what means something and of any bytes, and send them as they are."""
    meant = st.sampled_from(_MEANT)
    schemathesis.openapi.format("binary", st.one_of(meant, meant, meant, st.binary(max_size=200)))
    for media_type in ("image/*", "image/x-cwic"):
        schemathesis.serializer(media_type)(_raw)


def _raw(_: Any, value: Any) -> Any:
    return value if isinstance(value, bytes) else str(value).encode()


install()
