"""Which stored windows a worker that begins looks up first, and how many at once."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any
from unittest.mock import patch

from hypothesis import given
from hypothesis import strategies as st

from schemas.results import ALL, SIZES_MS, Cell
from streamproc.agents import lookup
from streamproc.agents.lookup import spans
from streamproc.agents.merge_partition import MergePartition
from streamproc.clock import now_ms
from streamproc.windows.merge import WindowKey
from tests.agents.merging import NUMBER, Live, Store, agent, cell, flushed, record


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
        # Redis has lost its data: what is held is written once more, and nothing is looked up again for that.
        made.redis.pending.clear()
        made.live_view.refill()
        assert held.loaded
        assert {(NUMBER, key) for key in held.state.windows} == set(made.redis.pending)

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
