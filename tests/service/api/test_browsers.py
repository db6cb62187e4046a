"""Hosts, origins, CORS and security headers, over a real server."""

from collections.abc import Iterator

import httpx
import pytest
from starlette.requests import Request

from model.types import Pixels
from service.api.browsers import EXPOSED, AllowedHosts, hosts_of
from service.settings import Settings
from tests.service.fakes import FakeCodec, picture_array, png
from tests.service.raw import LIVEZ, connect, read_answer
from tests.service.server import metric, serving

SITE = "https://app.example.org"
FOREIGN = [
    "https://evil.example",
    "null",
    "http://localhost.evil.example",
    "file://",
    "",
    "http://localhost:1",
]


@pytest.fixture(scope="module")
def shared() -> Iterator[httpx.Client]:
    """A client of a service with a key that a site's pages may use, and that fails at pictures of one column."""

    def fail(array: Pixels) -> None:
        if array.shape[1] == 1:
            raise RuntimeError("a fault of ours")

    with serving(FakeCodec(on_encode=fail), cors_origins=SITE, api_keys="k" * 16) as client:
        client.headers["X-API-Key"] = "k" * 16
        yield client


@pytest.mark.parametrize("host", ["localhost", "localhost:8000", "LOCALHOST.", "127.0.0.1", "[::1]:80"])
def test_a_service_on_the_loopback_is_called_so(client: httpx.Client, host: str) -> None:
    assert client.get("/models", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("path", ["/models", "/livez", "/", "/nowhere"])
@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8000",
        "localhost.evil.example",
        "192.0.2.1",
        "[::2]",
        "",
        "@localhost",
        "a b",
        pytest.param("." * 60_000, id="long"),
    ],
)
def test_another_name_is_421(client: httpx.Client, host: str, path: str) -> None:
    before = metric(client, 'cwic_rejected_total{reason="wrong-host"}')
    answer = client.get(path, headers={"Host": host})
    assert (answer.status_code, answer.json()["type"]) == (421, "urn:cwic:problem:wrong-host")
    assert "CWIC_ALLOWED_HOSTS" in answer.json()["detail"]
    assert metric(client, 'cwic_rejected_total{reason="wrong-host"}') == before + 1


@pytest.mark.parametrize("other", [b"evil.example", b"localhost"])
def test_two_names_are_400(client: httpx.Client, other: bytes) -> None:
    with connect(client) as connection:
        connection.sendall(LIVEZ.replace(b"\r\n\r\n", b"\r\nHost: " + other + b"\r\n\r\n"))
        answer = read_answer(connection)
    assert (answer.status, answer.kind) == (400, "bad-request")


def test_names_that_are_set_are_those_that_count_beside_the_connections_address() -> None:
    with serving(allowed_hosts="Cwic.example.org,*.example.net") as client:
        assert client.get("/models").status_code == 200  # by the address that it connects to
        for host, status in [
            ("cwic.example.org", 200),
            ("CWIC.example.org:443", 200),
            ("a.example.net", 200),
            ("a.b.example.net", 200),
            ("example.net", 421),
            ("evilexample.net", 421),
            ("localhost", 421),
        ]:
            assert client.get("/models", headers={"Host": host}).status_code == status, host


def test_any_name_will_do_where_all_are_allowed() -> None:
    with serving(allowed_hosts="*") as client:
        assert client.get("/models", headers={"Host": "evil.example"}).status_code == 200


@pytest.mark.parametrize(
    ("values", "hosts"),
    [
        ({}, {"localhost", "127.0.0.1", "[::1]"}),
        ({"host": "localhost"}, {"localhost", "127.0.0.1", "[::1]"}),
        ({"host": "127.0.0.2"}, {"localhost", "127.0.0.1", "127.0.0.2", "[::1]"}),
        ({"host": "::1"}, {"localhost", "127.0.0.1", "[::1]"}),
        ({"host": "0.0.0.0"}, {"*"}),  # noqa: S104 - only named
        ({"host": "0.0.0.0", "allowed_hosts": "a"}, {"a"}),  # noqa: S104 - only named
    ],
)
def test_the_names_by_default_follow_the_address(values: dict[str, str], hosts: set[str]) -> None:
    assert set(hosts_of(Settings.model_validate(values))) == hosts


@pytest.mark.parametrize(
    ("host", "server"), [("[::1]", "::1"), ("192.0.2.1", "::ffff:192.0.2.1"), ("[0:0::1]:80", "::1")]
)
def test_the_address_of_the_connection_counts_however_it_is_written(host: str, server: str) -> None:
    scope = {"type": "http", "path": "/", "headers": [(b"host", host.encode())], "server": (server, 80)}
    AllowedHosts(["cwic.example.org"])(Request(scope))


@pytest.mark.parametrize("origin", FOREIGN)
@pytest.mark.parametrize("path", ["/compress", "/inspect", "/nowhere"])
def test_what_a_page_of_another_site_sends_is_403(client: httpx.Client, origin: str, path: str) -> None:
    # text/plain: the browser asks nobody before it sends this
    headers = {"Origin": origin, "Content-Type": "text/plain"}
    before = metric(client, 'cwic_rejected_total{reason="cross-origin"}')
    answer = client.post(path, content=png(), headers=headers)
    assert (answer.status_code, answer.json()["type"]) == (403, "urn:cwic:problem:cross-origin")
    assert "CWIC_CORS_ORIGINS" in answer.json()["detail"]
    assert "Access-Control-Allow-Origin" not in answer.headers
    assert metric(client, 'cwic_rejected_total{reason="cross-origin"}') == before + 1


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_reading_is_answered_whatever_the_origin_and_the_page_sees_nothing(
    client: httpx.Client, method: str
) -> None:
    answer = client.request(method, "/models", headers={"Origin": FOREIGN[0]})
    assert answer.status_code == (405 if method == "OPTIONS" else 200)
    assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("http://localhost:8000", "localhost:8000"),
        ("http://LOCALHOST:8000", "localhost:8000"),
        ("https://localhost", "localhost"),  # a proxy has ended TLS
        ("https://localhost", "localhost:443"),
        ("http://localhost:80", "localhost"),
        ("http://[::1]:8000", "[::1]:8000"),
    ],
)
def test_the_services_own_page_may_send(client: httpx.Client, origin: str, host: str) -> None:
    headers = {"Origin": origin, "Host": host}
    assert client.post("/compress", content=png(), headers=headers).status_code == 200


def test_an_allowed_site_may_send_and_read(shared: httpx.Client) -> None:
    answer = shared.post("/compress", content=png(), headers={"Origin": SITE})
    assert answer.status_code == 200
    assert answer.headers["Access-Control-Allow-Origin"] == SITE
    assert "Origin" in answer.headers["Vary"]
    exposed = answer.headers["Access-Control-Expose-Headers"].split(", ")
    assert set(exposed) == set(EXPOSED)
    assert shared.post("/compress", content=png(), headers={"Origin": FOREIGN[0]}).status_code == 403


def broken() -> bytes:
    """A picture that the shared service fails at."""
    return png(picture_array(1, 1))


@pytest.mark.parametrize(
    ("headers", "content", "status"),
    [
        ({"X-API-Key": ""}, png(), 401),
        ({"Host": "evil.example"}, png(), 421),
        ({}, b"no picture", 415),
        ({}, broken(), 500),
    ],
)
def test_an_allowed_site_can_read_why_it_was_refused(
    shared: httpx.Client, headers: dict[str, str], content: bytes, status: int
) -> None:
    answer = shared.post("/compress", content=content, headers={"Origin": SITE, **headers})
    assert answer.status_code == status
    assert answer.headers["Access-Control-Allow-Origin"] == SITE
    assert answer.headers["X-Request-ID"] == answer.json()["request_id"]


def test_preflight_needs_no_key_and_says_what_is_allowed(shared: httpx.Client) -> None:
    asked = {
        "Origin": SITE,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization, content-type, x-api-key, x-request-id",
        "X-API-Key": "",
    }
    answer = shared.options("/compress", headers=asked)
    assert answer.status_code == 200
    assert answer.headers["Access-Control-Allow-Origin"] == SITE
    assert "POST" in answer.headers["Access-Control-Allow-Methods"]
    assert {"Authorization", "X-API-Key"} <= set(answer.headers["Access-Control-Allow-Headers"].split(", "))
    assert answer.headers["X-Request-ID"]
    foreign = shared.options("/compress", headers={**asked, "Origin": FOREIGN[0]})
    assert foreign.status_code == 400
    assert "Access-Control-Allow-Origin" not in foreign.headers


def test_without_origins_there_is_no_cors(client: httpx.Client) -> None:
    asked = {"Origin": SITE, "Access-Control-Request-Method": "POST"}
    answer = client.options("/compress", headers=asked)
    assert answer.status_code == 405
    assert not [name for name in answer.headers if name.startswith("access-control")]


def test_any_site_may_where_all_are_allowed() -> None:
    with serving(cors_origins="*") as client:
        answer = client.post("/compress", content=png(), headers={"Origin": FOREIGN[0]})
        assert (answer.status_code, answer.headers["Access-Control-Allow-Origin"]) == (200, "*")


def test_every_header_of_an_answer_that_is_documented_may_be_read(client: httpx.Client) -> None:
    documented = {
        name
        for operations in client.get("/openapi.json").json()["paths"].values()
        for operation in operations.values()
        for answer in operation["responses"].values()
        for name in answer.get("headers", {})
    }
    assert documented - set(EXPOSED) == {"WWW-Authenticate"}  # it always says the same


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("GET", "/models", {}, 200),
        ("GET", "/livez", {}, 200),
        ("GET", "/openapi.json", {}, 200),
        ("POST", "/compress", {}, 400),
        ("POST", "/compress", {"X-API-Key": ""}, 401),
        ("POST", "/compress", {"Origin": FOREIGN[0]}, 403),
        ("GET", "/nowhere", {}, 404),
        ("PUT", "/compress", {}, 405),
        ("GET", "/models", {"Host": "evil.example"}, 421),
        ("OPTIONS", "/", {"Origin": SITE, "Access-Control-Request-Method": "POST"}, 200),
    ],
)
def test_every_answer_has_the_headers_that_browsers_obey(
    shared: httpx.Client, method: str, path: str, headers: dict[str, str], status: int
) -> None:
    answer = shared.request(method, path, headers=headers)
    assert answer.status_code == status
    assert security_headers(answer) == {
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "X-Frame-Options": "DENY",
        "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
        "Cross-Origin-Resource-Policy": "cross-origin",
    }


def test_an_answer_to_a_fault_of_ours_has_them_too(shared: httpx.Client) -> None:
    answer = shared.post("/compress", content=broken())
    assert answer.status_code == 500
    assert all(security_headers(answer).values())


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_pages_keep_their_own_policy_and_no_site_may_frame_them(client: httpx.Client, path: str) -> None:
    headers = security_headers(client.get(path))
    policy = headers.pop("Content-Security-Policy")
    assert "script-src 'sha256-" in policy
    assert policy.endswith("frame-ancestors 'none'")
    assert headers == {
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "X-Frame-Options": "DENY",
        "Cross-Origin-Resource-Policy": "same-origin",
    }


def security_headers(answer: httpx.Response) -> dict[str, str]:
    """The headers of an answer that are for browsers; each once."""
    names = (
        "X-Content-Type-Options",
        "Referrer-Policy",
        "X-Frame-Options",
        "Content-Security-Policy",
        "Cross-Origin-Resource-Policy",
    )
    assert all(len(answer.headers.get_list(name)) == 1 for name in names)
    return {name: answer.headers[name] for name in names}
