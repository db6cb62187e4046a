"""What requests may ask for and what JSON answers look like."""

import math
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError

from model.config import MAX_GROUPS, Tune
from model.errors import ParameterError
from model.options import (
    DEFAULT_QUALITY,
    MAX_ROIS,
    MAX_WEIGHT,
    DecodeOptions,
    EncodeOptions,
    MapSize,
    MapStyle,
)
from model.types import FileInfo, ModelInfo, Region, Roi
from service.jobs.compare import Comparison

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
            "sizes that can be reached. Takes about three times as long as a quality.",
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
            "blue: the smallest file found that is not below it. Takes about seven times as long as a quality.",
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
    lossless: Annotated[
        bool,
        Field(
            description="The picture comes back bit for bit; goes with neither `quality` nor a target nor `tune`. "
            "Otherwise a picture is kept so only where that makes the file smaller, or fits the size asked for."
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


class Section(BaseModel):
    """One section of a .cwic file."""

    name: str = Field(examples=["map", "codes0"])
    length: int = Field(description="Of its payloads, one for each tile, in bytes.")
    bpp: float = Field(description="Their bits for each pixel of the picture.")


class FileFacts(BaseModel):
    """What a .cwic file says about itself."""

    version: int = Field(description="Of the file format.")
    width: int = Field(description="In pixels.")
    height: int = Field(description="In pixels.")
    channels: int = Field(description="3 (RGB) or 4 (RGB and alpha).")
    profile: str = Field(
        description="Codec profile; `lossless` for a picture kept as it was.", examples=["cwic"]
    )
    model_id: str = Field(
        description="Of the model that made it; empty for `lossless`.", examples=["1f2e3d4c"]
    )
    quality: float | None = Field(description="1 to 100; null for `lossless` and for profiles of one rate.")
    tune: str | None = Field(
        description="What it was coded for, `psnr` or `visual`; null for profiles that have none, "
        "and for `lossless`.",
        examples=["visual"],
    )
    grey: bool = Field(description="Its three colour channels are equal.")
    lowest_level: int | None = Field(
        description="Of the importance map: 1, or 0 where places may be empty; null for `lossless`."
    )
    tile: int = Field(description="Side of the tiles, in pixels.")
    tiles: int = Field(description="How many there are.")
    plane: bool = Field(description="Its quality varies over the picture.")
    truncated: bool = Field(
        description="It was cut in transfer and announces more than is there; /decompress needs `allow_truncated`."
    )
    sections: list[Section] = Field(description="In file order; only those that are there.")
    size: int = Field(description="Of the whole file, in bytes.")
    bpp: float = Field(description="Bits per pixel of the whole file.")
    mean_importance: float | None = Field(
        description="Mean of its importance map, 0 to 1, where 1 keeps all channels everywhere; null unless "
        "`importance` asks for it, and for `lossless`."
    )

    @classmethod
    def of(cls, info: FileInfo, *, mean_importance: float | None = None) -> Self:
        """The codec's facts as the API shows them."""
        return cls(
            version=info.version,
            width=info.width,
            height=info.height,
            channels=info.channels,
            profile=info.profile,
            model_id=info.model_id,
            quality=info.quality,
            tune=info.tune,
            grey=info.grey,
            lowest_level=info.lowest_level,
            tile=info.tile,
            tiles=info.tiles,
            plane=info.plane,
            truncated=info.truncated,
            sections=[Section(name=each.name, length=each.length, bpp=each.bpp) for each in info.sections],
            size=info.size,
            bpp=info.bpp,
            mean_importance=mean_importance,
        )


class FormatFacts(BaseModel):
    """What another format needs to be as good as the .cwic file."""

    size: int = Field(
        description="At exactly its PSNR, in bytes: interpolated between `quality` and the quality below."
    )
    quality: int = Field(description="The format's own, 1 to 100: the lowest whose file is at least as good.")
    file_size: int = Field(description="Of the file at that quality, in bytes.")
    psnr: float | None = Field(description="Of that file, in dB; null where it equals the picture.")


class OtherFormat(BaseModel):
    """Another format in a comparison."""

    name: str = Field(examples=["JPEG", "WebP", "AVIF"])
    needs: FormatFacts | None = Field(description="Null where its best quality is worse than the .cwic file.")


class ComparisonFacts(BaseModel):
    """The .cwic file of a picture beside what other formats need for the same PSNR."""

    width: int = Field(description="Of what was compared, in pixels.")
    height: int = Field(description="Of what was compared, in pixels.")
    cropped: bool = Field(description="Only the middle of a large picture was compared.")
    size: int = Field(description="Of the .cwic file of what was compared, without alpha, in bytes.")
    psnr: float | None = Field(
        description="Of that file, over red, green and blue, in dB; null where it equals the picture."
    )
    others: list[OtherFormat] = Field(
        description="JPEG (4:2:0, optimised tables), WebP (method 6) and AVIF, as far as the server can write them."
    )

    @classmethod
    def of(cls, comparison: Comparison) -> Self:
        """The result of a comparison as the API shows it."""
        return cls(
            width=comparison.width,
            height=comparison.height,
            cropped=comparison.cropped,
            size=comparison.size,
            psnr=_finite(comparison.psnr),
            others=[
                OtherFormat(
                    name=name,
                    needs=None
                    if found is None
                    else FormatFacts(
                        size=found.size,
                        quality=found.trial.quality,
                        file_size=found.trial.size,
                        psnr=_finite(found.trial.psnr),
                    ),
                )
                for name, found in comparison.others.items()
            ],
        )


class ModelFacts(BaseModel):
    """A loaded model."""

    model_config = ConfigDict(protected_namespaces=())

    name: str = Field(description="What `?model=` takes.")
    default: bool = Field(description="Taken where no model is named.")
    profile: str
    model_id: str = Field(description="As files carry it.", examples=["1f2e3d4c"])
    sha256: str = Field(description="Of its weights.")
    parameters: int = Field(description="Number of weights.")
    size: int = Field(description="Of the weights' file, in bytes.")
    device: str = Field(examples=["cpu", "cuda:0"])
    dtype: str = Field(description="Of the pixel path.", examples=["float32"])
    fixed_rate: bool = Field(description="It has one rate: `quality` is refused.")
    tunes: list[str] = Field(description="What it was trained for, the default first; empty: no choice.")

    @classmethod
    def of(cls, info: ModelInfo, *, default: bool) -> Self:
        """The codec's facts as the API shows them."""
        return cls(
            name=info.name,
            default=default,
            profile=info.profile,
            model_id=info.model_id,
            sha256=info.sha256,
            parameters=info.parameters,
            size=info.size,
            device=info.device,
            dtype=info.dtype,
            fixed_rate=info.fixed_rate,
            tunes=list(info.tunes),
        )


class ModelList(BaseModel):
    """The loaded models, the default one first."""

    models: list[ModelFacts]


class Status(BaseModel):
    """The answer of a probe that is content."""

    status: Literal["ok"] = "ok"


class Liveness(Status):
    """The answer of `/livez`."""

    oldest_work_seconds: float = Field(
        description="Age of the oldest request that a worker has begun and that has not ended."
    )


class ProgressFacts(BaseModel):
    """How far a request is whose answer is still awaited."""

    state: Literal["waiting", "working"]
    ahead: int = Field(description="Requests that are begun before it.")
    seconds_left: float = Field(description="Until it is done, by the speed measured so far.")
    done: float = Field(description="Share of its work, 0 to 1.")


class Health(BaseModel):
    """The state of the service in one look; answered with 503 where it is not ready."""

    status: Literal["ok", "unavailable"]
    live: bool = Field(description="The worker shows signs of life.")
    ready: bool = Field(description="Work would be done now.")
    reason: str | None = Field(description="Why not, where it is not ready.")
    version: str
    uptime_seconds: float
    draining: bool = Field(description="It is being stopped.")
    queue_depth: int = Field(description="Requests in work.")
    queue_size: int = Field(description="Most requests in work at once.")
    queue_pixels: int = Field(description="Of their pictures.")
    backlog_seconds: float = Field(description="Until all of them are done, by the speed measured so far.")
    oldest_work_seconds: float = Field(description="Age of the oldest request that a worker has begun.")
    heartbeat_age_seconds: float = Field(
        description="Since the last sign of life of the worker that has given none for longest."
    )
    models: list[str] = Field(description="Names of the loaded models.")


def _finite(value: float) -> float | None:
    """JSON has no infinity."""
    return value if math.isfinite(value) else None
