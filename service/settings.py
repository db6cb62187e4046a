"""Everything about the service that can be set. Defaults < environment (`CWIC_*`) < command line.

Imports neither torch nor numpy: the number of threads has to be set before those are loaded.
"""

import difflib
import ipaddress
import os
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from service.keys import keys_of_text

PREFIX = "CWIC_"
SECRETS = frozenset({"api_keys"})  # settings whose values are never shown

Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


def _split(value: object) -> object:
    """The parts of a comma-separated text, each once; None where it is empty."""
    if not isinstance(value, str):
        return value
    return tuple(dict.fromkeys(part.strip() for part in value.split(","))) if value.strip() else None


def _given(value: object) -> object:
    """None for an empty text."""
    return None if value == "" else value


def _usable(value: SecretStr | None) -> SecretStr | None:
    """Keys that can be read; raises KeysError, a ValueError, which tells nothing of them."""
    if value is not None:
        keys_of_text(value.get_secret_value())
    return value


def _network(value: str) -> str:
    """An IP address or network, such as `10.0.0.0/8`, in its usual spelling."""
    if "/" in value:
        return str(ipaddress.ip_network(value, strict=False))
    return str(ipaddress.ip_address(value))


Folder = Annotated[Path | None, BeforeValidator(_given)]
File = Annotated[Path | None, BeforeValidator(_given)]
Names = Annotated[tuple[Annotated[str, Field(min_length=1)], ...] | None, NoDecode, BeforeValidator(_split)]
Keys = Annotated[SecretStr | None, BeforeValidator(_given), AfterValidator(_usable)]
Host = Annotated[str, Field(pattern=r"^(\*|(\*\.)?[A-Za-z0-9_][A-Za-z0-9_.-]*|\[[0-9A-Fa-f:.]+\])$")]
Hosts = Annotated[tuple[Host, ...] | None, NoDecode, BeforeValidator(_split)]
Origin = Annotated[str, Field(pattern=r"^(\*|[a-z][a-z0-9+.-]*://[^/?#@\sA-Z]+)$")]  # as browsers send it
Origins = Annotated[tuple[Origin, ...] | None, NoDecode, BeforeValidator(_split)]

Networks = Annotated[
    tuple[Annotated[str, AfterValidator(_network)], ...] | None, NoDecode, BeforeValidator(_split)
]


class Settings(BaseSettings):
    """The service's configuration, validated at construction and then frozen.

    Raises pydantic's ValidationError, also for an environment variable `CWIC_*` that no setting has: a
    misspelt limit that silently does nothing is worse than a start that fails.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_ignore_empty=True,  # compose files pass `${NAME:-}` for what is not set
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,  # it may have keys in it; `cwic-serve` shows those of the others
    )

    host: str = Field(default="127.0.0.1", description="Address to listen on.")
    port: int = Field(default=8000, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    device: str = Field(
        default="auto",
        pattern=r"^(auto|cpu|cuda(:\d+)?)$",
        description="Where the model runs: `cpu`, `cuda`, `cuda:1`, or `auto` (a GPU where there is one).",
    )
    dtype: Literal["auto", "float32", "bfloat16"] = Field(
        default="auto",
        description="Precision of its convolutions: `float32`, `bfloat16`, or `auto` (bfloat16 on a GPU, and on a "
        "CPU that is measured to be faster with it). Replicas that are to make the same files need the same one.",
    )
    model_dir: Folder = Field(
        default=None,
        description="Folder of checkpoints. Empty: the ones that come with cwic.",
    )
    models: Names = Field(
        default=None,
        description="Names of the checkpoints to serve, comma-separated, the default one first. "
        "Empty: all of the folder.",
    )
    max_body_bytes: int = Field(
        default=32 * 2**20,
        ge=1,
        description="Largest request body in bytes, multipart framing included; above: 413.",
    )
    max_pixels: int = Field(
        default=40_000_000,
        ge=1,
        description="Largest picture, width times height, coded or decoded; above: 422.",
    )
    max_dimension: int = Field(
        default=65_535, ge=1, description="Largest width and largest height; above: 422."
    )
    max_effort: int = Field(
        default=2,
        ge=1,
        le=3,
        description="Largest `effort` that a picture may be compressed with; above: 422.",
    )
    queue_size: int = Field(
        default=64,
        ge=1,
        description="Requests in work at once, the running ones included, three quarters of them for one client; "
        "above: 429.",
    )
    queue_max_pixels: int = Field(
        default=200_000_000,
        ge=1,
        description="Pixels of all pictures in work at once, with those of masks, unless it is one picture; "
        "above: 429.",
    )
    workers: int = Field(
        default=0,
        ge=0,
        description="Threads that work on pictures, each on another one. 0: one for each CPU.",
    )
    max_batch_pixels: int = Field(
        default=2**22, ge=1, description="Pixels of the tiles that a GPU codes together, at most."
    )
    request_timeout: Seconds = Field(
        default=60,
        description="Seconds that a request may take; above: 408 while its body arrives, else 504, its work ended.",
    )
    max_connections: int = Field(
        default=1000,
        ge=1,
        description="Connections at once, fewer where the process may not open so many files; above: the one that "
        "has waited longest without a complete request is closed, else 503.",
    )
    max_connections_per_client: int = Field(
        default=128,
        ge=1,
        description="Of those, for one address (IPv6: one /64 network), or requests at once of one address "
        "behind trusted proxies, and fewer where few connections are free; above: 429.",
    )
    trusted_proxies: Networks = Field(
        default=None,
        description="Addresses and networks, comma-separated, whose `X-Forwarded-For` and `X-Forwarded-Proto` are "
        "believed. Empty: none.",
    )
    header_timeout: Seconds = Field(
        default=10,
        description="Seconds until the header of a request must have arrived, from the connection's start or "
        "from the first byte of each later one; above: 408.",
    )
    min_body_rate: int = Field(
        default=512,
        ge=1,
        description="Bytes per second that a body must arrive with, in any ten seconds in which it is waited for; "
        "below: 408. An answer must be taken with as many, in any thirty seconds; below: cut off.",
    )
    max_body_memory: int = Field(
        default=512 * 2**20,
        ge=1,
        description="Bytes of the bodies of all requests and of all answers that are not sent yet, half of what "
        "others leave for one client; above: 429, before any work. Where others need its room, an answer that takes "
        "longer than `CWIC_REQUEST_TIMEOUT` to be taken is cut off.",
    )
    stall_timeout: Seconds = Field(
        default=300, description="Seconds without a sign of life from a worker until `/livez` says 503."
    )
    drain_delay: float = Field(
        default=0,
        ge=0,
        allow_inf_nan=False,
        description="Seconds after SIGTERM in which `/readyz` says 503 and work is still taken, so that whoever "
        "spreads it can notice.",
    )
    shutdown_timeout: int = Field(
        default=30, ge=1, description="Seconds that running requests may finish in after SIGTERM."
    )
    api_keys: Keys = Field(
        default=None,
        description="Keys of which clients have to send one, comma-separated, each `KEY` or `NAME:KEY`, of 16 "
        "characters or more. Without any the service is open. Others on the machine can read it as an option.",
    )
    api_keys_file: File = Field(
        default=None,
        description="File of such keys, one a line, with comments behind `#`; read again when it changes.",
    )
    rate_limit: int = Field(
        default=0,
        ge=0,
        description="Requests a minute for each key, without keys for each address; a sixth of them, or ten, at "
        "once; above: 429. 0: no limit.",
    )
    allowed_hosts: Hosts = Field(
        default=None,
        description="Names that clients call the service by, comma-separated, without ports; `*.example.org`, or "
        "`*` for any; others: 421. Empty: localhost on a loopback address, else any.",
    )
    cors_origins: Origins = Field(
        default=None,
        description="Sites whose pages may use the service, comma-separated, as `https://example.org`; `*` for "
        "any. Empty: none but its own.",
    )
    log_format: Literal["json", "console"] = Field(
        default="console", description="Log lines as JSON or for people."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Least important lines that are logged; `debug` shows probes and scrapes."
    )

    @property
    def on_loopback(self) -> bool:
        """Whether only this machine can reach the service."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:  # a name
            return self.host == "localhost"

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown_variables(cls, values: Any) -> Any:
        known = {PREFIX + name.upper() for name in cls.model_fields}
        unknown = sorted(
            name for name in os.environ if name.upper().startswith(PREFIX) and name.upper() not in known
        )
        if unknown:
            raise ValueError("; ".join(_unknown(name, known) for name in unknown))
        return values

    @model_validator(mode="after")
    def _stall_outlasts_requests(self) -> Self:
        if self.stall_timeout < self.request_timeout:
            raise ValueError(
                f"CWIC_STALL_TIMEOUT ({self.stall_timeout:g} s) must not be below "
                f"CWIC_REQUEST_TIMEOUT ({self.request_timeout:g} s): slow work would look like a dead worker"
            )
        return self

    @model_validator(mode="after")
    def _one_body_fits(self) -> Self:
        if self.max_body_memory // 2 < self.max_body_bytes:
            raise ValueError(
                f"CWIC_MAX_BODY_MEMORY ({self.max_body_memory}) must be at least twice CWIC_MAX_BODY_BYTES "
                f"({self.max_body_bytes}): one client may have half of it, and one body must fit there"
            )
        return self


def _unknown(name: str, known: set[str]) -> str:
    close = difflib.get_close_matches(name.upper(), known, n=1)
    hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(sorted(known))}"
    return f"{name} is no setting of cwic; {hint}"
