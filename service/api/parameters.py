"""What the query of a request may ask for."""

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, Field
from pydantic_core import PydanticCustomError

from model.config import MAX_GROUPS, Tune
from model.errors import ParameterError
from model.options import (
    DEFAULT_EFFORT,
    DEFAULT_QUALITY,
    EFFORT_WORK,
    MAX_EFFORT,
    MAX_ROIS,
    MAX_WEIGHT,
    DecodeOptions,
    EncodeOptions,
    MapSize,
    MapStyle,
)
from model.types import Region, Roi

Quality = Annotated[float, Field(ge=1, le=100, allow_inf_nan=False)]
ModelName = Annotated[
    str | None, Field(description="Name of a model, see /models; the default one if absent.")
]
PictureFormat = Literal["png", "jpeg", "webp"]
_ROI = "^[0-9]+,[0-9]+,[0-9]+,[0-9]+,[0-9]+([.][0-9]+)?$"


def _checked_region(text: str | None) -> str | None:
    try:
        _region(text)
    except ParameterError as exc:
        raise PydanticCustomError("region", "{reason}", {"reason": str(exc)}) from exc
    return text


def _region(text: str | None) -> Region | None:
    return None if text is None else Region.of(text)


def _checked_rois(texts: list[str]) -> list[str]:
    try:
        EncodeOptions(roi=_rois(texts))
    except ParameterError as exc:
        raise PydanticCustomError("roi", "{reason}", {"reason": str(exc)}) from exc
    return texts


def _rois(texts: list[str]) -> tuple[Roi, ...]:
    return tuple(map(Roi.of, texts))


class CompressQuery(BaseModel):
    """Parameters of /compress and /compare."""

    quality: Annotated[
        Quality | None,
        Field(
            description=f"1 is the smallest file, 100 the best picture; {DEFAULT_QUALITY:g} if absent. "
            "Not for models of one rate (`fixed_rate` in /models)."
        ),
    ] = None
    tune: Annotated[
        Tune | None,
        Field(
            description="What the file is made to be good at: `psnr`, the squared error, or `visual`, the look; the "
            "model's first if absent (`tunes` in /models)."
        ),
    ] = None
    model: ModelName = None

    @property
    def options(self) -> EncodeOptions:
        """What the codec is asked for."""
        return EncodeOptions(quality=self.quality, tune=self.tune)


class FileQuery(CompressQuery):
    """Parameters of /compress."""

    target_bytes: Annotated[
        int | None,
        Field(
            ge=1,
            description="Instead of `quality`, the size that the file may have at most, in bytes. It has at least "
            "97 % of it, unless a file without loss is smaller; where no quality gives that, the problem has the "
            "sizes that can be reached. Takes about twice as long as a quality.",
        ),
    ] = None
    target_bpp: Annotated[
        float | None,
        Field(
            gt=0,
            allow_inf_nan=False,
            description="The same in bits of the whole file for each pixel of the picture.",
        ),
    ] = None
    target_psnr: Annotated[
        float | None,
        Field(
            gt=0,
            allow_inf_nan=False,
            description="Instead of `quality`, the PSNR that the decoded picture reaches, in dB over red, green and "
            "blue: the smallest file found that is not below it. Takes about four times as long as a quality.",
        ),
    ] = None
    target_ssimulacra2: Annotated[
        float | None,
        Field(
            gt=0,
            allow_inf_nan=False,
            description="The same by SSIMULACRA2 (90: nobody sees a difference), where the server has the extra "
            "`ssimulacra2`; takes several times as long.",
        ),
    ] = None
    effort: Annotated[
        int,
        Field(
            ge=0,
            le=MAX_EFFORT,
            description="How much time is spent to make the file smaller at equal quality: 0 and 1 take about as "
            f"long, 2 about {EFFORT_WORK[2]:g} times, 3 about {EFFORT_WORK[3]:g} times. The server has a largest "
            "one (`CWIC_MAX_EFFORT`). Not for models of one rate.",
        ),
    ] = DEFAULT_EFFORT
    lossless: Annotated[
        bool,
        Field(
            description="The picture comes back bit for bit; goes with neither `quality` nor a target nor `tune` nor "
            "`effort`. "
            "Otherwise a picture is kept so only where that makes the file smaller, or fits the size asked for; and "
            "nearly so, with colours made equal that are close to each other, or in part, letters and lines on flat "
            "grounds, where that is smaller and as close."
        ),
    ] = False
    roi: Annotated[
        list[Annotated[str, Field(json_schema_extra={"pattern": _ROI})]],
        AfterValidator(_checked_rois),
        Field(
            max_length=MAX_ROIS,
            description="A region of interest: x, y, width, height in pixels of the upright picture, and how many "
            f"times its errors weigh as much as without it (1/{MAX_WEIGHT} to {MAX_WEIGHT}): it is coded better or "
            "worse, at the cost or to the benefit of the file's size. Cells of 64 x 64 pixels have one weight, the "
            "largest of their pixels. May be given several times, and a later rectangle covers those before it; a "
            "mask in the form's field `roi` says the same of each pixel. Not for models of one rate.",
            examples=[["0,0,256,256,4"]],
        ),
    ] = []

    metadata: Annotated[
        Literal["drop", "keep"],
        Field(
            description="`keep`: the file carries the picture's EXIF (upright, without its thumbnail) and a profile "
            "that is sRGB, and /decompress gives them back; `drop`: `X-CWIC-Notes` tells what there was."
        ),
    ] = "drop"

    @property
    def options(self) -> EncodeOptions:
        """What the codec is asked for; raises ParameterError for what excludes each other."""
        return EncodeOptions(
            quality=self.quality,
            target_bytes=self.target_bytes,
            target_bpp=self.target_bpp,
            target_psnr=self.target_psnr,
            target_ssimulacra2=self.target_ssimulacra2,
            tune=self.tune,
            roi=_rois(self.roi),
            effort=self.effort,
            lossless=self.lossless or None,
        )


class MapQuery(CompressQuery):
    """Parameters of /importance-map."""

    style: Annotated[
        MapStyle,
        Field(
            description="`grey`, white where most is kept; `heat`, in colours from black over red to light yellow; "
            "`overlay`, those colours mixed with the picture."
        ),
    ] = "grey"
    size: Annotated[
        MapSize,
        Field(
            description="`picture`, that of the picture; `map`, one pixel for each level of the map, which stands "
            "for 16 x 16 pixels of the picture (8 x 8 of profile `cvpr2018`). An overlay has the picture's."
        ),
    ] = "picture"
    allow_truncated: Annotated[
        bool,
        Field(
            description="Take a .cwic file that was cut in transfer, provided that group 0 is whole: its map is."
        ),
    ] = False


class DecompressQuery(BaseModel):
    """Parameters of /decompress."""

    format: Annotated[
        PictureFormat | None,
        Field(description="Format of the picture; by the header Accept if absent, else png."),
    ] = None
    region: Annotated[
        str | None,
        AfterValidator(_checked_region),
        Field(
            description="Only this part of the picture: x, y, width, height in pixels. Only the tiles that it "
            "touches, and the codes around them, are decoded.",
            examples=["0,0,256,256"],
            json_schema_extra={"pattern": "^[0-9]+,[0-9]+,[0-9]+,[0-9]+$"},
        ),
    ] = None
    groups: Annotated[
        int | None,
        Field(
            ge=1,
            le=MAX_GROUPS,
            description="A preview from the first so many groups of channels; all, if there are fewer. It has "
            "exactly the size of the picture, or of the region; 1 gives the roughest, without fine detail. Lossless "
            "files have no groups and are decoded as they are.",
        ),
    ] = None
    allow_truncated: Annotated[
        bool,
        Field(
            description="Decode a file that was cut in transfer as far as it goes, provided that group 0 is whole."
        ),
    ] = False

    @property
    def options(self) -> DecodeOptions:
        """What the codec is asked for."""
        return DecodeOptions(
            region=_region(self.region), groups=self.groups, allow_truncated=self.allow_truncated
        )


class TruncateQuery(BaseModel):
    """Parameters of /truncate."""

    max_bytes: Annotated[
        int,
        Field(
            alias="bytes",
            ge=1,
            description="The size that the file may have at most, in bytes; a smaller file stays as it is.",
        ),
    ]


class InspectQuery(BaseModel):
    """Parameters of /inspect."""

    importance: Annotated[
        bool,
        Field(
            description="Decode the importance map too, and tell its mean. That needs the file's model and a place "
            "in the queue; all else that is told needs neither."
        ),
    ] = False
