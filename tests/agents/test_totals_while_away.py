"""Entity totals while a store is away: new ones come without end, and memory must not grow with all of them."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import Sequence
from typing import Any

from schemas import internal
from schemas.results import ALL, Cell, MetricValue
from streamproc.agents.merge import MergeAgent
from streamproc.agents.merge_partition import MergePartition
from streamproc.config import Settings
from streamproc.errors import RetryableError
from streamproc.sinks.redis_instance import LiveInstance
from streamproc.windows.accumulators import IdSum
from tests.agents.merging import Live, Store, flushed, record

HOUR_MS = 3_600_000
_MEASURE, _OF = "cost_per_video", "video_id"


class Redis(Live):
    """Redis in memory, which can be away."""

    down = False

    def _check(self) -> None:
        if self.down:
            raise RetryableError("down", "for the test")

    async def write(self, values: Sequence[MetricValue]) -> int:
        self._check()
        return await super().write(values)

    async def instance(self) -> LiveInstance:
        self._check()
        return await super().instance()

    def totals(self) -> dict[str, float | None]:
        """What it shows of each video."""
        return {key[3]: value.value for key, value in self.values.items() if key[1] == ALL}


def _video(number: int) -> str:
    """A name that belongs to partition 0."""
    names = (f"{number}-{n}" for n in range(1000))
    return next(n for n in names if internal.partition_of_window(_MEASURE, _OF, n, Settings().partitions) == 0)


def _total(video: str, version: int, dollars: int) -> Cell:
    cost = IdSum()
    cost.add(version, dollars * 10_000)
    return Cell(_MEASURE, _OF, video, ALL, 60_000 * version, "cost-events/0/log", version, cost.to_bytes())


def _agent(store: Store, live: Live) -> tuple[MergeAgent, MergePartition]:
    made = MergeAgent(Settings(), store, live, judge=lambda value, partition: None)
    held = made.partitions[0] = MergePartition(0)
    return made, held


async def _checked(made: MergeAgent, away: bool) -> None:
    """The view has seen that Redis is away, or is there."""
    checking = asyncio.create_task(made.live_view.check_loop())
    for _ in range(300):
        if made.live_view.away == away and (away or made.live_view.now_ms() is not None):
            break
        await asyncio.sleep(0.01)
    checking.cancel()


async def _settle(made: MergeAgent) -> None:
    await made.emit_now()
    for sink in (made.redis, made.clickhouse):
        await sink._write_some()


def test_totals_are_let_go_while_redis_is_away_and_come_from_clickhouse_when_it_is_back() -> None:
    """The newest of each, also of one that Redis knows an older value of; nothing before Redis is back."""

    async def act() -> None:
        store, live = Store(), Redis()
        made, held = _agent(store, live)
        await flushed(made)
        await made.handle("window-partials", 0, [record(0, _total(_video(1), 0, 1))])
        held.state.loaded(list(held.state.to_load), [], 0)
        await flushed(made)
        await _checked(made, away=False)
        held.history_due = False
        live.down = True
        await _checked(made, away=True)
        cells = [_total(_video(1), 1, 2), *(_total(_video(n), n, n) for n in range(2, 6))]
        await made.handle("window-partials", 0, [record(1, *cells)])
        held.state.loaded(list(held.state.to_load), [], 0)
        await _settle(made)
        made._let_go(held, HOUR_MS + 10**15)
        assert not held.state.windows and held.history_due
        await made.live_view.load()
        assert held.history_due and live.totals() == {_video(1): 1.0}
        live.down = False
        await _checked(made, away=False)
        await flushed(made)
        await made.live_view.load()
        assert live.totals() == {_video(1): 3.0, **{_video(n): float(n) for n in range(2, 6)}}
        assert not held.history_due

    asyncio.run(act())


def test_totals_that_clickhouse_does_not_have_are_held_though_redis_is_away_too() -> None:
    """Nobody else has them."""

    async def act() -> None:
        store, live = Store(), Redis()
        made, held = _agent(store, live)
        await flushed(made)
        live.down = store.down = True
        await _checked(made, away=True)
        await made.handle("window-partials", 0, [record(0, _total(_video(1), 0, 1))])
        held.state.loaded(list(held.state.to_load), [], 0)
        await _settle(made)
        made._let_go(held, 10**15)
        assert len(held.state.windows) == 1

    asyncio.run(act())


def test_what_is_let_go_while_totals_are_loaded_is_loaded_too() -> None:
    """Redis goes and comes while pages are read: what went with it is due again."""

    async def act() -> None:
        store, live = Store(), Redis()
        made, held = _agent(store, live)
        await flushed(made)
        await _checked(made, away=False)
        held.history_due = True
        entities = store.entities

        async def slowly(since_ms: int) -> Any:
            async for page in entities(since_ms):
                yield page
                held.history_due = True

        store.entities = slowly  # type: ignore[method-assign]  # the same, with something that happens in between
        await made.live_view.load()
        assert held.history_due

    asyncio.run(act())


def test_a_sink_that_is_down_is_tried_with_little() -> None:
    """Building thousands of values for a sink that takes none would stall what goes on; once it is back, all goes."""

    async def act() -> None:
        store, tried = Store(), []
        made, held = _agent(store, Live())
        await flushed(made)
        write = store.write

        async def counted(cells: Sequence[Cell], values: Sequence[MetricValue]) -> None:
            tried.append(len(values))
            await write(cells, values)

        store.write = counted  # type: ignore[method-assign]  # the same, counted
        store.down = True
        await made.handle("window-partials", 0, [record(0, *(_total(f"{n}", n, 1) for n in range(5000)))])
        held.state.loaded(list(held.state.to_load), [], 0)
        await made.emit_now()
        for _ in range(3):
            await made.clickhouse._write_some()
        store.down = False
        for _ in range(2):
            await made.clickhouse._write_some()
        assert tried == [5000, 100, 100, 100, 4900]
        assert not made.clickhouse.pending

    asyncio.run(act())


def test_a_total_that_clickhouse_does_not_take_costs_little_memory() -> None:
    """94,000 new videos come in five minutes at 5,000 events/s: a worker of 500 MB has room for 2,500 bytes each."""

    async def act() -> None:
        store, live, many = Store(), Live(), 3000
        made, held = _agent(store, live)
        await flushed(made)
        store.down = True
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        held.state.apply((_total(f"{n}", n, 1) for n in range(many)), 0, 0)
        held.state.loaded(list(held.state.to_load), [], 0)
        await made.emit_now()
        await made.clickhouse._write_some()
        while made.redis.pending:
            await made.redis._write_some()
        live.values.clear()
        each = (tracemalloc.get_traced_memory()[0] - before) / many
        tracemalloc.stop()
        assert len(held.state.windows) == many
        assert each < 1900, f"{each:.0f} bytes a total"

    asyncio.run(act())
