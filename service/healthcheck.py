"""Whether a running server is ready, asked from outside of it: for container engines, which have no curl inside."""

import http.client
import ipaddress

from service.settings import Settings

PATH = "/readyz"
SECONDS = 5.0  # until no answer is an answer


def fault(settings: Settings) -> str | None:
    """Why the server of these settings is not ready, on this machine; None where it is."""
    host = _reachable(settings.host)
    connection = http.client.HTTPConnection(host, settings.port, timeout=SECONDS)
    try:
        connection.request("GET", PATH)
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as exc:
        return f"no answer from {host} port {settings.port}: {exc}"
    finally:
        connection.close()
    return None if status == http.client.OK else f"{PATH} of {host} port {settings.port} says {status}"


def _reachable(host: str) -> str:
    """The address to ask for one to listen on: the loopback for all of them."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:  # a name
        return host
    if not address.is_unspecified:
        return host
    return "127.0.0.1" if address.version == 4 else "::1"
