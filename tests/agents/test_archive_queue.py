"""The archive's queue before ClickHouse: how soon it goes on after an outage."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from schemas import topics
from streamproc.agents.archive_queue import MAX_BUFFERED_BYTES, ArchiveQueues
from streamproc.sinks.bronze import BronzeBatch, Condemned, RestorePoint
from streamproc.sinks.clickhouse_client import ClickHouse
from tests.agents.waiting import until
from tests.sinks.support import batch, bronze_sink, dead_letters, user_event
from tests.support.migrated import start_migrated
from tests.support.proxy import Mode, TcpProxy, start_proxy

AWAY_S = 3.0


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[TcpProxy]:
    """Before a migrated ClickHouse."""
    server = start_migrated(tmp_path)
    proxy = start_proxy(server.port)
    yield proxy
    proxy.stop()
    server.stop()


def test_after_an_outage_the_next_insert_does_not_wait_for_its_share_of_the_time(proxy: TcpProxy) -> None:
    """The time for which nobody answered counted as work that ClickHouse was to rest from, twelve times as long."""

    async def act() -> float:
        clickhouse = ClickHouse(f"http://127.0.0.1:{proxy.port}")
        queues = ArchiveQueues([topics.USER_EVENTS], bronze_sink(clickhouse), dead_letters(clickhouse), lambda: None)
        inserting = asyncio.create_task(queues.insert_loop(topics.USER_EVENTS))

        async def rows() -> int:
            return int((await clickhouse.rows("SELECT count() FROM bronze.user_events"))[0][0])

        async def stored(count: int) -> None:
            async with asyncio.timeout(60):
                while True:
                    if await rows() >= count:
                        return
                    await asyncio.sleep(0.1)

        try:
            proxy.set(Mode.REFUSE)
            queues.put(topics.USER_EVENTS, batch("log", [0], [user_event(1)]), 100)
            await asyncio.sleep(0.4)
            deadline = time.monotonic() + AWAY_S
            while time.monotonic() < deadline:
                assert queues.failing
                assert queues.oldest_waiting() == {(topics.USER_EVENTS, 0): 0}, "what is taken is not stored"
                await asyncio.sleep(0.1)
            proxy.set(Mode.PASS)
            await stored(1)
            await until(lambda: not queues.oldest_waiting(), 20)
            queues.put(topics.USER_EVENTS, batch("log", [1], [user_event(2)]), 100)
            began = time.monotonic()
            await stored(2)
            return time.monotonic() - began
        finally:
            inserting.cancel()
            await clickhouse.close()

    assert asyncio.run(act()) < 15


def test_who_waits_for_room_goes_on_waiting_when_another_one_takes_it() -> None:
    """Three agents wait for room. One that did not get it dropped the rest of its batch, and had to read it again: 4,626
    records in one case."""
    topic = topics.USER_EVENTS
    clickhouse = ClickHouse("http://127.0.0.1:1")  # never asked

    async def act() -> None:
        queues = ArchiveQueues([topic], bronze_sink(clickhouse), dead_letters(clickhouse), lambda: None)
        given_up = asyncio.Event()
        took: list[tuple[int, bool]] = []

        async def take(number: int) -> None:
            took.append((number, await queues.wait_for_room(given_up)))
            queues.put(topic, number, MAX_BUFFERED_BYTES)

        def make_room() -> None:
            queues._queues[topic].size = 0
            queues._measure_room()

        queues.put(topic, 0, MAX_BUFFERED_BYTES)
        waiting = [asyncio.create_task(take(number)) for number in (1, 2, 3)]
        await asyncio.sleep(0.05)
        make_room()
        await until(lambda: len(took) >= 1)
        make_room()
        await until(lambda: len(took) >= 2)
        given_up.set()
        await asyncio.wait(waiting)
        assert [room for _, room in took] == [True, True, False]

    asyncio.run(act())


class SlowStore:
    """A store whose inserts take a second, and notes when each ended."""

    def __init__(self) -> None:
        self.ended_s: list[float] = []

    async def write(self, batches: Sequence[BronzeBatch]) -> float:
        await asyncio.sleep(0.2)
        self.ended_s.append(time.monotonic())
        return 1.0

    async def condemn(self, record: Condemned) -> None:
        raise AssertionError("nothing is condemned here")

    async def restore_points(self, topic: str, partition: int) -> list[RestorePoint]:
        raise AssertionError("nothing is restored here")


def test_nobody_rests_while_all_wait_for_room() -> None:
    """After an insert of a second a topic rests for ten. With five topics that shared what may wait, all of them rested while
    the agents waited for room: 12,452 records a second where 20,000 were wanted."""
    store = SlowStore()
    share = MAX_BUFFERED_BYTES // 2

    async def act() -> None:
        clickhouse = ClickHouse("http://127.0.0.1:1")  # never asked
        queues = ArchiveQueues([topics.USER_EVENTS, topics.COST_EVENTS], store, dead_letters(clickhouse), lambda: None)
        inserting = [asyncio.create_task(queues.insert_loop(name)) for name in (topics.USER_EVENTS, topics.COST_EVENTS)]
        for offset in range(4):
            for topic in (topics.USER_EVENTS, topics.COST_EVENTS):
                assert await asyncio.wait_for(queues.wait_for_room(asyncio.Event()), 5)
                queues.put(topic, batch("log", [offset], [user_event(offset)], topic), share)
        for task in inserting:
            task.cancel()

    began = time.monotonic()
    asyncio.run(act())
    assert len(store.ended_s) >= 6
    assert time.monotonic() - began < 5
