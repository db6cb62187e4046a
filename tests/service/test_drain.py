"""The end of a process, in steps, with requests in work: nobody is left without an answer."""

import signal
import socket
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from subprocess import Popen

import httpx
import pytest

from tests.effort import PATIENCE, wait_until
from tests.service.fakes import png
from tests.service.program import process
from tests.service.raw import until_closed


@contextmanager
def in_work(
    tmp_path: Path, count: int, *options: str
) -> Iterator[tuple[Popen[bytes], str, list[Future[httpx.Response]], Path]]:
    """A process with so many requests in work, which are held until a file is made."""
    file = tmp_path / "go"
    held = f"FakeCodec(on_encode=WaitsFor({str(file)!r}))"
    with (
        ThreadPoolExecutor(count) as pool,
        process(tmp_path / "log", *options, codec=held) as (server, address),
    ):
        wait_until(lambda: httpx.get(f"{address}/readyz", timeout=PATIENCE).is_success)
        futures = [
            pool.submit(httpx.post, f"{address}/compress", content=png(), timeout=PATIENCE)
            for _ in range(count)
        ]
        try:
            wait_until(lambda: depth(address) == count)
            yield server, address, futures, file
        finally:
            file.touch()


def depth(address: str) -> int:
    return int(httpx.get(f"{address}/healthz", timeout=PATIENCE).json()["queue_depth"])


def in_progress(address: str) -> int:
    lines = httpx.get(f"{address}/metrics", timeout=PATIENCE).text.splitlines()
    name = "cwic_http_requests_in_progress "
    return next(int(float(line.removeprefix(name))) for line in lines if line.startswith(name))


def closed(address: str) -> bool:
    try:
        httpx.get(f"{address}/livez", timeout=PATIENCE)
    except httpx.TransportError:
        return True
    return False


def test_first_it_is_not_ready_and_still_takes_work(tmp_path: Path) -> None:
    with in_work(tmp_path, 1, "--drain-delay", "100000") as (server, address, futures, go):
        server.send_signal(signal.SIGTERM)
        wait_until(lambda: httpx.get(f"{address}/readyz", timeout=PATIENCE).status_code == 503)
        answer = httpx.get(f"{address}/readyz", timeout=PATIENCE)
        assert answer.json()["type"] == "urn:cwic:problem:draining"
        assert int(answer.headers["Retry-After"]) >= 1
        assert httpx.get(f"{address}/livez", timeout=PATIENCE).is_success
        go.touch()
        assert futures[0].result(PATIENCE).is_success
        assert httpx.post(f"{address}/compress", content=png(), timeout=PATIENCE).is_success
        server.send_signal(signal.SIGTERM)  # a second one does not wait
        server.wait(PATIENCE)


def test_then_it_takes_none_and_finishes_what_it_has(tmp_path: Path) -> None:
    with in_work(tmp_path, 5) as (server, address, futures, go):
        server.send_signal(signal.SIGTERM)
        wait_until(lambda: closed(address))
        go.touch()
        assert [each.result(PATIENCE).status_code for each in futures] == [200] * 5
        server.wait(PATIENCE)


def test_a_request_whose_body_has_not_come_gets_a_problem_too(tmp_path: Path) -> None:
    with process(tmp_path / "log", "--shutdown-timeout", "1") as (server, address):
        wait_until(lambda: httpx.get(f"{address}/readyz", timeout=PATIENCE).is_success)
        url = httpx.URL(address)
        with socket.create_connection((url.host, url.port or 80), timeout=PATIENCE) as connection:
            connection.sendall(
                b"POST /compress HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nfirst"
            )
            wait_until(lambda: in_progress(address) == 2)  # the scrape is the other
            server.send_signal(signal.SIGTERM)
            answer = until_closed(connection)
        assert answer.startswith(b"HTTP/1.1 503")
        assert b"urn:cwic:problem:draining" in answer
        server.wait(PATIENCE)


@pytest.mark.parametrize("count", [1, 6])
def test_what_does_not_finish_in_time_is_ended_with_a_problem(tmp_path: Path, count: int) -> None:
    with in_work(tmp_path, count, "--shutdown-timeout", "1", "--workers", "1") as (
        server,
        address,
        futures,
        _,
    ):
        server.send_signal(signal.SIGTERM)
        wait_until(lambda: closed(address))
        answers = [each.result(PATIENCE) for each in futures]  # also the one that a thread is at
        assert {each.status_code for each in answers} == {503}
        assert {each.json()["type"] for each in answers} == {"urn:cwic:problem:draining"}
        assert all(each.json()["request_id"] == each.headers["X-Request-ID"] for each in answers)
        server.wait(PATIENCE)
    assert (tmp_path / "log").read_text().count("status=503") == count
