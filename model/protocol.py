"""The codec as its users see it, so that another may stand in for it."""

from typing import Protocol

from model.container.format import Container
from model.options import DecodeOptions, EncodeOptions
from model.types import Check, ModelInfo, Pixels, unchecked

DEFAULT_ENCODE_OPTIONS = EncodeOptions()
DEFAULT_DECODE_OPTIONS = DecodeOptions()


class PictureCodec(Protocol):
    """Pictures to bytes and back. Safe to use from several threads; holds no state between calls."""

    @property
    def info(self) -> ModelInfo:
        """The checkpoint behind it."""

    def encode(
        self, array: Pixels, options: EncodeOptions = DEFAULT_ENCODE_OPTIONS, *, check: Check = unchecked
    ) -> bytes:
        """A .cwic file of an [H, W, 3] or [H, W, 4] picture; raises ParameterError, LimitError."""

    def read(self, data: bytes, *, allow_truncated: bool = False) -> Container:
        """A file parsed and checked as far as that needs no decoding; raises FileError, LimitError."""

    def decode(
        self,
        file: bytes | Container,
        options: DecodeOptions = DEFAULT_DECODE_OPTIONS,
        *,
        check: Check = unchecked,
    ) -> Pixels:
        """The picture of a .cwic file, [H, W, 3] or [H, W, 4]; raises FileError, LimitError, ParameterError."""

    def importance_map(
        self,
        source: Pixels | bytes | Container,
        options: EncodeOptions = DEFAULT_ENCODE_OPTIONS,
        *,
        check: Check = unchecked,
    ) -> Pixels:
        """The importance level of each place as a share of the highest, [H, W]; 255 keeps all channels.

        Of a picture (with options as in `encode`), or of a .cwic file, where its codes are not decoded.
        """

    def kept_codes(self, file: bytes | Container) -> int:
        """How many codes a file keeps under its mask: raw bits, where codes are binary. 0 for a lossless file."""
