"""The worker's thread and the gate before it."""

import threading
import weakref
from concurrent.futures import CancelledError, Future
from functools import partial

import numpy as np
import pytest

from model.types import Pixels
from service.api import problems
from service.api.problems import ProblemError
from service.jobs.gate import Gate
from service.jobs.worker import BEAT, Worker
from service.observe import logs
from tests.effort import PATIENCE, wait_until


@pytest.fixture
def worker() -> Worker:
    made = Worker()
    made.start()
    return made


def test_jobs_run_one_after_the_other_on_one_thread(worker: Worker) -> None:
    names = [worker.submit(lambda: threading.current_thread().name) for _ in range(3)]
    assert {each.result(PATIENCE) for each in names} == {"cwic-worker"}
    worker.stop(timeout=PATIENCE)


def test_a_failed_job_fails_only_itself(worker: Worker) -> None:
    futures = [worker.submit(lambda: 1 // 0), worker.submit(lambda: 7)]
    with pytest.raises(ZeroDivisionError):
        futures[0].result(PATIENCE)
    assert futures[1].result(PATIENCE) == 7
    worker.stop(timeout=PATIENCE)


def test_a_cancelled_job_is_not_run_and_lets_go_of_its_work_at_once(worker: Worker) -> None:
    release = threading.Event()
    ran: list[Pixels] = []
    worker.submit(lambda: release.wait(PATIENCE))
    picture = np.zeros((4, 4, 3), np.uint8)
    held = weakref.ref(picture)
    waiting = worker.submit(partial(ran.append, picture))
    del picture
    assert held() is not None
    assert waiting.cancel()
    assert held() is None
    release.set()
    worker.submit(lambda: None).result(PATIENCE)
    assert not ran
    worker.stop(timeout=PATIENCE)


def test_the_request_id_follows_a_job_into_the_thread(worker: Worker) -> None:
    token = logs.request_id.set("r7")
    try:
        assert worker.submit(logs.request_id.get).result(PATIENCE) == "r7"
    finally:
        logs.request_id.reset(token)
    worker.stop(timeout=PATIENCE)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_dies_fails_everybody_who_waits_and_refuses_the_next(worker: Worker) -> None:
    release = threading.Event()

    def die() -> None:
        release.wait(PATIENCE)
        raise SystemExit

    futures: list[Future[None]] = [worker.submit(die), worker.submit(lambda: None)]
    given_up = worker.submit(lambda: None)
    given_up.cancel()
    release.set()
    for each in futures:
        with pytest.raises(ProblemError) as caught:
            each.result(PATIENCE)
        assert caught.value.kind is problems.NOT_ALIVE
    with pytest.raises(CancelledError):
        given_up.result(PATIENCE)
    assert not worker.alive
    with pytest.raises(ProblemError):
        worker.submit(lambda: None)
    worker.stop(timeout=PATIENCE)


def test_the_heartbeat_ages_while_one_job_runs(worker: Worker) -> None:
    release = threading.Event()
    running = worker.submit(lambda: release.wait(PATIENCE))
    wait_until(lambda: worker.heartbeat_age > BEAT)
    release.set()
    running.result(PATIENCE)
    wait_until(lambda: worker.heartbeat_age < BEAT)
    worker.stop(timeout=PATIENCE)
    assert not worker.alive


def test_the_gate_admits_exactly_its_size_and_takes_places_back() -> None:
    gate = Gate(2)
    with gate.admit(seconds_each=1), gate.admit(seconds_each=1):
        with pytest.raises(ProblemError) as caught, gate.admit(seconds_each=3):
            pass
        assert caught.value.kind is problems.QUEUE_FULL
        assert caught.value.headers == {"Retry-After": "3"}
        assert gate.depth == 2
    assert gate.depth == 0


def test_a_place_is_kept_until_its_work_has_ended() -> None:
    gate = Gate(1)
    future: Future[None] = Future()
    with gate.admit(seconds_each=1) as slot:
        slot.future = future
        future.set_running_or_notify_cancel()
    assert gate.depth == 1
    future.set_result(None)
    assert gate.depth == 0
