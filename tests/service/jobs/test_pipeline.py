"""Threads, batches, failures, priorities: on work made for it, counted and ordered, never timed."""

import gc
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.errors import ParameterError
from model.steps import Work
from model.types import Pixels
from service.jobs.errors import AbandonedError, DeadError, DrainedError, OutOfMemoryError
from service.jobs.job import Job
from service.jobs.pipeline import BEAT, Observer, Pipeline
from service.observe import logs
from tests.effort import PATIENCE, wait_until
from tests.service.jobs.work import Picture, Tile, host, job, one_step


class Seen(Observer):
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.memory: list[str] = []
        self.over: list[Job[Any]] = []

    def batch(self, steps: int, pixels: int) -> None:
        """See `Observer`."""
        assert pixels == 4096 * steps
        self.batches.append(steps)

    def out_of_memory(self, action: str) -> None:
        """See `Observer`."""
        self.memory.append(action)

    def ended(self, job: Job[Any]) -> None:
        """See `Observer`."""
        self.over.append(job)


@contextmanager
def running(
    *, workers: int = 1, apart: bool = False, seen: Seen | None = None, **more: Any
) -> Iterator[Pipeline]:
    pipeline = Pipeline(workers=workers, apart=apart, observer=seen, **more)
    pipeline.start()
    try:
        yield pipeline
    finally:
        pipeline.stop(timeout=PATIENCE)
        assert not pipeline.alive


@contextmanager
def held(pipeline: Pipeline) -> Iterator[Callable[[], None]]:
    """The pipeline's only worker at a job that ends with the block, or when the given function is called."""
    release, begun = threading.Event(), threading.Event()

    def wait() -> None:
        begun.set()
        assert release.wait(PATIENCE)

    first = job(host(wait), priority=-1)
    pipeline.submit(first)
    assert begun.wait(PATIENCE)
    try:
        yield release.set
    finally:
        release.set()
    first.future.result(PATIENCE)


def submit_all(pipeline: Pipeline, *jobs: Job[Any]) -> None:
    for each in jobs:
        pipeline.submit(each)


def names(*jobs: Job[Any]) -> list[Any]:
    return [each.future.result(PATIENCE) for each in jobs]


@pytest.mark.parametrize(("workers", "apart"), [(1, False), (2, False), (1, True), (3, True)])
def test_every_job_gets_its_own_result(workers: int, apart: bool) -> None:
    jobs = [job(one_step(Picture(str(number)))) for number in range(20)]
    with running(workers=workers, apart=apart) as pipeline:
        submit_all(pipeline, *jobs)
        assert names(*jobs) == [str(number) for number in range(20)]


def test_results_come_in_the_order_of_their_steps() -> None:
    def work() -> Work[list[str]]:
        first = yield [
            Tile(Picture(name, key=key), 0) for name, key in zip("abcdef", (1, 2, 1, 2, 3, 1), strict=True)
        ]
        empty = yield ()
        second = yield [Tile(Picture("z"), 0)]
        return [*first, *empty, *second]

    with running(workers=2) as pipeline:
        whole = job(work)
        pipeline.submit(whole)
        assert names(whole) == [list("abcdefz")]


def test_steps_of_one_key_run_together_and_others_do_not() -> None:
    seen = Seen()
    together: list[list[str]] = []
    jobs = [job(one_step(Picture(name, together.append, key=name.islower()))) for name in "abcXYdef"]
    with running(seen=seen) as pipeline:
        with held(pipeline):
            submit_all(pipeline, *jobs)
        names(*jobs)
    assert max(seen.batches) == 4
    assert sum(seen.batches) == 8
    assert all(len({name.islower() for name in batch}) == 1 for batch in together)


def test_a_batch_is_bounded_in_pixels() -> None:
    seen = Seen()
    jobs = [job(one_step(Picture(str(number)))) for number in range(6)]
    with running(seen=seen, max_batch_pixels=2 * 4096 + 1) as pipeline:
        with held(pipeline):
            submit_all(pipeline, *jobs)
        names(*jobs)
    assert max(seen.batches) == 2


def test_before_a_device_of_its_own_one_thread_runs_the_steps_and_none_of_the_host_work() -> None:
    threads: dict[str, set[str]] = {"step": set(), "host": set()}

    def note(kind: str) -> None:
        threads[kind].add(threading.current_thread().name)

    def work() -> Work[None]:
        note("host")
        yield [Tile(Picture("a", lambda _: note("step"), most=1), 0) for _ in range(3)]
        note("host")

    jobs = [job(work) for _ in range(6)]
    with running(workers=2, apart=True) as pipeline:
        submit_all(pipeline, *jobs)
        names(*jobs)
    assert threads["step"] == {"cwic-worker-2"}
    assert threads["host"] <= {"cwic-worker-0", "cwic-worker-1"}


def test_a_step_that_fails_fails_only_its_own_job() -> None:
    def fail(_: list[str]) -> None:
        raise ZeroDivisionError

    seen = Seen()
    jobs = [job(one_step(Picture(name, fail if name == "c" else lambda _: None))) for name in "abcd"]
    with running(seen=seen) as pipeline:
        with held(pipeline):
            submit_all(pipeline, *jobs)
        with pytest.raises(ZeroDivisionError):
            jobs[2].future.result(PATIENCE)
        assert names(jobs[0], jobs[1], jobs[3]) == ["a", "b", "d"]
        assert pipeline.alive
    assert len(seen.over) == 5


@given(st.sets(st.integers(0, 7)), st.integers(1, 8))
def test_whichever_steps_fail_the_others_have_their_results(bad: set[int], most: int) -> None:
    def fail(_: list[str]) -> None:
        raise ZeroDivisionError

    jobs = [
        job(one_step(Picture(str(number), fail if number in bad else lambda _: None, most=most)))
        for number in range(8)
    ]
    with running() as pipeline:
        with held(pipeline):
            submit_all(pipeline, *jobs)
        for number, each in enumerate(jobs):
            if number in bad:
                with pytest.raises(ZeroDivisionError):
                    each.future.result(PATIENCE)
            else:
                assert each.future.result(PATIENCE) == str(number)


def test_host_work_that_fails_fails_only_its_own_job() -> None:
    jobs = [job(host(lambda: 1 // 0)), job(host(lambda: 7))]
    with running() as pipeline:
        submit_all(pipeline, *jobs)
        with pytest.raises(ZeroDivisionError):
            jobs[0].future.result(PATIENCE)
        assert names(jobs[1]) == [7]


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate")]
)
def test_a_batch_without_memory_is_halved_until_it_fits(error: Exception) -> None:
    def large(batch: list[str]) -> None:
        if len(batch) > 1:
            raise error

    seen = Seen()
    jobs = [job(one_step(Picture(name, large))) for name in "abcd"]
    with running(seen=seen) as pipeline:
        with held(pipeline):
            submit_all(pipeline, *jobs)
        assert names(*jobs) == list("abcd")
    assert seen.batches == [1] * 4
    assert seen.memory == ["halved"] * 3


def test_a_step_alone_without_memory_is_refused_and_the_next_one_done() -> None:
    def never(_: list[str]) -> None:
        raise MemoryError

    seen = Seen()
    jobs = [job(one_step(Picture("a", never))), job(one_step(Picture("b"))), job(host(lambda: never([])))]
    with running(seen=seen) as pipeline:
        with held(pipeline):
            submit_all(pipeline, *jobs)
        for each in (jobs[0], jobs[2]):
            with pytest.raises(OutOfMemoryError):
                each.future.result(PATIENCE)
        assert names(jobs[1]) == ["b"]
    assert seen.memory == ["halved", "refused", "refused"]


def test_the_smallest_priority_goes_first_and_equal_ones_in_their_order() -> None:
    order: list[str] = []
    with running() as pipeline:
        jobs = [
            job(host(lambda name=name: order.append(name)), priority=priority)  # type: ignore[misc]
            for name, priority in (("large", 9.0), ("small", 1.0), ("smaller", 0.5), ("small too", 1.0))
        ]
        with held(pipeline):
            submit_all(pipeline, *jobs)
        names(*jobs)
    assert order == ["smaller", "small", "small too", "large"]


def test_a_large_job_gives_way_between_two_steps() -> None:
    order: list[str] = []
    begun, go_on = threading.Event(), threading.Event()

    def tile(_: list[str]) -> None:
        order.append("tile")
        begun.set()
        assert go_on.wait(PATIENCE)

    def work() -> Work[None]:
        yield [Tile(Picture("large", tile, most=1), 0) for _ in range(3)]

    large, small = job(work, priority=9.0), job(host(lambda: order.append("small")), priority=1.0)
    with running() as pipeline:
        pipeline.submit(large)
        assert begun.wait(PATIENCE)
        pipeline.submit(small)
        go_on.set()
        names(large, small)
    assert order == ["tile", "small", "tile", "tile"]


def test_an_abandoned_job_is_not_begun_and_lets_go_of_its_work_at_once() -> None:
    picture = np.zeros((4, 4, 3), np.uint8)
    reference = weakref.ref(picture)
    ran: list[Pixels] = []

    def of(picture: Pixels) -> Callable[[], Work[Any]]:
        return host(lambda: ran.append(picture))

    seen = Seen()
    with running(seen=seen) as pipeline, held(pipeline):
        waiting = job(of(picture))
        del picture
        pipeline.submit(waiting)
        assert reference() is not None
        pipeline.abandon(waiting, AbandonedError())
        with pytest.raises(AbandonedError):
            waiting.future.result(0)
        assert seen.over == [waiting]
        del waiting
        seen.over.clear()
        wait_until(lambda: reference() is None)
    assert not ran


def test_an_abandoned_job_costs_nobody_else_of_its_batch_their_result() -> None:
    begun, go_on = threading.Event(), threading.Event()

    def wait(_: list[str]) -> None:
        begun.set()
        assert go_on.wait(PATIENCE)

    left, stays = job(one_step(Picture("left", wait))), job(one_step(Picture("stays", wait)))
    with running() as pipeline:
        with held(pipeline):
            submit_all(pipeline, left, stays)
        assert begun.wait(PATIENCE)
        pipeline.abandon(left, AbandonedError())
        assert not left.future.done()  # a thread is at it
        go_on.set()
        assert names(stays) == ["stays"]
        with pytest.raises(AbandonedError):
            left.future.result(PATIENCE)


def test_a_batch_that_nobody_waits_for_ends_at_its_next_check() -> None:
    begun, go_on = threading.Event(), threading.Event()
    acts: list[str] = []

    def act(batch: list[str]) -> None:
        acts.extend(batch)
        begun.set()
        assert go_on.wait(PATIENCE)

    jobs = [job(one_step(Picture(name, act))) for name in "abc"]
    with running() as pipeline:
        with held(pipeline):
            submit_all(pipeline, *jobs)
        assert begun.wait(PATIENCE)
        pipeline.abandon_all(DrainedError())
        go_on.set()
        for each in jobs:
            with pytest.raises(DrainedError):
                each.future.result(PATIENCE)
    assert acts == list("abc")  # the first step acted; before the second the batch ended


def test_a_job_that_is_abandoned_while_it_runs_ends_once_its_thread_lets_go() -> None:
    with running() as pipeline:
        begun, go_on = threading.Event(), threading.Event()

        def wait() -> None:
            begun.set()
            assert go_on.wait(PATIENCE)

        running_one = job(host(wait))
        pipeline.submit(running_one)
        assert begun.wait(PATIENCE)
        pipeline.abandon(running_one, AbandonedError())
        assert not running_one.future.done()
        go_on.set()
        with pytest.raises(AbandonedError):
            running_one.future.result(PATIENCE)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("in_step", [True, False])
def test_a_thread_that_dies_fails_all_jobs_and_is_told(in_step: bool) -> None:
    def die(*_: object) -> None:
        raise SystemExit

    pipeline = Pipeline(workers=2)
    deaths = threading.Event()
    pipeline.start(on_death=deaths.set)
    fatal = job(one_step(Picture("a", die))) if in_step else job(host(die))
    go_on = threading.Event()
    other = job(host(lambda: go_on.wait(PATIENCE)), priority=-1)
    submit_all(pipeline, other, fatal, *(waiting := [job(host(lambda: 7), priority=9) for _ in range(3)]))
    for each in (fatal, *waiting[1:]):
        with pytest.raises(DeadError):
            each.future.result(PATIENCE)
    go_on.set()
    assert deaths.wait(PATIENCE)
    assert not pipeline.alive
    with pytest.raises(DeadError):
        pipeline.submit(job(host(lambda: 7)))
    pipeline.stop(timeout=PATIENCE)  # so that the thread's last words are this test's, not the next one's


def test_the_request_id_follows_a_job_into_its_threads() -> None:
    token = logs.request_id.set("r7")
    try:
        known = job(host(logs.request_id.get))
    finally:
        logs.request_id.reset(token)
    with running() as pipeline:
        pipeline.submit(known)
        assert names(known) == ["r7"]


def test_an_idle_thread_gives_signs_of_life_and_a_busy_one_does_not() -> None:
    with running(workers=2) as pipeline:
        wait_until(lambda: pipeline.heartbeat_age < BEAT)
        with held(pipeline):
            wait_until(lambda: pipeline.heartbeat_age > 2 * BEAT)
        wait_until(lambda: pipeline.heartbeat_age < BEAT)


def test_what_a_job_did_is_charged_to_it_and_shared_in_a_batch() -> None:
    def work(_: list[str]) -> None:
        sum(range(200_000))

    jobs = [job(one_step(Picture(name, work))) for name in "ab"]
    with running() as pipeline:
        with held(pipeline):
            submit_all(pipeline, *jobs)
        names(*jobs)
    assert all(each.ticket.spent > 0 and each.cpu_seconds > 0 for each in jobs)
    assert {"queue", "pack", "inference"} == set(jobs[0].timing.milliseconds)


@pytest.mark.parametrize("in_step", [True, False])
def test_the_picture_of_a_job_that_failed_is_let_go_of(in_step: bool) -> None:
    picture = np.zeros((4, 4, 3), np.uint8)
    reference = weakref.ref(picture)

    def of(picture: Pixels) -> Callable[[], Work[Any]]:
        def fail(*_: object) -> None:
            raise ParameterError(f"{picture.shape}")  # one that is not logged: the log keeps it

        return one_step(Picture("a", fail)) if in_step else host(fail)

    gc.disable()
    try:
        with running() as pipeline:
            failed = job(of(picture))
            del picture
            pipeline.submit(failed)
            error = failed.future.exception(PATIENCE)
            assert isinstance(error, ParameterError)
            del failed
            wait_until(lambda: reference() is None)
    finally:
        gc.enable()


def test_the_last_picture_is_let_go_of() -> None:
    picture = np.zeros((4, 4, 3), np.uint8)
    reference = weakref.ref(picture)

    def of(picture: Pixels) -> Callable[[], Work[Any]]:
        return host(lambda: picture.shape)

    with running() as pipeline:
        last = job(of(picture))
        del picture
        pipeline.submit(last)
        assert names(last) == [(4, 4, 3)]
        del last
        wait_until(lambda: reference() is None)
