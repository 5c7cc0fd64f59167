"""The merge agent on its own: what may be forgotten of the log, a new log, and an emptied Redis."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import msgspec

from schemas.outcomes import ALLOWED_LATENESS_MS
from schemas.results import FINAL, SIZES_MS, Cell, MetricValue
from streamproc.agents.merge import MergeAgent
from streamproc.agents.merge_partition import MergePartition
from streamproc.clock import now_ms
from streamproc.config import Settings
from streamproc.windows.accumulators import Count, Uptime
from streamproc.windows.merge import SourceProgress
from streamproc.windows.uptime import mark_of
from tests.agents.merging import MEASURE, NUMBER, Live, Store, agent, cell, flushed, record


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
        await _checked(made)
        live.values.clear()
        made.live_view.refill()
        await flushed(made)
        await made.live_view.load()
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
            for n in range(2100)
        ]
        await made.handle("window-partials", NUMBER, [record(0, *reversed(day))])
        held.state.finish({}, now_ms(), 0)
        while not held.loaded:
            await made.lookup.load_open()
        for window in held.state.windows.values():
            window.complete = True
        publishing = asyncio.create_task(made.emit_now())
        await asyncio.sleep(0)
        assert next(iter(made.redis.pending))[1].start_ms == newest.start_ms
        await publishing
        assert judged == sorted(judged) and judged[-1] == newest.start_ms
        assert len(set(judged)) == 2100

    asyncio.run(act())


def test_silence_is_told_only_when_all_is_read_that_was_sent_before() -> None:
    """How far a source is becomes known before its cells are read: a window whose cell lies unread was not silent."""
    five = SIZES_MS["5m"]
    start = now_ms() - now_ms() % five - 10 * five
    told: list[tuple[int, int]] = []

    def health(number: int) -> Cell:
        at = start + number * five
        acc = Uptime(1, 0, {"api": {at // 60_000: mark_of(at, 1, True)}})
        return Cell("uptime", "service", "api", "5m", at, "ops-events/0/a", number, acc.to_bytes())

    class Judge:
        def has_judged(self, partition: int) -> bool:
            return partition == NUMBER

        def judge_presence(self, value: MetricValue, partition: int) -> None:
            told.append(((value.window_start_ms - start) // five, value.count))

    def ticks(made: MergeAgent) -> None:
        for _ in range(25):
            made._tell_presence(now_ms(), 10**9)

    made = agent(Store(), Live())
    made.attending = Judge()
    held = made.partitions[NUMBER]
    held.state.restore([], dict.fromkeys(SIZES_MS, 0), 1)
    held.state.apply([health(0)], 0, 1)
    held.loaded, held.next_offset = True, 1
    passed = start + 2 * five + ALLOWED_LATENESS_MS
    made.progress = {"ops-events/0/a": SourceProgress(passed, now_ms())}
    ticks(made)
    assert told == [], "nobody knows what lies unread"
    made.unread = lambda number, next_offset: 2 - next_offset
    ticks(made)
    assert told == [], "one record lies unread"
    held.state.apply([health(1)], 1, 1)
    held.next_offset = 2
    ticks(made)
    assert told == [(0, 1), (1, 1)]
    made.progress = {"ops-events/0/a": SourceProgress(passed + five, now_ms())}
    ticks(made)
    assert told == [(0, 1), (1, 1), (2, 0)]


def test_a_source_of_which_nobody_heard_while_no_worker_was_there_is_not_silent() -> None:
    """Its events wait in the log: an hour of which fifty minutes were read was called final 22 minutes after the last worker had
    died, and whoever was up counted as down for the rest of it."""
    hour = SIZES_MS["1h"]
    made = agent(Store(), Live())
    held = made.partitions[NUMBER]
    start = now_ms() - now_ms() % hour - 2 * hour
    held.state.restore([], dict.fromkeys(SIZES_MS, 0), 1)
    held.state.apply([Cell(MEASURE, "", "", "1h", start, "user-events/0/a", 1, Count(1, 0).to_bytes())], 0, 1)
    made.progress["user-events/0/a"] = SourceProgress(start + 50 * 60_000, start + 50 * 60_000)
    assert made._finish(held) == 0
    made.heard_from_ms -= int(made.settings.idle_timeout_s * 1000)
    assert made._finish(held) == 1, "silent for as long as it is listened to"
