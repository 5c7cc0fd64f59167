"""Role `archive`: every record as it came into bronze, dead letters into their table. ClickHouse itself is the authority
on how far this is, so nothing can be acknowledged that is not there."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import numpy as np
from aiokafka import TopicPartition

from schemas import topics
from schemas.outcomes import FUTURE_LIMIT_MS
from streamproc.agents.log_reader import LogReader, record_hash
from streamproc.agents.role import Role
from streamproc.clock import monotonic
from streamproc.config import Settings
from streamproc.decode import decode_batch
from streamproc.errors import PermanentError, RetryableError
from streamproc.failpoints import passing
from streamproc.logs import get_logger
from streamproc.sinks.bronze import BronzeBatch, RestorePoint
from streamproc.telemetry import ARCHIVED, NEW_LOGS, SINK_ERRORS, SINK_RETRIES, SINK_UP, WAITING
from streamproc.windows.source import NEVER

log = get_logger("archive")

#: Bounds of what waits for ClickHouse: above, the agents stop taking batches and the rest stays in the topic.
MAX_BUFFERED_BYTES: Final = 32 * 1024 * 1024
MAX_INSERT_BYTES: Final = 16 * 1024 * 1024
MIN_INTERVAL_S: Final = 1.0
#: An insert costs ClickHouse about 30 ms whatever its size: a busy server gets fewer and larger ones.
MAX_SHARE: Final = 0.08
_SLICE: Final = 4096


class BronzeStore(Protocol):
    """What the archive needs of ClickHouse for events."""

    async def write(self, batches: Sequence[BronzeBatch]) -> None:
        """One insert of batches of one topic."""

    async def restore_points(self, topic: str, partition: int) -> list[RestorePoint]:
        """Where each log of a partition stands, the log written last first."""


class DeadLetterStore(Protocol):
    """What the archive needs of ClickHouse for dead letters; keyed by source offset, so repeats change nothing."""

    async def write(self, records: Sequence[Any]) -> None:
        """One insert of records of the `dead-letters` topic."""


@dataclass(slots=True)
class _Partition:
    """One partition at this worker: which log, how far it was taken, and its log time (epoch ms)."""

    next_offset: int = 0
    log_id: str = ""
    log_time_ms: int = NEVER
    tail: Any = None


@dataclass(slots=True)
class _Queue:
    """What waits for one table."""

    batches: list[tuple[Any, int]] = field(default_factory=list)
    size: int = 0
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    idle: asyncio.Event = field(default_factory=asyncio.Event)


class ArchiveRole(Role):
    """Batches of records to ClickHouse, one insert per topic at a time."""

    name = "archive"
    # Nobody waits for bronze: larger batches cost less.
    fetch_wait_ms = 500
    linger_s = 0.5

    def __init__(self, settings: Settings, bronze: BronzeStore, dead_letters: DeadLetterStore) -> None:
        super().__init__(settings)
        self._bronze = bronze
        self._dead_letters = dead_letters
        self._partitions: dict[tuple[str, int], _Partition] = {}
        self._queues = {topic: _Queue() for topic in self.topics()}
        self._room = asyncio.Event()
        self._room.set()
        self._revoked_now = asyncio.Event()
        self._failing = ""

    def topics(self) -> list[str]:
        """The event streams and dead letters."""
        return [*topics.SOURCES, topics.DEAD_LETTERS]

    async def open(self) -> None:
        """Start one inserting task a topic."""
        for topic, queue in self._queues.items():
            queue.idle.set()
            self.tasks.start(f"insert {topic}", self._insert_loop(topic, queue))

    async def close(self) -> None:
        """Insert what was taken, for a bounded time (what is left is read again next time)."""
        waits = [asyncio.wait_for(queue.idle.wait(), 8.0) for queue in self._queues.values()]
        await asyncio.gather(*waits, return_exceptions=True)

    def on_revoked(self) -> None:
        """Whoever waits for room gives its batch up: it is read again by the next owner."""
        self._revoked_now.set()

    async def restore(self, assigned: set[tuple[str, int]]) -> Mapping[tuple[str, int], int]:
        """Where ClickHouse says that each partition stands; waits for ClickHouse as long as it takes."""
        self._revoked_now.clear()
        for name in [name for name in self._partitions if name not in assigned]:
            del self._partitions[name]
        async with LogReader(self.settings.bootstrap_servers) as reader:
            for topic, partition in sorted(assigned):
                held = self._partitions.get((topic, partition))
                if held is not None and await self._is_same(reader, topic, partition, held):
                    continue
                self._partitions[topic, partition] = await self._restore_one(reader, topic, partition)
        return {name: state.next_offset for name, state in self._partitions.items()}

    async def _restore_one(self, reader: LogReader, topic: str, partition: int) -> _Partition:
        tp = TopicPartition(self.settings.topic(topic), partition)
        begins = (await reader.beginning([tp]))[tp]
        if topic == topics.DEAD_LETTERS:
            # Few and idempotent: read from the beginning of what is kept.
            return _Partition(begins)
        points = await self._retried(topic, self._bronze.restore_points, topic, partition)
        for point in points:
            if begins > point.offset or await self._is_at(reader, tp, point):
                log_ms = NEVER if point.redo_log_ms is None else point.redo_log_ms
                return _Partition(max(begins, point.redo_from), point.log_id, log_ms)
        if points:
            NEW_LOGS.labels(topic).inc()
            log.warning("the log is a new one", topic=topic, partition=partition)
        first = (await reader.first_records({tp: begins}))[tp]
        return _Partition(begins, record_hash(first) if first is not None else "")

    async def _is_same(self, reader: LogReader, topic: str, partition: int, held: _Partition) -> bool:
        """Whether what was taken already (and may still be on its way to ClickHouse) is of the log that is there now."""
        if held.tail is None:
            return False
        tp = TopicPartition(self.settings.topic(topic), partition)
        found = (await reader.first_records({tp: held.tail.offset}))[tp]
        return found is not None and record_hash(found) == record_hash(held.tail)

    @staticmethod
    async def _is_at(reader: LogReader, tp: TopicPartition, point: RestorePoint) -> bool:
        found = (await reader.first_records({tp: point.offset}))[tp]
        return (
            found is not None
            and found.offset == point.offset
            and found.timestamp == point.timestamp_ms
            and (found.value or b"") == point.payload
        )

    async def is_same_log(self, topic: str, partition: int) -> bool:
        """By the last record taken."""
        held = self._partitions.get((topic, partition))
        if held is None or held.tail is None:
            return True
        async with LogReader(self.settings.bootstrap_servers) as reader:
            return await self._is_same(reader, topic, partition, held)

    async def handle(self, topic: str, partition: int, records: list[Any]) -> None:
        """Queue one fetched batch; waits while too much waits for ClickHouse already."""
        state = self._partitions.get((topic, partition))
        if state is None or self._revoked_now.is_set():
            return
        records = [record for record in records if record.offset >= state.next_offset]
        for start in range(0, len(records), _SLICE):
            if not await self._wait_for_room():
                return
            part = records[start : start + _SLICE]
            item = part if topic == topics.DEAD_LETTERS else self._batch(topic, partition, state, part)
            size = sum(len(record.value or b"") + 100 for record in part)
            queue = self._queues[topic]
            queue.batches.append((item, size))
            queue.size += size
            queue.idle.clear()
            queue.wake.set()
            state.tail = part[-1]
            state.next_offset = part[-1].offset + 1
            self._measure_room()
            await asyncio.sleep(0)

    async def _wait_for_room(self) -> bool:
        """False if the partitions are being taken away meanwhile."""
        if self._room.is_set():
            return True
        room, revoked = asyncio.create_task(self._room.wait()), asyncio.create_task(self._revoked_now.wait())
        await asyncio.wait((room, revoked), return_when=asyncio.FIRST_COMPLETED)
        room.cancel()
        revoked.cancel()
        return self._room.is_set()

    def _measure_room(self) -> None:
        size = sum(queue.size for queue in self._queues.values())
        WAITING.labels("bronze").set(size)
        if size < MAX_BUFFERED_BYTES:
            self._room.set()
        else:
            self._room.clear()

    def _batch(self, topic: str, partition: int, state: _Partition, records: list[Any]) -> BronzeBatch:
        """Records with the verdict that the windows have of each."""
        if not state.log_id:
            state.log_id = record_hash(records[0])
        timestamps = [record.timestamp for record in records]
        values = [record.value for record in records]
        errors = self._errors(topic, state, timestamps, values)
        return BronzeBatch(
            topic,
            partition,
            state.log_id,
            [record.offset for record in records],
            timestamps,
            [record.key or b"" for record in records],
            [value or b"" for value in values],
            errors,
        )

    @staticmethod
    def _errors(topic: str, state: _Partition, timestamps: list[int], values: list[bytes | None]) -> list[str]:
        decoded = decode_batch(topic, values)
        log_ms = np.maximum.accumulate(np.maximum(np.array(timestamps, dtype=np.int64), state.log_time_ms))
        state.log_time_ms = int(log_ms[-1])
        ahead = decoded.array("occurred_at_ms") > log_ms[decoded.ok] + FUTURE_LIMIT_MS
        if not decoded.dead and not ahead.any():
            return []
        errors = [""] * len(values)
        for position, reason, text in decoded.dead:
            errors[position] = f"{reason.value}: {text}"
        for i in np.flatnonzero(ahead).tolist():
            errors[int(decoded.ok[i])] = "future_event: occurred_at is more than 300 s ahead of the log's time"
        return errors

    async def _insert_loop(self, topic: str, queue: _Queue) -> None:
        while True:
            await queue.wake.wait()
            queue.wake.clear()
            while queue.batches:
                began = monotonic()
                items, size = self._take(queue)
                if topic == topics.DEAD_LETTERS:
                    records = [record for item in items for record in item]
                    await self._retried(topic, self._dead_letters.write, records)
                    count = len(records)
                else:
                    await self._retried(topic, self._bronze.write, items)
                    count = sum(len(item.offsets) for item in items)
                passing("after_bronze")
                ARCHIVED.labels(topic).inc(count)
                queue.size -= size
                self._measure_room()
                self.progressed_at_s = monotonic()
                if queue.size < MAX_INSERT_BYTES:
                    spent = monotonic() - began
                    await asyncio.sleep(max(MIN_INTERVAL_S, spent / MAX_SHARE) - spent)
            queue.idle.set()

    @staticmethod
    def _take(queue: _Queue) -> tuple[list[Any], int]:
        items: list[Any] = []
        size = 0
        while queue.batches and (not items or size + queue.batches[0][1] <= MAX_INSERT_BYTES):
            item, item_size = queue.batches.pop(0)
            items.append(item)
            size += item_size
        return items, size

    async def _retried(self, topic: str, call: Any, *args: Any) -> Any:
        """The same call until ClickHouse takes it: the same batch, so that its token stays the same."""
        attempt = 0
        while True:
            try:
                result = await call(*args)
            except (RetryableError, PermanentError) as error:
                attempt += 1
                kind = "permanent" if isinstance(error, PermanentError) else "retryable"
                SINK_ERRORS.labels("bronze", kind, error.reason).inc()
                SINK_RETRIES.labels("bronze").inc()
                SINK_UP.labels("bronze").set(0)
                if not self._failing:
                    log.error(
                        "ClickHouse does not take records; the archive waits", topic=topic, kind=kind, error=str(error)
                    )
                self._failing = error.reason if kind == "permanent" else "away"
                await asyncio.sleep(min(10.0, 0.2 * 2 ** min(attempt, 10)) * (0.5 + random.random() / 2))
            else:
                if self._failing:
                    log.warning("ClickHouse takes records again", topic=topic)
                self._failing = ""
                SINK_UP.labels("bronze").set(1)
                return result

    def problem(self) -> str:
        """Not ready while ClickHouse takes nothing."""
        return f"ClickHouse does not take records: {self._failing}" if self._failing else ""

    def lag(self) -> dict[tuple[str, int], int]:
        """Records after the last one taken."""
        lags: dict[tuple[str, int], int] = {}
        for (topic, partition), state in self._partitions.items():
            lag = self.behind(topic, partition, state.next_offset)
            if lag is not None:
                lags[topic, partition] = lag
        return lags
