"""Who is answered before whom, over a real server with one worker: order and counts, never seconds."""

import math
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx
import numpy as np
import pytest

from model.options import EncodeOptions
from model.protocol import DEFAULT_ENCODE_OPTIONS
from model.steps import Work
from model.types import Pixels
from service.app import create_app
from service.settings import Settings
from tests.effort import PATIENCE, wait_until
from tests.service.fakes import FakeCodec, picture_array, pixels, png
from tests.service.jobs.work import Picture, Tile
from tests.service.server import metric, running, serving

SMALL, LARGE = (24, 16), (96, 90)
TILES = 6


class InTiles(FakeCodec):
    """Codes a picture in six tiles, one after the other, or a small one at once; tells in which order.

    The tiles of the large one wait for the test.
    """

    def __init__(self) -> None:
        super().__init__()
        object.__setattr__(self, "order", [])
        object.__setattr__(self, "go_on", threading.Semaphore(0))
        object.__setattr__(self, "begun", threading.Event())

    order: list[str]
    go_on: threading.Semaphore
    begun: threading.Event

    def encoding(self, array: Pixels, options: EncodeOptions = DEFAULT_ENCODE_OPTIONS) -> Work[bytes]:
        if array.shape[:2] == (LARGE[1], LARGE[0]):
            yield [Tile(Picture("large", self._tile, most=1), 0) for _ in range(TILES)]
        elif array.shape[:2] == (SMALL[1], SMALL[0]):
            self.order.append("small")
        return (yield from super().encoding(array, options))

    def _tile(self, _: list[str]) -> None:
        self.begun.set()
        assert self.go_on.acquire(timeout=PATIENCE)
        self.order.append("tile")


def compress(client: httpx.Client, size: tuple[int, int]) -> httpx.Response:
    return client.post("/compress", content=png(picture_array(*size)))


@contextmanager
def learnt(codec: FakeCodec, *, seconds: float, **settings: float) -> Iterator[httpx.Client]:
    """A client of a service that has learnt that a megapixel takes so long."""
    app = create_app(Settings.model_validate({"workers": 1} | settings), load=lambda _: [codec])
    with running(app) as client:
        wait_until(lambda: client.get("/readyz").is_success)
        admission = app.state.engine.admission
        ticket = admission.admit(
            f"Compress {codec.info.name}",
            client="",
            pixels=1_000_000,
            work=1_000_000,
            tiles=1,
            deadline=math.inf,
        )
        ticket.spent = seconds
        admission.release(ticket, finished=True)
        yield client


def test_a_small_picture_is_done_between_two_tiles_of_a_large_one() -> None:
    codec = InTiles()
    hours = 1e6  # so that what the test itself takes does not count
    with learnt(codec, seconds=hours, request_timeout=hours, stall_timeout=hours) as client:
        with ThreadPoolExecutor(2) as pool:
            large = pool.submit(compress, client, LARGE)
            assert codec.begun.wait(PATIENCE)
            small = pool.submit(compress, client, SMALL)
            wait_until(lambda: metric(client, "cwic_queue_depth") == 2)
            codec.go_on.release()
            assert small.result(PATIENCE).is_success
            assert codec.order == ["tile", "small"]
            codec.go_on.release(TILES - 1)
            assert large.result(PATIENCE).is_success


def test_a_region_takes_the_room_of_its_tiles_only() -> None:
    """A picture of 1500 x 1500 has four tiles, the last of them of 476 x 476."""
    codec = InTiles()
    file = codec.encode(np.zeros((1500, 1500, 3), np.uint8), EncodeOptions(lossless=True, tile=1024))
    room = LARGE[0] * LARGE[1] + 476 * 476
    with serving(codec, queue_max_pixels=room) as client, ThreadPoolExecutor(2) as pool:
        large = pool.submit(compress, client, LARGE)
        assert codec.begun.wait(PATIENCE)
        for path in ("/decompress", "/decompress?region=1023,1024,2,1", "/decompress?groups=1"):
            refused = client.post(path, content=file)
            assert (refused.status_code, refused.json()["limit"]) == (429, room)
        region = pool.submit(client.post, "/decompress?region=1024,1024,9,5", content=file)
        wait_until(lambda: metric(client, "cwic_queue_pixels") == room)
        codec.go_on.release(TILES)
        assert large.result(PATIENCE).is_success
        assert pixels(region.result(PATIENCE).content).shape == (5, 9, 3)


def test_headers_are_looked_at_while_the_worker_is_at_a_picture() -> None:
    codec = InTiles()
    file = codec.encode(picture_array())
    with serving(codec) as client, ThreadPoolExecutor(1) as pool:
        large = pool.submit(compress, client, LARGE)
        assert codec.begun.wait(PATIENCE)
        for _ in range(20):
            assert client.post("/inspect", content=file).json()["width"] == 24
            cut = client.post("/truncate", params={"bytes": len(file) - 1}, content=file)
            assert len(cut.content) < len(file)
        assert not large.done()
        codec.go_on.release(TILES)
        assert large.result(PATIENCE).is_success


def test_the_progress_of_a_request_is_told_by_its_id_while_it_lasts() -> None:
    codec = InTiles()
    with serving(codec) as client, ThreadPoolExecutor(3) as pool:
        assert client.get("/progress/first").status_code == 404
        first = pool.submit(
            client.post, "/compress", content=png(picture_array(*LARGE)), headers={"X-Request-ID": "first"}
        )
        assert codec.begun.wait(PATIENCE)
        assert client.get("/progress/first").json()["state"] == "working"
        others = []
        for name in ("second", "third"):
            others.append(
                pool.submit(
                    client.post,
                    "/compress",
                    content=png(picture_array(*LARGE)),
                    headers={"X-Request-ID": name},
                )
            )
            wait_until(lambda: metric(client, "cwic_queue_depth") == 1 + len(others))
        third = client.get("/progress/third").json()
        assert (third["state"], third["ahead"]) == ("waiting", 1)
        assert third["seconds_left"] > 0
        codec.go_on.release(3 * TILES)
        assert all(each.result(PATIENCE).is_success for each in (first, *others))
        wait_until(lambda: client.get("/progress/third").status_code == 404)


def test_pixels_in_work_are_bounded_exactly() -> None:
    codec = InTiles()
    pixels = LARGE[0] * LARGE[1] + SMALL[0] * SMALL[1]
    # Through a proxy that names no client, whose share would be smaller.
    with (
        serving(codec, queue_max_pixels=pixels, trusted_proxies="127.0.0.1") as client,
        ThreadPoolExecutor(2) as pool,
    ):
        large = pool.submit(compress, client, LARGE)
        assert codec.begun.wait(PATIENCE)
        refused = compress(client, (SMALL[0] + 1, SMALL[1]))
        assert refused.status_code == 429
        assert refused.json()["limit"] == pixels
        assert int(refused.headers["Retry-After"]) >= 1
        small = pool.submit(compress, client, SMALL)
        codec.go_on.release(TILES)
        assert small.result(PATIENCE).is_success
        assert large.result(PATIENCE).is_success


def test_what_cannot_be_done_in_time_is_refused_on_arrival_and_what_goes_before_is_not() -> None:
    """The large one takes 28000 s by what has been learnt, a small one 20000."""
    codec = InTiles()
    with (
        learnt(codec, seconds=1e6, request_timeout=60_000, stall_timeout=1e6) as client,
        ThreadPoolExecutor(2) as pool,
    ):
        large = pool.submit(compress, client, LARGE)
        assert codec.begun.wait(PATIENCE)
        refused = compress(client, LARGE)
        assert refused.status_code == 429
        assert "CWIC_REQUEST_TIMEOUT" in refused.json()["detail"]
        small = pool.submit(compress, client, SMALL)
        wait_until(lambda: metric(client, "cwic_queue_depth") == 2)
        codec.go_on.release(TILES)
        assert small.result(PATIENCE).is_success
        assert large.result(PATIENCE).is_success
        assert codec.order.count("tile") == TILES


def test_what_is_hopeless_is_refused_for_good_and_not_begun() -> None:
    codec = InTiles()
    with learnt(codec, seconds=1e6) as client:
        refused = compress(client, LARGE)
        assert refused.status_code == 422
        problem = refused.json()
        assert problem["type"] == "urn:cwic:problem:too-much-work"
        assert (problem["limit"], problem["actual"]) == (
            pytest.approx(60, abs=1),
            pytest.approx(28_078, rel=0.01),
        )
        assert "Retry-After" not in refused.headers
        assert metric(client, 'cwic_rejected_total{reason="too-much-work"}') == 1
        assert codec.order == []


@pytest.mark.parametrize("path", ["/compress", "/importance-map"])
def test_no_memory_is_503_with_a_time_to_come_back_and_the_next_request_is_served(path: str) -> None:
    failing = [True]

    def full(array: Pixels) -> None:
        if array.shape[0] == SMALL[1] and failing[0]:
            raise MemoryError

    class Full(FakeCodec):
        def mapping(self, source, options=DEFAULT_ENCODE_OPTIONS):  # type: ignore[no-untyped-def]
            full(source)
            return (yield from super().mapping(source, options))

    with serving(Full(on_encode=full)) as client:
        answer = client.post(path, content=png())
        assert (answer.status_code, answer.json()["type"]) == (503, "urn:cwic:problem:out-of-memory")
        assert int(answer.headers["Retry-After"]) >= 1
        assert metric(client, 'cwic_oom_total{action="refused"}') == 1
        failing[0] = False
        assert client.post(path, content=png()).is_success


KEYS = "first:0123456789abcdef,second:fedcba9876543210"


@pytest.mark.parametrize(
    ("greedy", "other", "settings"),
    [
        (
            {"X-Forwarded-For": "192.0.2.1"},
            {"X-Forwarded-For": "192.0.2.2"},
            {"trusted_proxies": "127.0.0.1"},
        ),
        (
            {"X-API-Key": KEYS[6:22], "X-Forwarded-For": "192.0.2.1"},
            {"X-API-Key": KEYS[-16:], "X-Forwarded-For": "192.0.2.1"},
            {"trusted_proxies": "127.0.0.1", "api_keys": KEYS},
        ),
    ],
    ids=["addresses", "keys"],
)
def test_one_client_leaves_places_for_others_however_much_it_asks_for(
    greedy: dict[str, str], other: dict[str, str], settings: dict[str, str]
) -> None:
    codec = InTiles()
    with serving(codec, queue_size=8, **settings) as client, ThreadPoolExecutor(7) as pool:

        def compress_as(headers: dict[str, str]) -> httpx.Response:
            return client.post("/compress", content=png(picture_array(*LARGE)), headers=headers)

        for count in range(1, 7):
            pool.submit(compress_as, greedy)
            wait_until(lambda: client.get("/healthz").json()["queue_depth"] == count)  # noqa: B023 - at once
        refused = compress_as(greedy)
        assert (refused.status_code, refused.json()["type"]) == (429, "urn:cwic:problem:queue-full")
        assert int(refused.headers["Retry-After"]) >= 1
        served = pool.submit(compress_as, other)
        wait_until(lambda: client.get("/healthz").json()["queue_depth"] == 7)
        codec.go_on.release(7 * TILES)
        assert served.result(PATIENCE).is_success
