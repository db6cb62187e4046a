"""Whose request it is: by the connection, or by the word of a trusted proxy, and of nobody else."""

import logging

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.api.addresses import Origin, TrustedProxies, client_of, is_address
from service.observe import logs
from tests.effort import wait_until
from tests.service.server import serving

PEER = Origin("10.0.0.1", 5000, "http")
PROXIES = TrustedProxies(["10.0.0.0/8", "2001:db8::1"])
EVIL = "evil client=1 status=200"


def clients(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The clients that access lines name, and the lines as the console shows them."""
    records = [record for record in caplog.records if record.name == "cwic.access"]
    return [logs.ConsoleFormatter().format(record) for record in records]


def forwarded(client: httpx.Client, caplog: pytest.LogCaptureFixture, value: str) -> str:
    """The access line of a request with a X-Forwarded-For."""
    caplog.clear()
    caplog.set_level(logging.INFO)
    assert client.get("/models", headers={"X-Forwarded-For": value}).is_success
    wait_until(lambda: bool(clients(caplog)))
    [line] = clients(caplog)
    return line


def test_by_default_nobody_is_believed(client: httpx.Client, caplog: pytest.LogCaptureFixture) -> None:
    for value in ("192.0.2.7", EVIL):
        assert " client=127.0.0.1 " in forwarded(client, caplog, value)


def test_a_trusted_proxy_is_believed_where_it_names_an_address(caplog: pytest.LogCaptureFixture) -> None:
    with serving(trusted_proxies="10.0.0.0/8, 127.0.0.1") as client:
        assert " client=192.0.2.7 " in forwarded(client, caplog, "192.0.2.7")
        assert " client=192.0.2.7 " in forwarded(client, caplog, "198.51.100.1, 192.0.2.7, 10.1.2.3")
        for value in (EVIL, "unknown", "", "_hidden", "192.0.2.7, x"):
            assert " client=127.0.0.1 " in forwarded(client, caplog, value)


@pytest.mark.parametrize(
    ("value", "host", "port"),
    [
        (b"192.0.2.7", "192.0.2.7", 0),
        (b"192.0.2.7:80", "192.0.2.7", 80),
        (b"[2001:db8::2]:80", "2001:db8::2", 80),
        (b"192.0.2.7, 10.0.0.2, 2001:0db8::1", "192.0.2.7", 0),
        (b"10.0.0.3, 10.0.0.2", "10.0.0.3", 0),  # all are proxies: the first of them asks
        (b"fe80::1%eth0 status=200", PEER.host, PEER.port),
        (b"192.0.2.7\xff", PEER.host, PEER.port),
    ],
)
def test_the_last_address_that_is_no_proxy_is_the_client(value: bytes, host: str, port: int) -> None:
    assert PROXIES.origin(PEER, [(b"x-forwarded-for", value)]) == Origin(host, port, "http")


@pytest.mark.parametrize(
    ("value", "scheme"), [(b"https", "https"), (b"ftp", "http"), (b"https,http", "http")]
)
def test_the_scheme_is_one_of_two(value: bytes, scheme: str) -> None:
    assert PROXIES.origin(PEER, [(b"x-forwarded-proto", value)]).scheme == scheme


def test_what_a_stranger_says_is_not_read() -> None:
    stranger = Origin("192.0.2.7", 1, "http")
    fields = [(b"x-forwarded-for", b"198.51.100.1"), (b"x-forwarded-proto", b"https")]
    assert PROXIES.origin(stranger, fields) == stranger


@given(st.binary(max_size=60))
def test_whatever_a_proxy_sends_the_client_is_an_address(value: bytes) -> None:
    assert is_address(PROXIES.origin(PEER, [(b"x-forwarded-for", value)]).host)


@pytest.mark.parametrize(
    ("host", "client"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:0:1:2:3:4:5", "2001:db8:0:1::/64"),
        ("2001:db8:0:1::9", "2001:db8:0:1::/64"),
        ("fe80::1%eth0", "fe80::/64"),
    ],
)
def test_clients_are_told_apart_by_address_or_network(host: str, client: str) -> None:
    assert client_of(host) == client


def test_a_proxy_is_known_in_every_spelling() -> None:
    assert "::ffff:10.1.2.3" in PROXIES
    assert "2001:db8:0::1" in PROXIES
    assert "192.0.2.1" not in PROXIES
