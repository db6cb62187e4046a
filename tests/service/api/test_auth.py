"""Keys and the limit of requests, over a real server."""

import json
import logging
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from service.__main__ import USAGE_ERROR, main
from service.api.auth import OPEN, RateLimit, _client
from service.app import create_app
from service.observe import logs
from service.settings import Settings
from tests.effort import PATIENCE, wait_until
from tests.service.fakes import FakeCodec, png
from tests.service.server import metric, running, serving

KEY, OTHER = "first-key-0123456789", "second-key-9876543210"
WORK = ["/compress", "/decompress", "/truncate", "/importance-map", "/inspect", "/compare"]


@pytest.fixture(scope="module")
def locked() -> Iterator[httpx.Client]:
    """A client without a key of a service with two."""
    with serving(api_keys=f"{KEY},phone:{OTHER}") as client:
        yield client


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def api_key(key: str) -> dict[str, str]:
    return {"X-API-Key": key}


# Headers without a key of `locked`, in every way that comes to mind.
WRONG = (
    httpx.Headers({}),
    httpx.Headers(bearer(KEY[:-1])),
    httpx.Headers(bearer(KEY + "x")),
    httpx.Headers(bearer(KEY.upper())),
    httpx.Headers(bearer(f"phone:{OTHER}")),
    httpx.Headers(api_key(KEY[::-1])),
    httpx.Headers(api_key("")),
    httpx.Headers({b"X-API-Key": b"\xe9"}),
    httpx.Headers({"Authorization": "Bearer"}),
    httpx.Headers({"Authorization": KEY}),
    httpx.Headers({"Authorization": f"Basic {KEY}"}),
    httpx.Headers({"Cookie": f"key={KEY}"}),
)


@pytest.mark.parametrize("key", [KEY, OTHER])
def test_every_key_opens_in_either_header(locked: httpx.Client, key: str) -> None:
    for headers in (bearer(key), api_key(key), {"authorization": f"bearer  {key}"}):
        assert locked.post("/compress", content=png(), headers=headers).status_code == 200


@pytest.mark.parametrize("path", [*WORK, "/models", "/metrics", "/nowhere", "/livez/", "//livez", "/docs/x"])
def test_everything_else_needs_a_key(locked: httpx.Client, path: str) -> None:
    url = f"{locked.base_url}{path}"
    answers = [locked.request("POST" if path in WORK else "GET", url, headers=each) for each in WRONG]
    for answer in answers:
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"] == 'Bearer realm="cwic"'
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert answer.json()["type"] == "urn:cwic:problem:unauthorized"
        assert answer.headers["X-Request-ID"] == answer.json()["request_id"]
    assert len({answer.json()["detail"] for answer in answers}) == 1, "a hint which keys exist"


@pytest.mark.parametrize("path", sorted(OPEN))
def test_probes_and_pages_need_none(locked: httpx.Client, path: str) -> None:
    assert locked.get(path).status_code == 200


def test_the_open_addresses_exist_and_are_all_that_work_without_a_key(locked: httpx.Client) -> None:
    documented = locked.get("/openapi.json").json()["paths"]
    free = {
        path for path, operations in documented.items() if "get" in operations and locked.get(path).is_success
    }
    assert free == {"/livez", "/readyz", "/healthz"}


def test_a_key_in_the_query_is_none(locked: httpx.Client) -> None:
    assert locked.get("/models", params={"key": KEY}).status_code == 401


@pytest.mark.parametrize("extra", ["", "Expect: 100-continue\r\n"])
def test_the_refusal_comes_before_the_body_is_sent(locked: httpx.Client, extra: str) -> None:
    head = f"POST /compress HTTP/1.1\r\nHost: localhost\r\n{extra}Content-Length: 1000000\r\n\r\n"
    with socket.create_connection(
        (locked.base_url.host, locked.base_url.port or 80), timeout=PATIENCE
    ) as connection:
        connection.sendall(head.encode())
        assert connection.recv(1000).startswith(b"HTTP/1.1 401")


def test_a_refusal_takes_no_place_in_the_queue_and_is_counted(locked: httpx.Client) -> None:
    locked.post("/compress", content=png())
    with httpx.Client(base_url=locked.base_url, headers=bearer(KEY), timeout=PATIENCE) as scraper:
        assert metric(scraper, 'cwic_rejected_total{reason="unauthorized"}') >= 1
        assert metric(scraper, "cwic_queue_depth") == 0


def test_without_keys_the_service_is_open(client: httpx.Client) -> None:
    for headers in WRONG:
        assert client.get("/models", headers=headers).status_code == 200


def access_fields(caplog: pytest.LogCaptureFixture) -> list[dict[str, object]]:
    """What the access lines say beside their messages."""
    return [getattr(each, logs.FIELDS) for each in caplog.records if each.name == "cwic.access"]


def test_the_log_has_the_keys_name_and_never_a_key(
    locked: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    for headers in (bearer(KEY), api_key(OTHER), bearer("no-key-of-ours-0123456789")):
        answer = locked.get("/models", headers=headers)
        assert KEY not in answer.text
    wait_until(lambda: len(access_fields(caplog)) == 3)
    assert [fields.get("key") for fields in access_fields(caplog)] == ["key-1", "phone", None]
    everything = "".join(f"{each.getMessage()}{each.__dict__}" for each in caplog.records)
    for secret in (KEY, OTHER, "no-key-of-ours"):
        assert secret not in everything


def test_a_file_of_keys_is_followed_without_a_restart(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(f"old:{KEY}\n")
    with serving(api_keys_file=file) as client:
        assert client.get("/models", headers=bearer(KEY)).status_code == 200
        assert client.get("/models", headers=bearer(OTHER)).status_code == 401
        file.write_text(f"# the old one is gone\nnew:{OTHER}\n")
        wait_until(lambda: client.get("/models", headers=bearer(OTHER)).status_code == 200)
        assert client.get("/models", headers=bearer(KEY)).status_code == 401


@pytest.mark.parametrize("value", [f"{KEY},short-secret", f"{KEY},a b-secret-0123456789"])
def test_keys_that_are_wrong_end_the_start_and_are_not_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], value: str
) -> None:
    monkeypatch.setenv("CWIC_API_KEYS", value)
    assert main([]) == USAGE_ERROR
    error = capsys.readouterr().err
    assert error.startswith("cwic-serve: --api-keys (CWIC_API_KEYS): key 2 has ")
    assert "secret" not in error
    assert KEY not in error


def test_the_healthcheck_needs_no_key_and_no_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "keys"
    file.write_text(KEY)
    with serving(api_keys_file=file, allowed_hosts="cwic.example.org") as client:
        monkeypatch.setenv("CWIC_PORT", str(client.base_url.port))
        monkeypatch.setenv("CWIC_API_KEYS_FILE", str(file))
        monkeypatch.setenv("CWIC_ALLOWED_HOSTS", "cwic.example.org")
        file.write_text("")  # the server keeps what it has
        assert main(["--healthcheck"]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("values", "warned"),
    [
        ({"host": "0.0.0.0"}, True),  # noqa: S104 - only named
        ({"host": "192.0.2.1"}, True),
        ({"host": "::"}, True),
        ({"host": "cwic.example.org"}, True),
        ({"host": "0.0.0.0", "api_keys": KEY}, False),  # noqa: S104 - only named
        ({"host": "127.0.0.1"}, False),
        ({"host": "::1"}, False),
        ({"host": "localhost"}, False),
    ],
)
def test_an_open_service_that_others_can_reach_warns_at_its_start(
    caplog: pytest.LogCaptureFixture, values: dict[str, str], warned: bool
) -> None:
    with running(create_app(Settings.model_validate(values), load=lambda _: [FakeCodec()])):
        pass
    warnings = [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]
    assert (
        warnings
        == [f"Open to all on {values['host']}: CWIC_API_KEYS_FILE or CWIC_API_KEYS asks for keys"] * warned
    )


def test_each_key_has_a_limit_of_its_own() -> None:
    with serving(api_keys=f"{KEY},{OTHER}", rate_limit=3) as client:
        statuses = [client.get("/models", headers=bearer(KEY)).status_code for _ in range(4)]
        assert statuses == [200, 200, 200, 429]
        answer = client.post("/compress", content=png(), headers=api_key(KEY))
        problem = answer.json()
        assert (answer.status_code, problem["type"]) == (429, "urn:cwic:problem:rate-limit")
        assert 1 <= int(answer.headers["Retry-After"]) <= 20
        assert problem["limit"] == 3
        assert "CWIC_RATE_LIMIT" in problem["detail"]
        assert metric_of(client, OTHER, 'cwic_rejected_total{reason="rate-limit"}') == 2
        assert client.get("/models", headers=bearer("x" * 20)).status_code == 401


def metric_of(client: httpx.Client, key: str, line: str) -> float:
    """A sample of the metrics, asked for with a key."""
    with httpx.Client(base_url=client.base_url, headers=bearer(key), timeout=PATIENCE) as scraper:
        return metric(scraper, line)


def test_without_keys_each_address_has_a_limit_and_probes_and_pages_have_none() -> None:
    with serving(rate_limit=2) as client:
        assert [client.get("/models").status_code for _ in range(3)] == [200, 200, 429]
        for path in sorted(OPEN) * 3:
            assert client.get(path).status_code == 200


def test_by_default_there_is_no_limit(client: httpx.Client) -> None:
    assert all(client.get("/models").is_success for _ in range(100))


@given(per_minute=st.integers(1, 600), pauses=st.lists(st.floats(0, 100), max_size=200))
def test_no_client_gets_more_than_its_burst_and_its_rate(per_minute: int, pauses: list[float]) -> None:
    now, admitted = 0.0, 0
    limit = RateLimit(per_minute, clock=lambda: now)
    for pause in pauses:
        now += pause
        admitted += limit.take("one") == 0
        assert admitted <= limit.burst + per_minute * now / 60 + 1e-6
    assert limit.burst <= per_minute


@given(per_minute=st.integers(1, 600))
def test_who_waits_as_long_as_told_gets_in_and_not_before(per_minute: int) -> None:
    now = 0.0
    limit = RateLimit(per_minute, clock=lambda: now)
    while not (wait := limit.take("one")):
        pass
    assert limit.take("another") == 0
    now += wait / 2
    assert limit.take("one") > 0
    now += wait / 2 + 1e-6
    assert limit.take("one") == 0


def test_a_limit_remembers_so_many_clients_and_forgets_those_gone_longest() -> None:
    limit = RateLimit(1, clock=lambda: 0.0, size=3)
    for client in ("a", "b", "c", "a", "d"):
        limit.take(client)
    assert limit.take("a") > 0
    assert limit.take("b") == 0
    assert len(limit._buckets) == 3


def asked_by(address: str) -> Request:
    """A request from an address, as a server passes it on."""
    return Request({"type": "http", "path": "/models", "headers": [], "client": (address, 1)})


def test_the_addresses_of_one_ipv6_network_are_one_client() -> None:
    assert _client(asked_by("2001:db8::1")) == _client(asked_by("2001:db8::2:3"))
    assert _client(asked_by("2001:db8::1")) != _client(asked_by("2001:db8:0:1::1"))
    assert _client(asked_by("::ffff:192.0.2.1")) != _client(asked_by("::ffff:192.0.2.2"))


def test_a_secret_is_shown_nowhere(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CWIC_API_KEYS", KEY)
    settings = Settings()
    assert KEY not in f"{settings!r} {settings} {settings.model_dump()} {settings.model_dump_json()}"
    monkeypatch.setenv("CWIC_PORT", "x")
    with pytest.raises(ValueError, match="port") as caught:
        Settings()
    assert KEY not in str(caught.value)
    with pytest.raises(SystemExit):
        main(["--help"])
    assert KEY not in capsys.readouterr().out


def test_keys_and_refusals_are_documented(locked: httpx.Client) -> None:
    api = locked.get("/openapi.json").json()
    schemes = api["components"]["securitySchemes"]
    assert {(each["type"], each.get("scheme"), each.get("name")) for each in schemes.values()} == {
        ("http", "bearer", None),
        ("apiKey", None, "X-API-Key"),
    }
    for path, operations in api["paths"].items():
        for method, operation in operations.items():
            statuses = set(operation["responses"])
            assert {"421", "422"} <= statuses
            assert ("security" in operation) == ({"401", "429"} <= statuses) == (path not in OPEN)
            assert ("403" in statuses) == (method == "post")
    assert json.dumps(api).count("WWW-Authenticate") == len(WORK) + len(["/models", "/metrics", "/progress"])
