"""Ctrl-C that waits for the end of a step, so that no step is left half done."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupt:
    """SIGINT as a flag that is looked at between steps; a second one raises KeyboardInterrupt wherever it comes."""

    def __init__(self) -> None:
        self.pending = False

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Keep the first SIGINT until the end of the block at the latest, where KeyboardInterrupt is raised.

        Outside of the main thread, or where a program has a handler of its own, nothing changes.
        """
        ours = threading.current_thread() is threading.main_thread()
        if not ours or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
            yield
            return
        self.pending = False
        signal.signal(signal.SIGINT, self._receive)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        if self.pending:
            raise KeyboardInterrupt

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.pending:
            signal.default_int_handler(number, frame)
        self.pending = True
