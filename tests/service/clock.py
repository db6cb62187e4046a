"""A clock that jumps, and a connection whose other end takes what a test says, so that minutes pass in no time."""

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import pytest

from service.api import taking
from service.api.protocol import GuardedProtocol

HIGH, LOW = 2**16, 2**14  # marks of the transport: asyncio's own, and uvloop's
SEND_QUEUE = 4 * 2**20  # as large as Linux lets it grow by default
TICK = 0.1  # seconds between two looks of the client


class JumpingLoop(asyncio.SelectorEventLoop):
    """An event loop on which nobody waits: where nothing is to be done, its time goes on to the next timer."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        selector: Any = self._selector  # type: ignore[attr-defined]  # absent from the stubs
        select = selector.select

        def jump(timeout: float | None) -> Any:
            assert timeout is not None, "everybody waits, and for nothing"
            self.now += timeout
            return select(0)

        selector.select = jump

    def time(self) -> float:
        return self.now


class Wire(asyncio.Transport):
    """A transport whose system takes bytes as Linux does: until its send queue is full, then once a third is free.

    Attributes:
        received: what has arrived at the client.
        send_queue: bytes that the system takes.
        most: bytes that the transport has held at once.
        closed: whether the transport is; what the system has taken arrives nevertheless.
        aborted: whether nothing does.
    """

    def __init__(
        self,
        loop: JumpingLoop,
        protocol: GuardedProtocol,
        takes: Callable[[float], int],
        patch: pytest.MonkeyPatch,
    ) -> None:
        """Connect; `takes` says how many bytes the client takes by so many seconds, all in all."""
        super().__init__()
        self.received = bytearray()
        self.send_queue = SEND_QUEUE
        self.most = 0
        self.closed = self.aborted = False
        self._ends = socket.socketpair()
        self._loop = loop
        self._protocol = protocol
        self._takes = takes
        self._buffer = bytearray()
        self._queue = bytearray()
        self._paused = self._closing = self._full = False
        patch.setattr(taking, "in_send_queue", lambda _: len(self._queue))
        protocol.connection_made(self)
        self._tick()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._ends[0] if name == "socket" else default

    def is_closing(self) -> bool:
        return self._closing

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def write_eof(self) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return len(self._buffer)

    def write(self, data: Any) -> None:
        self._buffer += data
        self._fill()
        self.most = max(self.most, len(self._buffer))
        if len(self._buffer) > HIGH and not self._paused:
            self._paused = True
            self._protocol.pause_writing()

    def close(self) -> None:
        self._closing = True
        if not self._buffer and not self.closed:
            self.closed = True
            self._loop.call_soon(self._protocol.connection_lost, None)
            for end in self._ends:
                end.close()

    def abort(self) -> None:
        self.aborted = True
        self._buffer.clear()
        self._queue.clear()
        self.close()

    def _tick(self) -> None:
        taken = min(self._takes(self._loop.time()) - len(self.received), len(self._queue))
        self.received += self._queue[:taken]
        del self._queue[:taken]
        self._fill()
        if self._paused and len(self._buffer) <= LOW:
            self._paused = False
            self._protocol.resume_writing()
        if self._closing:
            self.close()
        if not self.aborted:
            self._loop.call_later(TICK, self._tick)

    def _fill(self) -> None:
        if len(self._queue) <= self.send_queue * 2 // 3:
            self._full = False
        if not self._full:
            moved = self.send_queue - len(self._queue)
            self._queue += self._buffer[:moved]
            del self._buffer[:moved]
            self._full = len(self._queue) == self.send_queue
