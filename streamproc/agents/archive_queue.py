"""What the archive hands to ClickHouse: a bounded queue a topic, one insert at a time, the same one until it is taken."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from schemas import topics
from streamproc.clock import monotonic
from streamproc.errors import PermanentError, RetryableError
from streamproc.failpoints import passing
from streamproc.logs import get_logger
from streamproc.sinks.bronze import BronzeBatch, Condemned, RestorePoint
from streamproc.telemetry import ARCHIVED, SINK_ERRORS, SINK_RETRIES, SINK_UP, WAITING

log = get_logger("archive")

#: Bounds of what waits for ClickHouse: above, the agents stop taking batches and the rest stays in the topic.
MAX_BUFFERED_BYTES: Final = 32 * 1024 * 1024
MAX_INSERT_BYTES: Final = 16 * 1024 * 1024
MIN_INTERVAL_S: Final = 1.0
#: An insert costs ClickHouse about 30 ms whatever its size: a busy server gets fewer and larger ones.
MAX_SHARE: Final = 0.08
#: One insert that took long (a server that stood still) is no reason for minutes without any.
MAX_INTERVAL_S: Final = 10.0


class BronzeStore(Protocol):
    """What the archive needs of ClickHouse for events."""

    async def write(self, batches: Sequence[BronzeBatch]) -> float:
        """One insert of batches of one topic; returns the seconds that the server spent on it."""

    async def condemn(self, record: Condemned) -> None:
        """Mark a record that is archived already, and take it out of silver."""

    async def restore_points(self, topic: str, partition: int) -> list[RestorePoint]:
        """Where each log of a partition stands, the log written last first."""


class DeadLetterStore(Protocol):
    """What the archive needs of ClickHouse for dead letters; keyed by source offset, so repeats change nothing."""

    async def write(self, records: Sequence[Any]) -> None:
        """One insert of records of the `dead-letters` topic."""


class UserKeys(Protocol):
    """What the archive needs of the store of users' keys, beside what sealing asks of it."""

    async def open(self) -> None:
        """See that it can be used; ConfigError if not by us."""

    async def look_for_destroyed(self) -> None:
        """Let go of keys that somebody has destroyed."""


@dataclass(slots=True)
class _Queue:
    """What waits for one table."""

    batches: list[tuple[Any, int]] = field(default_factory=list)
    #: What was taken out of `batches` and is being inserted.
    inserting: list[Any] = field(default_factory=list)
    size: int = 0
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    idle: asyncio.Event = field(default_factory=asyncio.Event)


class ArchiveQueues:
    """Takes batches while there is room, and inserts them. `on_progress` is called after each insert."""

    def __init__(
        self,
        names: Sequence[str],
        bronze: BronzeStore,
        dead_letters: DeadLetterStore,
        on_progress: Callable[[], None],
    ) -> None:
        self._bronze = bronze
        self._dead_letters = dead_letters
        self._on_progress = on_progress
        self._queues = {name: _Queue() for name in names}
        for queue in self._queues.values():
            queue.idle.set()
        self._room = asyncio.Event()
        self._room.set()
        self._full = asyncio.Event()
        #: Why ClickHouse takes nothing, '' while it does.
        self.failing = ""

    async def drained(self, seconds: float) -> None:
        """Wait until all is inserted, for a bounded time."""
        waits = [asyncio.wait_for(queue.idle.wait(), seconds) for queue in self._queues.values()]
        await asyncio.gather(*waits, return_exceptions=True)

    def put(self, topic: str, item: Any, size: int) -> None:
        """Queue what is for one topic's table (`size` in bytes); whoever calls has waited for room."""
        queue = self._queues[topic]
        queue.batches.append((item, size))
        queue.size += size
        queue.idle.clear()
        queue.wake.set()
        self._measure_room()

    def oldest_waiting(self) -> dict[tuple[str, int], int]:
        """By (topic, partition): the first offset that was put and is not in ClickHouse yet."""
        oldest: dict[tuple[str, int], int] = {}
        for topic, queue in self._queues.items():
            for item in [*queue.inserting, *(item for item, _ in queue.batches)]:
                if isinstance(item, BronzeBatch):
                    oldest.setdefault((topic, item.partition), item.offsets[0])
                elif not isinstance(item, Condemned):
                    for record in item:
                        oldest.setdefault((topic, record.partition), record.offset)
        return oldest

    async def wait_for_room(self, given_up: asyncio.Event) -> bool:
        """False if `given_up` was set before there was room."""
        # Several agents wait: another one can have taken the room before this one gets its turn.
        while not self._room.is_set():
            if given_up.is_set():
                return False
            room, revoked = asyncio.create_task(self._room.wait()), asyncio.create_task(given_up.wait())
            await asyncio.wait((room, revoked), return_when=asyncio.FIRST_COMPLETED)
            room.cancel()
            revoked.cancel()
        return True

    def _measure_room(self) -> None:
        size = sum(queue.size for queue in self._queues.values())
        WAITING.labels("bronze").set(size)
        if size < MAX_BUFFERED_BYTES:
            self._room.set()
            self._full.clear()
        else:
            self._room.clear()
            self._full.set()

    async def insert_loop(self, topic: str) -> None:
        """Insert one topic's batches for ever."""
        queue = self._queues[topic]
        while True:
            await queue.wake.wait()
            queue.wake.clear()
            while queue.batches:
                items, size = self._take(queue)
                queue.inserting = items
                if topic == topics.DEAD_LETTERS:
                    records = [record for item in items for record in item]
                    _, spent = await self._timed(topic, self._dead_letters.write, records)
                    count = len(records)
                elif isinstance(items[0], Condemned):
                    _, spent = await self._timed(topic, self._bronze.condemn, items[0])
                    count = 0
                else:
                    spent, _ = await self._timed(topic, self._bronze.write, items)
                    count = sum(len(item.offsets) for item in items)
                passing("after_bronze")
                ARCHIVED.labels(topic).inc(count)
                queue.inserting = []
                queue.size -= size
                self._measure_room()
                self._on_progress()
                if queue.size < MAX_INSERT_BYTES:
                    interval = min(max(MIN_INTERVAL_S, spent / MAX_SHARE), MAX_INTERVAL_S)
                    await self._rest(max(0.0, interval - spent))
            queue.idle.set()

    async def _rest(self, seconds: float) -> None:
        """Leave the server its share of the time; not while everybody waits for room, which other topics may hold as well."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._full.wait()

    @staticmethod
    def _take(queue: _Queue) -> tuple[list[Any], int]:
        items: list[Any] = []
        size = 0
        while queue.batches and not (items and isinstance(items[0], Condemned)):
            following, following_size = queue.batches[0]
            if items and (size + following_size > MAX_INSERT_BYTES or isinstance(following, Condemned)):
                break
            item, item_size = queue.batches.pop(0)
            items.append(item)
            size += item_size
        return items, size

    async def retried(self, topic: str, call: Any, *args: Any) -> Any:
        """The same call until ClickHouse takes it: the same batch, so that its token stays the same."""
        return (await self._timed(topic, call, *args))[0]

    async def _timed(self, topic: str, call: Any, *args: Any) -> tuple[Any, float]:
        """As `retried`, and how many seconds the call took that came through."""
        attempt = 0
        while True:
            began = monotonic()
            try:
                result = await call(*args)
            except (RetryableError, PermanentError) as error:
                attempt += 1
                kind = "permanent" if isinstance(error, PermanentError) else "retryable"
                SINK_ERRORS.labels("bronze", kind, error.reason).inc()
                SINK_RETRIES.labels("bronze").inc()
                SINK_UP.labels("bronze").set(0)
                if not self.failing:
                    log.error(
                        "ClickHouse does not take records; the archive waits", topic=topic, kind=kind, error=str(error)
                    )
                self.failing = error.reason if kind == "permanent" else "away"
                await asyncio.sleep(min(10.0, 0.2 * 2 ** min(attempt, 10)) * (0.5 + random.random() / 2))
            else:
                if self.failing:
                    log.warning("ClickHouse takes records again", topic=topic)
                self.failing = ""
                SINK_UP.labels("bronze").set(1)
                return result, monotonic() - began
