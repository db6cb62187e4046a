"""What can be asked of the service, as values: each knows its cost and makes its work. No HTTP, no threads."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Generic, NamedTuple, TypeVar

from model.container.format import MAGIC, Container
from model.images.files import read_image, read_size
from model.images.writing import write_image
from model.options import EncodeOptions
from model.protocol import PictureCodec
from model.steps import Work
from model.types import Limits
from service.jobs.models import Models
from service.observe.timing import Timing

T = TypeVar("T")


class Operation(ABC, Generic[T]):
    """One piece of work: what it costs, and how it is done.

    Attributes:
        op: its name, for metrics and speed.
    """

    op: ClassVar[str]
    codec: PictureCodec

    @property
    @abstractmethod
    def pixels(self) -> int:
        """Of its picture."""

    @abstractmethod
    def work(self, timing: Timing) -> Work[T]:
        """The work, to be run once; raises CwicError."""


class Compressed(NamedTuple):
    """A picture that has become a file; with what reading it changed, and its pixels."""

    file: bytes
    notes: tuple[str, ...]
    pixels: int


class Decompressed(NamedTuple):
    """A file that has become a picture file of some format."""

    picture: bytes
    format: str
    bpp: float


class Mapped(NamedTuple):
    """An importance map as a PNG; with what reading the picture changed."""

    png: bytes
    notes: tuple[str, ...]


@dataclass(frozen=True, eq=False, kw_only=True)
class Compress(Operation[Compressed]):
    """A picture file to a .cwic file.

    Attributes:
        data: the picture file.
        size: width and height by its header.
        codec: that codes it.
        options: how.
        limits: on its size.
    """

    op = "compress"
    data: bytes
    size: tuple[int, int]
    codec: PictureCodec
    options: EncodeOptions
    limits: Limits

    @classmethod
    def of(cls, data: bytes, *, codec: PictureCodec, options: EncodeOptions, limits: Limits) -> "Compress":
        """Of a picture file, whose header is read; raises InputError."""
        size = read_size(data, limits=limits)
        return cls(data=data, size=size, codec=codec, options=options, limits=limits)

    @property
    def pixels(self) -> int:
        """Width times height."""
        return self.size[0] * self.size[1]

    def work(self, timing: Timing) -> Work[Compressed]:
        """See `Operation`."""
        with timing.measure("decode"):
            picture = read_image(self.data, limits=self.limits)
        file = yield from self.codec.encoding(picture.array, self.options)
        height, width = picture.array.shape[:2]
        return Compressed(file, picture.notes, height * width)


@dataclass(frozen=True, eq=False, kw_only=True)
class Decompress(Operation[Decompressed]):
    """A .cwic file to a picture file.

    Attributes:
        file: parsed.
        codec: that it was made with.
        formats: of the picture file, by whether the picture has alpha.
    """

    op = "decompress"
    file: Container
    codec: PictureCodec
    formats: Mapping[bool, str]

    @property
    def pixels(self) -> int:
        """Width times height."""
        return self.file.header.width * self.file.header.height

    def work(self, timing: Timing) -> Work[Decompressed]:
        """See `Operation`."""
        array = yield from self.codec.decoding(self.file)
        yield ()
        picture_format = self.formats[self.file.header.alpha]
        with timing.measure("encode"):
            picture = write_image(array, format=picture_format)
        return Decompressed(picture, picture_format, 8 * self.file.size / self.pixels)


@dataclass(frozen=True, eq=False, kw_only=True)
class MapPicture(Operation[Mapped]):
    """A picture file to its importance map; attributes as of `Compress`."""

    op = "importance-map"
    picture: Compress

    @property
    def codec(self) -> PictureCodec:  # type: ignore[override]
        """That maps it."""
        return self.picture.codec

    @property
    def pixels(self) -> int:
        """Width times height."""
        return self.picture.pixels

    def work(self, timing: Timing) -> Work[Mapped]:
        """See `Operation`."""
        with timing.measure("decode"):
            picture = read_image(self.picture.data, limits=self.picture.limits)
        array = yield from self.codec.mapping(picture.array, self.picture.options)
        with timing.measure("encode"):
            return Mapped(write_image(array, format="png"), picture.notes)
