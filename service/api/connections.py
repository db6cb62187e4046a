"""What all connections share: how many there are, who has them, and the bytes of bodies and answers that they hold.

Everything here is called on the event loop.
"""

import time
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple, Protocol

from service.api import problems
from service.api.addresses import Origin, TrustedProxies, client_of
from service.api.problems import ProblemError
from service.settings import Settings

# For connections that wait to be accepted or are being turned away, and for all other files.
RESERVED_FILES = 512
TURNED_AWAY = 64  # connections above the limit that may stay until their client has read why
RETRY_AFTER = {"Retry-After": "5"}
SHARE = 3  # times the connections that are free: a client with requests on more of them has to wait
DISPLACED = "displaced"  # this reason for a cut, and the next, are no kinds of problems
NOT_TAKEN = "answer-not-taken"
CUTS = (
    DISPLACED,
    NOT_TAKEN,
    problems.BAD_REQUEST.slug,
    problems.HEADER_TIMEOUT.slug,
    problems.HEADER_TOO_LARGE.slug,
    problems.BODY_MEMORY.slug,
    problems.CLIENT_CONNECTIONS.slug,
    problems.TOO_MANY_CONNECTIONS.slug,
)
BODY = "cwic.body"  # where in a scope's `state` the request's `Body` is


class Refusal(NamedTuple):
    """A request that was answered before the app saw it."""

    error: ProblemError
    path: str
    client: str
    request_id: str
    size: int
    seconds: float


class Connection(Protocol):
    """What the shared state asks of a connection."""

    def displace(self) -> None:
        """Close now, in favour of a newer one."""


class Body:
    """One request's share of the memory for bodies, and why the rest of its body is not taken, if so.

    Once there is an answer, the share is that of the answer's body, until all but a little of it is sent.

    Attributes:
        client: whose request it is; empty where it is not counted.
        refusal: raised to whoever reads the body; set by the connection.
        give_up: ends the connection with its answer half sent; set by the connection.
    """

    def __init__(self, connections: "Connections", client: str) -> None:
        self.client = client
        self.refusal: ProblemError | None = None
        self.give_up: Callable[[], None] = lambda: None
        self._connections = connections
        self._held = 0

    def take(self, size: int) -> None:
        """Count bytes that have arrived; raises ProblemError (429) where there is no room for them."""
        self._connections.check_room(self.client, size)
        self._hold(size)

    def check_room(self) -> None:
        """Raise ProblemError (429) where answers take so much room that no work for another one should begin."""
        self._connections.check_room(self.client)

    def answer(self, size: int) -> None:
        """Count so many bytes of the answer, in place of what is held.

        They are there already, and find room always: the work for them was not begun while there was none. They may
        have it for as long as a request may take, and longer where no others need it.
        """
        self.release()
        self._hold(size)
        self._connections.sends(self)

    def _hold(self, size: int) -> None:
        self._connections.hold_bytes(self, size)
        self._held += size

    def release(self) -> None:
        """Give all of it back, once the request has ended; further calls do nothing."""
        self._connections.give_bytes_back(self, self._held)
        self._held = 0


class Connections:
    """The connections of one server, their clients, and the bytes of their bodies and answers.

    A connection is *waiting* while it has no complete request head: it has sent nothing yet, or half a head, or
    is idle between two requests. Where there are too many connections, the one that waits longest has to go.

    Attributes:
        settings: see `service.settings`.
        proxies: whose word on the client's address is taken; neither connections nor bytes of their own are bounded.
        on_refusal: told of each request that was answered before the app saw it.
        on_cut: told the reason, one of `CUTS`, whenever a connection is ended by this layer.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        open_files: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """With `open_files`, the process's limit, there are never more connections than it has room for."""
        self.settings = settings
        self.proxies = TrustedProxies(settings.trusted_proxies or ())
        self.capacity = settings.max_connections
        if open_files is not None:
            self.capacity = max(1, min(self.capacity, open_files - RESERVED_FILES))
        self.on_refusal: Callable[[Refusal], None] = lambda _: None
        self.on_cut: Callable[[str], None] = lambda _: None
        self._open: dict[Connection, str] = {}  # and the client that each counts for
        self._waiting: dict[Connection, None] = {}  # the longest waiting first
        self._turned_away: dict[Connection, None] = {}
        self._held: Counter[str] = Counter()  # connections, and requests through proxies, by client
        self._bytes_of: Counter[str] = Counter()
        self._clock = clock
        self._sent: dict[Body, float] = {}  # answers, and since when they are being sent, the oldest first
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._open) + len(self._turned_away)

    def add(self, connection: Connection, peer: str) -> ProblemError | None:
        """Count a new connection from an address; why it has to be turned away, if so.

        In favour of a new one the connection that has waited longest is displaced.
        """
        error = None
        client = self._counted(peer)
        if self._at_limit(client):
            error = self._too_many_of(peer)
        while error is None and len(self._open) >= self.capacity:
            if not self._waiting:
                error = ProblemError(
                    problems.TOO_MANY_CONNECTIONS,
                    f"All {self.capacity} connections are in use (CWIC_MAX_CONNECTIONS).",
                    limit=self.capacity,
                    headers=RETRY_AFTER,
                )
                break
            oldest = next(iter(self._waiting))
            self.remove(oldest)
            self.on_cut(DISPLACED)
            oldest.displace()
        if error is not None:
            if len(self._turned_away) >= TURNED_AWAY:
                first = next(iter(self._turned_away))
                self.remove(first)
                first.displace()
            self._turned_away[connection] = None
            return error
        self._open[connection] = client
        self._held[client] += 1
        self._waiting[connection] = None
        return None

    def remove(self, connection: Connection) -> None:
        """Forget a connection that has ended; further calls do nothing."""
        self._turned_away.pop(connection, None)
        self._waiting.pop(connection, None)
        if connection in self._open:
            self._let_go(self._open.pop(connection))

    def waits(self, connection: Connection, *, waiting: bool) -> None:
        """Note whether a connection has no complete request head."""
        if not waiting or connection not in self._open:
            self._waiting.pop(connection, None)
        else:
            self._waiting.setdefault(connection, None)

    def begin(self, peer: str, origin: Origin) -> Body:
        """Count a request, to be ended by `end`; raises ProblemError (429) where its client has too many.

        Only requests through a trusted proxy are counted by themselves: those of others are counted as connections.
        Where few connections are free, they are for clients with few requests.
        """
        client = self._counted(origin.host)
        through = peer in self.proxies
        if through and self._at_limit(client):
            raise self._too_many_of(origin.host)
        free = self.capacity - (len(self._open) - len(self._waiting))
        if client and len(self._open) > SHARE * free:  # or nobody can have so many
            own = self._held[client] if through else self._busy(client)
            if own > SHARE * free:
                raise ProblemError(
                    problems.CLIENT_CONNECTIONS,
                    f"{origin.host} has {own} requests, and only {free} connections are free (CWIC_MAX_CONNECTIONS).",
                    headers=RETRY_AFTER,
                )
        if through:
            self._held[client] += 1
        return Body(self, client)

    def end(self, peer: str, body: Body) -> None:
        """Take back what `begin` counted, and the bytes; to be called once."""
        body.release()
        if peer in self.proxies:
            self._let_go(body.client)

    def check_room(self, client: str, size: int = 0) -> None:
        """Raise ProblemError (429) where there would be too many bytes with so many more."""
        limit, whose = self.settings.max_body_memory, "all requests together"
        if self.bytes + size > limit:
            self._give_up_answers(size)
        actual, own = self.bytes + size, self._bytes_of[client]
        share = max(self.settings.max_body_bytes, (limit - self.bytes + own) // 2)
        if client and actual <= limit and own + size > share:
            limit, whose, actual = share, "one client, half of what others leave,", own + size
        if actual > limit:
            raise ProblemError(
                problems.BODY_MEMORY,
                f"The bodies and unsent answers of {whose} may hold {limit} bytes (CWIC_MAX_BODY_MEMORY).",
                limit=limit,
                actual=actual,
                headers=RETRY_AFTER,
            )

    def hold_bytes(self, body: Body, size: int) -> None:
        """Count bytes of a body or an answer."""
        self.bytes += size
        self._bytes_of[body.client] += size

    def give_bytes_back(self, body: Body, size: int) -> None:
        """Take back what `hold_bytes` counted; of an answer, it is not being sent any more."""
        self._sent.pop(body, None)
        self.bytes -= size
        self._bytes_of[body.client] -= size
        if not self._bytes_of[body.client]:
            del self._bytes_of[body.client]

    def sends(self, answer: Body) -> None:
        """Note that an answer is being sent from now on."""
        self._sent[answer] = self._clock()

    def _give_up_answers(self, size: int) -> None:
        """Make room by answers that have been sent for longer than a request may take, as far as it is needed."""
        latest = self._clock() - self.settings.request_timeout
        for body, since in tuple(self._sent.items()):
            if since > latest or self.bytes + size <= self.settings.max_body_memory:
                return
            body.release()
            body.give_up()

    def _counted(self, host: str) -> str:
        return "" if not host or host in self.proxies else client_of(host)

    def _at_limit(self, client: str) -> bool:
        return bool(client) and self._held[client] >= self.settings.max_connections_per_client

    def _busy(self, client: str) -> int:
        """How many connections of a client have a request."""
        return sum(each == client and key not in self._waiting for key, each in self._open.items())

    def _let_go(self, client: str) -> None:
        self._held[client] -= 1
        if not self._held[client]:
            del self._held[client]

    def _too_many_of(self, host: str) -> ProblemError:
        limit = self.settings.max_connections_per_client
        return ProblemError(
            problems.CLIENT_CONNECTIONS,
            f"{host} has {limit} connections or requests already (CWIC_MAX_CONNECTIONS_PER_CLIENT).",
            limit=limit,
            headers=RETRY_AFTER,
        )
