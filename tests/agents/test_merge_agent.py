"""The merge agent on its own: what may be forgotten of the log, a new log, and an emptied Redis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from itertools import pairwise
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from schemas import internal
from schemas.results import ALL, FINAL, SIZES_MS, Cell, MetricValue
from streamproc.agents import lookup
from streamproc.agents.lookup import spans
from streamproc.agents.merge import MergeAgent
from streamproc.agents.merge_partition import MergePartition
from streamproc.clock import now_ms
from streamproc.config import Settings
from streamproc.errors import RetryableError
from streamproc.sinks.redis_instance import LiveInstance
from streamproc.windows.accumulators import Count
from streamproc.windows.merge import SourceProgress, WindowKey

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


def test_a_cell_that_is_not_stored_is_read_again_though_its_window_moved_on() -> None:
    """Two sources of one window: the first one's cell came long before the second one's, and neither is stored."""

    async def act() -> None:
        made = agent(Store(), Live())
        held = made.partitions[NUMBER]
        await made.handle("window-partials", NUMBER, [record(0, cell("a", 0))])
        await made.handle("window-partials", NUMBER, [record(1, cell("b", 0))])
        await made.handle("window-partials", NUMBER, [record(2, cell("b", 1))])
        assert held.stored_until() <= 0
        await flushed(made)
        assert held.stored_until() == 3
        await made.handle("window-partials", NUMBER, [record(3, cell("b", 2))])
        assert held.stored_until() == 3

    asyncio.run(act())


def test_a_cell_whose_value_was_shown_as_far_as_known_is_read_again() -> None:
    """ClickHouse could not be asked, and took the cell and an incomplete value a moment later: whoever comes next has to
    see the cell, or nobody ever shows the whole."""

    async def act() -> None:
        store = Store()
        store.cells.append(cell("a", 5))
        made = agent(store, Live())
        held = made.partitions[NUMBER]
        made.lookup.failed = True
        await made.handle("window-partials", NUMBER, [record(0, cell("b", 0))])
        await made.emit_now()
        while made.clickhouse.pending:
            await made.clickhouse._write_some()
        assert (store.cells[-1].source, store.values[-1].value) == ("b", 1)
        assert held.stored_until() <= 0
        made.lookup.failed = False
        await flushed(made)
        assert store.values[-1].value == 7
        assert held.stored_until() == 1

    asyncio.run(act())


def test_cells_of_another_release_and_unreadable_records_are_left_alone() -> None:
    """A measure that this release does not have, in the topic, in ClickHouse: no crash, and the others count."""

    async def act() -> None:
        store, live = Store(), Live()
        strange = Cell("of_tomorrow", "", "", "1m", cell("a", 0).start_ms, "a", 5, b"\xff")
        store.cells.append(strange)
        made = agent(store, live)
        await flushed(made)
        broken = SimpleNamespace(offset=0, timestamp=1, key=b"k", value=b"\xc1")
        await made.handle("window-partials", NUMBER, [broken, record(1, strange, cell("a", 3))])
        await flushed(made)
        assert {value.metric for value in live.values.values()} == {MEASURE}
        assert made.partitions[NUMBER].next_offset == 2

    asyncio.run(act())


def test_a_new_log_of_partials_keeps_what_is_held() -> None:
    """ClickHouse is away and the broker forgets its log: what was read is in this process alone."""

    async def act() -> None:
        store = Store()
        made = agent(store, Live())
        held = made.partitions[NUMBER]
        await flushed(made)
        store.down = True
        await made.handle("window-partials", NUMBER, [record(0, cell("old", 7))])
        held.restart()
        assert held.next_offset == 0
        await made.handle("window-partials", NUMBER, [record(0, cell("new", 0))])
        assert held.stored_until() <= 0
        store.down = False
        await flushed(made)
        assert {each.source for each in store.cells} == {"old", "new"}
        assert held.stored_until() == 1

    asyncio.run(act())


def test_an_emptied_redis_is_filled_again_with_what_is_held_and_what_was_let_go() -> None:
    """All windows, also those that were let go lately, and the rolled ones of quiet metrics."""

    async def act() -> None:
        store, live = Store(), Live()
        made = agent(store, live)
        held = made.partitions[NUMBER]
        await flushed(made)
        await made.handle("window-partials", NUMBER, [record(0, cell("a", 3), cell("a", 3, "1h"))])
        await flushed(made)
        expected = dict(live.values)
        assert expected
        held.state.forget(next(key for key in held.state.windows if key.size == "1m"))
        live.values.clear()
        made.live_view.refill()
        await flushed(made)
        assert live.values.keys() == expected.keys()
        assert all(live.values[key].value == value.value for key, value in expected.items())
        assert held.state.rolled(now_ms() + 60_000)

    asyncio.run(act())


async def _checked(made: MergeAgent) -> None:
    """The view has asked Redis who and when it is."""
    checking = asyncio.create_task(made.live_view.check_loop())
    for _ in range(300):
        if made.live_view.now_ms() is not None:
            break
        await asyncio.sleep(0.01)
    checking.cancel()


def test_an_emptied_redis_gets_the_windows_of_its_series_back_that_nobody_holds_any_more() -> None:
    """2, 2, 7 and 35 days back; quiet metrics among them roll again."""

    async def act() -> None:
        store, live = Store(), Live()
        made = agent(store, live)
        await flushed(made)
        await _checked(made)
        now = now_ms()
        # Minutes and five minutes with long gaps between them are looked for in two days.
        old = {"1m": 2879, "5m": 575, "1h": 167, "1d": 34}
        for size, back in old.items():
            size_ms = SIZES_MS[size]
            for start in (now - now % size_ms - back * size_ms, now - now % size_ms - 2 * back * size_ms):
                fields = (MEASURE, size, "", "", start, start + size_ms, 7.0, 7, 0, "final", 0, 9, now)
                store.values.append(MetricValue(*fields))
        made.live_view.refill()
        made.partitions[NUMBER].loaded = True
        await made.live_view.load()
        found = {(key[1], key[4]) for key in live.values}
        assert found == {(v.size, v.window_start_ms) for v in store.values[::2]}
        await made.live_view.roll()
        assert {v.size for v in live.rolls} == set(SIZES_MS)

    asyncio.run(act())


def test_quiet_metrics_roll_by_the_clock_of_redis() -> None:
    """A worker whose clock is a day behind Redis' (or ahead) rolls into the window that Redis is in."""

    async def act() -> None:
        live = Live()
        live.ahead_ms = 86_400_000
        made = agent(Store(), live)
        await flushed(made)
        await made.handle("window-partials", NUMBER, [record(0, cell("a", 3))])
        await made.live_view.roll()
        assert live.rolls == []
        await _checked(made)
        await made.live_view.roll()
        assert [now_ms() + live.ahead_ms - v.window_start_ms < 60_000 for v in live.rolls] == [True]

    asyncio.run(act())


def test_windows_that_become_final_together_are_judged_in_the_order_of_time() -> None:
    """A worker that catches up closes many at once, and alert rules pass over what is older than the last they saw."""

    async def act() -> None:
        made = agent(Store(), Live())
        judged: list[MetricValue] = []
        made._judge = lambda value, _: judged.append(value)
        held = made.partitions[NUMBER]
        now = now_ms()
        starts = [now - now % 60_000 - minutes * 60_000 for minutes in (20, 50, 30, 60, 40)]
        cells = [Cell(MEASURE, "", "", "1m", start, "user-events/0/log", 7, Count(8).to_bytes()) for start in starts]
        await made.handle("window-partials", NUMBER, [record(0, *cells)])
        await flushed(made)
        judged.clear()
        made.progress["user-events/0/log"] = SourceProgress(now, now)
        assert held.state.finish(made.progress, now, 60_000) == 5
        await flushed(made)
        assert [value.status for value in judged] == [FINAL] * 5
        assert [value.window_start_ms for value in judged] == sorted(starts)

    asyncio.run(act())


@given(st.integers(10**12, 2 * 10**12))
def test_every_window_that_may_be_open_is_looked_up_once_the_newest_first(wall: int) -> None:
    """Each start of each size in one span only, without a gap, from the next window to three hours and two windows back."""
    found = spans(wall)
    assert found[0].before == {} and all(found[0].since[size] <= wall - size_ms for size, size_ms in SIZES_MS.items())
    for newer, older in pairwise(found):
        assert older.before == newer.since
        assert all(older.since[size] <= older.before[size] for size in SIZES_MS)
    for size, size_ms in SIZES_MS.items():
        assert found[-1].since[size] == wall - wall % size_ms - 2 * size_ms - 3 * 3_600_000


def test_values_of_now_are_complete_before_the_windows_of_hours_ago_are_looked_up() -> None:
    """A restart after a day's worth of windows showed nothing new for 10 s."""

    async def act() -> None:
        made = agent(Store(), Live())
        held = made.partitions[NUMBER]
        await made.handle("window-partials", NUMBER, [record(0, cell("a", 0))])
        await made.lookup.load_open()
        assert not held.loaded
        assert all(window.complete for window in held.state.windows.values())
        asked = 1
        while not held.loaded:
            await made.lookup.load_open()
            asked += 1
        assert asked == len(spans(now_ms()))
        # Redis has lost its data: all is looked up again. It loses it again meanwhile: what was brought is held, and
        # is written once more, and the rest still comes.
        made.live_view.refill()
        await made.lookup.load_open()
        await flushed(made)
        made.live_view.refill()
        assert {(NUMBER, key) for key in held.state.windows} <= set(made.redis.pending)
        while not held.loaded:
            await made.lookup.load_open()

    asyncio.run(act())


def test_windows_of_hours_ago_wait_until_a_restart_has_caught_up_but_not_for_ever() -> None:
    async def act() -> None:
        made = agent(Store(), Live())
        held = made.partitions[NUMBER]
        behind = True
        made.lookup.is_behind = lambda: behind
        await made.lookup.load_open()
        first = held.to_look_up
        assert first
        for _ in range(3):
            await made.lookup.load_open()
            assert held.to_look_up == first
        behind = False
        await made.lookup.load_open()
        assert held.to_look_up == first[1:]
        behind = True
        await made.lookup.load_open()
        assert held.to_look_up == first[1:]
        with patch.object(lookup, "_HOLD_MS", 0):
            await made.lookup.load_open()
        assert held.to_look_up == first[2:]

    asyncio.run(act())


def test_touched_windows_of_all_partitions_are_looked_up_together() -> None:
    """One question for eight partitions, and none of them waits for all of another one's."""

    async def act() -> None:
        store = Store()
        asked: list[int] = []
        load_cells = store.load_cells

        async def counted(keys: Any) -> list[Cell]:
            asked.append(len(keys))
            return await load_cells(keys)

        store.load_cells = counted  # type: ignore[method-assign]  # what is asked is counted
        made = agent(store, Live())
        made.partitions |= {number: MergePartition(number) for number in range(8) if number != NUMBER}
        await flushed(made)
        for number, held in made.partitions.items():
            for n in range(300 if number == NUMBER else 3):
                held.state.ask_for(WindowKey("cost_per_video", "video_id", f"{number}-{n}", ALL, 0), 0)
        with patch.object(lookup, "_LOAD_KEYS", 80):
            await made.lookup._load_touched()
        assert asked[0] == 10 + 7 * 3
        assert all(not held.state.to_load for held in made.partitions.values())
        assert sum(asked) == 300 + 7 * 3

    asyncio.run(act())


def test_values_of_now_do_not_wait_for_a_day_of_windows_that_became_final() -> None:
    """They are with Redis before the first turn of the event loop, and are judged in the order of time all the same."""

    async def act() -> None:
        judged: list[int] = []
        made = MergeAgent(
            Settings(), Store(), Live(), judge=lambda value, partition: judged.append(value.window_start_ms)
        )
        held = made.partitions[NUMBER] = MergePartition(NUMBER)
        newest = cell("a", 0)
        day = [
            msgspec.structs.replace(newest, start_ms=newest.start_ms - n * SIZES_MS["1m"], version=n)
            for n in range(400)
        ]
        await made.handle("window-partials", NUMBER, [record(0, *reversed(day))])
        held.state.finish({}, now_ms(), 0)
        while not held.loaded:
            await made.lookup.load_open()
        for window in held.state.windows.values():
            window.complete = True
        publishing = asyncio.create_task(made._emit(held))
        await asyncio.sleep(0)
        assert next(iter(made.redis.pending))[1].start_ms == newest.start_ms
        await publishing
        assert judged == sorted(judged) and judged[-1] == newest.start_ms
        assert len(set(judged)) == 400

    asyncio.run(act())
