"""The codec: pictures to .cwic files and back. No HTTP, settings, environment or global state.

    codec = load_codec()
    data = codec.encode(array, quality=50)
    restored = codec.decode(data)

Words, as this package uses them:

    latents y       what the analysis makes of a picture, float [B, channels, H / 8, W / 8], in steps of the quantiser
    codes           latents rounded to integers, 0 where masked: what is coded, and what the synthesis starts from
    mean, scale     what a context model predicts of a code before it is known; they choose its probabilities
    symbols         codes as the entropy coder takes them, in binary decisions about the distance from the mean
    importance map  how much each place of the picture is worth; its levels say how many leading channels are kept
    mask            the channels that the levels keep; codes outside of it are never written
    cell            the pixels, 16 x 16 or 8 x 8, that one level stands for
    quality plane   the quality at each cell, which conditions networks and context models
    group, pass     channels that are coded together; positions of a group that are coded at once

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
