"""Jobs that nobody waits for any more, threads that die, and that both let go of what they had."""

import gc
import threading
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from model.errors import ParameterError
from model.steps import Work
from model.types import Pixels
from service.jobs.errors import AbandonedError, DeadError, DrainedError
from service.jobs.pipeline import Pipeline
from tests.effort import PATIENCE, wait_until
from tests.service.jobs.threads import Seen, held, names, running, submit_all
from tests.service.jobs.work import Picture, host, job, one_step


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
