"""Modelled ClickHouse and Redis: the version rules of ReplacingMergeTree and of our Lua, in memory.

`test_models.py` holds the model of Redis to the real script on a real server.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from typing import Any

from schemas.results import ALL, Cell, MetricValue
from streamproc.sinks.lost_offsets_store import LostOffsets
from streamproc.sinks.redis_instance import LiveInstance
from streamproc.sinks.redis_live import value_text
from tests.simulation import virtual

WindowName = tuple[str, str, str, str, int]
"""measure or metric, dimension, dimension value, size, start (0 for entities)."""


def name_of(value: MetricValue) -> WindowName:
    """The window that a published value belongs to."""
    return value.metric, value.dimension, value.dimension_value, value.size, value.window_start_ms


class ClickHouse:
    """meta.window_sources, gold.windows and gold.entities as `FINAL` shows them: per key the highest version, and of
    equal ones the last that was inserted."""

    def __init__(self) -> None:
        self.cells: dict[WindowName, dict[tuple[int, str], Cell]] = {}
        self.values: dict[WindowName, MetricValue] = {}

    def put_cells(self, cells: Sequence[Cell]) -> None:
        """One insert into meta.window_sources."""
        for cell in cells:
            start = 0 if cell.size == ALL else cell.start_ms
            key = (cell.measure, cell.dimension, cell.dimension_value, cell.size, start)
            parts = self.cells.setdefault(key, {})
            known = parts.get((cell.start_ms, cell.source))
            if known is None or cell.version >= known.version:
                parts[cell.start_ms, cell.source] = cell

    def put_values(self, values: Sequence[MetricValue]) -> None:
        """One insert into gold.windows or gold.entities."""
        for value in values:
            name = name_of(value)
            known = self.values.get(name)
            if known is None or value.version >= known.version:
                self.values[name] = value

    def copy(self) -> ClickHouse:
        """A backup."""
        other = ClickHouse()
        other.cells = {key: dict(parts) for key, parts in self.cells.items()}
        other.values = dict(self.values)
        return other


class SimStore:
    """ClickHouse as a worker sees it (agents/merge.WindowStore): three inserts, each with its own fate."""

    def __init__(self, process: Any) -> None:
        self._process = process
        self._world = process.world

    async def write(self, cells: Sequence[Cell], values: Sequence[MetricValue]) -> None:
        """Cells first, then windows, then entities, as sinks/windows_sink.py."""
        windows = [value for value in values if value.size != ALL]
        entities = [value for value in values if value.size == ALL]
        world = self._world
        if cells:
            await self._process.request("clickhouse", lambda: world.clickhouse.put_cells(cells))
        for part in (windows, entities):
            if part:
                await self._process.request("clickhouse", lambda part=part: world.clickhouse.put_values(part))

    async def load_cells(self, keys: Sequence[WindowName]) -> list[Cell]:
        """All parts and sources of these windows."""

        def read() -> list[Cell]:
            found = self._world.clickhouse.cells
            return [cell for key in set(keys) for cell in found.get(tuple(key), {}).values()]

        cells: list[Cell] = await self._process.request("clickhouse", read, is_read=True)
        return cells

    async def load_since(self, starts: Mapping[str, int], before: Mapping[str, int]) -> list[Cell]:
        """All windows that start at or after `starts[size]`, and before `before[size]`."""

        def read() -> list[Cell]:
            found = self._world.clickhouse.cells
            return [
                cell
                for key, parts in found.items()
                if key[3] in starts and starts[key[3]] <= key[4] < before.get(key[3], _NEVER_MS)
                for cell in parts.values()
            ]

        cells: list[Cell] = await self._process.request("clickhouse", read, is_read=True)
        return cells

    async def recent_entities(self, since_ms: int) -> list[WindowName]:
        """Entities with a part since then."""

        def read() -> list[WindowName]:
            found = self._world.clickhouse.cells
            return [key for key, parts in found.items() if key[3] == ALL and any(at >= since_ms for at, _ in parts)]

        keys: list[WindowName] = await self._process.request("clickhouse", read, is_read=True)
        return keys

    async def load_source(self, source: str, after: int) -> list[Cell]:
        """Cells of one source with a version above that."""

        def read() -> list[Cell]:
            found = self._world.clickhouse.cells.values()
            return [cell for parts in found for (_, of), cell in parts.items() if of == source and cell.version > after]

        cells: list[Cell] = await self._process.request("clickhouse", read, is_read=True)
        return cells

    async def entities(self, since_ms: int) -> AsyncIterator[list[MetricValue]]:
        """Totals that were published since then."""

        def read() -> list[MetricValue]:
            found = self._world.clickhouse.values.items()
            return [value for key, value in found if key[3] == ALL and value.updated_at_ms >= since_ms]

        values: list[MetricValue] = await self._process.request("clickhouse", read, is_read=True)
        yield values

    async def series(
        self, of: Collection[tuple[str, str]], size: str, since_ms: int, newest: int
    ) -> AsyncIterator[list[MetricValue]]:
        """The `newest` stored windows of each series of these (metric, dimension), the newest first."""

        def read() -> list[MetricValue]:
            found = self._world.clickhouse.values.items()
            wanted = [v for k, v in found if k[3] == size and k[4] >= since_ms and (k[0], k[1]) in of]
            taken: Counter[tuple[str, str, str]] = Counter()
            page = []
            for value in sorted(wanted, key=lambda value: -value.window_start_ms):
                series = (value.metric, value.dimension, value.dimension_value)
                taken[series] += 1
                if taken[series] <= newest:
                    page.append(value)
            return page

        values: list[MetricValue] = await self._process.request("clickhouse", read, is_read=True)
        yield values


class Live:
    """One `sp:live` hash: the two newest windows that it was given."""

    __slots__ = ("before", "count", "late", "start", "status", "text", "version")

    def __init__(self) -> None:
        self.start = self.version = -1
        self.text = self.status = ""
        self.count = self.late = 0
        #: start, version and text of the window before it.
        self.before: tuple[int, int, str] | None = None


class Redis:
    """`sp:live`, `sp:series` and `sp:entity`. `compare` is off when the version check is left out as a mistake."""

    compare = True

    def __init__(self) -> None:
        self.generation = 0
        self.born_ms = 0
        self.empty(0)

    def empty(self, now_ms: int) -> None:
        """The data set is gone (restart without data, FLUSHALL, another server)."""
        self.generation += 1
        self.marked = False
        self.born_ms = now_ms
        self.live: dict[tuple[str, str, str, str], Live] = {}
        self.series: dict[tuple[str, str, str, str], dict[int, tuple[int, str]]] = {}
        self.entities: dict[tuple[str, str], tuple[int, str, int]] = {}

    def put(self, values: Sequence[MetricValue], is_roll: bool) -> None:
        """One script call."""
        for value in values:
            text = value_text(value)
            if value.size == ALL:
                self._put_entity(value, text)
                continue
            where = (value.metric, value.size, value.dimension, value.dimension_value)
            self._put_live(where, value, text)
            if not is_roll:
                entries = self.series.setdefault(where, {})
                known = entries.get(value.window_start_ms)
                if known is None or value.version >= known[0] or not self.compare:
                    entries[value.window_start_ms] = (value.version, text)

    def _put_entity(self, value: MetricValue, text: str) -> None:
        name = (value.metric, value.dimension_value)
        known = self.entities.get(name)
        if known is None or value.version >= known[0] or not self.compare:
            self.entities[name] = (value.version, text, value.count)

    def _put_live(self, where: tuple[str, str, str, str], value: MetricValue, text: str) -> None:
        live = self.live.get(where)
        start, version = value.window_start_ms, value.version
        if live is None:
            live = self.live[where] = Live()
        elif start < live.start:
            before = live.before
            if before is not None and self.compare and (start, version) < before[:2]:
                return
            live.before = (start, version, text)
            return
        elif start == live.start:
            if version < live.version and self.compare:
                return
        else:
            live.before = (live.start, live.version, live.text)
        live.start, live.version, live.text = start, version, text
        live.count, live.late, live.status = value.count, value.late, value.status


class SimLive:
    """Redis as a worker sees it (agents/merge.LiveStore)."""

    def __init__(self, process: Any) -> None:
        self._process = process
        self._world = process.world

    async def write(self, values: Sequence[MetricValue]) -> int:
        """Newest values."""
        await self._process.request("redis", lambda: self._world.redis.put(values, False))
        return len(values)

    async def roll(self, values: Sequence[MetricValue]) -> int:
        """Empty windows of quiet metrics."""
        await self._process.request("redis", lambda: self._world.redis.put(values, True))
        return len(values)

    async def instance(self) -> LiveInstance:
        """Identity of the data set; its birth is when somebody first asked, as the marker key has it."""

        def read() -> LiveInstance:
            redis, now_ms = self._world.redis, virtual.clock.ms
            if not redis.marked:
                redis.marked, redis.born_ms = True, now_ms
            return LiveInstance(str(redis.generation), now_ms - redis.born_ms < _YOUNG_MS, now_ms)

        found: LiveInstance = await self._process.request("redis", read, is_read=True)
        return found


_YOUNG_MS = 300_000
_NEVER_MS = 2**62


class SimLosses:
    """meta.lost_offsets: every row that arrived, once."""

    def __init__(self, process: Any) -> None:
        self._process = process

    async def write(self, rows: Sequence[LostOffsets]) -> None:
        """One insert."""
        await self._process.request("clickhouse", lambda: self._process.world.lost_rows.update(rows))
