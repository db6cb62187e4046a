"""The codec: pictures to .cwic files and back. No HTTP, settings, environment or global state.

    codec = load_codec()
    data = codec.encode(array, quality=50)
    restored = codec.decode(data)

The names below are the public interface. They are imported when they are first used, so that `import model` loads
neither numpy nor torch: how many threads those start has to be set before.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from model.checkpoints import available, load_codec
    from model.codec import Codec
    from model.errors import CwicError
    from model.images.files import Picture, read_image
    from model.images.writing import write_image
    from model.types import FileInfo, Limits, ModelInfo

__all__ = [
    "Codec",
    "CwicError",
    "FileInfo",
    "Limits",
    "ModelInfo",
    "Picture",
    "available",
    "load_codec",
    "read_image",
    "write_image",
]

_MODULES = {
    "Codec": "model.codec",
    "CwicError": "model.errors",
    "FileInfo": "model.types",
    "Limits": "model.types",
    "ModelInfo": "model.types",
    "Picture": "model.images.files",
    "available": "model.checkpoints",
    "load_codec": "model.checkpoints",
    "read_image": "model.images.files",
    "write_image": "model.images.writing",
}


def __getattr__(name: str) -> Any:
    """A public name, from the module that defines it."""
    if name not in _MODULES:
        raise AttributeError(f"module 'model' has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    """The public names."""
    return __all__
