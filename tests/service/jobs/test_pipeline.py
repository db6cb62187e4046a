"""Threads, batches, failures, priorities: on work made for it, counted and ordered, never timed."""

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.steps import Work
from service.jobs.errors import OutOfMemoryError
from service.jobs.pipeline import BEAT
from service.observe import logs
from tests.effort import PATIENCE, wait_until
from tests.service.jobs.threads import Seen, held, names, running, submit_all
from tests.service.jobs.work import Picture, Tile, host, job, one_step


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
