"""The codec in one process, without HTTP: bytes to bytes, as the service does it. Run as a file, from any tree.

It imports nothing but `model`, so that the tree that is measured is the one that PYTHONPATH names.
"""

import io
import itertools
import json
import os
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

ALL_CORES = "one picture at a time on all cores"
EACH_CORE = "a picture on each core"
WAYS = (ALL_CORES, EACH_CORE)


def main(folder: str, seconds: str) -> None:
    """Write pictures per second for each way, as JSON."""
    pictures = [path.read_bytes() for path in sorted(Path(folder).iterdir())]
    cores = len(os.sched_getaffinity(0))
    speeds = {
        ALL_CORES: measured(pictures, float(seconds), workers=1, threads=cores),
        EACH_CORE: measured(pictures, float(seconds), workers=cores, threads=1),
    }
    sys.stdout.write(json.dumps(speeds))


def measured(pictures: Sequence[bytes], seconds: float, *, workers: int, threads: int) -> float:
    """Pictures per second of so many workers of so many threads."""
    import numpy as np
    import torch
    from PIL import Image

    from model import EncodeOptions, load_codec

    torch.set_num_threads(threads)
    codec = load_codec(device="cpu")
    options = EncodeOptions(quality=50)
    turn = itertools.count()
    speeds: list[float] = []

    def one() -> None:
        with Image.open(io.BytesIO(pictures[next(turn) % len(pictures)])) as image:
            codec.encode(np.asarray(image.convert("RGB")), options)

    def work(start: float) -> None:
        torch.set_num_threads(threads)  # OpenMP counts for each thread that calls it
        done = 0
        while (passed := time.perf_counter() - start) < seconds:
            one()
            done += 1
        speeds.append(done / passed)

    one()
    start = time.perf_counter()
    running = [threading.Thread(target=work, args=(start,)) for _ in range(workers)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    return sum(speeds)


if __name__ == "__main__":
    main(*sys.argv[1:])
