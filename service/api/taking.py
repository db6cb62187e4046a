"""How fast a client takes what is sent to it, and what becomes of one that takes too little."""

import asyncio
import fcntl
import socket
import struct
import termios
from collections.abc import Callable
from contextlib import suppress

from service.api.rate import Rate

# Seconds. A client whose program reads slowly tells nothing until a sixteenth of its buffer is free again: 0.3 MB
# were measured, which are ten seconds at 250 kbit/s.
WINDOW = 30.0
SEND_QUEUE = 2**17  # bytes that the system takes without sending them; it would take up to 4 MB by itself


class Taking:
    """Cuts a client off that takes less than a minimum while it is waited for.

    Counted is what the client's system has confirmed. The transport would tell too little: it gives the system
    nothing until a third of the send queue is free, up to 1.4 MB, which a client on 1 Mbit/s takes in ten seconds.
    """

    def __init__(
        self,
        transport: asyncio.Transport,
        loop: asyncio.AbstractEventLoop,
        *,
        minimum: float,
        on_cut: Callable[[], None],
    ) -> None:
        """Take the minimum in bytes per second; `on_cut` is told of a client that is cut off."""
        self._transport = transport
        self._socket: socket.socket = transport.get_extra_info("socket")
        self._loop = loop
        self._rate = Rate(minimum, window=WINDOW)
        self._on_cut = on_cut
        self._since = 0.0
        self._left = 0
        self._timer: asyncio.TimerHandle | None = None
        with suppress(OSError):  # no TCP, or a system that does not know it
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, SEND_QUEUE)

    def wait(self) -> None:
        """The client is waited for until `rest`, or until the transport has nothing left for it."""
        if self._timer is None and self._transport.get_write_buffer_size():
            self._since, self._left = self._loop.time(), self._unconfirmed()
            self._timer = self._loop.call_later(self._rate.step, self._look)

    def rest(self) -> None:
        """There is room for more: the client is not waited for, unless the connection closes behind what is left."""
        if self._timer is not None and not self._transport.is_closing():
            self._count()
            self.stop()

    def stop(self) -> None:
        """The connection is over."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = None
        if not self._transport.get_write_buffer_size():
            return
        self._count()
        if self._rate.too_low:
            self._on_cut()
            self._transport.abort()
        else:
            self.wait()

    def _count(self) -> None:
        self._rate.count(self._loop.time() - self._since, max(0, self._left - self._unconfirmed()))

    def _unconfirmed(self) -> int:
        return self._transport.get_write_buffer_size() + in_send_queue(self._socket)


def in_send_queue(connection: socket.socket) -> int:
    """Bytes that the system has taken and the client's has not confirmed; see tcp(7), SIOCOUTQ."""
    try:
        size = fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, bytes(4))
    except OSError:  # aborted, which the protocol is about to be told, or a system that does not tell
        return 0
    return int(struct.unpack("i", size)[0])
