"""The Python client: against a real server, and what it sends and makes of answers that no server gives on demand."""

import asyncio
import dataclasses
import io
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from email.utils import formatdate
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import ExifTags, Image

import service.client
from service import client_types
from service.api import problems, schemas
from service.client import (
    AsyncClient,
    BusyError,
    Client,
    CwicClientError,
    File,
    InvalidParameterError,
    ModelError,
    ProblemError,
    Progress,
    Region,
    RequestError,
    Roi,
    ServerError,
    TooLargeError,
    UnauthorizedError,
    UnreachableError,
    UnreadableError,
)
from service.client_types import FileFacts, error_of
from tests.effort import wait_until
from tests.service.fakes import FakeCodec, WaitsFor, picture_array, pixels, png
from tests.service.server import serving
from tests.service.transport import CWIC, PNG, Server, answered, busy, ok

KEY = "k" * 32


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """The address of a service with keys and small limits."""
    with serving(FakeCodec(), api_keys=f"me:{KEY}", max_pixels=10_000, max_body_bytes=100_000) as http:
        yield str(http.base_url)


@pytest.fixture(scope="module")
def cwic(url: str) -> Iterator[Client]:
    """A client of the service with the right key."""
    with Client(url, api_key=KEY, attempts=1) as client:
        yield client


def test_every_endpoint_is_called_and_answers_with_values(cwic: Client) -> None:
    tags = Image.Exif()
    tags[ExifTags.Base.Artist] = "Somebody"
    data = png(exif=tags.tobytes())
    file = cwic.compress(data, quality=30, tune="psnr", metadata="keep")
    assert (file.media_type, file.model_id, file.notes) == ("image/x-cwic", "0badc0de", ())
    assert file.bpp == pytest.approx(8 * len(file.data) / picture_array()[..., 0].size, abs=1e-3)
    assert cwic.compress(data).notes == ("exif-dropped",)
    picture = cwic.decompress(file.data, format="webp")
    assert picture.media_type == "image/webp"
    np.testing.assert_array_equal(pixels(picture.data), picture_array())
    with Image.open(io.BytesIO(picture.data)) as image:
        assert image.getexif()[ExifTags.Base.Artist] == "Somebody"
    importance = cwic.importance_map(file.data)
    assert (importance.media_type, importance.bpp) == ("image/png", None)
    facts = cwic.inspect(file.data)
    assert (facts.width, facts.height, facts.quality) == (24, 16, 30.0)
    assert [each.name for each in facts.sections] == ["map", "codes0", "codes1", "exif"]
    comparison = cwic.compare(png(), quality=10)
    assert (comparison.width, comparison.psnr) == (24, None)
    assert "JPEG" in [each.name for each in comparison.others]
    [model] = cwic.models()
    assert (model.name, model.default, model.tunes) == ("fake", True, ())
    with pytest.raises(RequestError, match="No request of this id"):
        cwic.progress("nobody")


def test_the_same_works_with_asyncio(url: str) -> None:
    async def there_and_back() -> File:
        async with AsyncClient(url, api_key=KEY, attempts=1) as client:
            files = await asyncio.gather(*(client.compress(png(), quality=each) for each in (10, 90)))
            assert [(await client.inspect(each.data)).quality for each in files] == [10.0, 90.0]
            with pytest.raises(InvalidParameterError):
                await client.compress(png(), quality=0)
            return await client.decompress(files[0].data)

    np.testing.assert_array_equal(pixels(asyncio.run(there_and_back()).data), picture_array())


def test_a_request_that_is_awaited_can_be_asked_after(tmp_path: Path) -> None:
    def there() -> bool:
        try:
            found.append(client.progress("mine"))
        except RequestError:
            return False
        return True

    found: list[Progress] = []
    codec = FakeCodec(on_encode=WaitsFor(str(tmp_path / "go")))
    with serving(codec) as http, Client(str(http.base_url)) as client, ThreadPoolExecutor(1) as pool:
        file = pool.submit(client.compress, png(), request_id="mine")
        try:
            wait_until(there)
        finally:
            (tmp_path / "go").touch()
        assert file.result().media_type == "image/x-cwic"
    assert 0 <= found[0].done <= 1


def test_both_clients_have_the_same_methods() -> None:
    def names(kind: type) -> set[str]:
        return {name for name in vars(kind) if not name.startswith("_")}

    assert names(Client) == names(AsyncClient)
    paths = {f"/{name.replace('_', '-')}" for name in names(Client) - {"close"}}
    assert paths >= {"/compress", "/decompress", "/importance-map", "/inspect", "/compare", "/models"}
    for name in names(Client):
        assert getattr(Client, name).__doc__


@pytest.mark.parametrize(
    ("call", "kind", "status"),
    [
        (lambda cwic: cwic.compress(png(), quality=101), InvalidParameterError, 422),
        (lambda cwic: cwic.compress(b"no picture"), UnreadableError, 415),
        (lambda cwic: cwic.compress(png(picture_array(200, 100))), TooLargeError, 422),
        (lambda cwic: cwic.compress(bytes(100_001)), TooLargeError, 413),
        (lambda cwic: cwic.compress(png(), model="none"), ModelError, 404),
        (lambda cwic: cwic.decompress(b"CWIC"), UnreadableError, 422),
        (lambda cwic: cwic.inspect(b""), UnreadableError, 400),
    ],
)
def test_problems_are_errors_of_their_own(
    call: Callable[[Client], object], kind: type[ProblemError], status: int, cwic: Client
) -> None:
    with pytest.raises(kind) as found:
        call(cwic)
    error = found.value
    assert error.status == status
    assert error.kind
    assert error.detail in str(error)
    assert error.request_id


def test_errors_carry_what_the_problem_says(cwic: Client, url: str) -> None:
    with pytest.raises(TooLargeError) as large:
        cwic.compress(png(picture_array(200, 100)), request_id="mine")
    assert (large.value.limit, large.value.actual, large.value.request_id) == (10_000, 20_000, "mine")
    with pytest.raises(InvalidParameterError) as wrong:
        cwic.compress(png(), quality=101)
    assert set(wrong.value.errors) == {"quality"}
    with Client(url, attempts=1) as nobody, pytest.raises(UnauthorizedError):
        nobody.models()


def test_every_kind_of_problem_is_an_error_of_its_side() -> None:
    kinds = [each for each in vars(problems).values() if isinstance(each, problems.Kind)]
    assert len(kinds) > 30
    for kind in kinds:
        document = {"type": f"urn:cwic:problem:{kind.slug}", "title": kind.title, "detail": "because"}
        response = httpx.Response(
            kind.status, json=document, headers={"Content-Type": "application/problem+json"}
        )
        error = error_of(response)
        assert isinstance(error, BusyError) == (kind.status in (429, 503)), kind
        assert isinstance(error, ServerError) == (kind.status >= 500 or kind.status == 429), kind
        assert (error.kind, str(error)) == (kind.slug, f"{kind.status} {kind.title}: because")
    slugs = {kind.slug for kind in kinds}
    assert set(client_types._KINDS) <= slugs


def test_the_facts_are_those_of_the_api() -> None:
    later = {"bpp", "mean_importance"}  # of servers that tell them
    for ours, theirs in (
        (client_types.Section, schemas.Section),
        (FileFacts, schemas.FileFacts),
        (client_types.FormatFacts, schemas.FormatFacts),
        (client_types.OtherFormat, schemas.OtherFormat),
        (client_types.Comparison, schemas.ComparisonFacts),
        (client_types.Model, schemas.ModelFacts),
        (client_types.Progress, schemas.ProgressFacts),
    ):
        own = {each.name for each in dataclasses.fields(ours)}
        assert set(theirs.model_fields) <= own, ours
        assert own - set(theirs.model_fields) <= later, ours


def test_what_a_newer_server_says_besides_is_left_out() -> None:
    progress = {"state": "waiting", "ahead": 2, "seconds_left": 1.5, "done": 0.0, "colour": "blue"}
    assert client_types.Progress.of(progress) == client_types.Progress("waiting", 2, 1.5, 0.0)


def test_parameters_have_the_names_of_the_api() -> None:
    server = Server(*map(ok, (CWIC, PNG, CWIC, PNG, CWIC)))
    with Client("http://server", api_key="key", transport=server) as client:
        client.compress(
            b"picture",
            quality=50.5,
            target_bytes=1,
            target_bpp=0.5,
            target_psnr=40,
            target_ssimulacra2=80,
            effort=2,
            tune="visual",
            roi=[Roi(0, 0, 8, 8, 2.0), Roi(8, 8, 8, 8, 0.5)],
            lossless=True,
            metadata="keep",
            model="cwic",
            request_id="mine",
        )
        client.decompress(b"file", format="jpeg", region=Region(1, 2, 3, 4), groups=1, allow_truncated=True)
        client.truncate(b"file", 1000)
        client.importance_map(b"file", style="heat", size="map")
        client.compress(b"picture", roi=b"mask")
    first, second, third, fourth, fifth = server.requests
    assert first.url.params.multi_items() == [
        ("quality", "50.5"),
        ("target_bytes", "1"),
        ("target_bpp", "0.5"),
        ("target_psnr", "40"),
        ("target_ssimulacra2", "80"),
        ("effort", "2"),
        ("tune", "visual"),
        ("roi", "0,0,8,8,2"),
        ("roi", "8,8,8,8,0.5"),
        ("lossless", "true"),
        ("metadata", "keep"),
        ("model", "cwic"),
    ]
    assert first.content == b"picture"
    assert (first.headers["X-Request-ID"], first.headers["Authorization"]) == ("mine", "Bearer key")
    assert str(second.url) == (
        "http://server/decompress?format=jpeg&region=1%2C2%2C3%2C4&groups=1&allow_truncated=true"
    )
    assert str(third.url) == "http://server/truncate?bytes=1000"
    assert str(fourth.url) == "http://server/importance-map?style=heat&size=map"
    assert str(fifth.url) == "http://server/compress"
    assert b'name="file"' in fifth.content
    assert b'name="roi"' in fifth.content
    assert "X-Request-ID" not in fifth.headers


class Slept:
    """What has been awaited already."""

    def __await__(self) -> Iterator[None]:
        yield from ()


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long the client has slept, without sleeping."""
    found: list[float] = []
    policy = service.client._policy

    def sleep(seconds: float) -> Slept:
        found.append(seconds)
        return Slept()

    monkeypatch.setattr(service.client, "_policy", lambda *args: policy(*args) | {"sleep": sleep})
    return found


@pytest.mark.parametrize("asynchronously", [False, True])
def test_a_busy_server_is_asked_again_when_it_says(asynchronously: bool, pauses: list[float]) -> None:
    later = formatdate(2**33, usegmt=True)
    answers = busy(Retry_After="7"), busy(503, Retry_After="2"), busy(503, Retry_After="soon"), busy(502)
    server = Server(*answers, httpx.ConnectError("refused"), httpx.ReadError("reset"), ok())
    assert answered(server, asynchronously=asynchronously) == b"file"
    assert pauses[:2] == [7, 2]
    assert all(0 <= each <= 10 for each in pauses[2:])
    assert {request.content for request in server.requests} == {b"picture"}
    assert len(pauses) == 6
    server = Server(busy(Retry_After=later), ok())
    with pytest.raises(BusyError) as found:
        answered(server, asynchronously=asynchronously)
    assert found.value.retry_after is not None
    assert found.value.retry_after > 1e6
    assert len(pauses) == 6, "nobody waits for years"


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(422),
        httpx.Response(500),
        httpx.Response(
            504,
            json={"type": "urn:cwic:problem:timeout"},
            headers={"Content-Type": "application/problem+json"},
        ),
        httpx.ReadTimeout("120 s"),
        httpx.UnsupportedProtocol("ftp"),
    ],
)
def test_what_would_fail_again_is_not_sent_again(
    answer: httpx.Response | Exception, pauses: list[float]
) -> None:
    server = Server(answer)
    with pytest.raises(CwicClientError) as found:
        answered(server, asynchronously=False)
    assert isinstance(found.value, UnreachableError) == isinstance(answer, Exception)
    assert pauses == []


def test_attempts_end(pauses: list[float]) -> None:
    server = Server(*(busy(Retry_After="0") for _ in range(3)))
    with pytest.raises(BusyError):
        answered(server, asynchronously=False, attempts=3)
    assert server.answers == []
    assert pauses == [0, 0]
    with pytest.raises(BusyError):
        answered(Server(busy(Retry_After="5")), asynchronously=False, patience=4)


def test_nothing_of_cwic_is_imported_but_the_client() -> None:
    program = "import sys, service.client; print(*sorted(sys.modules))"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)  # noqa: S603
    names = set(found.stdout.split())
    assert "service.client" in names
    assert not {"torch", "numpy", "PIL", "fastapi", "starlette", "pydantic", "model"} & names
    assert {name for name in names if name.startswith("service.")} == {
        "service.client",
        "service.client_types",
    }


def test_every_public_name_is_there_and_they_are_sorted() -> None:
    assert service.client.__all__ == sorted(service.client.__all__)
    for name in service.client.__all__:
        assert getattr(service.client, name).__doc__
