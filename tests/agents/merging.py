"""A merge agent with both stores in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from schemas import internal
from schemas.results import ALL, SIZES_MS, Cell, MetricValue
from streamproc.agents.merge import MergeAgent
from streamproc.agents.merge_partition import MergePartition
from streamproc.clock import now_ms
from streamproc.config import Settings
from streamproc.errors import RetryableError
from streamproc.sinks.redis_instance import LiveInstance
from streamproc.windows.accumulators import Count

MEASURE = "user_events"
NUMBER = internal.partition_of_window(MEASURE, "", "", Settings().partitions)


class Store:
    """Both sinks in memory; `down` makes every call fail."""

    def __init__(self) -> None:
        self.down = False
        self.cells: list[Cell] = []
        self.values: list[MetricValue] = []
        self.live: dict[tuple[Any, ...], MetricValue] = {}
        self.rolled: list[MetricValue] = []
        self.name = "a"

    def _check(self) -> None:
        if self.down:
            raise RetryableError("down", "for the test")

    async def write(self, cells: Sequence[Cell], values: Sequence[MetricValue]) -> None:
        self._check()
        self.cells += cells
        self.values += values

    async def load_cells(self, keys: Any) -> list[Cell]:
        self._check()
        return []

    async def load_since(self, starts: Mapping[str, int], before: Mapping[str, int]) -> list[Cell]:
        self._check()
        return [c for c in self.cells if starts[c.size] <= c.start_ms < before.get(c.size, 2**62)]

    async def recent_entities(self, since_ms: int) -> list[Any]:
        self._check()
        return []

    async def load_source(self, source: str, after: int) -> list[Cell]:
        self._check()
        return self.cells

    async def entities(self, since_ms: int) -> AsyncIterator[list[MetricValue]]:
        self._check()
        newest = {(v.metric, v.dimension_value): v for v in self.values if v.size == ALL}
        yield [value for value in newest.values() if value.updated_at_ms >= since_ms]

    async def series(
        self, of: Collection[tuple[str, str]], size: str, since_ms: int, newest: int
    ) -> AsyncIterator[list[MetricValue]]:
        self._check()
        found = [v for v in self.values if (v.metric, v.dimension) in of and v.size == size]
        yield [v for v in found if v.window_start_ms >= since_ms][-newest:]


class Live:
    """Redis in memory."""

    def __init__(self) -> None:
        self.values: dict[tuple[Any, ...], MetricValue] = {}
        self.rolls: list[MetricValue] = []
        self.name = "a"
        self.ahead_ms = 0

    async def write(self, values: Sequence[MetricValue]) -> int:
        self.values |= {(v.metric, v.size, v.dimension, v.dimension_value, v.window_start_ms): v for v in values}
        return len(values)

    async def roll(self, values: Sequence[MetricValue]) -> int:
        self.rolls += values
        return len(values)

    async def instance(self) -> LiveInstance:
        return LiveInstance(self.name, False, now_ms() + self.ahead_ms)


def agent(store: Store, live: Live) -> MergeAgent:
    made = MergeAgent(Settings(), store, live, judge=lambda value, partition: None)
    made.partitions[NUMBER] = MergePartition(NUMBER)
    return made


def cell(source: str, version: int, size: str = "1m") -> Cell:
    start = now_ms() - now_ms() % SIZES_MS[size]
    return Cell(MEASURE, "", "", size, start, source, version, Count(version + 1).to_bytes())


def record(offset: int, *cells: Cell) -> Any:
    value = internal.encode(internal.Partials(cells[0].source, cells[0].version, list(cells)))
    return SimpleNamespace(offset=offset, timestamp=1, key=b"k", value=value)


async def flushed(made: MergeAgent) -> None:
    while not all(held.loaded for held in made.partitions.values()):
        await made.lookup.load_open()
    await made.emit_now()
    for sink in (made.redis, made.clickhouse):
        while sink.pending:
            await sink._write_some()
