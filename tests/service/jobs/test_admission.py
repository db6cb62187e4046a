"""What is taken on and what is refused: exact at each boundary, by a clock of the test's own."""

from contextlib import nullcontext, suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.jobs.admission import Admission, Ticket
from service.jobs.errors import RefusedError, TooMuchWorkError

MEGAPIXEL = 1_000_000


class Clock:
    """Stands still until it is set."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def admission(clock: Clock, *, requests: int = 100, pixels: int = 10**9, workers: int = 2) -> Admission:
    return Admission(max_requests=requests, max_pixels=pixels, max_seconds=60, workers=workers, clock=clock)


def admit(
    admission: Admission,
    *,
    client: str = "",
    pixels: int = MEGAPIXEL,
    times: int = 1,
    within: float = 1e6,
    kind: str = "a",
    tiles: int = 1,
) -> Ticket:
    return admission.admit(
        kind, client=client, pixels=pixels, work=pixels * times, tiles=tiles, deadline=100.0 + within
    )


def taught(admission: Admission, seconds: float, *, kind: str = "a", pixels: int = 980_000) -> None:
    """Let it learn how long a megapixel takes."""
    ticket = admit(admission, pixels=pixels, kind=kind)
    ticket.spent = seconds
    admission.release(ticket, finished=True)


def test_requests_are_counted_exactly(clock: Clock) -> None:
    own = admission(clock, requests=3)
    tickets = [admit(own) for _ in range(3)]
    with pytest.raises(RefusedError, match="CWIC_QUEUE_SIZE") as refused:
        admit(own)
    assert refused.value.limit == 3
    own.release(tickets[1], finished=True)
    admit(own)
    with pytest.raises(RefusedError):
        admit(own)


def test_pixels_are_counted_exactly(clock: Clock) -> None:
    own = admission(clock, pixels=10)
    first = admit(own, pixels=4)
    admit(own, pixels=6)
    with pytest.raises(RefusedError, match="CWIC_QUEUE_MAX_PIXELS") as refused:
        admit(own, pixels=1)
    assert refused.value.limit == 10
    own.release(first, finished=False)
    admit(own, pixels=4)
    assert own.pixels == 10


@pytest.mark.parametrize(
    ("bounds", "each", "setting"),
    [
        ({"requests": 8}, 1, "CWIC_QUEUE_SIZE"),
        ({"pixels": 8 * MEGAPIXEL}, MEGAPIXEL, "CWIC_QUEUE_MAX_PIXELS"),
        ({"workers": 1}, 6_230_000, "CWIC_REQUEST_TIMEOUT"),  # 6.25 s of the 50 that are 60 with caution
    ],
)
def test_of_each_bound_a_client_has_three_times_what_is_free_and_the_next_client_some(
    clock: Clock, bounds: dict[str, int], each: int, setting: str
) -> None:
    own = admission(clock, **bounds)
    taught(own, 1.0)
    for _ in range(6):  # of eighths
        admit(own, client="greedy", pixels=each)
    with pytest.raises(RefusedError, match=f"3 times as many .* as are free.*{setting}"):
        admit(own, client="greedy", pixels=each)
    other = admit(own, client="other", pixels=each)
    own.release(other, finished=False)
    admit(own, client="other", pixels=each)
    with pytest.raises(RefusedError, match=setting):  # one of eight is free
        admit(own, client="greedy", pixels=each)
    admit(own, client="third", pixels=each)
    assert own.depth == 8


def test_however_few_clients_ask_for_however_much_the_next_one_finds_a_place(clock: Clock) -> None:
    own = admission(clock, requests=64)
    for _ in range(64):
        for client in map(str, range(10)):
            with suppress(RefusedError):
                admit(own, client=client)
    assert own.depth == 62
    admit(own, client="new")


def test_a_large_picture_does_not_keep_the_small_ones_of_its_client_out(clock: Clock) -> None:
    own = admission(clock, pixels=50 * MEGAPIXEL, workers=1)
    taught(own, 1.0)
    admit(own, client="own", pixels=45 * MEGAPIXEL, within=60)
    admit(own, client="own", pixels=MEGAPIXEL, within=60)


def test_those_who_are_not_known_are_not_held_to_a_share(clock: Clock) -> None:
    own = admission(clock, requests=8)
    for _ in range(8):
        admit(own, client="")


def test_one_alone_is_taken_on_if_there_is_hope_for_it(clock: Clock) -> None:
    own = admission(clock, pixels=10)
    taught(own, 1.0)
    ticket = admit(own, pixels=50 * MEGAPIXEL, within=26)
    with pytest.raises(RefusedError, match="CWIC_QUEUE_MAX_PIXELS"):
        admit(own, pixels=1)
    own.release(ticket, finished=False)
    with pytest.raises(TooMuchWorkError) as refused:
        admit(own, pixels=50 * MEGAPIXEL, within=24)
    assert refused.value.seconds == pytest.approx(50.0, rel=0.01)
    assert refused.value.limit == 24
    assert own.depth == 0


def test_what_has_not_been_measured_is_taken_on_and_an_estimate_is_forgotten(clock: Clock) -> None:
    own = admission(clock)
    own.release(admit(own, pixels=500 * MEGAPIXEL, within=1), finished=False)
    taught(own, 10.0)  # while the machine did something else, perhaps
    refusals = 0
    while own.expected("a", 10 * MEGAPIXEL) > 40:
        with pytest.raises(TooMuchWorkError):
            admit(own, pixels=10 * MEGAPIXEL, within=20)
        refusals += 1
    assert refusals == 9
    admit(own, pixels=10 * MEGAPIXEL, within=20)


def test_work_counts_by_its_time_and_not_by_room(clock: Clock) -> None:
    own = admission(clock, pixels=10 * MEGAPIXEL, workers=1)
    taught(own, 1.0)
    long = admit(own, pixels=4 * MEGAPIXEL, times=14, within=60)  # 56 s of 60
    assert (long.pixels, long.work, own.pixels) == (4 * MEGAPIXEL, 56 * MEGAPIXEL, 4 * MEGAPIXEL)
    with pytest.raises(RefusedError, match="CWIC_QUEUE_MAX_PIXELS"):
        admit(own, pixels=7 * MEGAPIXEL)


def test_what_is_late_anyhow_keeps_nobody_out_and_goes_last(clock: Clock) -> None:
    own = admission(clock, workers=1)
    taught(own, 1.0)
    late = admit(own, pixels=2 * MEGAPIXEL, times=50, within=60)
    small = [admit(own, within=60) for _ in range(20)]
    assert all(each.priority < late.priority for each in small)
    with pytest.raises(RefusedError):
        admit(own, pixels=40 * MEGAPIXEL, within=60)


def test_nothing_is_taken_on_that_would_make_others_late(clock: Clock) -> None:
    own = admission(clock, workers=1)
    taught(own, 1.0)
    large = admit(own, pixels=40 * MEGAPIXEL, within=60)
    small = [
        admit(own, within=60) for _ in range(9)
    ]  # of a second each: with a fifth of caution, 60 s are 50
    assert all(each.priority < large.priority for each in small)
    with pytest.raises(RefusedError, match="or others not"):
        admit(own, within=60)


def test_what_could_not_be_done_in_time_is_refused_when_it_comes(clock: Clock) -> None:
    own = admission(clock, workers=2)
    taught(own, 4.0)  # 4 s for this size
    for _ in range(4):
        admit(own, pixels=980_000, within=60)
    assert own.backlog == pytest.approx(8.0)
    admit(own, pixels=980_000, within=14.401)  # 8 s of the others on two workers, 4 of its own, and a fifth
    with pytest.raises(RefusedError, match="CWIC_REQUEST_TIMEOUT") as refused:
        admit(own, pixels=980_000, within=16.7)
    assert refused.value.retry_after == 1
    with pytest.raises(RefusedError) as refused:
        admit(own, pixels=980_000, within=9)
    assert refused.value.retry_after == 8  # by then it would fit
    with pytest.raises(RefusedError) as refused:
        admit(own, pixels=9_980_000, within=21)
    assert refused.value.retry_after == 10  # then nothing else is left, and one alone is taken on


def test_a_picture_of_many_tiles_is_done_by_all_workers(clock: Clock) -> None:
    own = admission(clock, workers=8)
    taught(own, 1.6)
    admit(own, pixels=1)
    large = admit(own, pixels=40 * MEGAPIXEL, tiles=40, within=60)  # 64 s of one worker
    assert large.alone == pytest.approx(8.0, rel=0.01)
    with pytest.raises(RefusedError):
        admit(own, pixels=40 * MEGAPIXEL, tiles=1, within=60)


def test_work_is_not_overtaken_once_it_has_to_be_begun(clock: Clock) -> None:
    own = admission(clock, workers=1)
    taught(own, 1.0)
    large = admit(own, pixels=40 * MEGAPIXEL, within=60)
    clock.now += 18
    before = admit(own)
    clock.now += 2
    after = admit(own)
    assert before.priority < large.priority < after.priority


def test_work_that_is_half_done_counts_half(clock: Clock) -> None:
    own = admission(clock, workers=1)
    taught(own, 4.0)
    ticket = admit(own, pixels=980_000)
    ticket.spent = 3.0
    assert own.backlog == pytest.approx(1.0)
    ticket.spent = 9.0
    assert own.backlog == 0


def test_each_kind_has_a_speed_of_its_own_and_work_that_failed_teaches_nothing(clock: Clock) -> None:
    own = admission(clock)
    taught(own, 4.0)
    taught(own, 0.1, kind="b")
    assert own.expected("a", 980_000) == pytest.approx(4.0)
    assert own.expected("b", 980_000) == pytest.approx(0.1)
    ticket = admit(own)
    ticket.spent = 1000.0
    own.release(ticket, finished=False)
    assert own.expected("a", 980_000) == pytest.approx(4.0)


def test_a_small_picture_overtakes_a_large_one_but_not_for_ever(clock: Clock) -> None:
    own = admission(clock)
    taught(own, 1.0)
    large = admit(own, pixels=20 * MEGAPIXEL)
    clock.now += 5
    small = admit(own, pixels=MEGAPIXEL)
    clock.now += 30
    later = admit(own, pixels=MEGAPIXEL)
    assert small.priority < large.priority < later.priority
    assert own.ahead_of(small)[0] == 0
    assert own.ahead_of(small)[1] == pytest.approx(small.left)
    assert own.ahead_of(large)[0] == 1
    assert own.ahead_of(later)[0] == 2
    large.started = True
    assert own.ahead_of(large)[0] == 0


def test_what_a_client_sends_ahead_does_not_hold_up_another_one(clock: Clock) -> None:
    own = admission(clock, workers=2)
    taught(own, 2.0)
    ahead = [admit(own, client="greedy", pixels=980_000, within=60) for _ in range(20)]
    clock.now += 0.5
    other = admit(own, client="other", pixels=980_000, within=60)
    assert own.ahead_of(other)[0] == 1  # it would be done at 102.5, and those ahead at 102, 103 and so on
    assert [each.priority for each in ahead] == sorted(each.priority for each in ahead)
    clock.now += 0.5
    small = admit(own, client="greedy", pixels=80_000, within=60)
    assert small.priority < ahead[0].priority  # still the first of its own client


def test_however_many_clients_send_ahead_the_next_one_waits_for_one_of_each(clock: Clock) -> None:
    own = admission(clock, workers=1)
    taught(own, 1.0)
    for _ in range(5):
        for client in map(str, range(4)):
            admit(own, client=client, pixels=980_000)
    clock.now += 0.5
    assert own.ahead_of(admit(own, client="other", pixels=980_000))[0] == 4


def test_what_a_client_sends_ahead_is_not_overtaken_for_ever(clock: Clock) -> None:
    own = admission(clock, workers=1)
    taught(own, 2.0)
    last = [admit(own, client="greedy", pixels=980_000) for _ in range(10)][-1]  # 20 s of work
    clock.now += 19
    before = admit(own, client="other", pixels=1)
    clock.now += 2
    after = admit(own, client="other", pixels=1)
    assert before.priority < last.priority < after.priority


def test_waits_and_ages_are_those_of_the_oldest(clock: Clock) -> None:
    own = admission(clock)
    assert own.oldest_wait == own.oldest_work == 0
    first = admit(own)
    clock.now += 3
    admit(own)
    clock.now += 2
    assert (own.oldest_wait, own.oldest_work) == (5, 0)
    first.started = True
    assert (own.oldest_wait, own.oldest_work) == (2, 5)


@given(
    st.lists(st.tuples(st.integers(1, 60), st.booleans()), max_size=60),
    st.integers(1, 8),
    st.integers(1, 100),
)
def test_whatever_comes_and_goes_no_bound_is_passed(
    events: list[tuple[int, bool]], requests: int, pixels: int
) -> None:
    own = admission(Clock(), requests=requests, pixels=pixels)
    held: list[Ticket] = []
    for size, goes in events:
        if goes and held:
            ticket = held.pop(0)
            own.release(ticket, finished=True)
            own.release(ticket, finished=True)  # a place is given back once
        else:
            fits = own.depth < requests and (not held or own.pixels + size <= pixels)
            with nullcontext() if fits else pytest.raises(RefusedError):
                held.append(admit(own, pixels=size))
        assert own.depth == len(held) <= requests
        assert own.pixels == sum(ticket.pixels for ticket in held)
        assert own.pixels <= pixels or len(held) == 1
