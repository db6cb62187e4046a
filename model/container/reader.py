"""Integers of variable length, and a cursor over a file that never reads past its end."""

from model.errors import HeaderError, TruncatedFileError


def varint(value: int, *, bits: int = 32) -> bytes:
    """Unsigned LEB128, in its shortest form."""
    assert 0 <= value < 1 << bits, f"{value} does not fit {bits} bits"
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


class Reader:
    """A cursor over a file that never reads past its end."""

    def __init__(self, data: bytes) -> None:
        """Start at the first byte of `data`."""
        self.data = data
        self.position = 0

    @property
    def remaining(self) -> int:
        """Bytes that were not read yet."""
        return len(self.data) - self.position

    def take(self, count: int) -> bytes:
        """The next `count` bytes; raises TruncatedFileError."""
        if count > self.remaining:
            raise TruncatedFileError(
                f"the file ends at byte {len(self.data)}, {count} bytes were expected at byte {self.position}"
            )
        self.position += count
        return self.data[self.position - count : self.position]

    def integer(self, size: int) -> int:
        """The next `size` bytes as an unsigned integer; raises TruncatedFileError."""
        return int.from_bytes(self.take(size), "little")

    def varint(self, *, bits: int = 32) -> int:
        """The next varint; raises TruncatedFileError, and HeaderError unless it is the shortest of so many bits."""
        value = 0
        for shift in range(0, bits, 7):
            byte = self.integer(1)
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                if (shift and not byte) or value >= 1 << bits:
                    break
                return value
        raise HeaderError(
            f"the number that ends at byte {self.position} is not in its shortest {bits}-bit form"
        )
