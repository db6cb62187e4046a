"""What is counted, logged and traced of a request that has ended."""

from collections.abc import Mapping
from dataclasses import dataclass

from service.observe.timing import Timing

OTHER = "other"  # method, of what is none of METHODS
UNMATCHED = "unmatched"  # route, of what has none
LONGEST_PATH = 512  # characters that are logged and traced: a header has room for a hundred times as many


@dataclass(frozen=True, kw_only=True)
class Answered:
    """A request and its answer.

    Attributes:
        method: one of `METHODS`, or `OTHER`.
        path: the client's word.
        route: the template that the path matches, or `UNMATCHED`.
        status: of the answer.
        received: bytes of the request's body.
        size: bytes of the answer's body.
        seconds: from its complete header, or its turn, until the answer was handed to the connection.
        client: address.
        request_id: as in the answer.
        key: name of the key that it came with, if any.
        timing: of its stages, if it had any.
    """

    method: str
    path: str
    route: str
    status: int
    received: int
    size: int
    seconds: float
    client: str
    request_id: str
    key: str | None = None
    timing: Timing | None = None

    @property
    def shown_path(self) -> str:
        """As much of the path as is worth keeping."""
        return self.path[:LONGEST_PATH]

    @property
    def stages(self) -> Mapping[str, float]:
        """The time of each stage, in milliseconds."""
        return self.timing.milliseconds if self.timing else {}
