"""The codecs that the service holds: loading, proving and finding them."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from model.container.format import Container
from model.errors import CheckpointNotFoundError, SelfTestError, WrongModelError
from model.options import EncodeOptions
from model.protocol import PictureCodec
from model.types import Limits
from service.jobs.errors import UnknownModelError
from service.settings import Settings


class OpenedFile(NamedTuple):
    """A .cwic file, parsed and checked, and the codec that decodes it."""

    codec: PictureCodec
    file: Container


class Models:
    """The loaded codecs, by name and by the id that files carry; the first one is the default."""

    def __init__(self, codecs: Sequence[PictureCodec]) -> None:
        assert codecs, "at least one codec"
        self.codecs = tuple(codecs)
        self.default = self.codecs[0]
        self._by_name = {codec.info.name: codec for codec in self.codecs}
        self._by_id = {codec.info.model_id: codec for codec in self.codecs}

    def named(self, name: str | None) -> PictureCodec:
        """The codec of that name, the default for None; raises UnknownModelError."""
        if name is None:
            return self.default
        if name not in self._by_name:
            raise UnknownModelError(f"No model is called {name!r}; there are {', '.join(self._by_name)}.")
        return self._by_name[name]

    def of_file(self, data: bytes, *, allow_truncated: bool = False) -> OpenedFile:
        """A .cwic file and the codec that it was made with; the default for a lossless file, which needs none.

        Raises:
            FileError: the file is damaged, was cut in transfer and may not be, or was made with a model that is not
                loaded.
            LimitError: the picture is larger than the limits.
        """
        file = self.default.read(data, allow_truncated=allow_truncated)
        model_id = file.header.model_id.hex()
        if not model_id:
            return OpenedFile(self.default, file)
        if model_id not in self._by_id:
            raise WrongModelError(
                f"the file was made with model {model_id}; loaded are {', '.join(self._by_id)}"
            )
        return OpenedFile(self._by_id[model_id], file)


def limits_of(settings: Settings) -> Limits:
    """The limits on pictures that the settings name."""
    return Limits(max_pixels=settings.max_pixels, max_dimension=settings.max_dimension)


def load_codecs(settings: Settings) -> tuple[PictureCodec, ...]:
    """The checkpoints that the settings name, the default one first, on the device; raises CheckpointError."""
    # Here, not above: torch takes seconds to import, and the server should answer its probes meanwhile.
    from model.checkpoints import DEFAULT_MODEL_DIR, available, load_codec

    model_dir = settings.model_dir or DEFAULT_MODEL_DIR
    there = available(model_dir)
    if not there:
        raise CheckpointNotFoundError(f"no checkpoint in {model_dir}; CWIC_MODEL_DIR names another folder")
    names = settings.models or there
    if missing := [name for name in names if name not in there]:
        raise CheckpointNotFoundError(
            f"CWIC_MODELS names {', '.join(missing)}; in {model_dir} there are {', '.join(there)}"
        )
    return tuple(
        load_codec(
            name,
            model_dir=model_dir,
            device=settings.device,
            dtype=settings.dtype,
            limits=limits_of(settings),
        )
        for name in names
    )


def prove(codec: PictureCodec) -> None:
    """Warm a codec by a real round trip of a small picture; raises SelfTestError where that fails.

    A lossless file, which would be smaller here, would prove nothing: no network takes part in it.
    """
    rows, columns = np.mgrid[0:64, 0:96]
    picture = np.stack([2 * columns, 3 * rows, 255 - columns - rows], axis=-1).astype(np.uint8)  # [64, 96, 3]
    result = codec.decode(codec.encode(picture, EncodeOptions(lossless=False)))
    if result.shape != picture.shape:
        raise SelfTestError(f"{codec.info.name}: a picture {picture.shape} came back as {result.shape}")
