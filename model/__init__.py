"""The codec: pictures to .cwic files and back. No HTTP, settings, environment or global state.

    codec = load_codec()
    data = codec.encode(array, EncodeOptions(quality=50))
    restored = codec.decode(data)

Words, as this package uses them:

    latents y       what the analysis makes of a picture, float [B, channels, H / 8, W / 8], in steps of the quantiser
    mean, scale     what a context model predicts of a latent before it is known; mean in steps of 1 / 32
    residual        the whole number by which a code differs from its predicted mean: what is written
    codes           mean plus residual, in steps of 1 / 32; 0 where masked: what the synthesis starts from
    symbols         integers that the entropy coder takes, in binary decisions: residuals, or codes that are bits
    importance map  how much each place of the picture is worth; its levels say how many leading channels are kept
    mask            the channels that the levels keep; codes outside of it are never written
    cell            the pixels, 16 x 16 or 8 x 8, that one level stands for
    quality plane   the quality at each place, told for 64 x 64 pixels; it conditions networks and context models
    roi             a region of interest: pixels whose errors weigh more or less; together they make a quality plane
    tune            what a file is made to be good at, squared error or looks; it conditions them likewise
    patches         blocks of a coded picture that are kept without loss instead, as letters on a flat ground are
    group, pass     channels that are coded together; positions of a group that are coded at once
    Haar level      through which the first group is coded: averages of 2 x 2 latents, then their details
    tile            pixels, 1024 x 1024 by default, that are coded on their own
    margin          the pixels or codes around a tile that its transforms see besides its own

The codes of profile `cvpr2018` are bits, -1 and 1, not means and residuals, and it has neither quality nor tune.

The names below are the public interface. They are imported when they are first used, so that `import model` loads
neither numpy nor torch: how many threads those start has to be set before.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from model.checkpoints import available, load_codec
    from model.codec import Codec
    from model.container.format import truncate
    from model.errors import CwicError
    from model.images.files import Picture, read_image
    from model.images.metadata import read_metadata
    from model.images.writing import write_image
    from model.options import DecodeOptions, EncodeOptions
    from model.types import FileInfo, Limits, Metadata, ModelInfo, Region, Roi

__all__ = [
    "Codec",
    "CwicError",
    "DecodeOptions",
    "EncodeOptions",
    "FileInfo",
    "Limits",
    "Metadata",
    "ModelInfo",
    "Picture",
    "Region",
    "Roi",
    "available",
    "load_codec",
    "read_image",
    "read_metadata",
    "truncate",
    "write_image",
]

_MODULES = {
    "Codec": "model.codec",
    "CwicError": "model.errors",
    "DecodeOptions": "model.options",
    "EncodeOptions": "model.options",
    "FileInfo": "model.types",
    "Limits": "model.types",
    "Metadata": "model.types",
    "ModelInfo": "model.types",
    "Picture": "model.images.files",
    "Region": "model.types",
    "Roi": "model.types",
    "available": "model.checkpoints",
    "load_codec": "model.checkpoints",
    "read_image": "model.images.files",
    "read_metadata": "model.images.metadata",
    "truncate": "model.container.format",
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
