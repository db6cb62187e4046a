"""Which work is taken on: counted in requests and pixels, and in the seconds that it will take."""

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from service.jobs.errors import RefusedError, TooMuchWorkError

_SMOOTHING = 0.2  # weight of the newest job in the moving averages
_FIRST_GUESS = 1.0  # seconds for a megapixel, before anything has been measured
_CAUTION = 1.2  # of what is expected, which is a mean
_OVERHEAD = 0.02  # megapixels that even the smallest picture counts as
_DOUBT = 0.5  # of what is expected, where work is refused for ever: the machine may have been busy with other things
_FORGETTING = 0.9  # of it that stays after such a refusal, since what is not done teaches nothing
_SHARE = 3  # times what is free: with so much a client gets no more; three quarters of all where it is alone


@dataclass(eq=False)
class Ticket:
    """The place of one job that has been taken on; held until its work has really ended.

    Attributes:
        client: who has asked for it; empty where that is not known.
        kind: of operation.
        pixels: that are in memory for it.
        work: as many pixels as would be as much work, coded once.
        admitted: when, of `time.monotonic`.
        deadline: when it must be done.
        seconds: how long its work is expected to take, of all workers that are at it together.
        alone: how long it is expected to last where nothing else is done.
        behind: how long the work of the same client that goes before it was expected to last, where the clients that
            are there take turns.
        spent: how long workers have been at it, in seconds.
        started: whether a worker has begun.
    """

    client: str
    kind: str
    pixels: int
    work: int
    admitted: float
    deadline: float
    seconds: float
    alone: float
    behind: float = 0.0
    spent: float = 0.0
    started: bool = False

    @property
    def priority(self) -> float:
        """Smaller goes first: when it would be done if clients took turns, or, if that is earlier, must be begun.

        A small picture overtakes a large one that came shortly before it, and one of a client with little work those
        that another client has sent ahead. But nothing overtakes a job that comes later than it would take so, nor
        what leaves it too little before its deadline: nobody starves. What cannot meet its deadline anyhow has no
        claim to be begun early.
        """
        spare = self.deadline - self.admitted - self.alone
        own = self.behind + self.alone
        return self.admitted + (spare if 0 <= spare < own else own)

    @property
    def left(self) -> float:
        """Seconds of work that are expected to remain."""
        return max(0.0, self.seconds - self.spent)

    @property
    def alone_left(self) -> float:
        """How long it is expected to last from now on where nothing else is done, in seconds."""
        return self.alone * self.left / self.seconds if self.seconds else 0.0


class Admission:
    """Counts the work that is in the service and turns away what is too much.

    Three bounds, looked at in this order: requests, pixels in memory, and time: what could not be done before its
    deadline behind what goes before it, by the speed measured so far, or would make another job late, is refused when
    it comes instead of failing later. A job that is alone is taken on if there is some hope for it: its deadline ends
    it if it must.

    Of each of the three a client that holds some times what is free gets no more: however few clients ask for however
    much, something stays free for the next one. A client with a single job may have another beside it, or a large
    picture would keep its own small ones out.
    """

    def __init__(
        self,
        *,
        max_requests: int,
        max_pixels: int,
        max_seconds: float,
        workers: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.max_requests = max_requests
        self.max_pixels = max_pixels
        self.max_seconds = max_seconds
        self.workers = workers
        self._clock = clock
        self._tickets: dict[Ticket, None] = {}
        self._pace: dict[str, float] = {}  # seconds for a megapixel on one worker, by kind
        self._lock = threading.Lock()  # tickets come back from the workers' threads

    @property
    def depth(self) -> int:
        """Jobs taken on and not ended."""
        return len(self._tickets)

    @property
    def pixels(self) -> int:
        """In memory for these jobs."""
        return sum(ticket.pixels for ticket in tuple(self._tickets))

    @property
    def backlog(self) -> float:
        """Seconds until all of them are done, by the speed measured so far."""
        return sum(ticket.left for ticket in tuple(self._tickets)) / self.workers

    @property
    def oldest_wait(self) -> float:
        """For how long the job that waits longest for a worker has waited, in seconds."""
        now = self._clock()
        return max((now - each.admitted for each in tuple(self._tickets) if not each.started), default=0.0)

    @property
    def oldest_work(self) -> float:
        """For how long the oldest job that a worker has begun has been in the service, in seconds."""
        now = self._clock()
        return max((now - each.admitted for each in tuple(self._tickets) if each.started), default=0.0)

    def ahead_of(self, ticket: Ticket) -> tuple[int, float]:
        """How many jobs are begun before this one, and in how many seconds it will be done, as far as is known."""
        tickets = tuple(self._tickets)
        before = [each for each in tickets if each is not ticket and each.priority < ticket.priority]
        waiting = 0 if ticket.started else sum(not each.started for each in before)
        return waiting, sum(each.left for each in before) / self.workers + ticket.alone_left

    def expected(self, kind: str, work: int) -> float:
        """How long a job of so much work is expected to take on one worker, in seconds."""
        return self._pace.get(kind, _FIRST_GUESS) * (work / 1e6 + _OVERHEAD)

    def check_place(self, client: str) -> None:
        """Raise RefusedError where no place is free for a client, before anything is known of the work."""
        if len(self._tickets) >= self.max_requests:
            raise self._refusal(
                f"All {self.max_requests} places are taken (CWIC_QUEUE_SIZE)", limit=self.max_requests
            )
        self._check_share(client, "places", lambda _: 1, self.max_requests, "CWIC_QUEUE_SIZE")

    def admit(self, kind: str, *, client: str, pixels: int, work: int, tiles: int, deadline: float) -> Ticket:
        """Take a job on; raises RefusedError, TooMuchWorkError.

        Args:
            kind: of operation; those of one kind take about equally long for equal work.
            client: who asks for it; empty where that is not known, and is not held to a share then.
            pixels: that will be in memory for it.
            work: as many pixels as would be as much work, coded once.
            tiles: how many workers can be at it at the same time.
            deadline: when it must be done, of `time.monotonic`.
        """
        with self._lock:
            self.check_place(client)
            if self._tickets and self.pixels + pixels > self.max_pixels:
                raise self._refusal(
                    f"{self.pixels + pixels} pixels of pictures would be in work, at most {self.max_pixels} may be "
                    "(CWIC_QUEUE_MAX_PIXELS)",
                    limit=self.max_pixels,
                )
            self._check_share(
                client, "pixels in work", lambda each: each.pixels, self.max_pixels, "CWIC_QUEUE_MAX_PIXELS"
            )
            seconds = self.expected(kind, work)
            alone = seconds / min(self.workers, tiles)
            ticket = Ticket(client, kind, pixels, work, self._clock(), deadline, seconds, alone)
            ticket.behind = self._behind(ticket)
            self._check_hope(ticket)
            self._check_time(ticket)
            most = self.max_seconds * self.workers / _CAUTION
            self._check_share(client, "seconds of work", lambda each: each.left, most, "CWIC_REQUEST_TIMEOUT")
            self._tickets[ticket] = None
            return ticket

    def _behind(self, ticket: Ticket) -> float:
        """How long its client's work lasts that goes before it anyhow, where the clients take turns."""
        done = ticket.admitted + ticket.alone
        own = (each for each in self._tickets if ticket.client and each.client == ticket.client)
        clients = len({each.client for each in self._tickets} | {ticket.client})
        return clients * sum(each.left for each in own if each.admitted + each.alone <= done) / self.workers

    def _check_share(
        self, client: str, what: str, measure: Callable[[Ticket], float], most: float, setting: str
    ) -> None:
        """Raise RefusedError where a client holds so much that what is free is for others."""
        tickets = tuple(self._tickets)
        own = [measure(each) for each in tickets if each.client == client]
        if client and len(own) > 1 and sum(own) >= _SHARE * (most - sum(map(measure, tickets))):
            raise self._refusal(f"One client may have {_SHARE} times as many {what} as are free ({setting})")

    def _check_hope(self, ticket: Ticket) -> None:
        """Raise TooMuchWorkError for what could not be done in time even if nothing else were done."""
        allowed = ticket.deadline - ticket.admitted
        if ticket.kind in self._pace and _DOUBT * ticket.alone > allowed:
            self._pace[ticket.kind] *= _FORGETTING
            raise TooMuchWorkError(ticket.alone, limit=allowed)

    def _check_time(self, ticket: Ticket) -> None:
        """Raise RefusedError where a job would come too late, or others that would not be late without it."""
        if not self._tickets:
            return
        added = _CAUTION * ticket.left / self.workers  # to the time until those behind it are done
        worst = before = 0.0  # by how much a job would be late; work before it, in seconds of one worker
        behind = False
        for each in sorted((*self._tickets, ticket), key=lambda each: each.priority):
            done = ticket.admitted + _CAUTION * (before / self.workers + each.alone_left)
            late = done - each.deadline
            if each is ticket or (behind and late <= added):
                worst = max(worst, late)
            behind = behind or each is ticket
            before += each.left
        if worst > 0:
            raise self._refusal(
                f"It would take about {self.backlog + ticket.alone:.0f} s and so not be done, or others not, within "
                "CWIC_REQUEST_TIMEOUT",
                wait=min(worst, self.backlog),
            )

    def release(self, ticket: Ticket, *, finished: bool) -> None:
        """Give a place back, once; `finished` work tells how fast the machine is."""
        with self._lock:
            if ticket not in self._tickets:
                return
            del self._tickets[ticket]
            if finished:
                pace = ticket.spent / (ticket.work / 1e6 + _OVERHEAD)
                before = self._pace.get(ticket.kind, pace)
                self._pace[ticket.kind] = before + _SMOOTHING * (pace - before)

    def _refusal(
        self, message: str, *, limit: float | None = None, wait: float | None = None
    ) -> RefusedError:
        if wait is None:
            wait = self.backlog / 2  # by then half of the queue is done
        seconds = max(1, math.ceil(wait))
        return RefusedError(f"{message}; try again in {seconds} s.", retry_after=seconds, limit=limit)
