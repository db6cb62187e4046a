"""How a connection ends so that its last answer arrives, and how a client that has left is told from a silent one."""

import asyncio
import select

from service.api.taking import Taking

LINGER_SECONDS = 30.0  # of dropping what a client still sends
LINGER_IDLE = 5.0  # seconds without a byte
LINGER_BYTES = 64 * 2**20
FIRST_LOOK, LAST_LOOK = 0.01, 1.0  # seconds between two looks


class Ending:
    """The end of one connection; its timers stop by themselves once the transport has closed, or with `stop`."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop, taking: Taking) -> None:
        self._transport = transport
        self._loop = loop
        self._taking = taking
        self._dropped = 0
        self._timer: asyncio.TimerHandle | None = None

    def stop(self) -> None:
        """The connection is over, or the answer on its way: no timer is needed."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def close(self) -> None:
        """Close once all is sent, or once the client takes too little of it."""
        self.stop()
        self._transport.close()
        self._taking.wait()

    def linger(self) -> None:
        """Drop what still comes until the client closes, for bounded time and bytes.

        Closing with bytes unread resets the connection (RFC 9112, 9.6), and a reset may overtake the answer.
        """
        self.stop()
        self._transport.write_eof()
        self._until_silent(self._loop.time() + LINGER_SECONDS, -1)

    def drop(self, size: int) -> None:
        """Count bytes that came after the last ones that mattered."""
        self._dropped += size
        if self._dropped > LINGER_BYTES:
            self._transport.abort()

    def look_for_peer(self, wait: float = FIRST_LOOK) -> None:
        """Look again and again whether the peer's system has reset the connection, and end it then.

        To be called after something was written to a client that has ended its side; the transport does not read
        then, and would not notice.
        """
        if self._transport.is_closing():
            return
        peer = select.poll()
        peer.register(self._transport.get_extra_info("socket").fileno(), 0)  # hang-ups are told always
        if peer.poll(0):
            self._transport.abort()
        else:
            self._timer = self._loop.call_later(wait, self.look_for_peer, min(2 * wait, LAST_LOOK))

    def _until_silent(self, end: float, before: int) -> None:
        if self._dropped == before or self._loop.time() >= end:
            self.close()
        else:
            self._timer = self._loop.call_later(LINGER_IDLE, self._until_silent, end, self._dropped)
