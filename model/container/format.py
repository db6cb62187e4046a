"""The container: facts and payloads to bytes and back. Bytes only; nothing here decodes a payload.

Format, version 2. Integers are little-endian; a varint is unsigned LEB128 in its shortest form, at most
32 bits, of the size 64.

    header
        magic           4 bytes   b"CWIC"
        version         u8        2
        kind            u8        bits 0-1: 0 lossless, 1 cwic, 2 cvpr2018; bits 2-4: binary logarithm of the tile
                                  size, less 8 (tiles of 256 to 2048 pixels, to 8192 where the file is lossless);
                                  bit 5: alpha; bit 6: grey, the three colour channels are equal; bit 7, of cwic
                                  only: a quality plane is coded
        quality         u16       bits 0-10: position on the quality axis, 0..1024, zero where the profile has one
                                  rate for each checkpoint; when lossless, how far samples may be from those of the
                                  picture that was coded, 0..255; bit 11, of cvpr2018: the importance map has a level
                                  0, which keeps no channels (otherwise its lowest is 1), of cwic: there are patches;
                                  bits 12-13, of cwic only: tune, 0 psnr, 1 visual; bit 14: extensions
                                  follow; bit 15: the number of payloads is the usual one
        size            varint    width and height in pixels, 1 and above: m^2 + m + x - y, where x is the width less
                                  1, y the height less 1, and m the larger of x and y
        model id        4 bytes   first bytes of the SHA-256 of the checkpoint's weights; absent when lossless
        payloads        varint    N, how many there are; absent where bit 15 is set, as it must be where N is what
                                  all sections up to codes 5, or those of a lossless picture, have
    directory
        lengths         N varints of the payloads, in bytes
        extensions      only if flagged: how many, 1 and above, varint; then of each its type, u8, and its length,
                        varint. In ascending order of type, each type at most once. Types from 128 are ancillary: a
                        reader that does not know them passes them over. Lower ones are critical, and unknown ones
                        an error; none is defined so far. 128 is EXIF (a TIFF structure without the prefix of JPEG,
                        and without an orientation, since the picture is upright), 129 an ICC profile of the pixels
                        as they are decoded; both of at most 65527 bytes, longer ones are passed over
        checks          u8        for each payload of length above 0 and for each extension: the low byte of its CRC
        joint check     u8        starts at 0; for each of the same, in order: rotate left by one bit, then
                                  exclusive or with the high byte of its CRC
        header check    u16       CRC of everything before it
    payloads                      one after the other, then the extensions

The CRC is CRC-16 of polynomial 0x1021, most significant bit first, started at 0xFFFF (CRC-16/IBM-3740). It finds
every burst of up to 16 bits wherever it is, which the same number of bits of a longer CRC would not. Both
halves of a payload's CRC are in the file, but only its low byte lies with the payload's own, so that a payload of a
cut file is still proven, by fewer bits.

A picture is cut into square tiles in raster order, those of the last row and column are smaller. Each section is
one payload for each tile. The sections of a coded picture, in this order:

    plane       if flagged: the quality plane, range-coded
    map         importance map, range-coded (`model.entropy.symbols`)
    alpha       if flagged: the alpha channel (`model.container.lossless`)
    samples     if flagged: patches, RGBA (`model.container.lossless`), of which the pixels of alpha 255 replace the
                coded ones and all others have alpha 0; empty where a tile has none
    codes k     the codes of channel group k, range-coded, k = 0, 1, ... up to MAX_GROUPS groups

and of a lossless one:

    samples     RGB, or RGBA if flagged (`model.container.lossless`)

N may stop short of the last tile of the last group, but not before the last tile of group 0: a group that is not
there codes nothing. The codes of a file are embedded by that: `truncate` drops payloads from the end. A file
that was cut in transfer, where payloads that the directory announces are missing, is read only with permission,
as if it ended with the last payload that is whole; it has then no extensions, and its joint check means nothing.

Payloads of the range coder are its 32-bit words in big-endian order with trailing zero bytes left out.

What a file of one tile of at most 1024 pixels needs besides its payloads, with model, map and six groups: 32 bytes
where all payloads are below 128 bytes and a side is above 128 pixels, 31 where none is; 46 where payloads are
below 2 MiB. A plane, alpha or patches add two to four, an empty payload saves one at least.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

from model.container.directory import ANCILLARY, Directory, checksum, joint_check, read_directory
from model.container.header import (
    DEFAULT_TILE,
    LARGEST_LOSSLESS_TILE,
    LARGEST_TILE,
    LOSSLESS_TILE,
    MAGIC,
    QUALITY_STEPS,
    VERSION,
    Header,
    Section,
    Slot,
    position_of,
    quality_at,
    read_header,
    write_header,
)
from model.container.reader import Reader
from model.errors import (
    ChecksumError,
    ParameterError,
    SectionError,
    TrailingDataError,
    TruncatedFileError,
)
from model.types import MAX_METADATA, FileInfo, Limits, Metadata, SectionInfo

__all__ = [
    "DEFAULT_TILE",
    "LARGEST_LOSSLESS_TILE",
    "LARGEST_TILE",
    "LOSSLESS_TILE",
    "MAGIC",
    "QUALITY_STEPS",
    "UNLIMITED",
    "VERSION",
    "Container",
    "Extension",
    "Header",
    "Section",
    "extensions_of",
    "inspect",
    "pack",
    "position_of",
    "quality_at",
    "truncate",
    "unpack",
]

Extension = tuple[int, bytes]

_EXIF, _ICC = 128, 129
_NAMES = {_EXIF: "exif", _ICC: "icc"}
UNLIMITED = Limits(max_pixels=2**64, max_dimension=2**32)


@dataclass(frozen=True, kw_only=True)
class Container:
    """One file, parsed and checked.

    Attributes:
        header: the facts.
        payloads: those that are there, in file order.
        extensions: type and contents, in file order.
        truncated: whether the file was cut in transfer and announces more than is there.
        size: of the bytes that were read.
    """

    header: Header
    payloads: tuple[bytes, ...]
    extensions: tuple[Extension, ...] = ()
    truncated: bool = False
    size: int

    def payload(self, section: Section, tile: int, group: int = 0) -> bytes | None:
        """The payload of a tile, None where the file has none; `group` is of CODES only."""
        grid, slots = self.header.grid, self.header.slots
        assert 0 <= tile < grid.count, f"tile {tile} of {grid.count}"
        slot = Slot(section, group)
        if slot not in slots:
            return None
        index = slots.index(slot) * grid.count + tile
        return self.payloads[index] if index < len(self.payloads) else None

    @property
    def metadata(self) -> Metadata:
        """What the file carries for whoever decodes it."""
        found = {kind: contents for kind, contents in self.extensions if len(contents) <= MAX_METADATA}
        return Metadata(exif=found.get(_EXIF, b""), icc_profile=found.get(_ICC, b""))

    @property
    def groups(self) -> int:
        """Channel groups of which at least one tile is there."""
        return sum(slot.section is Section.CODES for slot in self._slots)

    @property
    def bpp(self) -> float:
        """Bits per pixel of the picture, of what was read."""
        return 8 * self.size / (self.header.width * self.header.height)

    @property
    def _slots(self) -> tuple[Slot, ...]:
        return self.header.slots[: -(-len(self.payloads) // self.header.grid.count)]

    def info(self) -> FileInfo:
        """The facts of the file, for people."""
        header, tiles = self.header, self.header.grid.count
        lengths = [
            (slot.name, sum(map(len, self.payloads[k * tiles : (k + 1) * tiles])))
            for k, slot in enumerate(self._slots)
        ]
        lengths += [
            (_NAMES.get(kind, f"extension{kind}"), len(contents)) for kind, contents in self.extensions
        ]
        pixels = header.width * header.height
        return FileInfo(
            version=VERSION,
            width=header.width,
            height=header.height,
            channels=4 if header.alpha else 3,
            profile=header.profile,
            model_id=header.model_id.hex(),
            quality=None if header.fixed_rate else round(quality_at(header.quality), 1),
            tolerance=header.tolerance if header.lossless else None,
            tune=header.tune if header.profile == "cwic" else None,
            grey=header.grey,
            lowest_level=None if header.lossless else header.lowest_level,
            tile=header.tile,
            tiles=tiles,
            plane=header.plane,
            truncated=self.truncated,
            sections=tuple(SectionInfo(name, length, 8 * length / pixels) for name, length in lengths),
            size=self.size,
        )


def extensions_of(metadata: Metadata) -> list[Extension]:
    """The extensions of a file that carries this metadata."""
    both = ((_EXIF, metadata.exif), (_ICC, metadata.icc_profile))
    return [(kind, contents) for kind, contents in both if contents]


def pack(header: Header, payloads: Sequence[bytes], extensions: Sequence[Extension] = ()) -> bytes:
    """The file of a header, payloads in file order, and ancillary extensions in ascending order of their type."""
    kinds = [kind for kind, _ in extensions]
    assert kinds == sorted(set(kinds)), f"extension types {kinds} are repeated or out of order"
    assert all(ANCILLARY <= kind <= 0xFF for kind in kinds), f"extension types {kinds} are not all ancillary"
    parts = [*payloads, *(contents for _, contents in extensions)]
    directory = Directory.of(payloads, extensions)
    checksums = [checksum(parts[index]) for index in directory.checked]
    start = _start(header, directory) + bytes(crc & 0xFF for crc in checksums)
    start += bytes([joint_check(checksums)])
    return b"".join([start, checksum(start).to_bytes(2, "little"), *parts])


def unpack(data: bytes, *, limits: Limits, allow_truncated: bool = False) -> Container:
    """Parse a file and check all that can be checked without the model.

    With `allow_truncated` a file that was cut in transfer is read as far as its payloads are whole, provided that
    these are all up to and including group 0.

    Raises:
        FileError: one class for each kind of damage.
        LimitError: the picture is larger than `limits`.
    """
    reader = Reader(data)
    header, count, extended = read_header(reader, limits=limits)
    directory = read_directory(reader, count, extended=extended)
    checks, joint = reader.take(len(directory.checked)), reader.integer(1)
    proven = checksum(data[: reader.position])
    if reader.integer(2) != proven:
        raise ChecksumError("header and directory: checksum does not match")
    unknown = [kind for kind, _ in directory.extensions if not kind & ANCILLARY]
    if unknown:
        raise SectionError(f"critical extensions of unknown types {unknown}")
    ends = list(accumulate(directory.lengths, initial=reader.position))
    if len(data) > ends[-1]:
        raise TrailingDataError(f"{len(data) - ends[-1]} bytes after the end of the file")
    whole = bisect_right(ends, len(data)) - 1
    truncated = whole < len(directory.lengths)
    if truncated and not (allow_truncated and whole >= header.required):
        way_out = (
            "allow_truncated decodes it as far as it goes"
            if whole >= header.required
            else f"{ends[header.required]} are needed at least to decode it"
        )
        raise TruncatedFileError(f"the file ends at byte {len(data)} of {ends[-1]}; {way_out}")
    parts = [data[start:end] for start, end in pairwise(ends[: whole + 1])]
    _check_parts(header, directory.first(whole), parts, checks=checks, joint=None if truncated else joint)
    kinds = () if truncated else (kind for kind, _ in directory.extensions)
    return Container(
        header=header,
        payloads=tuple(parts[:count]),
        extensions=tuple(zip(kinds, parts[count:], strict=False)),
        truncated=truncated,
        size=len(data),
    )


def truncate(data: bytes, max_bytes: int, *, limits: Limits | None = None) -> bytes:
    """The largest file of at most `max_bytes` that is made by dropping extensions and payloads from the end.

    It is whole as it stands, and needs no permission to be decoded.

    Raises:
        FileError: the file cannot be read.
        LimitError: the picture is larger than `limits`.
        ParameterError: not even what no file can do without fits: the payloads up to and including group 0, or all
            of a lossless file; the message has the size they need.
    """
    container = unpack(data, limits=limits or UNLIMITED)
    if len(data) <= max_bytes:
        return data
    header, payloads, extensions = container.header, container.payloads, container.extensions
    directory = Directory.of(payloads, extensions)

    def size(parts: int) -> int:
        kept = directory.first(parts)
        return len(_start(header, kept)) + len(kept.checked) + 3 + sum(kept.lengths)

    counts = range(header.required, len(directory.lengths))
    fitting = list(counts[: bisect_right(counts, max_bytes, key=size)][-1:])
    if header.usual in counts and size(header.usual) <= max_bytes:  # it saves N, so that fewer may be larger
        fitting.append(header.usual)
    if not fitting:
        smallest = size(header.required)
        if header.lossless:
            raise ParameterError(
                f"a lossless file cannot be cut: {smallest} bytes are needed, {max_bytes} allowed"
            )
        raise ParameterError(f"the file cannot be cut to {max_bytes} bytes, {smallest} are needed at least")
    parts = max(fitting)
    return pack(header, payloads[:parts], extensions[: max(0, parts - len(payloads))])


def inspect(data: bytes, *, limits: Limits | None = None) -> FileInfo:
    """The facts of a file, even of one cut in transfer; checksums are verified, nothing is decoded.

    Raises:
        FileError: one class for each kind of damage.
        LimitError: the picture is larger than `limits`.
    """
    return unpack(data, limits=limits or UNLIMITED, allow_truncated=True).info()


def _start(header: Header, directory: Directory) -> bytes:
    """All that comes before the checks."""
    count, extended = len(directory.payloads), bool(directory.extensions)
    return write_header(header, count, extended=extended) + directory.write()


def _check_parts(
    header: Header, directory: Directory, parts: Sequence[bytes], *, checks: bytes, joint: int | None
) -> None:
    """Raise ChecksumError unless the parts are those of the checks, and all of the joint check if there is one."""
    checksums = [checksum(parts[index]) for index in directory.checked]
    for index, crc, check in zip(directory.checked, checksums, checks, strict=False):
        if crc & 0xFF != check:
            raise ChecksumError(f"{_name(header, directory, index)}: checksum does not match")
    if joint is not None and joint_check(checksums) != joint:
        raise ChecksumError("all payloads together: checksum does not match")


def _name(header: Header, directory: Directory, part: int) -> str:
    if part >= len(directory.payloads):
        return f"extension {directory.extensions[part - len(directory.payloads)][0]}"
    slot, tile = divmod(part, header.grid.count)
    return f"{header.slots[slot].name} of tile {tile}"
