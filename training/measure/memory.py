"""Peak memory of coding one picture, measured in a process of its own."""

import multiprocessing
import resource
import sys
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from model.errors import CwicError, ParameterError
from model.options import EncodeOptions
from model.protocol import PictureCodec
from model.types import Pixels
from training.data.pictures import read_rgb


@dataclass(frozen=True)
class MemoryUse:
    """Highest resident memory of a process so far, in bytes.

    Attributes:
        width: of the picture, in pixels.
        height: of the picture, in pixels.
        loaded: with the codec loaded and the picture in memory.
        encoded: after encoding.
        decoded: after decoding.
    """

    width: int
    height: int
    loaded: int
    encoded: int
    decoded: int


def measure_memory(load: Callable[[], PictureCodec], source: int | Path, *, quality: float) -> MemoryUse:
    """Load a codec, encode and decode one picture in a fresh process, and read that process's peaks.

    Args:
        load: makes the codec; pickled to the process.
        source: a picture file, or the number of pixels of a synthetic photograph (4:3).
        quality: of our codec.

    Raises:
        ParameterError: loading, reading or coding failed there, or the process ended without an answer (killed
            for its memory, for instance).
    """
    context = multiprocessing.get_context("spawn")  # nothing of this process's memory
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_code_one, args=(sender, load, source, quality))
    process.start()
    sender.close()
    try:
        answer: MemoryUse | str = receiver.recv()
    except EOFError as error:
        process.join()
        raise ParameterError(f"the measuring process ended with status {process.exitcode}") from error
    process.join()
    if isinstance(answer, str):
        raise ParameterError(answer)
    return answer


def synthetic_photo(pixels: int) -> Pixels:
    """About that many pixels, 4:3, [H, W, 3]: shading, edges and grain, made without large temporaries."""
    width = max(1, round((pixels * 4 / 3) ** 0.5))
    height = max(1, round(pixels / width))
    generator = np.random.default_rng(0)
    picture = np.empty((height, width, 3), dtype=np.uint8)
    columns = np.arange(width, dtype=np.float32)
    for y in range(height):
        shade = 96 + 60 * np.sin(columns / 170 + y / 230) + 40 * (((columns // 90) + y // 70) % 2)
        grain = generator.standard_normal((width, 3), dtype=np.float32) * 6
        picture[y] = np.clip(shade[:, None] + grain + (0, 8, -8), 0, 255)
    return picture


def _code_one(
    sender: Connection, load: Callable[[], PictureCodec], source: int | Path, quality: float
) -> None:
    try:
        codec = load()
        array = synthetic_photo(source) if isinstance(source, int) else read_rgb(source)
        loaded = _peak()
        data = codec.encode(array, EncodeOptions(quality=quality, lossless=False))
        encoded = _peak()
        codec.decode(data)
        sender.send(MemoryUse(array.shape[1], array.shape[0], loaded, encoded, _peak()))
    except CwicError as error:
        sender.send(str(error))  # not every error of ours can be pickled


def _peak() -> int:
    """Peak resident memory of this process, in bytes.

    Linux keeps `ru_maxrss` across `exec`: a child would report its parent's size. `VmHWM` starts anew.
    """
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
