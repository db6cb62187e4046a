"""What can be asked of the service, as values: each knows its cost and makes its work. No HTTP, no threads."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import ClassVar, Generic, NamedTuple, Self, TypeVar

from model.container.format import Container, inspect
from model.images.files import read_image, read_size
from model.images.maps import drawing, mean_importance
from model.images.masks import read_mask
from model.images.metadata import read_metadata
from model.images.writing import write_image
from model.options import DecodeOptions, EncodeOptions, MapOptions
from model.protocol import DEFAULT_ENCODE_OPTIONS, DEFAULT_MAP_OPTIONS, PictureCodec
from model.steps import Work
from model.tiling import TileGrid
from model.types import FileInfo, Limits, Metadata
from service.observe.timing import Timing

T = TypeVar("T")


class Compressed(NamedTuple):
    """A picture that has become a file; with the facts of the file, and with what reading the picture changed."""

    file: bytes
    info: FileInfo
    notes: tuple[str, ...]


class Mapped(NamedTuple):
    """An importance map as a PNG; with what reading the picture changed."""

    png: bytes
    notes: tuple[str, ...]


@dataclass(frozen=True, eq=False, kw_only=True)
class Operation(ABC, Generic[T]):
    """One piece of work: what it costs, and how it is done.

    Attributes:
        op: its name, for metrics.
        codec: that does it.
    """

    op: ClassVar[str]
    codec: PictureCodec

    @property
    @abstractmethod
    def pixels(self) -> int:
        """Of its picture."""

    @property
    def held_pixels(self) -> int:
        """That are in memory for it."""
        return self.pixels

    @property
    def work_pixels(self) -> int:
        """As many pixels as would be as much work, done once."""
        return self.held_pixels

    @property
    @abstractmethod
    def tiles(self) -> int:
        """How many of its steps can run at the same time."""

    @property
    def kind(self) -> str:
        """Operations of one kind take about equally long for a megapixel."""
        return f"{type(self).__name__} {self.codec.info.name}"

    @abstractmethod
    def work(self, timing: Timing) -> Work[T]:
        """The work, to be run once; raises CwicError."""


@dataclass(frozen=True, eq=False, kw_only=True)
class OfPicture(Operation[T]):
    """Work on a picture file.

    Attributes:
        data: the picture file.
        size: width and height by its header.
        options: how it is coded.
        limits: on its size.
    """

    data: bytes
    size: tuple[int, int]
    options: EncodeOptions
    limits: Limits

    @classmethod
    def of(
        cls, data: bytes, *, codec: PictureCodec, options: EncodeOptions, limits: Limits, **own: object
    ) -> Self:
        """Of a picture file, whose header is read, and with attributes of the subclass; raises InputError."""
        size = read_size(data, limits=limits)
        return cls(data=data, size=size, codec=codec, options=options, limits=limits, **own)

    @property
    def pixels(self) -> int:
        """Width times height."""
        return self.size[0] * self.size[1]

    @property
    def tiles(self) -> int:
        """Of its codes."""
        return TileGrid(*self.size, self.options.tile).count


@dataclass(frozen=True, eq=False, kw_only=True)
class OfFile(Operation[T]):
    """Work on a .cwic file.

    Attributes:
        file: parsed.
    """

    file: Container

    @property
    def pixels(self) -> int:
        """Width times height."""
        return self.file.header.width * self.file.header.height

    @property
    def tiles(self) -> int:
        """Of its codes."""
        return self.file.header.grid.count

    @property
    def kind(self) -> str:
        """Lossless files are decoded many times as fast as coded ones."""
        return f"{super().kind} {self.file.header.profile}"


@dataclass(frozen=True, eq=False, kw_only=True)
class Compress(OfPicture[Compressed]):
    """A picture file to a .cwic file.

    Attributes:
        keep_metadata: whether the file carries the picture file's.
        mask: the mask file of its regions of interest, of as many pixels; None where there is none.
    """

    op = "compress"
    keep_metadata: bool = False
    mask: bytes | None = None

    @property
    def held_pixels(self) -> int:
        """A mask is decoded too, and has as many."""
        return self.pixels * (1 if self.mask is None else 2)

    @property
    def work_pixels(self) -> int:
        """A target takes several encodings, and effort as long as several."""
        return round(self.held_pixels * self.options.work)

    @property
    def kind(self) -> str:
        """Pictures are kept without loss much faster than they are coded, and pixels of masks take less time."""
        return super().kind + " lossless" * bool(self.options.lossless) + " masked" * (self.mask is not None)

    def work(self, timing: Timing) -> Work[Compressed]:
        """See `Operation`."""
        with timing.measure("decode"):
            array, notes = read_image(self.data, limits=self.limits)
            metadata, dropped = read_metadata(self.data, keep=self.keep_metadata, limits=self.limits)
        file = yield from self.codec.encoding(array, self._options(metadata, timing))
        return Compressed(file, inspect(file), notes + dropped)

    def _options(self, metadata: Metadata, timing: Timing) -> EncodeOptions:
        """With what was read; of a mask the codec makes a small plane, and nobody keeps its pixels."""
        options = replace(self.options, metadata=metadata)
        if self.mask is None:
            return options
        with timing.measure("decode"):
            return replace(options, roi=read_mask(self.mask, limits=self.limits))


@dataclass(frozen=True, eq=False, kw_only=True)
class Decompress(OfFile[bytes]):
    """A .cwic file to a picture file.

    Attributes:
        options: how it is decoded; a region is inside the picture.
        format: of the picture file, one that can hold the picture.
    """

    op = "decompress"
    options: DecodeOptions
    format: str

    @property
    def pixels(self) -> int:
        """Of the tiles that the region touches."""
        return sum(self.file.header.grid.box(index).pixels for index in self._touched)

    @property
    def tiles(self) -> int:
        """Those that the region touches."""
        return len(self._touched)

    @property
    def kind(self) -> str:
        """A region also needs codes of neighbouring tiles, and fewer groups take less time."""
        part = "whole" if self.options.region is None else "region"
        return f"{super().kind} {part} {self.options.groups or 'all'}"

    @property
    def _touched(self) -> list[int]:
        grid = self.file.header.grid
        return grid.touching(self.options.box(grid.bounds))

    def work(self, timing: Timing) -> Work[bytes]:
        """See `Operation`."""
        array = yield from self.codec.decoding(self.file, self.options)
        yield ()
        with timing.measure("encode"):
            return write_image(array, format=self.format, metadata=self.file.metadata)


@dataclass(frozen=True, eq=False, kw_only=True)
class MapPicture(OfPicture[Mapped]):
    """A picture file to its importance map.

    Attributes:
        drawn: how it is drawn.
    """

    op = "importance-map"
    drawn: MapOptions = DEFAULT_MAP_OPTIONS

    def work(self, timing: Timing) -> Work[Mapped]:
        """See `Operation`."""
        with timing.measure("decode"):
            picture, notes = read_image(self.data, limits=self.limits)
        array = yield from drawing(self.codec, picture, self.options, self.drawn)
        with timing.measure("encode"):
            return Mapped(write_image(array, format="png"), notes)


@dataclass(frozen=True, eq=False, kw_only=True)
class MapFile(OfFile[Mapped]):
    """A .cwic file to its importance map; its codes are decoded for an overlay only.

    Attributes:
        drawn: how it is drawn.
    """

    op = "importance-map"
    drawn: MapOptions = DEFAULT_MAP_OPTIONS

    @property
    def kind(self) -> str:
        """See `drawn`: an overlay takes as long as decompressing."""
        return f"{super().kind} overlay" if self.drawn.style == "overlay" else super().kind

    def work(self, timing: Timing) -> Work[Mapped]:
        """See `Operation`."""
        array = yield from drawing(self.codec, self.file, DEFAULT_ENCODE_OPTIONS, self.drawn)
        with timing.measure("encode"):
            return Mapped(write_image(array, format="png"), ())


class Inspect(OfFile[float | None]):
    """A .cwic file to the mean of its importance map; None for a lossless file. Its codes are not decoded."""

    op = "inspect"

    def work(self, timing: Timing) -> Work[float | None]:  # noqa: ARG002 - has no stages of its own
        """See `Operation`."""
        return None if self.file.header.lossless else (yield from mean_importance(self.codec, self.file))


OPS = tuple(dict.fromkeys(each.op for each in (Compress, Decompress, MapPicture, MapFile, Inspect)))
