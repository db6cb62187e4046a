"""What came of the requests, as numbers: statuses, percentiles, refusals. Pure."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from tests.load.plan import Item

NO_ANSWER = 0  # in the place of a status: the connection failed, or patience ended
TOO_MANY = 429
CLIENT_ERRORS = range(400, 500)


class Outcome(NamedTuple):
    """What came of one request.

    Attributes:
        item: what was sent.
        planned: when it was to start, in seconds from the start.
        late: by how much later it did, in seconds: the generator's own delay.
        seconds: from the planned time to the end of the answer.
        status: of HTTP; NO_ANSWER where there was none.
        retry_after: the header, None where it is absent.
        error: why there was no answer.
    """

    item: Item
    planned: float
    late: float
    seconds: float
    status: int
    retry_after: str | None = None
    error: str = ""

    @property
    def accepted(self) -> bool:
        """Whether a good request was done."""
        return not self.item.bad and 200 <= self.status < 300

    @property
    def refused(self) -> bool:
        """Whether there was no room for it."""
        return self.status == TOO_MANY

    @property
    def right(self) -> bool:
        """Whether the answer is one that this request may get: done, refused for want of room, bad input told."""
        if self.refused:
            return True
        return self.status in CLIENT_ERRORS if self.item.bad else self.accepted


@dataclass(frozen=True)
class Percentiles:
    """Of times, in seconds; None where there are none."""

    count: int
    p50: float | None
    p95: float | None
    p99: float | None
    longest: float | None


@dataclass(frozen=True)
class Summary:
    """A run's outcomes.

    Attributes:
        requests: sent.
        statuses: how many of each; NO_ANSWER for none.
        accepted: times of good requests that were done.
        refused: times of those that were refused with 429.
        bad: times of bad input that was told so.
        wrong: those with an answer that they must not get, by name of the item and status.
        without_retry_after: refusals that do not say when to come again.
        late: by how much the generator began late, the longest.
        per_second: good requests done for each second from the start to the last answer.
    """

    requests: int
    statuses: dict[int, int]
    accepted: Percentiles
    refused: Percentiles
    bad: Percentiles
    wrong: dict[str, int]
    without_retry_after: int
    late: float
    per_second: float


def percentile(values: Sequence[float], share: float) -> float | None:
    """The smallest value that a share of all is not above (nearest rank); None of nothing."""
    if not values:
        return None
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def percentiles(values: Iterable[float]) -> Percentiles:
    """The usual ones."""
    known = list(values)
    p50, p95, p99, longest = (percentile(known, share) for share in (0.5, 0.95, 0.99, 1.0))
    return Percentiles(len(known), p50, p95, p99, longest)


def summarise(outcomes: Sequence[Outcome]) -> Summary:
    """The numbers of a run."""
    end = max((each.planned + each.seconds for each in outcomes), default=0.0)
    refused = [each for each in outcomes if each.refused]
    done = sum(each.accepted for each in outcomes)
    wrong = Counter(
        f"{each.item.name}: {each.error or 'no answer' if each.status == NO_ANSWER else each.status}"
        for each in outcomes
        if not each.right
    )
    return Summary(
        requests=len(outcomes),
        statuses=dict(sorted(Counter(each.status for each in outcomes).items())),
        accepted=percentiles(each.seconds for each in outcomes if each.accepted),
        refused=percentiles(each.seconds for each in refused),
        bad=percentiles(
            each.seconds for each in outcomes if each.item.bad and each.right and not each.refused
        ),
        wrong=dict(wrong.most_common(20)),
        without_retry_after=sum(not _positive(each.retry_after) for each in refused),
        late=max((each.late for each in outcomes), default=0.0),
        per_second=done / end if end else 0.0,
    )


def rate_between(outcomes: Iterable[Outcome], begin: float, end: float, *, good_only: bool) -> float:
    """Answers for each second of a time in which clients were always waiting for some.

    Counted by when they ended: what was begun before and what is not done at the end balance each other.

    Args:
        outcomes: of a closed loop.
        begin: in seconds from the start of the loop.
        end: likewise.
        good_only: count good requests that were done, and not also bad input that was told.
    """
    ended = (each for each in outcomes if begin < each.planned + each.seconds <= end)
    counted = sum(each.accepted or (each.right and not each.refused and not good_only) for each in ended)
    return counted / (end - begin)


def _positive(retry_after: str | None) -> bool:
    return retry_after is not None and retry_after.isdigit() and int(retry_after) > 0
