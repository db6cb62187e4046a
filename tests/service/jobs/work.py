"""Operations made of whatever a test needs, and steps that do what it says."""

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from model.protocol import PictureCodec
from model.steps import Step, Work
from model.tiling import TileGrid
from model.types import Check
from service.jobs.admission import Ticket
from service.jobs.job import Job
from service.jobs.operations import Operation
from service.observe.timing import Timing
from tests.service.fakes import FakeCodec


@dataclass(frozen=True, eq=False)
class Picture:
    """One tile of 64 x 64.

    Attributes:
        name: what its step's result is.
        act: called with the batch's names when a batch runs that it is the first of.
        most: see `Step`.
    """

    name: str
    act: Callable[[list[str]], object] = field(default=lambda _: None)
    most: int = 4
    key: Hashable = "tiles"

    @property
    def grid(self) -> TileGrid:
        """See `Tiled`."""
        return TileGrid(64, 64, 1024)


class Tile(Step[Picture]):
    """A step whose result is the picture's name."""

    @property
    def key(self) -> Hashable:
        """As the picture says."""
        return self.owner.key

    @property
    def most(self) -> int:
        """As the picture says."""
        return self.owner.most

    @classmethod
    def run(cls, steps: Sequence[Self], check: Check) -> list[str]:
        """Every picture acts, which may wait or raise."""
        names = [each.owner.name for each in steps]
        for each in steps:
            check()
            each.owner.act(names)
        return names


@dataclass(frozen=True, eq=False, kw_only=True)
class Made(Operation[Any]):
    """An operation of a generator function."""

    op = "made"
    function: Callable[[], Work[Any]]
    codec: PictureCodec = field(default_factory=FakeCodec)

    @property
    def pixels(self) -> int:
        """Of one tile."""
        return 4096

    @property
    def tiles(self) -> int:
        """One."""
        return 1

    def work(self, timing: Timing) -> Work[Any]:
        """See `Operation`."""
        del timing
        return self.function()


def job(function: Callable[[], Work[Any]], *, priority: float = 0.0) -> Job[Any]:
    """A job that has been taken on; the smaller its priority, the earlier it is done."""
    operation = Made(function=function)
    ticket = Ticket(
        "",
        operation.kind,
        operation.pixels,
        operation.pixels,
        admitted=priority,
        deadline=math.inf,
        seconds=0.0,
        alone=0.0,
    )
    return Job(operation, ticket=ticket, timing=Timing("made"))


def one_step(picture: Picture) -> Callable[[], Work[str]]:
    """Work of one step, whose result is the picture's name."""

    def work() -> Work[str]:
        (result,) = yield [Tile(picture, 0)]
        assert isinstance(result, str)
        return result

    return work


def host(function: Callable[[], Any]) -> Callable[[], Work[Any]]:
    """Work without steps."""

    def work() -> Work[Any]:
        yield ()
        return function()

    return work
