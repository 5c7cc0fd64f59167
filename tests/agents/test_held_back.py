"""An agent that is held back: what was fetched for it is bounded by records, and others go on meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from faust.types import TP

from schemas import topics
from streamproc.agents.batching import BatchScheduler, Fetched
from streamproc.agents.role import Role
from streamproc.clock import monotonic
from streamproc.config import Settings
from streamproc.kafka_topics import ensure_topics
from tests.agents.waiting import until
from tests.support.broker import Broker, start_broker
from tests.support.stack import produce

HELD, FREE = topics.USER_EVENTS, topics.COST_EVENTS
_MOST = 50


@pytest.fixture
def broker() -> Iterator[Broker]:
    handle = start_broker()
    yield handle
    handle.discard()


class Reader(Role):
    """Takes records of two topics; of one only while `go` is set."""

    name = "held"

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.go = asyncio.Event()
        self.work_s = 0.0
        self.taken: dict[tuple[str, int], list[int]] = {}

    def topics(self) -> list[str]:
        return [HELD, FREE]

    async def handle(self, topic: str, partition: int, records: list[Any]) -> None:
        if topic == HELD:
            await self.go.wait()
            await asyncio.sleep(self.work_s)
        self.taken.setdefault((topic, partition), []).extend(record.offset for record in records)

    async def restore(self, assigned: set[tuple[str, int]]) -> Mapping[tuple[str, int], int]:
        return dict.fromkeys(assigned, 0)

    def lag(self) -> dict[tuple[str, int], int]:
        return {}

    def count(self, topic: str) -> int:
        return sum(len(offsets) for name, offsets in self.taken.items() if name[0] == topic)

    def waiting(self) -> int:
        found: int = self._app.consumer.scheduler.waiting(HELD)
        return found


@asynccontextmanager
async def reading(broker: Broker) -> AsyncIterator[Reader]:
    """A reader that has its partitions, and takes 50 records at once."""
    settings = Settings(
        broker_url=broker.url, partitions=2, metrics_port=0, session_timeout_s=2, max_batch_records=_MOST
    )
    await ensure_topics(settings)
    reader = Reader(settings)
    await reader.start()
    try:
        await until(lambda: reader.ready, 60)
        yield reader
    finally:
        reader.go.set()
        await reader.stop()


def test_what_waits_for_an_agent_is_bounded_by_records_and_others_go_on(broker: Broker) -> None:
    """An archive that caught up after five minutes without ClickHouse held 64 batches of thousands: 758 MB."""

    async def act() -> None:
        async with reading(broker) as reader:
            for _ in range(20):
                messages = [(topic, f"{i}".encode(), b"{}") for i in range(100) for topic in (HELD, FREE)]
                await produce(broker.bootstrap, messages)
            await until(lambda: reader.count(FREE) == 2000, 60)
            assert reader.count(HELD) == 0
            assert 2 * _MOST <= reader.waiting() < 3 * _MOST
            reader.go.set()
            await until(lambda: reader.count(HELD) == 2000, 60)
            assert all(offsets == list(range(len(offsets))) for offsets in reader.taken.values())
            await until(lambda: reader.waiting() == 0, 10)

    asyncio.run(act())


def test_a_full_topic_does_not_wait_until_a_silent_one_has_records(broker: Broker) -> None:
    """While it is full only the others are asked for, and a fetch of nothing takes a second."""

    async def act() -> None:
        async with reading(broker) as reader:
            await produce(broker.bootstrap, [(HELD, f"{i}".encode(), b"{}") for i in range(2000)])
            await until(lambda: reader.waiting() >= 2 * _MOST, 60)
            reader.work_s = 0.05
            reader.go.set()
            began = monotonic()
            await until(lambda: reader.count(HELD) == 2000, 60)
            assert monotonic() - began < 12

    asyncio.run(act())


def test_records_wait_until_they_are_done_or_thrown_away() -> None:
    scheduler = BatchScheduler()

    def fetch(count: int) -> Any:
        record = SimpleNamespace(topic="a", partition=0, offset=1, timestamp=1, timestamp_type=1)
        [(_, batch)] = scheduler.iterate(Fetched({TP("a", 0): [record] * count}, 1))
        return batch.value

    done, thrown_away = fetch(3), fetch(4)
    assert (scheduler.waiting("a"), scheduler.waiting("b")) == (7, 0)
    done.clear()
    assert scheduler.waiting("a") == 4
    del thrown_away
    assert scheduler.waiting("a") == 0
