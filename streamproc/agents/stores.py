"""What stage 2 needs of its stores."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from typing import Protocol

from schemas.results import Cell, MetricValue
from streamproc.sinks.redis_instance import LiveInstance

#: measure, dimension, dimension value, size, start (epoch ms)
StoreKey = tuple[str, str, str, str, int]


class WindowStore(Protocol):
    """What the merge agent needs of ClickHouse."""

    async def write(self, cells: Sequence[Cell], values: Sequence[MetricValue]) -> None:
        """Cells first, then values; raises RetryableError or PermanentError."""

    async def load_cells(self, keys: Sequence[StoreKey]) -> list[Cell]:
        """Stored cells of these windows."""

    async def load_since(self, starts: Mapping[str, int], before: Mapping[str, int]) -> list[Cell]:
        """Stored cells of all windows with `start >= starts[size]`, and `start < before[size]` where that is given."""

    async def recent_entities(self, since_ms: int) -> list[StoreKey]:
        """Entities with an event since then (log time, epoch ms)."""

    async def load_source(self, source: str, after: int) -> list[Cell]:
        """Stored cells of one source whose version is above `after`."""

    def entities(self, since_ms: int) -> AsyncIterator[list[MetricValue]]:
        """The stored totals that changed since then (wall clock, epoch ms), in pages."""

    def series(
        self, of: Collection[tuple[str, str]], size: str, since_ms: int, newest: int
    ) -> AsyncIterator[list[MetricValue]]:
        """The newest stored values of each series of these (metric, dimension), as many as that, in pages."""


class LiveStore(Protocol):
    """What the merge agent needs of Redis; all raise RetryableError or PermanentError."""

    async def write(self, values: Sequence[MetricValue]) -> int:
        """Newest values, each taken only if it is not older than what is there."""

    async def roll(self, values: Sequence[MetricValue]) -> int:
        """Empty windows of metrics that are quiet."""

    async def instance(self) -> LiveInstance:
        """Which data set answers (another one does not hold what was written before), and what time it is there."""
