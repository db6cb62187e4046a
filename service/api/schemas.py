"""What JSON answers look like."""

import math
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from model.options import DEFAULT_EFFORT
from model.types import FileInfo, ModelInfo
from service.jobs.compare import Comparison


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
        description="Codec profile; `lossless` for a picture kept as it was, or nearly: see `tolerance`.",
        examples=["cwic"],
    )
    model_id: str = Field(
        description="Of the model that made it; empty for `lossless`.", examples=["1f2e3d4c"]
    )
    quality: float | None = Field(description="1 to 100; null for `lossless` and for profiles of one rate.")
    tolerance: int | None = Field(
        description="Of `lossless`, how far samples may be from the picture's, of 255: 0 where nothing is lost, more "
        "where colours that are close to each other were made equal. Null for other profiles."
    )
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
            tolerance=info.tolerance,
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
    max_effort: int = Field(description="Largest `effort` here; 1, which is the default: no choice.")

    @classmethod
    def of(cls, info: ModelInfo, *, default: bool, max_effort: int) -> Self:
        """The codec's facts as the API shows them, where the service gives so much effort."""
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
            max_effort=DEFAULT_EFFORT if info.fixed_rate else max_effort,
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
