"""Importance maps as pictures: grey, in colours, over the picture itself. numpy only."""

import numpy as np

from model.config import PROFILES
from model.container.format import Container
from model.options import DecodeOptions, EncodeOptions, MapOptions
from model.protocol import PictureCodec
from model.steps import Work
from model.types import Pixels

# Six colours of matplotlib's `inferno`, evenly spaced: as dark as the level is low, for the colour-blind too.
_HEAT = ("000004", "420a68", "932667", "dd513a", "fca50a", "fcffa4")
_READ = DecodeOptions(allow_truncated=True)  # where a file could be read, it was permitted
_ROWS = 256  # of an overlay that are mixed at once, to keep the temporary copies small


def drawing(
    codec: PictureCodec, source: Pixels | Container, options: EncodeOptions, drawn: MapOptions
) -> Work[Pixels]:
    """An importance map as it is to be drawn; an overlay on a file decodes its picture too.

    Of size [H, W] where it is grey, else [H, W, 3]; an overlay keeps the picture's alpha. H and W are the picture's,
    or those of the map.

    Raises:
        FileError: see `PictureCodec.decode`; NoImportanceMapError for a lossless file.
        ParameterError, LimitError: see `PictureCodec.encode`.
    """
    grey = yield from codec.mapping(source, options)
    if drawn.style == "overlay":
        picture = source if isinstance(source, np.ndarray) else (yield from codec.decoding(source, _READ))
        return overlay(grey, picture)
    if drawn.size == "map":
        stride = PROFILES[codec.info.profile].map_stride
        grey = np.ascontiguousarray(grey[::stride, ::stride])
    return heat_colours()[grey] if drawn.style == "heat" else grey


def mean_importance(codec: PictureCodec, file: Container) -> Work[float]:
    """The mean of a file's importance map, 0 to 1, where 1 keeps all channels everywhere; its codes are not decoded.

    Raises:
        FileError: see `PictureCodec.decode`; NoImportanceMapError for a lossless file.
    """
    grey = yield from codec.mapping(file)
    return float(grey.mean()) / 255


def heat_colours() -> Pixels:
    """The colour of each value of a map, uint8 [256, 3], brighter from each to the next."""
    anchors = np.array([list(bytes.fromhex(colour)) for colour in _HEAT])  # [6, 3]
    at = np.linspace(0, 255, len(anchors))
    channels = [np.interp(np.arange(256), at, channel) for channel in anchors.T]
    return np.stack(channels, 1).round().astype(np.uint8)


def overlay(grey: Pixels, picture: Pixels) -> Pixels:
    """A map, [H, W], in colours, mixed with its picture, [H, W, 3 or 4], in equal parts; alpha stays."""
    assert grey.shape == picture.shape[:2], f"a map of {grey.shape} and a picture of {picture.shape}"
    halves, mixed = heat_colours() // 2, picture.copy()
    for top in range(0, len(grey), _ROWS):
        rows = slice(top, top + _ROWS)
        mixed[rows, :, :3] = halves[grey[rows]] + picture[rows, :, :3] // 2
    return mixed
