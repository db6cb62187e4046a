"""Files for the tests of the container: drawn ones, and forged ones that no writer of ours would make."""

from collections.abc import Sequence
from typing import NamedTuple

from hypothesis import strategies as st

from model.container.format import Extension, Header, pack

HEADER = Header(width=300, height=200, profile="cwic", tile=1024, model_id=b"\x01\x02\x03\x04", quality=512)
PAYLOADS = (b"map", b"first", b"")


class File(NamedTuple):
    """What a file is packed from."""

    header: Header
    payloads: tuple[bytes, ...]
    extensions: tuple[Extension, ...]

    @property
    def parts(self) -> list[bytes]:
        return [*self.payloads, *(contents for _, contents in self.extensions)]

    @property
    def data(self) -> bytes:
        return pack(self.header, self.payloads, self.extensions)

    def first(self, parts: int) -> "File":
        """The file without the parts after the first so many."""
        extensions = self.extensions[: max(0, parts - len(self.payloads))]
        return File(self.header, self.payloads[:parts], extensions)


@st.composite
def headers(draw: st.DrawFn, *, profiles: Sequence[str] = ("lossless", "cwic", "cvpr2018")) -> Header:
    """Any header of up to nine tiles."""
    profile = draw(st.sampled_from(profiles))
    alpha, cwic = draw(st.booleans()), profile == "cwic"
    tile = 1 << draw(st.integers(8, 13 if profile == "lossless" else 11))
    width, height = ((draw(st.integers(1, 3)) - 1) * tile + draw(st.integers(1, tile)) for _ in range(2))
    return Header(
        width=width,
        height=height,
        profile=profile,
        tile=tile,
        model_id=b"" if profile == "lossless" else draw(st.binary(min_size=4, max_size=4)),
        quality=draw(st.integers(0, 1024)) if cwic else 0,
        tolerance=draw(st.integers(0, 255)) if profile == "lossless" else 0,
        tune=draw(st.sampled_from(["psnr", "visual"])) if cwic else "psnr",
        alpha=alpha,
        grey=draw(st.booleans()),
        plane=cwic and draw(st.booleans()),
        patches=cwic and draw(st.booleans()),
        lowest_level=draw(st.integers(0, 1)) if profile == "cvpr2018" else 1,
    )


@st.composite
def files(draw: st.DrawFn, *, profiles: Sequence[str] = ("lossless", "cwic", "cvpr2018")) -> File:
    """Any file of up to nine tiles, with short payloads."""
    header = draw(headers(profiles=profiles))
    count = draw(st.integers(header.required, min(header.maximum, header.required + 20)))
    pool = draw(st.lists(st.binary(max_size=150), min_size=1, max_size=5))
    kinds = draw(st.lists(st.integers(128, 255), unique=True, max_size=3))
    return File(
        header,
        tuple(pool[k % len(pool)] for k in range(count)),
        tuple((kind, draw(st.binary(max_size=9))) for kind in sorted(kinds)),
    )


def crc16(data: bytes) -> int:
    """The CRC of the specification, bit by bit."""
    crc = 0xFFFF
    for byte in data:
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1 ^ 0x1021 * (crc >> 15)) & 0xFFFF
    return crc


def leb128(value: int) -> bytes:
    """Unsigned LEB128."""
    rest = value >> 7
    return bytes([value & 0x7F | 0x80]) + leb128(rest) if rest else bytes([value])


def paired(x: int, y: int) -> int:
    """The number of a pair: squares of growing size are filled, each one's last row and column in turn."""
    return y * y + x if x < y else x * x + 2 * x - y


def forge(
    *,
    version: int = 2,
    kind: int = 0b01001,
    quality: int = 512,
    width: int = 300,
    height: int = 200,
    model_id: bytes = b"\x01\x02\x03\x04",
    count: int | None = None,
    payloads: Sequence[bytes] = PAYLOADS,
    lengths: Sequence[int] | None = None,
    extensions: Sequence[Extension] = (),
    extension_count: int | None = None,
) -> bytes:
    """A file of any values, right or wrong, under right checksums: the specification written a second time."""
    data = b"CWIC" + bytes([version, kind]) + quality.to_bytes(2, "little")
    data += leb128(paired(width - 1, height - 1)) + model_id
    if not quality >> 15:
        data += leb128(len(payloads) if count is None else count)
    data += b"".join(map(leb128, map(len, payloads) if lengths is None else lengths))
    if quality >> 14 & 1:
        data += leb128(len(extensions) if extension_count is None else extension_count)
        data += b"".join(bytes([kind]) + leb128(len(contents)) for kind, contents in extensions)
    contents = [contents for _, contents in extensions]
    joint = 0
    for part in [*filter(None, payloads), *contents]:
        data += bytes([crc16(part) % 256])
        joint = (joint * 2 % 256 + joint // 128) ^ crc16(part) // 256
    data += bytes([joint])
    return data + crc16(data).to_bytes(2, "little") + b"".join([*payloads, *contents])
