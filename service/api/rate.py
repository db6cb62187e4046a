"""How fast a body arrives: bytes over a sliding window of the time in which it was waited for."""

import asyncio
import time
from collections import deque

from starlette.types import Message, Receive

WINDOW = 10.0  # seconds: a train's tunnel is shorter, and a place that is held for nothing is not held long
STEPS = 20  # looks in a window


class BodyRate:
    """Waits for the parts of one body, and tells when they come too slowly.

    Only the time inside `receive` counts: what the server does between two parts is not the client's fault. Nor is
    a pause of the whole process: no wait counts for more than two steps.
    """

    def __init__(self, minimum: float) -> None:
        self._least = minimum * WINDOW
        self._step = WINDOW / STEPS
        self._arrived: deque[int] = deque([0], maxlen=STEPS + 1)  # bytes of each step, the current one last
        self._into_step = 0.0

    async def receive(self, receive: Receive) -> Message:
        """The next message; raises TimeoutError once a whole window has brought less than it should."""
        while True:
            started = time.monotonic()
            message: Message | None = None
            try:
                async with asyncio.timeout(self._step):
                    message = await receive()
            except TimeoutError:
                pass
            self.pass_time(time.monotonic() - started)
            if message is not None:
                self._arrived[-1] += len(message.get("body", b""))
            if message is not None and not message.get("more_body", False):
                return message
            if len(self._arrived) > STEPS and sum(self._arrived) < self._least:
                raise TimeoutError
            if message is not None:
                return message

    def pass_time(self, seconds: float) -> None:
        """Count time in which the body was waited for."""
        self._into_step += min(seconds, 2 * self._step)
        while self._into_step >= self._step:
            self._into_step -= self._step
            self._arrived.append(0)
