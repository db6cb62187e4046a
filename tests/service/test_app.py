"""The app's life: loading, failing to load, two in one process, and what is imported when."""

import re
import threading
from collections.abc import Sequence

import pytest

from model.container.format import Container
from model.errors import CheckpointNotFoundError
from model.options import DecodeOptions
from model.protocol import DEFAULT_DECODE_OPTIONS, PictureCodec
from model.steps import Work
from model.types import Pixels
from service.app import create_app
from service.settings import Settings
from tests.effort import PATIENCE, wait_until
from tests.service.fakes import FakeCodec, png
from tests.service.server import metric, running, serving


def test_the_service_listens_while_it_loads_and_is_ready_only_after_a_round_trip() -> None:
    release, proven = threading.Event(), threading.Event()

    def load(_: Settings) -> Sequence[PictureCodec]:
        assert release.wait(PATIENCE)
        return [FakeCodec(on_encode=lambda _: proven.set())]

    with running(create_app(Settings(), load=load)) as client:
        for method, path in [("GET", "/readyz"), ("GET", "/models"), ("POST", "/compress")]:
            answer = client.request(method, path)
            assert (answer.status_code, answer.json()["type"]) == (503, "urn:cwic:problem:not-ready")
            assert answer.headers["Retry-After"] == "5"
        assert client.get("/livez").status_code == 200
        health = client.get("/healthz")
        assert (health.status_code, health.json()["live"], health.json()["ready"]) == (503, True, False)
        assert not proven.is_set()
        release.set()
        wait_until(lambda: client.get("/readyz").is_success)
        assert proven.is_set()
        assert client.get("/healthz").json()["status"] == "ok"


def test_a_codec_that_fails_its_round_trip_never_gets_ready() -> None:
    class Shrinking(FakeCodec):
        def decoding(
            self, file: bytes | Container, options: DecodeOptions = DEFAULT_DECODE_OPTIONS
        ) -> Work[Pixels]:
            array = yield from super().decoding(file, options)
            return array[:-1]

    failures: list[Exception] = []
    app = create_app(Settings(), load=lambda _: [Shrinking()], on_failure=failures.append)
    with running(app) as client:
        wait_until(lambda: bool(failures))
        assert "(64, 96, 3)" in str(failures[0])
        assert client.get("/readyz").status_code == 503


@pytest.mark.parametrize("error", [CheckpointNotFoundError("none there"), RuntimeError("no driver")])
def test_whoever_runs_the_app_is_told_why_it_cannot_start(error: Exception) -> None:
    failures: list[Exception] = []

    def load(_: Settings) -> Sequence[PictureCodec]:
        raise error

    with running(create_app(Settings(), load=load, on_failure=failures.append)):
        wait_until(lambda: failures == [error])


def test_without_an_owner_a_failed_start_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    def load(_: Settings) -> Sequence[PictureCodec]:
        raise CheckpointNotFoundError("none there")

    with running(create_app(Settings(), load=load)):
        wait_until(lambda: "The service cannot serve: none there" in caplog.text)


def test_two_apps_in_one_process_share_nothing() -> None:
    with serving(FakeCodec(name="one")) as one, serving(FakeCodec(name="two")) as two:
        one.post("/compress", content=png())
        assert metric(one, 'cwic_operations_total{model="one",op="compress"}') == 1
        assert metric(two, 'cwic_operations_total{model="two",op="compress"}') == 0
        assert "one" not in re.findall(r'model="(\w+)"', two.get("/metrics").text)
        assert two.get("/models").json()["models"][0]["name"] == "two"
