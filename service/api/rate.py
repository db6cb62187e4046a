"""How fast bytes move: over a sliding window of the time in which a client was waited for."""

import asyncio
import time
from collections import deque

from starlette.types import Message, Receive

WINDOW = 10.0  # seconds: a train's tunnel is shorter, and a place that is held for nothing is not held long
STEPS = 20  # looks in a window


class Rate:
    """Bytes over a sliding window; only the time counts that it is told of.

    What the server does between two waits is not the client's fault. Nor is a pause of the whole process: no wait
    counts for more than two steps.
    """

    def __init__(self, minimum: float, *, window: float) -> None:
        self.step = window / STEPS
        self._least = minimum * window
        self._moved: deque[int] = deque([0], maxlen=STEPS + 1)  # bytes of each step, the current one last
        self._into_step = 0.0

    def count(self, seconds: float, moved: int = 0) -> None:
        """Count time in which the client was waited for, and the bytes that it has moved."""
        self._into_step += min(seconds, 2 * self.step)
        while self._into_step >= self.step:
            self._into_step -= self.step
            self._moved.append(0)
        self._moved[-1] += moved

    @property
    def too_low(self) -> bool:
        """Whether a whole window has brought less than it should."""
        return len(self._moved) > STEPS and sum(self._moved) < self._least


class BodyRate(Rate):
    """Waits for the parts of one body, and tells when they come too slowly."""

    def __init__(self, minimum: float) -> None:
        super().__init__(minimum, window=WINDOW)

    async def receive(self, receive: Receive) -> Message:
        """The next message; raises TimeoutError once a whole window has brought less than it should."""
        while True:
            started = time.monotonic()
            message: Message | None = None
            try:
                async with asyncio.timeout(self.step):
                    message = await receive()
            except TimeoutError:
                pass
            self.count(time.monotonic() - started, len(message.get("body", b"")) if message else 0)
            if message is not None and not message.get("more_body", False):
                return message
            if self.too_low:
                raise TimeoutError
            if message is not None:
                return message
