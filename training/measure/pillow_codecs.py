"""The usual formats as Pillow writes them, for comparison in the same run."""

import importlib
import importlib.util
import io
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from PIL import Image

from model.errors import ParameterError
from model.types import Pixels


@dataclass(frozen=True)
class PillowCodec:
    """A picture format at fixed settings, apart from its quality.

    Attributes:
        label: name and settings, as tables and plots show it.
        format: Pillow's name.
        options: what Pillow's `save` is given, apart from the quality.
        qualities: a ladder that spans about 0.1 to 1.5 bits per pixel on photographs, rising.
        plugin: the module that teaches Pillow the format, of the extra `measure`; None where it knows it.
    """

    label: str
    format: str
    options: Mapping[str, Any]
    qualities: tuple[int, ...]
    plugin: str | None = None

    @property
    def available(self) -> bool:
        """Whether the plugin is installed, where the format needs one."""
        return self.plugin is None or importlib.util.find_spec(self.plugin) is not None

    def encode(self, array: Pixels, *, quality: float) -> bytes:
        """The file of an [H, W, 3] picture."""
        self._load_plugin()
        out = io.BytesIO()
        Image.fromarray(array).save(out, format=self.format, quality=round(quality), **self.options)
        return out.getvalue()

    def decode(self, data: bytes) -> Pixels:
        """The picture of a file, [H, W, 3]."""
        self._load_plugin()
        with Image.open(io.BytesIO(data), formats=[self.format]) as picture:
            return np.asarray(picture.convert("RGB"))

    def _load_plugin(self) -> None:
        if self.plugin is None:
            return
        try:
            importlib.import_module(self.plugin)
        except ImportError as exc:
            message = f"{self.label} needs the extra `measure`: pip install 'cwic[measure]'"
            raise ParameterError(message) from exc


_JPEG_QUALITIES = (1, 3, 5, 7, 10, 14, 20, 30, 40, 50, 60, 70, 80, 85)

_AVIF_QUALITIES = (8, 14, 20, 27, 34, 42, 50, 58, 66, 74, 80, 88)


def _avif(subsampling: str, tune: Literal["IQ", "PSNR"]) -> PillowCodec:
    """AVIF by libaom; IQ is what Pillow sends where no tune is named, libavif's default."""
    options: dict[str, Any] = {"subsampling": subsampling, "speed": 6}
    if tune == "PSNR":
        options["advanced"] = {"tune": "psnr"}
    label = f"AVIF {subsampling}, tune {tune}"
    return PillowCodec(label, "AVIF", MappingProxyType(options), _AVIF_QUALITIES)


# "jpeg" has the standard's Huffman tables, Pillow's default, like the published curves; tables fitted to the
# picture ("jpeg-optimized") save a third of the file at the lowest rates and a tenth at high ones.
PILLOW_CODECS: Mapping[str, PillowCodec] = MappingProxyType(
    {
        "jpeg": PillowCodec(
            "JPEG 4:2:0",
            "JPEG",
            MappingProxyType({"subsampling": "4:2:0"}),
            _JPEG_QUALITIES,
        ),
        "jpeg-optimized": PillowCodec(
            "JPEG 4:2:0 optimised",
            "JPEG",
            MappingProxyType({"subsampling": "4:2:0", "optimize": True}),
            _JPEG_QUALITIES,
        ),
        "webp": PillowCodec(
            "WebP method 6",
            "WEBP",
            MappingProxyType({"method": 6}),
            (0, 1, 3, 6, 12, 20, 32, 45, 60, 75, 82, 88),
        ),
        "avif": _avif("4:2:0", "IQ"),
        "avif-psnr": _avif("4:2:0", "PSNR"),
        "avif444": _avif("4:4:4", "IQ"),
        "avif444-psnr": _avif("4:4:4", "PSNR"),
        "jxl": PillowCodec(
            "JPEG XL effort 7",
            "JXL",
            MappingProxyType({"effort": 7}),
            (1, 5, 10, 20, 30, 40, 50, 60, 70, 80, 85, 90),
            plugin="pillow_jxl",
        ),
    }
)


def available_codecs() -> tuple[str, ...]:
    """The names of those that can be written here."""
    return tuple(name for name, codec in PILLOW_CODECS.items() if codec.available)
