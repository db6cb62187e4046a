"""Whose request it is: the address that a connection comes from, or the one that a trusted proxy names."""

import ipaddress
from collections.abc import Sequence
from typing import NamedTuple

from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

CLIENT_PREFIX = 64  # of an IPv6 address: a subscriber has the rest to itself, and changes it at will

Headers = Sequence[tuple[bytes, bytes]]


class Origin(NamedTuple):
    """Where a request comes from.

    Attributes:
        host: IP address of the client, as the log and the app see it.
        port: its port; 0 where a proxy does not tell.
        scheme: `http` or `https`, between the client and the first proxy.
    """

    host: str
    port: int
    scheme: str


class TrustedProxies:
    """The proxies whose `X-Forwarded-For` and `X-Forwarded-Proto` are believed; uvicorn's reading of them."""

    def __init__(self, networks: Sequence[str]) -> None:
        self._hosts = ProxyHeadersMiddleware(_no_app, list(networks)).trusted_hosts

    def __contains__(self, host: str) -> bool:
        return plain(host) in self._hosts

    def origin(self, peer: Origin, headers: Headers) -> Origin:
        """The origin of a request that arrived from a peer; what is no IP address is not taken."""
        if peer.host not in self:
            return peer
        host, port, scheme = peer
        if forwarded := b", ".join(value for name, value in headers if name == b"x-forwarded-for"):
            named = self._hosts.get_trusted_client_address(forwarded.decode("latin-1"))
            if is_address(named[0]):
                host, port = named
        for name, value in headers:
            if name == b"x-forwarded-proto" and value.strip() in (b"http", b"https"):
                scheme = value.strip().decode()
        return Origin(host, port, scheme)


def is_address(text: str) -> bool:
    """Whether a text is an IP address and nothing else, an IPv6 zone among it."""
    try:
        return "%" not in text and bool(ipaddress.ip_address(text))
    except ValueError:
        return False


def plain(host: str) -> str:
    """An IPv4 address that came in IPv6's clothes as itself; anything else as it is."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:  # a Unix socket's peer has none
        return host
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        return str(address.ipv4_mapped)
    return str(address)


def client_of(host: str) -> str:
    """The name under which a client's connections and bytes are counted: its address, or its IPv6 network."""
    host = plain(host)
    if ":" not in host:
        return host
    return str(ipaddress.ip_network((host.partition("%")[0], CLIENT_PREFIX), strict=False))


async def _no_app(*_: object) -> None:
    """Stands for the app that the middleware, of which only the reading is used, would call."""
