"""How an answer is sent to a client that takes its time: the real protocol, on a clock that jumps."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from service.api.connections import NOT_TAKEN, Connections
from service.api.protocol import PIECE, bound_to
from service.api.taking import WINDOW
from service.settings import Settings
from tests.service.clock import HIGH, LOW, SEND_QUEUE, TICK, JumpingLoop, Wire
from tests.service.raw import answers

REQUEST = b"GET /%d HTTP/1.1\r\nHost: localhost\r\n\r\n"
KEEP_ALIVE = 60  # seconds
MEGABIT = 125_000  # bytes per second
ANSWER = bytes(range(256)) * 256 * 157  # 10 MB: more than the system takes at once, and whole pieces


class Server:
    """The protocol around an app that answers with the bytes above, and one client of it.

    Attributes:
        begun: the paths of the requests that the app was called for.
        cuts: why connections were ended.
    """

    def __init__(self, takes: Callable[[float], int], patch: pytest.MonkeyPatch) -> None:
        self.begun: list[str] = []
        self.cuts: list[str] = []
        self.loop = JumpingLoop()
        self.shared = Connections(Settings())
        self.shared.on_cut = self.cuts.append
        config = uvicorn.Config(
            self._app, interface="asgi3", log_config=None, proxy_headers=False, timeout_keep_alive=KEEP_ALIVE
        )
        self.state = ServerState()
        self.protocol = bound_to(self.shared)(config, self.state, {}, self.loop)
        self.wire = Wire(self.loop, self.protocol, takes, patch)

    async def _app(self, scope: Any, _: Any, send: Any) -> None:
        self.begun.append(scope["path"])
        headers = [(b"content-length", b"%d" % len(ANSWER))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": ANSWER})

    def ask(self, *numbers: int) -> None:
        self.loop.call_soon(self.protocol.data_received, b"".join(REQUEST % number for number in numbers))

    def run(self, seconds: float) -> None:
        """Let so much time pass."""
        self.loop.run_until_complete(asyncio.sleep(seconds))

    def run_until_closed(self) -> None:
        while self.protocol in self.state.connections:
            assert self.loop.now < 100_000, "left open"
            self.run(TICK)


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Callable[[float], int]], Server]]:
    """Makes a server whose client takes so many bytes by so many seconds."""
    made: list[Server] = []

    def make(takes: Callable[[float], int]) -> Server:
        made.append(Server(takes, monkeypatch))
        return made[-1]

    yield make
    for each in made:
        each.wire.abort()
        each.run(1)
        assert not each.state.tasks
        assert each.shared.bytes == 0
        each.loop.close()


Serve = Callable[[Callable[[float], int]], Server]


@pytest.mark.parametrize("rate", [10_000_000, MEGABIT, 2000])
def test_a_client_on_a_slow_link_gets_all_of_a_large_answer(serve: Serve, rate: int) -> None:
    server = serve(lambda seconds: int(rate * seconds))
    server.ask(1)
    server.run(len(ANSWER) / rate + 1)
    [answer] = answers(bytes(server.wire.received))
    assert answer.body == ANSWER
    assert server.cuts == []


def test_a_client_that_pauses_for_less_than_a_window_gets_all(serve: Serve) -> None:
    cycle = WINDOW + 10  # of which it takes something in the last ten seconds

    def takes(seconds: float) -> int:
        rounds, into = divmod(seconds, cycle)
        return int(rounds * 1_000_000 + max(0.0, into - cycle + 10) * 100_000)

    server = serve(takes)
    server.ask(1)
    server.run(12 * cycle)
    assert answers(bytes(server.wire.received))[0].body == ANSWER
    assert server.cuts == []


@pytest.mark.parametrize(
    "takes", [lambda _: 0, lambda seconds: int(seconds / 29), lambda seconds: int(480 * seconds)]
)
def test_a_client_that_takes_less_than_the_minimum_is_cut_and_its_share_is_free(
    serve: Serve, takes: Callable[[float], int]
) -> None:
    server = serve(takes)
    server.ask(1)
    server.run(WINDOW - 1)
    assert server.cuts == []
    server.run(3)
    assert server.cuts == [NOT_TAKEN]
    assert server.wire.closed
    assert server.shared.bytes == 0


def test_a_burst_does_not_pay_for_what_is_not_taken_after_it(serve: Serve) -> None:
    server = serve(lambda _: 5_000_000)
    server.ask(1)
    server.run(2 * WINDOW)
    assert server.cuts == [NOT_TAKEN]


def test_time_in_which_nothing_waits_for_the_client_does_not_count(serve: Serve) -> None:
    server = serve(lambda seconds: int(2 * MEGABIT * seconds) if seconds < 1000 else 0)
    for number in range(4):  # each takes 40 s and is followed by four idle ones
        server.ask(number)
        server.run(44)
    assert len(answers(bytes(server.wire.received))) == 4
    assert server.cuts == []


def test_what_is_not_sent_is_counted_and_not_in_the_transport(serve: Serve) -> None:
    server = serve(lambda seconds: int(MEGABIT * seconds))
    server.ask(1)
    server.run(40)
    assert server.shared.bytes == len(ANSWER)
    assert 0 < server.wire.most <= HIGH + PIECE
    server.run(45)
    assert len(server.wire.received) > len(ANSWER)  # all of it, and the header
    assert server.shared.bytes == 0
    assert server.wire.most <= HIGH + PIECE


def test_a_request_sent_ahead_is_begun_once_the_answer_before_it_is_sent(serve: Serve) -> None:
    server = serve(lambda seconds: int(MEGABIT * seconds))
    server.ask(1, 2)
    server.run((len(ANSWER) - SEND_QUEUE - HIGH - PIECE) / MEGABIT - 1)
    assert server.begun == ["/1"]
    assert server.shared.bytes == len(ANSWER)
    server.run(2 * len(ANSWER) / MEGABIT)
    assert server.begun == ["/1", "/2"]
    assert [answer.body for answer in answers(bytes(server.wire.received))] == [ANSWER] * 2


def test_a_client_that_leaves_frees_its_share(serve: Serve) -> None:
    server = serve(lambda seconds: int(MEGABIT * seconds))
    server.ask(1, 2)
    server.run(5)
    server.wire.abort()
    server.run(1)
    assert server.shared.bytes == 0
    assert server.begun == ["/1"]
    assert not server.state.tasks
    assert server.cuts == []


def test_a_connection_that_is_to_end_ends_behind_its_answer(serve: Serve) -> None:
    server = serve(lambda seconds: int(MEGABIT * seconds))
    server.ask(1)
    server.run(5)
    server.protocol.shutdown()
    server.run_until_closed()
    assert len(ANSWER) / MEGABIT - SEND_QUEUE / MEGABIT - 5 < server.loop.now < len(ANSWER) / MEGABIT + 5
    assert server.cuts == []


def test_a_client_that_stops_while_its_connection_closes_is_cut_too(serve: Serve) -> None:
    """It takes the last piece, and of that the last bytes, above the lower mark after and below it before the end."""
    queue, slow = 4096, 700  # bytes, and a second
    fast = len(ANSWER) - PIECE - LOW - queue

    def takes(seconds: float) -> int:
        begin = fast / 30_000
        return min(
            int(30_000 * seconds if seconds < begin else fast + slow * (seconds - begin)),
            len(ANSWER) - queue - LOW // 2,
        )

    server = serve(takes)
    server.wire.send_queue = queue
    server.ask(1)
    server.run(fast / 30_000 + KEEP_ALIVE + 5)
    assert server.wire.is_closing()
    assert server.wire.get_write_buffer_size() > LOW
    server.run_until_closed()
    assert server.cuts == [NOT_TAKEN]


def test_what_is_left_when_a_connection_closes_is_not_waited_for_for_ever(serve: Serve) -> None:
    rest = LOW // 2  # of the answer: below both marks when the client stops
    server = serve(lambda _: len(ANSWER) - SEND_QUEUE - rest)
    server.ask(1)
    server.run_until_closed()
    assert server.wire.most <= HIGH + PIECE
    assert server.cuts == [NOT_TAKEN]
