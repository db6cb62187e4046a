"""A picture's work as a sequence of steps, so that steps of several pictures can run together.

Whoever codes pictures writes a generator that yields the steps it needs next and is sent their results; who runs it
decides when, where and with which others. `run` is the simplest way, one picture at a time:

    def double(picture):                        # a work
        results = yield [Tile(picture, 0), Tile(picture, 1)]
        yield ()                                # a moment at which the work may be given up
        return join(results)
"""

from abc import ABC, abstractmethod
from collections.abc import Generator, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, Self, TypeVar

from model.tiling import Box, TileGrid
from model.types import Check, unchecked

T = TypeVar("T")
Owner = TypeVar("Owner", bound="Tiled")


class Tiled(Protocol):
    """A picture or a file on its way, tile by tile."""

    @property
    def grid(self) -> TileGrid:
        """Its tiles."""


@dataclass(frozen=True, eq=False)
class Step(ABC, Generic[Owner]):
    """Work on one tile, independent of all other steps that are yielded with it.

    Attributes:
        owner: the picture or file that the tile belongs to.
        index: of the tile.
    """

    owner: Owner
    index: int

    @property
    def box(self) -> Box:
        """The tile."""
        return self.owner.grid.box(self.index)

    @property
    def key(self) -> Hashable:
        """Equal for steps, of whatever pictures, that can run together; by default for none."""
        return self

    @property
    def most(self) -> int:
        """How many steps of this key run together at best."""
        return 1

    @classmethod
    @abstractmethod
    def run(cls, steps: Sequence[Self], check: Check) -> list[Any]:
        """Do some steps of one key and return their results, none of which depends on the other steps.

        Where a step fails, its error is raised, and the others of the batch have no result either.
        """


Work = Generator[Sequence[Step[Any]], Sequence[Any], T]


def run(work: Work[T], check: Check = unchecked) -> T:
    """Do a picture's work by itself; `check` is called whenever it yields, and within its steps."""
    results: Sequence[Any] | None = None
    try:
        while True:
            try:
                steps = work.send(results)  # type: ignore[arg-type] # None begins it
            except StopIteration as end:
                found: T = end.value
                return found
            check()
            done: dict[Step[Any], Any] = {}
            for batch in batches(steps):
                done |= zip(batch, type(batch[0]).run(batch, check), strict=True)
            results = [done[step] for step in steps]
            del done
    finally:
        work.close()


def results_of(steps: Sequence[Step[Any]]) -> Work[Sequence[Any]]:
    """The work that is just these steps."""
    results: Sequence[Any] = yield steps
    return results


def together(works: Sequence[Work[T]]) -> Work[list[T]]:
    """Several works as one: what they need next is yielded at once, so that it can run together."""
    found: dict[int, T] = {}
    sent: dict[int, Sequence[Any] | None] = dict.fromkeys(range(len(works)))
    while True:
        wanted: dict[int, Sequence[Step[Any]]] = {}
        for index, results in sent.items():
            try:
                wanted[index] = works[index].send(results)  # type: ignore[arg-type] # None begins it
            except StopIteration as end:
                found[index] = end.value
        if not wanted:
            return [found[index] for index in range(len(works))]
        done = iter((yield [step for steps in wanted.values() for step in steps]))
        sent = {index: [next(done) for _ in steps] for index, steps in wanted.items()}


def batches(steps: Iterable[Step[Any]]) -> Iterator[list[Step[Any]]]:
    """Steps in runs that can run together, each as long as is best."""
    by_key: dict[Hashable, list[Step[Any]]] = {}
    for step in steps:
        by_key.setdefault(step.key, []).append(step)
    for own in by_key.values():
        most = own[0].most
        yield from (own[start : start + most] for start in range(0, len(own), most))
