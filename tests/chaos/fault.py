"""What a fault is: something that is done to the world, waited out, and undone."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable

from tests.chaos.world import World

#: What a fault may strike. Two faults run at the same time only if they share none of these.
WORKERS = "workers"
#: One windows worker, while others do as they like; so that two such faults run at the same time.
ONE_WORKER = "one worker"
ANOTHER_WORKER = "another worker"
BROKERS = "brokers"
CLICKHOUSE = "clickhouse"
REDIS = "redis"
SLACK = "slack"

#: What a fault that needs a quiet world touches.
EVERYTHING = frozenset({WORKERS, BROKERS, CLICKHOUSE, REDIS, SLACK})

#: An injection that has not come back after this many seconds (and some more) is a mistake of the run itself.
LONGEST_S = 60.0


class NotInjectedError(Exception):
    """The fault never struck (a point of the code was not passed in time): nothing is said about the product by that."""


class Fault(ABC):
    """One kind of fault.

    `ids` are those of the matrix (docs/reliability.md) that it covers; `touches` says what it strikes; `weight` how
    often it is drawn beside the others; `alone`: nothing else may be killed or paused meanwhile. A fault keeps nothing
    between injections: all that is random comes from `world.rng`, which is seeded for each injection.
    """

    name: str
    ids: tuple[str, ...]
    touches: frozenset[str]
    weight: float = 1.0
    longest_s: float = LONGEST_S
    alone: bool = False

    @property
    def places(self) -> frozenset[str]:
        """All that it strikes: who strikes workers strikes any of them."""
        return self.touches | ({ONE_WORKER, ANOTHER_WORKER} if WORKERS in self.touches else set())

    def meets(self, others: Iterable[Fault]) -> bool:
        """Whether it cannot run beside all of these; who strikes everything needs a world without any other fault."""
        return any(
            self.name == other.name
            or not self.places.isdisjoint(other.places)
            or EVERYTHING in (self.touches, other.touches)
            for other in others
        )

    def impossible(self, world: World) -> str:
        """Why this world cannot have this fault ('' if it can), e.g. the embedded broker has no CreatePartitions."""
        return ""

    @abstractmethod
    async def inject(self, world: World) -> None:
        """Apply the fault, wait, undo it; at most `longest_s`.

        When this returns the world must be able to recover by itself (the driver's supervisor starts again whatever
        worker has died).

        Raises:
            AssertionError: a promise was broken that only this fault can see.
            NotInjectedError: it did not come to it; the run tries it again later.
        """
