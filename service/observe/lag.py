"""How late the event loop is: what every answer, probes among them, waits at least."""

import asyncio
import time

from prometheus_client import Histogram

_INTERVAL = 0.25  # seconds


async def watch_event_loop(histogram: Histogram) -> None:
    """Sleep again and again, and enter how much too late each sleep ended; runs until it is cancelled."""
    while True:
        before = time.monotonic()
        await asyncio.sleep(_INTERVAL)
        histogram.observe(max(0.0, time.monotonic() - before - _INTERVAL))
