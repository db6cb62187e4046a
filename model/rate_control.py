"""From what a user asks of an encoding to what the codec is told."""

from dataclasses import dataclass, replace

import numpy as np

from model.config import TUNES, CodecConfig, CwicConfig
from model.container.format import QUALITY_STEPS, position_of
from model.content_plane import content_offsets
from model.entropy.tables import Ints
from model.errors import ParameterError
from model.interest import interest_offsets
from model.options import (
    DEFAULT_EFFORT,
    DEFAULT_QUALITY,
    PLANE_CELL,
    PLANE_STEPS,
    EncodeOptions,
    Offsets,
    plane_shape,
)
from model.types import Pixels


@dataclass(frozen=True, eq=False, kw_only=True)
class Setting:
    """What an encoding or a decoding runs at.

    Attributes:
        quality: position on the quality axis, 0 to QUALITY_STEPS.
        tune: index of `TUNES`.
        offsets: of the quality plane, int8 [ceil(H / 64), ceil(W / 64)]; None where there is none.
    """

    quality: int
    tune: int
    offsets: Offsets | None = None


def with_plane(options: EncodeOptions, config: CodecConfig, array: Pixels) -> EncodeOptions:
    """Options whose plane says what the regions of interest of a picture and, for the tune `visual`, its content say.

    The same options where that is nothing, or where a plane is given.

    Raises:
        ParameterError: see `interest_offsets`; or a checkpoint of one rate, which has no regions of interest.
    """
    if not isinstance(config, CwicConfig):
        if options.roi is not None:
            raise ParameterError(f"profile {config.profile} has one rate: there are no regions of interest")
        return options
    follows_content = (options.tune or config.tunes[0]) == "visual"
    if options.lossless or options.plane is not None or not (follows_content or options.roi is not None):
        return options
    height, width = array.shape[:2]
    offsets = np.zeros(plane_shape(height, width), np.int16)
    if options.roi is not None:
        offsets += interest_offsets(options.roi, config, height=height, width=width)
    if follows_content:
        offsets += content_offsets(array)
    return replace(options, roi=None, plane=offsets.clip(-PLANE_STEPS, PLANE_STEPS).astype(np.int8))


def resolve_setting(options: EncodeOptions, config: CodecConfig, *, height: int, width: int) -> Setting:
    """What a picture is encoded at; raises ParameterError for what this checkpoint does not have."""
    assert options.roi is None, "regions of interest that are no plane yet: see with_plane"
    if not isinstance(config, CwicConfig):
        chosen = (options.quality, options.target, options.tune, options.plane)
        if options.effort != DEFAULT_EFFORT or any(each is not None for each in chosen):
            raise ParameterError(
                f"profile {config.profile} has one rate: there is no quality, target, tune, plane or effort to choose"
            )
        return Setting(quality=0, tune=0)
    if options.target is not None:
        raise ParameterError(f"{options.target.name} is reached by a file; here only a quality can be given")
    tune = options.tune or config.tunes[0]
    if tune not in config.tunes:
        raise ParameterError(f"this checkpoint was trained for {', '.join(config.tunes)}, not for {tune!r}")
    quality = DEFAULT_QUALITY if options.quality is None else options.quality
    cells = plane_shape(height, width)
    if options.plane is not None and options.plane.shape != cells:
        raise ParameterError(
            f"the plane of {height}x{width} pixels has {cells} values, one for {PLANE_CELL} pixels, "
            f"got {options.plane.shape}"
        )
    plane = options.plane if options.plane is not None and options.plane.any() else None
    return Setting(quality=position_of(quality), tune=TUNES.index(tune), offsets=plane)


def positions(quality: int, offsets: Ints | Offsets, *, cells: int) -> Ints:
    """Positions on the quality axis at the map's resolution, [h * cells, w * cells], of offsets [h, w]."""
    at = quality + offsets.astype(np.int32) * (QUALITY_STEPS // PLANE_STEPS)
    fine: Ints = np.clip(at, 0, QUALITY_STEPS).repeat(cells, 0).repeat(cells, 1)
    return fine
