"""What is asked of an encoding or a decoding: one frozen value each, from the route or command line to the codec."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal, NamedTuple, Self, get_args

import numpy as np
from numpy.typing import NDArray

from model.config import MAX_GROUPS, TUNES, Tune
from model.container.header import CODED_TILES, DEFAULT_TILE
from model.errors import ParameterError
from model.tiling import Box
from model.types import MAX_METADATA, NO_METADATA, Metadata, Pixels, Region, Roi

DEFAULT_QUALITY = 50.0
PLANE_CELL = 64  # pixels between two values of a quality plane
PLANE_STEPS = 64  # of a plane's values from one end of the quality axis to the other
MAX_WEIGHT = 16  # of a region of interest, and its inverse the smallest: what a mask can say too
MAX_ROIS = 64
Offsets = NDArray[np.int8]
MapStyle = Literal["grey", "heat", "overlay"]
MapSize = Literal["picture", "map"]
MAP_STYLES: tuple[MapStyle, ...] = get_args(MapStyle)
MAP_SIZES: tuple[MapSize, ...] = get_args(MapSize)
TargetName = Literal["target_bytes", "target_bpp", "target_psnr", "target_ssimulacra2"]
TARGETS: tuple[TargetName, ...] = get_args(TargetName)
SIZES: tuple[TargetName, ...] = ("target_bytes", "target_bpp")  # the targets that a file must not pass
# Of each target, the encodings of a fixed quality that take as long: measured by `benchmark --targets`.
TARGET_WORK: Mapping[TargetName, float] = MappingProxyType(
    {"target_bytes": 2, "target_bpp": 2, "target_psnr": 4, "target_ssimulacra2": 12}
)
DEFAULT_EFFORT = 1
MAX_EFFORT = 3
# Of each effort, the encodings of the default one that take as long: measured by `benchmark --effort`.
EFFORT_WORK = (1.0, 1.0, 22.0, 165.0)
_REFINED = 2  # files of a target that are refined, about: the search before has none
REFINEMENTS = (0, 0, 4, 32)  # rounds of improving the codes


class Target(NamedTuple):
    """What a file is to reach instead of a quality: the name of the option, and its value."""

    name: TargetName
    value: float


def plane_shape(height: int, width: int) -> tuple[int, int]:
    """Rows and columns of the quality plane of so many pixels."""
    return -(-height // PLANE_CELL), -(-width // PLANE_CELL)


@dataclass(frozen=True, eq=False, kw_only=True)
class EncodeOptions:
    """How a picture is to be encoded.

    Attributes:
        quality: 1 to 100; None means DEFAULT_QUALITY, or nothing where the checkpoint has one rate.
        target_bytes: instead of a quality, the size of the file: never above it, and at least 97 % of it unless even
            the qualities next to each other are further apart. A file without loss that fits is taken as it is, and
            so is one nearly without, or of the highest quality with patches, that is closer than one of that size.
        target_bpp: the same in bits of the whole file for each pixel of the picture.
        target_psnr: instead of a quality, the PSNR in dB over red, green and blue that the decoded picture has at
            least, and hardly more: by 0.15 dB, but for small files and for what the lowest quality has already.
        target_ssimulacra2: the same by SSIMULACRA2, by 1; needs the extra `ssimulacra2`.
        tune: what the file is made to be good at; None means the checkpoint's first.
        plane: offsets from the quality, int8 [ceil(H / 64), ceil(W / 64)], in steps of 1 / 64 of the quality axis
            (one step is about 11 % of the weight of errors); None: the quality is the same everywhere, but follows
            the content where the tune is `visual`.
        roi: regions of interest, which are added to that; see `model.interest`. At most 64 rectangles of weights from
            1 / 16 to 16, of which a later one covers those before it; or a mask, uint8 [H, W], where 128 is a
            weight of 1 and 32 more double it. None, and no rectangles, where all is of equal interest.
        effort: 0 to 3: how much time is spent to make the file smaller at equal quality; the decoder never changes.
            0 takes the nearest code everywhere, 1 chooses codes by what they cost too, 2 and 3 improve them for this
            picture; see `model.profiles.cwic.refinement`. Profiles of one rate have no choice.
        lossless: True keeps the picture as it is, with the colours that alpha hides, and goes with none of the above;
            None does so where that is smaller than the coded picture, or keeps one that is nearly the same, or
            patches (`model.patches`), where that is smaller and as close; False never.
        metadata: what the file carries for whoever decodes it (`model.images.metadata` reads a picture file's); its
            bytes are part of the file's size.
        tile: side of a coded picture's tiles in pixels, one of `CODED_TILES`: smaller ones make small regions cheap
            to decode and cost some bytes.
    """

    quality: float | None = None
    target_bytes: int | None = None
    target_bpp: float | None = None
    target_psnr: float | None = None
    target_ssimulacra2: float | None = None
    tune: Tune | None = None
    plane: Offsets | None = None
    roi: Sequence[Roi] | Pixels | None = None
    effort: int = DEFAULT_EFFORT
    lossless: bool | None = None
    metadata: Metadata = NO_METADATA
    tile: int = DEFAULT_TILE

    def __post_init__(self) -> None:
        """Raise ParameterError for what cannot be; keep a plane of our own."""
        quality = self.quality
        if quality is not None and not (_is_number(quality) and 1 <= quality <= 100):
            raise ParameterError(f"quality is 1 to 100, got {quality!r}")
        self._check_targets()
        if self.tune is not None and self.tune not in TUNES:
            raise ParameterError(f"tune is one of {', '.join(TUNES)}, got {self.tune!r}")
        if type(self.effort) is not int or not 0 <= self.effort <= MAX_EFFORT:
            raise ParameterError(f"effort is 0 to {MAX_EFFORT}, got {self.effort!r}")
        if not any(self.lossless is choice for choice in (None, True, False)):
            raise ParameterError(f"lossless is None, True or False, got {self.lossless!r}")
        if type(self.tile) is not int or self.tile not in CODED_TILES:
            raise ParameterError(f"tile is one of {', '.join(map(str, CODED_TILES))}, got {self.tile!r}")
        for name in ("exif", "icc_profile"):
            size = len(getattr(self.metadata, name))
            if size > MAX_METADATA:
                raise ParameterError(f"{name} has at most {MAX_METADATA} bytes, got {size}")
        for name, checked in (("plane", _checked_plane), ("roi", _checked_roi)):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, checked(getattr(self, name)))
        self._check_together()

    def _check_together(self) -> None:
        chosen = (self.quality, self.target, self.tune, self.plane, self.roi)
        if self.lossless and (self.effort != DEFAULT_EFFORT or any(each is not None for each in chosen)):
            raise ParameterError(
                "a lossless file has neither quality nor tune nor plane nor target nor regions of interest nor effort"
            )
        if self.plane is not None and self.roi is not None:
            raise ParameterError("regions of interest make a plane: give one of the two")

    @property
    def target(self) -> Target | None:
        """The one that is set."""
        return next(
            (Target(name, value) for name in TARGETS if (value := getattr(self, name)) is not None), None
        )

    @property
    def by_size(self) -> bool:
        """Whether a size is asked for."""
        return self.target is not None and self.target.name in SIZES

    def at_quality(self, quality: float) -> Self:
        """The same with a quality instead of the target."""
        return replace(
            self,
            quality=quality,
            target_bytes=None,
            target_bpp=None,
            target_psnr=None,
            target_ssimulacra2=None,
        )

    def unrefined(self) -> Self:
        """The same at an effort that refines nothing, at which alternatives are compared."""
        return replace(self, effort=min(self.effort, DEFAULT_EFFORT))

    @property
    def work(self) -> float:
        """How many encodings of a fixed quality, at the default effort, take about as long."""
        refined = EFFORT_WORK[self.effort]
        if self.target is None:
            return refined
        return TARGET_WORK[self.target.name] + (_REFINED * refined if self.effort > DEFAULT_EFFORT else 0.0)

    def _check_targets(self) -> None:
        given = [name for name in ("quality", *TARGETS) if getattr(self, name) is not None]
        if len(given) > 1:
            raise ParameterError(f"{' and '.join(given)} exclude each other: give one of them")
        size = self.target_bytes
        if size is not None and (type(size) is not int or size < 1):
            raise ParameterError(f"target_bytes is a whole number of 1 and above, got {size!r}")
        for name in TARGETS[1:]:
            value = getattr(self, name)
            if value is not None and not (_is_number(value) and math.isfinite(value) and value > 0):
                raise ParameterError(f"{name} is a number above 0, got {value!r}")


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _checked_plane(plane: object) -> Offsets:
    """A copy that nobody changes."""
    if not isinstance(plane, np.ndarray) or plane.dtype != np.int8 or plane.ndim != 2:
        kind = f"{plane.dtype} {plane.shape}" if isinstance(plane, np.ndarray) else type(plane).__name__
        raise ParameterError(f"a plane is int8 HxW, got {kind}")
    if np.abs(plane.astype(np.int16)).max(initial=0) > PLANE_STEPS:
        raise ParameterError(f"a plane's offsets are -{PLANE_STEPS} to {PLANE_STEPS}")
    own: Offsets = plane.copy()
    own.flags.writeable = False
    return own


def _checked_roi(roi: object) -> tuple[Roi, ...] | Pixels | None:
    """Rectangles in a tuple, None where there are none; or a mask as it is."""
    if isinstance(roi, np.ndarray):
        if roi.dtype != np.uint8 or roi.ndim != 2:
            raise ParameterError(f"a mask of regions of interest is uint8 HxW, got {roi.dtype} {roi.shape}")
        return roi
    rectangles = tuple(roi) if isinstance(roi, Sequence) else (roi,)
    if len(rectangles) > MAX_ROIS:
        raise ParameterError(f"there are at most {MAX_ROIS} regions of interest, got {len(rectangles)}")
    for each in rectangles:
        if not isinstance(each, Roi) or not all(type(edge) is int for edge in each.edges):
            raise ParameterError(f"a region of interest is a Roi of whole pixels, got {each!r}")
        if not (_is_number(each.weight) and 1 / MAX_WEIGHT <= each.weight <= MAX_WEIGHT):
            raise ParameterError(
                f"the weight of a region of interest is 1/{MAX_WEIGHT} to {MAX_WEIGHT}, got {each.weight!r}"
            )
    return rectangles or None


def box_inside(region: Region, bounds: Box) -> Box:
    """The pixels of a region; raises ParameterError where it has none, or some that are not inside `bounds`."""
    box = Box(*region.edges)
    if min(region.width, region.height) < 1 or box.intersection(bounds) != box:
        name = type(region).__name__.lower()
        raise ParameterError(
            f"{name} {region.width}x{region.height} at {region.x},{region.y} is not inside "
            f"{bounds.width}x{bounds.height}",
            name=name,
        )
    return box


@dataclass(frozen=True, kw_only=True)
class DecodeOptions:
    """How a file is to be decoded.

    Attributes:
        region: the part of the picture that is wanted; None for all. Only the tiles that it needs are decoded, and
            its pixels are those of a whole decoding.
        groups: of how many channel groups the codes are looked at, 1 and above; None, and more than there are, for
            all. The first alone make a preview: of the picture's full size, without its finer detail.
        allow_truncated: whether a file that was cut in transfer is decoded as far as it goes.
    """

    region: Region | None = None
    groups: int | None = None
    allow_truncated: bool = False

    def __post_init__(self) -> None:
        """Raise ParameterError for what cannot be."""
        if self.groups is not None and not (type(self.groups) is int and 1 <= self.groups <= MAX_GROUPS):
            raise ParameterError(f"groups is 1 to {MAX_GROUPS}, got {self.groups!r}")
        edges = self.region.edges if isinstance(self.region, Region) else ()
        if self.region is not None and not (edges and all(type(edge) is int for edge in edges)):
            raise ParameterError(f"a region is a Region of whole pixels, got {self.region!r}")

    def box(self, bounds: Box) -> Box:
        """The pixels that are wanted of a picture; raises ParameterError for a region that is not inside it."""
        return bounds if self.region is None else box_inside(self.region, bounds)


@dataclass(frozen=True, kw_only=True)
class MapOptions:
    """How an importance map is to be drawn.

    Attributes:
        style: `grey`, white where most is kept; `heat`, from black over red to light yellow; `overlay`, those colours
            mixed with the picture in equal parts.
        size: `picture`, that of the picture; `map`, one pixel for each level, which stands for 16 x 16 pixels of
            profile `cwic` and 8 x 8 of `cvpr2018`. An overlay has the picture's.
    """

    style: MapStyle = "grey"
    size: MapSize = "picture"

    def __post_init__(self) -> None:
        """Raise ParameterError for what cannot be."""
        if self.style not in MAP_STYLES:
            raise ParameterError(f"style is one of {', '.join(MAP_STYLES)}, got {self.style!r}")
        if self.size not in MAP_SIZES:
            raise ParameterError(f"size is one of {', '.join(MAP_SIZES)}, got {self.size!r}")
        if self.style == "overlay" and self.size == "map":
            raise ParameterError("an overlay has the size of the picture, not of the map")
