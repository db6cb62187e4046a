"""What a message may cost beside its content: bounds on its header, on its chunks' sizes and on their framing."""

from service.api import problems
from service.api.problems import ProblemError

# Bytes of request line and fields; also of what a chunked body may add to its own bytes.
MAX_HEADER = 64 * 2**10
FEW_CHUNKS = 64  # a body of no more chunks may have them as small as it likes
MIN_CHUNK = 128  # bytes, mean of all chunks so far: each chunk costs as much as a copy of some kilobytes


class Framing:
    """Counts what one message after the other is made of; every method raises ProblemError where it is too much.

    The parser tells the parts of a header only once each is complete, so that bytes are counted twice: by part, and
    by block of data received as long as no part of a message completes.
    """

    def __init__(self) -> None:
        self._parts = self._header = self._chunks = self._body = 0

    def begin(self) -> None:
        """A new message."""
        self._parts = self._header = self._chunks = self._body = 0

    def part(self, size: int) -> None:
        """A part of the header is complete: bytes of the address or of a field."""
        self._parts += size
        self._check_header(self._parts)

    def header_block(self, size: int) -> None:
        """A block of data that belongs to a header which is not complete, all of it."""
        self._header += size
        self._check_header(self._header)

    def chunk(self, received: int) -> None:
        """A chunk begins; `received` are the bytes of all before it."""
        if self._chunks > FEW_CHUNKS and received < self._chunks * MIN_CHUNK:
            mean = received / self._chunks
            raise ProblemError(
                problems.BAD_REQUEST, f"Chunks of {mean:.0f} bytes on average; send at least {MIN_CHUNK}."
            )
        self._chunks += 1

    def body_block(self, size: int, *, received: int) -> None:
        """A block of data that belongs to a body, all of it; `received` are the bytes of the body without framing."""
        self._body += size
        if self._body > 2 * received + MAX_HEADER:  # extensions of chunks, or trailers, which nobody reads
            raise ProblemError(problems.BAD_REQUEST, "The framing of the body is larger than the body.")

    def _check_header(self, size: int) -> None:
        if size > MAX_HEADER:
            raise ProblemError(
                problems.HEADER_TOO_LARGE,
                f"A header of more than {MAX_HEADER} bytes.",
                limit=MAX_HEADER,
                actual=size,
            )
