"""What the fakes whose files are real containers have in common."""

from model.container import format as file_format
from model.container.format import Container
from model.protocol import PictureCodec
from model.types import Limits


class ReadsContainers(PictureCodec):
    """The reading half of `PictureCodec`."""

    def read(self, data: bytes, *, allow_truncated: bool = False) -> Container:
        """As the real codecs, with the default limits."""
        return file_format.unpack(data, limits=Limits(), allow_truncated=allow_truncated)

    def opened(self, file: bytes | Container) -> Container:
        """A file that may have been read already."""
        return self.read(file) if isinstance(file, bytes) else file
