"""Role `archive`: every record as it came into bronze, dead letters into their table. ClickHouse itself is the authority
on how far this is, so nothing can be acknowledged that is not there."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt
from aiokafka import TopicPartition

from schemas import internal, topics
from schemas.outcomes import FUTURE_LIMIT_MS
from schemas.personal import PERSONAL
from streamproc.agents.archive_changes import change_batch, decode_change_records, letters_of
from streamproc.agents.archive_queue import ArchiveQueues, BronzeStore, DeadLetterStore, UserKeys
from streamproc.agents.follow import Follower
from streamproc.agents.log_reader import LogReader, LogReaders, log_identity, record_hash
from streamproc.agents.losses import LossStore
from streamproc.agents.poison import POISON_ERROR, Care, PoisonGuard, decode_records
from streamproc.agents.progress_log import read_known
from streamproc.agents.publisher import Publisher
from streamproc.agents.role import Role
from streamproc.clock import monotonic, now_ms
from streamproc.config import Settings
from streamproc.decode import Decoded
from streamproc.errors import PermanentError, RetryableError
from streamproc.logs import get_logger
from streamproc.personal import NOBODY, alike
from streamproc.sinks.bronze import BronzeBatch, Condemned, RestorePoint
from streamproc.sinks.lost_offsets_store import NOT_ARCHIVED, LostOffsets
from streamproc.telemetry import INVALID, LOST_OFFSETS, NEW_LOGS
from streamproc.windows.source import NEVER

log = get_logger("archive")

_SLICE: Final = 4096
#: What a decoded change takes in memory beside its record.
_CHANGE_BYTES: Final = 1000
_FORGET_S: Final = 10.0


def owners_of(topic: str, decoded: Decoded, count: int) -> list[int]:
    """Whose each of `count` records is: a user's id, 0 where it is not known; [] if the topic holds nothing personal."""
    if topic not in PERSONAL:
        return []
    owners = np.full(count, NOBODY, dtype=np.int64)
    owners[decoded.ok] = decoded.array("user_id")
    found: list[int] = owners.tolist()
    return found


@dataclass(slots=True)
class _Partition:
    """One partition at this worker: which log, how far it was taken, and its log time (epoch ms).

    Up to `lettered` dead letters of changes were acknowledged before: what is in bronze, was queued after its letters.
    """

    next_offset: int = 0
    log_id: str = ""
    lettered: int = -1
    log_time_ms: int = NEVER
    tail: Any = None
    care: Care = field(default_factory=Care)


class ArchiveRole(Role):
    """Batches of records to ClickHouse, one insert per topic at a time."""

    name = "archive"
    # Nobody waits for bronze: larger batches cost less.
    fetch_wait_ms = 500
    linger_s = 0.5

    def __init__(
        self,
        settings: Settings,
        bronze: BronzeStore,
        dead_letters: DeadLetterStore,
        losses: LossStore,
        keys: UserKeys,
    ) -> None:
        super().__init__(settings)
        self._bronze = bronze
        self._keys = keys
        self._losses = losses
        self._queues = ArchiveQueues(self.topics(), bronze, dead_letters, self._progressed)
        self._partitions: dict[tuple[str, int], _Partition] = {}
        self._revoked_now = asyncio.Event()
        self._publisher = Publisher(settings.bootstrap_servers)
        self._guard = PoisonGuard(settings, self.name, self._publisher)
        self._follower = Follower(settings, topics.WINDOW_PROGRESS, self._follow_poison, back=0)

    def topics(self) -> list[str]:
        """The event streams, changes and dead letters."""
        return [*topics.SOURCES, *topics.CHANGES, topics.DEAD_LETTERS]

    async def open(self) -> None:
        """Start one inserting task a topic, and follow what workers find out about records. Before all, see that our
        master key is the right one: what another one sealed, nobody could read.

        Raises:
            ConfigError: it is not.
        """
        await self._queues.retried("keys", self._keys.open)
        self.tasks.start("forget destroyed keys", self._forget_destroyed())
        await self._publisher.start()
        self.tasks.start("follow poison", self._follower.run())
        for topic in self.topics():
            self.tasks.start(f"insert {topic}", self._queues.insert_loop(topic))

    async def close(self) -> None:
        """Insert what was taken, for a bounded time (what is left is read again next time)."""
        await self._queues.drained(8.0)
        await self.tasks.within(2.0, "closing the producer", self._publisher.stop())

    async def _forget_destroyed(self) -> None:
        """Also while nothing comes: a key that is destroyed must not stay in memory."""
        while True:
            await asyncio.sleep(_FORGET_S)
            # What ClickHouse has to say against it is said, and counted, by those who insert.
            with contextlib.suppress(RetryableError, PermanentError):
                await self._keys.look_for_destroyed()

    def on_revoked(self) -> None:
        """Whoever waits for room gives its batch up: it is read again by the next owner."""
        self._revoked_now.set()

    async def restore(self, assigned: set[tuple[str, int]]) -> Mapping[tuple[str, int], int]:
        """Where ClickHouse says that each partition stands; waits for ClickHouse as long as it takes."""
        self._revoked_now.clear()
        for name in [name for name in self._partitions if name not in assigned]:
            del self._partitions[name]
        async with LogReaders(self.settings.bootstrap_servers) as readers:
            reader = readers.first
            fresh: dict[tuple[str, int], _Partition] = {}
            for topic, partition in sorted(assigned):
                held = self._partitions.get((topic, partition))
                if held is not None and await self._is_same(reader, topic, partition, held):
                    continue
                fresh[topic, partition] = await self._restore_one(reader, topic, partition)
            await self._begin(readers, fresh)
        return {name: state.next_offset for name, state in self._partitions.items()}

    async def _begin(self, readers: LogReaders, fresh: dict[tuple[str, int], _Partition]) -> None:
        """Note where partitions begin, and learn which of their records are poison."""
        self._partitions.update(fresh)
        decoded = {name: state for name, state in fresh.items() if name[0] != topics.DEAD_LETTERS}
        known = await read_known(readers, self.settings, decoded)
        for name, state in decoded.items():
            if state.log_id:
                state.care = self._guard.begin(*name, state.log_id, known.get(name, []), state.next_offset - 1)
                for offset in state.care.poison:
                    self._condemn(name, state, offset)
        await self._guard.record_begun()

    def _follow_poison(self, record: Any) -> None:
        """Some worker has found a record that ends its readers."""
        if b"poison" not in (record.value or b""):
            return
        try:
            progress = internal.decode_progress(record.value)
        except msgspec.MsgspecError as error:
            log.error("a record of window-progress is not readable", offset=record.offset, error=str(error))
            return
        name = (progress.topic.removeprefix(internal.BESIDE), progress.partition)
        state = self._partitions.get(name)
        if state is not None and state.log_id == progress.log_id:
            for offset in sorted(set(progress.poison) - state.care.poison):
                state.care.poison.add(offset)
                self._condemn(name, state, offset)

    def _condemn(self, name: tuple[str, int], state: _Partition, offset: int) -> None:
        """Have a poison record that was taken already marked, after what waits for ClickHouse."""
        if offset < state.next_offset:
            self._queues.put(name[0], Condemned(*name, state.log_id, offset, POISON_ERROR), 0)

    async def _restore_one(self, reader: LogReader, topic: str, partition: int) -> _Partition:
        tp = TopicPartition(self.settings.topic(topic), partition)
        begins = (await reader.beginning([tp]))[tp]
        if topic == topics.DEAD_LETTERS:
            # Few and idempotent: read from the beginning of what is kept.
            return _Partition(begins)
        points = await self._queues.retried(topic, self._bronze.restore_points, topic, partition)
        for point in points:
            if begins > point.offset or await self._is_at(reader, tp, point):
                if begins > point.offset + 1:
                    await self._lose(topic, partition, point.log_id, point.offset + 1, begins - 1)
                log_ms = NEVER if point.redo_log_ms is None else point.redo_log_ms
                return _Partition(max(begins, point.redo_from), point.log_id, point.offset, log_ms)
        if points:
            NEW_LOGS.labels(topic).inc()
            log.warning("the log is a new one", topic=topic, partition=partition)
        first = (await reader.first_records({tp: begins}))[tp]
        return _Partition(begins, log_identity(first) if first is not None else "")

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
            and alike(point.payload, found.value or b"")
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
        if records and records[0].offset > state.next_offset:
            hole = await self.holes.proven(topic, partition, state.next_offset, records[0].offset)
            if hole is None or self._revoked_now.is_set():
                return
            if hole.deleted and state.log_id and topic != topics.DEAD_LETTERS:
                await self._lose(topic, partition, state.log_id, hole.first, hole.begins - 1)
        start = 0
        while start < len(records):
            if not await self._queues.wait_for_room(self._revoked_now):
                return
            part = records[start : start + _SLICE]
            if state.care.suspect and topic != topics.DEAD_LETTERS:
                part = await self._vetted(topic, partition, state, part)
                if self._revoked_now.is_set():
                    return
            item = part if topic == topics.DEAD_LETTERS else self._batch(topic, partition, state, part)
            if isinstance(item, BronzeBatch) and not await self._lettered(state, item, part):
                return
            size = sum(len(record.value or b"") + 100 for record in part)
            self._queues.put(
                topic, item, size + (_CHANGE_BYTES * len(item.changes) if isinstance(item, BronzeBatch) else 0)
            )
            state.tail = part[-1]
            state.next_offset = part[-1].offset + 1
            start += len(part)
            await asyncio.sleep(0)

    async def _lose(self, topic: str, partition: int, log_id: str, first: int, last: int) -> None:
        """Record that bronze will never have these; before anything after them is taken."""
        LOST_OFFSETS.labels(topic).inc(last + 1 - first)
        log.error(
            "records were deleted before they were archived",
            topic=topic,
            partition=partition,
            first=first,
            last=last,
            lost_offsets=last + 1 - first,
        )
        row = LostOffsets(topic, partition, log_id, first, last, now_ms(), NOT_ARCHIVED)
        await self._queues.retried(topic, self._losses.write, [row])

    async def _vetted(self, topic: str, partition: int, state: _Partition, records: list[Any]) -> list[Any]:
        """What of a slice may be decoded without ending the process."""
        place = (topic, partition, state.log_id)
        return await self._guard.vetted(
            place,
            state.care,
            records,
            lambda part: self._decode(topic, part, state.care.poison),
            lambda: not self._revoked_now.is_set(),
        )

    @staticmethod
    def _decode(topic: str, records: list[Any], poison: set[int]) -> object:
        decode = decode_change_records if topic in topics.CHANGES else decode_records
        return decode(topic, records, poison)

    async def _lettered(self, state: _Partition, batch: BronzeBatch, records: list[Any]) -> bool:
        """Have the dead letters of a batch acknowledged, if it is of changes: nobody else sends them, and once the batch is
        queued, a restart may begin after it. False if the partition is to be given up first."""
        letters = letters_of(self.settings, batch, records, state.lettered) if batch.topic in topics.CHANGES else []
        if letters:
            sending = asyncio.create_task(self._publisher.send_all(letters))
            revoked = asyncio.create_task(self._revoked_now.wait())
            await asyncio.wait((sending, revoked), return_when=asyncio.FIRST_COMPLETED)
            revoked.cancel()
            if not sending.done():
                sending.cancel()
                return False
            sending.result()
            for letter in letters:
                INVALID.labels(batch.topic, dict(letter.headers)["reason"].decode()).inc()
            return not self._revoked_now.is_set()
        return True

    def _batch(self, topic: str, partition: int, state: _Partition, records: list[Any]) -> BronzeBatch:
        """Records with the verdict that the windows have of each."""
        if not state.log_id:
            state.log_id = log_identity(records[0])
        timestamps = [record.timestamp for record in records]
        log_ms = np.maximum.accumulate(np.maximum(np.array(timestamps, dtype=np.int64), state.log_time_ms))
        state.log_time_ms = int(log_ms[-1])
        log_times = log_ms.tolist()
        if topic in topics.CHANGES:
            return change_batch(topic, partition, state.log_id, records, state.care.poison, log_times)
        errors, owners = self._verdicts(topic, state, log_ms, records)
        return BronzeBatch(
            topic,
            partition,
            state.log_id,
            [record.offset for record in records],
            timestamps,
            [record.key or b"" for record in records],
            [record.value or b"" for record in records],
            errors,
            owners=owners,
            log_times=log_times,
        )

    @staticmethod
    def _verdicts(
        topic: str, state: _Partition, log_ms: npt.NDArray[np.int64], records: list[Any]
    ) -> tuple[list[str], list[int]]:
        """What is wrong with each record (nothing at all: empty), and whose it is where that matters."""
        decoded = decode_records(topic, records, state.care.poison)
        owners = owners_of(topic, decoded, len(records))
        ahead = decoded.array("occurred_at_ms") > log_ms[decoded.ok] + FUTURE_LIMIT_MS
        if not decoded.dead and not ahead.any():
            return [], owners
        errors = [""] * len(records)
        for position, reason, text in decoded.dead:
            errors[position] = f"{reason.value}: {text}"
        for i in np.flatnonzero(ahead).tolist():
            errors[int(decoded.ok[i])] = "future_event: occurred_at is more than 300 s ahead of the log's time"
        return errors, owners

    def problem(self) -> str:
        """Not ready while ClickHouse takes nothing."""
        failing = self._queues.failing
        return f"ClickHouse does not take records: {failing}" if failing else ""

    def _progressed(self) -> None:
        self.progressed_at_s = monotonic()

    def lag(self) -> dict[tuple[str, int], int]:
        """Records after the last one that is in ClickHouse."""
        lags: dict[tuple[str, int], int] = {}
        waiting = self._queues.oldest_waiting()
        for (topic, partition), state in self._partitions.items():
            stored = waiting.get((topic, partition), state.next_offset)
            lag = self.behind(topic, partition, stored)
            if lag is not None:
                lags[topic, partition] = lag
        return lags
