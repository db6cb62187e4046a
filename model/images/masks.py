"""Picture files that are masks of regions of interest: lighter where errors weigh more. numpy only."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from model.errors import ImageError, ParameterError
from model.images.files import read_image, read_size
from model.types import Limits, Pixels


def read_mask(data: bytes, *, limits: Limits) -> Pixels:
    """The mask in a grey picture file, uint8 [H, W], as `EncodeOptions` takes it; read like any picture, upright.

    Raises:
        ParameterError: colours, or places that are transparent.
        ImageError, LimitError: see `read_image`.
    """
    with _named():
        array = read_image(data, limits=limits).array
    if array.shape[2] == 4:
        raise ParameterError("the mask of regions of interest has transparent places")
    mask = np.ascontiguousarray(array[..., 0])
    if any((array[..., channel] != mask).any() for channel in (1, 2)):
        raise ParameterError("the mask of regions of interest has colours; it must be grey")
    return mask


def read_mask_size(data: bytes, *, limits: Limits) -> tuple[int, int]:
    """Width and height of a mask by its header, before a possible turn; raises ImageError, LimitError."""
    with _named():
        return read_size(data, limits=limits)


@contextmanager
def _named() -> Iterator[None]:
    """Errors say that it was the mask that could not be read, not the picture."""
    try:
        yield
    except ImageError as exc:
        raise type(exc)(f"the mask of regions of interest: {exc}") from exc
