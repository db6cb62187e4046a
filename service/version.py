"""Versions of what is installed."""

from importlib import metadata


def version(package: str) -> str:
    """Version of an installed package; `unknown` where it runs from a bare source tree."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "unknown"
