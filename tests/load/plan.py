"""What is sent and when: a seeded plan of requests, none of which depends on how the server fares."""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from tests.load.pictures import drawn, jpeg

# Width, height and weight. Most of what people send is small; a few large ones decide the memory.
SIZES = ((96, 64, 3), (320, 240, 4), (768, 512, 5), (1200, 900, 2), (2000, 1500, 1))
OPERATIONS = (("/compress", 6), ("/decompress", 3), ("/importance-map", 1), ("/inspect", 1))

_BOMB = (
    b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\xea\x60\x00\x00\xea\x60\x08\x02\x00\x00\x00\x0f\xb0\xe2\x15"
    b"\x00\x00\x00\x00IDAT\x35\xaf\x06\x1e\x00\x00\x00\x00IEND\xae\x42\x60\x82"
)  # a PNG that says 60000 x 60000


@dataclass(frozen=True)
class Item:
    """One kind of request.

    Attributes:
        name: for reports.
        path: of the URL.
        body: the bytes sent.
        params: the query.
        bad: whether the body is one that must be refused with 4xx.
        weight: how often it comes, among the others.
    """

    name: str
    path: str
    body: bytes = field(repr=False)
    params: Mapping[str, str] = field(default_factory=dict)
    bad: bool = False
    weight: float = 1.0


class Planned(NamedTuple):
    """A request and its time, in seconds from the start."""

    at: float
    item: Item


def constant_rate(items: Sequence[Item], *, rate: float, seconds: float, seed: int) -> list[Planned]:
    """Requests at equal distances, drawn from the items by their weights."""
    chosen = drawn_items(items, seed=seed)
    return [Planned(number / rate, next(chosen)) for number in range(max(1, round(rate * seconds)))]


def drawn_items(items: Sequence[Item], *, seed: int) -> Iterator[Item]:
    """Items without end, drawn by their weights."""
    generator = random.Random(seed)  # noqa: S311 - a plan, no secret
    weights = [item.weight for item in items]
    while True:
        yield from generator.choices(items, weights, k=64)


def catalogue(
    compress: Callable[[bytes], bytes],
    *,
    bad_share: float,
    seed: int,
    sizes: Sequence[tuple[int, int, int]] = SIZES,
    photos: Sequence[bytes] = (),
) -> list[Item]:
    """All pictures with all operations, and a share of bad input.

    Args:
        compress: makes a .cwic file of a picture; the server under test does.
        bad_share: of all requests, from 0 to below 1.
        seed: of the pictures.
        sizes: width, height and weight of each drawn picture.
        photos: files to send instead of drawn ones, each as often as the others.
    """
    assert 0 <= bad_share < 1, f"share of bad input {bad_share}"
    pictures = [(f"photo {number}", photo, 1) for number, photo in enumerate(photos)]
    for number, (width, height, weight) in enumerate(() if photos else sizes):
        pictures.append((f"{width}x{height}", jpeg(drawn(width, height, seed=seed + number)), weight))
    good: list[Item] = []
    for name, picture, weight in pictures:
        file = compress(picture)
        for path, share in OPERATIONS:
            body = file if path in ("/decompress", "/inspect") else picture
            params = {"quality": "50"} if path == "/compress" else {}
            good.append(Item(f"{path} {name}", path, body, params, weight=weight * share))
    if not bad_share:
        return good
    bad = bad_items(picture, file, seed=seed)
    weight_of_bad = sum(item.weight for item in good) * bad_share / (1 - bad_share) / len(bad)
    return good + [replace(item, weight=weight_of_bad) for item in bad]


def bad_items(picture: bytes, file: bytes, *, seed: int) -> list[Item]:
    """Bodies that must be refused: damaged ones of a good picture and a good file, and such as never were any."""
    noise = random.Random(seed).randbytes(20_000)  # noqa: S311
    flipped = bytearray(file)
    flipped[len(file) // 2] ^= 0x10
    bodies = (
        ("noise", "/compress", noise),
        ("nothing", "/compress", b""),
        ("a cut picture", "/compress", picture[: len(picture) // 3]),
        ("a bomb", "/compress", _BOMB),
        ("a cut file", "/decompress", file[: len(file) // 3]),
        ("a damaged file", "/decompress", bytes(flipped)),
        ("a picture", "/decompress", picture),
        ("noise", "/inspect", noise),
    )
    return [Item(f"{path} {name}", path, body, bad=True) for name, path, body in bodies]
