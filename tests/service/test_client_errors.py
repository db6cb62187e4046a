"""What the Python client makes of answers that are not the service's, and what it sends of numbers and headers."""

from collections.abc import Callable

import httpx
import numpy as np
import pytest

from service.client import (
    AsyncClient,
    Client,
    CwicClientError,
    Region,
    RequestError,
    Roi,
    UnexpectedAnswerError,
    UnreachableError,
)
from tests.service.transport import CWIC, PNG, Server, answered, ok


@pytest.mark.parametrize(
    ("numbers", "sent"),
    [
        (Roi(0, 0, 8, 8, 1.23456789), "0,0,8,8,1.23456789"),
        (Roi(0, 0, 8, 8, 1e-7), "0,0,8,8,0.0000001"),
        (Roi(1234567.0, 0.0, 1e16, 8, 2.0), "1234567,0,10000000000000000,8,2"),  # type: ignore[arg-type]
        (Roi(np.int64(3), np.float64(4), 8, 8, np.float64(0.1)), "3,4,8,8,0.1"),  # type: ignore[arg-type]
    ],
)
def test_numbers_of_regions_keep_their_digits_and_have_no_exponent(numbers: Roi, sent: str) -> None:
    server = Server(ok(), ok(PNG))
    with Client("http://server", transport=server) as client:
        client.compress(b"picture", roi=[numbers])
        client.decompress(b"file", region=Region(*numbers[:4]))
    assert server.requests[0].url.params["roi"] == sent
    assert server.requests[1].url.params["region"] == sent.rpartition(",")[0]


CALLS: dict[str, Callable[[Client], object]] = {
    "compress": lambda client: client.compress(b"picture"),
    "truncate": lambda client: client.truncate(b"file", 1000),
    "decompress": lambda client: client.decompress(b"file"),
    "importance_map": lambda client: client.importance_map(b"file"),
    "inspect": lambda client: client.inspect(b"file"),
    "compare": lambda client: client.compare(b"picture"),
    "models": lambda client: client.models(),
    "progress": lambda client: client.progress("mine"),
}
LOGIN = b"<!doctype html><title>Sign in</title>"


@pytest.mark.parametrize("call", CALLS)
def test_a_page_of_a_proxy_is_no_answer(call: str) -> None:
    for answer in (
        httpx.Response(200, content=LOGIN, headers={"Content-Type": "text/html; charset=utf-8"}),
        httpx.Response(200, content=LOGIN),
        httpx.Response(204),
    ):
        server = Server(answer)
        with (
            Client("http://server", transport=server) as client,
            pytest.raises(UnexpectedAnswerError) as found,
        ):
            CALLS[call](client)
        assert "http://server/" in str(found.value)
        assert len(server.requests) == 1


def test_a_picture_in_place_of_a_cwic_file_is_no_answer() -> None:
    for call in ("compress", "truncate"):
        with (
            Client("http://server", transport=Server(ok(PNG))) as client,
            pytest.raises(UnexpectedAnswerError),
        ):
            CALLS[call](client)
    with Client("http://server", transport=Server(ok("Image/X-CWIC; q=1"))) as client:
        assert client.compress(b"picture").media_type == CWIC


@pytest.mark.parametrize(
    "document", ["null", "[]", "{}", '{"models": null}', '{"models": [{}]}', "[" * 100_000]
)
@pytest.mark.parametrize("call", ["inspect", "compare", "models", "progress"])
def test_documents_of_another_form_are_no_answer(call: str, document: str) -> None:
    server = Server(httpx.Response(200, text=document, headers={"Content-Type": "application/json"}))
    with Client("http://server", transport=server) as client, pytest.raises(UnexpectedAnswerError):
        CALLS[call](client)


def test_a_header_that_is_no_number_is_no_answer() -> None:
    answer = ok()
    answer.headers["X-CWIC-Bpp"] = "many"
    with Client("http://server", transport=Server(answer)) as client, pytest.raises(UnexpectedAnswerError):
        client.compress(b"picture")


@pytest.mark.parametrize(
    "document",
    [
        '{"errors": [{"detail": "too large", "pointer": "#/quality"}, "quality"]}',
        '{"errors": {"quality": "too large"}}',
        '{"errors": 1}',
        "[" * 100_000,
    ],
)
def test_problems_of_another_form_are_errors_of_the_client(document: str) -> None:
    headers = {"Content-Type": "application/problem+json", "Retry-After": "Mon, 01 Jan 0001 00:00:00 -0000"}
    server = Server(httpx.Response(422, text=document, headers=headers))
    with Client("http://server", transport=server) as client, pytest.raises(RequestError) as found:
        client.models()
    assert found.value.errors == {}


@pytest.mark.parametrize("asynchronously", [False, True])
@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (httpx.DecodingError("bad gzip"), UnexpectedAnswerError),
        (httpx.TooManyRedirects("21"), UnreachableError),
        (httpx.RequestError("another one"), UnreachableError),
    ],
)
def test_errors_of_httpx_are_errors_of_the_client(
    error: Exception, kind: type[CwicClientError], asynchronously: bool
) -> None:
    with pytest.raises(kind) as found:
        answered(Server(error), asynchronously=asynchronously)
    assert found.value.__cause__ is error


@pytest.mark.parametrize("kind", [Client, AsyncClient])
@pytest.mark.parametrize("key", ["\u201cquoted\u201d", "kéy", "a key", "key\n"])
def test_a_key_that_no_header_can_carry_is_refused_at_once(kind: type[Client], key: str) -> None:
    with pytest.raises(ValueError, match="api_key") as found:
        kind("http://server", api_key=key)
    assert key not in str(found.value)


def test_parameters_that_cannot_be_sent_are_refused_at_once() -> None:
    server = Server()
    with Client("http://server", transport=server) as client:
        with pytest.raises(ValueError, match="request_id"):
            client.compress(b"picture", request_id="a\u2013b")
        with pytest.raises(ValueError, match="do not fit"):
            client.compress(b"picture", roi=[Roi(0, 0, 8, 8, 2.0)] * 10_000)
    assert server.requests == []
