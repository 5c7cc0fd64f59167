"""A consumer at a wrong position, and fetches beside rebalances: nothing is skipped, taken twice, or taken too early."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack
from typing import Any

import pytest
from faust.types import TP

from schemas import topics
from streamproc.agents.role import Role
from streamproc.config import Settings
from streamproc.kafka_topics import ensure_topics
from streamproc.telemetry import SEEK_BACKS, STALE_BATCHES
from tests.agents.waiting import until
from tests.support.broker import Broker, start_broker
from tests.support.stack import produce

TOPIC = topics.USER_EVENTS
PATIENCE_S = 60.0


@pytest.fixture
def broker() -> Iterator[Broker]:
    handle = start_broker()
    yield handle
    handle.discard()


class Reader(Role):
    """Takes records as the real roles do; its progress outlives it in `taken`, as on a broker."""

    name = "reader"

    def __init__(self, settings: Settings, taken: dict[int, list[int]], restore_s: float = 0.0) -> None:
        super().__init__(settings)
        self.taken = taken
        self.restore_s = restore_s
        self.restores = 0
        self.early = 0
        self._restoring = False
        self._stopped = False

    async def stop(self) -> None:
        if not self._stopped:
            self._stopped = True
            await super().stop()

    def topics(self) -> list[str]:
        return [TOPIC]

    async def handle(self, topic: str, partition: int, records: list[Any]) -> None:
        if self._restoring:
            self.early += 1
            return
        held = self.taken.setdefault(partition, [])
        due = held[-1] + 1 if held else 0
        records = [record for record in records if record.offset >= due]
        if not records or (
            records[0].offset > due and await self.holes.proven(topic, partition, due, records[0].offset) is None
        ):
            return
        held += [record.offset for record in records]

    async def restore(self, assigned: set[tuple[str, int]]) -> Mapping[tuple[str, int], int]:
        self._restoring = True
        await asyncio.sleep(self.restore_s)
        self._restoring = False
        self.restores += 1
        return {(TOPIC, number): len(self.taken.get(number, [])) for _, number in assigned}

    def lag(self) -> dict[tuple[str, int], int]:
        found = {number: self.behind(TOPIC, number, len(held)) for number, held in self.taken.items()}
        return {(TOPIC, number): lag for number, lag in found.items() if lag is not None}


def settings_of(broker: Broker, partitions: int) -> Settings:
    return Settings(broker_url=broker.url, partitions=partitions, metrics_port=0, session_timeout_s=2)


def events(count: int) -> list[tuple[str, bytes, bytes]]:
    return [(TOPIC, f"{i}".encode(), b"{}") for i in range(count)]


async def started(stack: AsyncExitStack, reader: Reader) -> Reader:
    """Stopped with the stack, whatever comes: a Faust app that is left alone keeps the event loop from ending."""
    stack.push_async_callback(reader.stop)
    await reader.start()
    return reader


async def send(broker: Broker, count: int) -> None:
    await asyncio.to_thread(produce_all, broker, count)


def produce_all(broker: Broker, count: int) -> None:
    asyncio.run(produce(broker.bootstrap, events(count)))


def total(taken: dict[int, list[int]]) -> int:
    return sum(map(len, taken.values()))


def in_order(taken: dict[int, list[int]]) -> bool:
    return all(held == list(range(len(held))) for held in taken.values())


def counted(counter: Any) -> float:
    return float(counter.labels(TOPIC)._value.get())


def test_a_batch_from_a_wrong_position_is_dropped_and_read_from_where_it_was_due(broker: Broker) -> None:
    """The running consumer is moved 50 records ahead by hand: it goes back by itself, and every record is taken once."""

    async def act() -> None:
        settings = settings_of(broker, 1)
        await ensure_topics(settings)
        async with AsyncExitStack() as stack:
            reader = await started(stack, Reader(settings, {}))
            await send(broker, 40)
            await until(lambda: total(reader.taken) == 40, PATIENCE_S)
            before = counted(SEEK_BACKS)
            consumer = reader._app.consumer
            await consumer._thread.seek_all({TP(TOPIC, 0): 90}, consumer._number)
            await send(broker, 100)
            await until(lambda: total(reader.taken) == 140, PATIENCE_S)
            assert in_order(reader.taken)
            assert counted(SEEK_BACKS) == before + 1

    asyncio.run(act())


def test_the_earlier_commit_of_the_group_is_nothing_to_a_worker_that_restores(broker: Broker) -> None:
    """A worker without partitions gets one while its flow is active: what its fetcher brings from the committed offset on,
    during the restore or after it, is passed over, and all is read from where the restore says."""

    async def act() -> None:
        settings = settings_of(broker, 1)
        await ensure_topics(settings)
        async with AsyncExitStack() as stack:
            first = await started(stack, Reader(settings, {}))
            await send(broker, 300)
            await until(lambda: total(first.taken) == 300, PATIENCE_S)
            # The group's committed offset is 200; who takes over begins at 0.
            first.lag = dict  # type: ignore[method-assign]
            await first._app.consumer._commit({TP(TOPIC, 0): 200})
            second = await started(stack, Reader(settings, {}, restore_s=1.0))
            await until(lambda: first.restores + second.restores >= 3, PATIENCE_S)
            before = counted(STALE_BATCHES)
            owner, other = (first, second) if first._app.consumer.assignment() else (second, first)
            other.taken = {}
            await owner.stop()
            await until(lambda: total(other.taken) == 300, PATIENCE_S)
            assert in_order(other.taken)
            assert other.early == 0
            assert counted(STALE_BATCHES) > before

    asyncio.run(act())


def test_workers_that_join_and_leave_quickly_skip_nothing(broker: Broker) -> None:
    """Rebalances under load with restores of 0.3 s in between: each record once and in order, by whichever worker."""

    async def act() -> None:
        settings = settings_of(broker, 4)
        await ensure_topics(settings)
        taken: dict[int, list[int]] = {}
        async with AsyncExitStack() as stack:
            first = await started(stack, Reader(settings, taken, restore_s=0.3))
            for _ in range(3):
                second = await started(stack, Reader(settings, taken, restore_s=0.3))
                await send(broker, 400)
                await second.stop()
                await send(broker, 400)
                assert second.early == 0
            await until(lambda: total(taken) == 2400, PATIENCE_S)
            assert in_order(taken)
            assert first.early == 0

    asyncio.run(act())
