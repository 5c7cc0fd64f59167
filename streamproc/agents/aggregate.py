"""The aggregate agents: a fetched batch becomes columns, columns become cells; nothing here waits for a sink."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from schemas.internal import LostRange
from schemas.outcomes import FUTURE_LIMIT_MS, DeadReason
from streamproc.agents.fatal import die
from streamproc.agents.flood import DEFAULT_LIMIT, PROBE_RECORDS, FloodGuard
from streamproc.agents.holes import HoleGuard
from streamproc.agents.log_reader import log_identity
from streamproc.agents.poison import PoisonGuard, decode_records
from streamproc.agents.runtime import DeadLetter, SourceRuntime
from streamproc.clock import monotonic, now_ms
from streamproc.config import Settings
from streamproc.decode import Decoded
from streamproc.failpoints import passing, poisoned
from streamproc.logs import get_logger
from streamproc.telemetry import (
    AGGREGATE_SECONDS,
    BATCH_RECORDS,
    BYTES,
    DECODE_SECONDS,
    DUPLICATES,
    EVENTS,
    INVALID,
    LATE,
    LOST_OFFSETS,
    PAUSED,
    REPEATED,
)
from streamproc.windows.source import Outcome

log = get_logger("aggregate")

#: The event loop is given back after this many records (about 10 ms of work).
SLICE: Final = 4096
#: Newest ranges of lost offsets that progress records carry along, so that a row of each is written in the end.
MAX_LOST: Final = 20

_FUTURE: Final = "occurred_at is more than 300 s ahead of the log's time"


class Aggregator:
    """Folds batches of the event topics into the states of their sources.

    `on_pause(topic, partition, offset, paused)` is told when a topic pauses because nearly everything is bad.
    """

    def __init__(self, settings: Settings, on_pause: Callable[[str, int, int, bool], None]) -> None:
        self.settings = settings
        self.runtimes: dict[tuple[str, int], SourceRuntime] = {}
        #: Runtimes of logs that are gone: what they folded and did not send yet still counts.
        self.retired: list[SourceRuntime] = []
        self.room = asyncio.Event()
        self.room.set()
        self.moved = asyncio.Event()
        #: Set while partitions are being taken away: whoever waits in a body gives its batch up (it is read again).
        self.revoked = asyncio.Event()
        self._on_pause = on_pause
        #: Finds records that end their reader; None: nobody looks for them.
        self.poison: PoisonGuard | None = None
        #: Judges batches that do not begin where they are due; None: they end the process.
        self.holes: HoleGuard | None = None
        #: Told of ranges of a source that are lost, and whether they are new or from its progress records.
        self.on_lost: Callable[[SourceRuntime, list[LostRange], bool], None] | None = None

    def runtime(self, topic: str, partition: int) -> SourceRuntime:
        """The runtime of a partition, made at its first assignment."""
        found = self.runtimes.get((topic, partition))
        if found is None:
            limit = self.settings.dead_letter_limits.get(topic, DEFAULT_LIMIT)
            found = self.runtimes[topic, partition] = SourceRuntime(topic, partition, guard=FloodGuard(limit))
        return found

    async def handle(self, topic: str, partition: int, records: list[Any]) -> None:
        """Fold one fetched batch; records at or below what is applied are skipped."""
        runtime = self.runtimes.get((topic, partition))
        if self.revoked.is_set():
            return
        if runtime is None:
            log.info("batch of a partition that is no longer ours", topic=topic, partition=partition)
            return
        records = await self._unseen(runtime, records)
        if not records:
            return
        state = runtime.state
        if state is None:
            state = runtime.open(log_identity(records[0]), self.settings.dedup_horizon_ms)
            log.info("new log", topic=topic, partition=partition, log_id=runtime.log_id, offset=records[0].offset)
        BATCH_RECORDS.labels(topic).observe(len(records))
        start = 0
        while start < len(records):
            part = records[start : start + SLICE]
            last = state.fits(part[-1].offset)
            if last < part[-1].offset:
                part = [record for record in part if record.offset <= last] or part[:1]
            if runtime.care.suspect:
                part = await self._vetted(runtime, part)
                if self.revoked.is_set():
                    return
            taken = await self._fold(runtime, part)
            if not taken:
                return
            start += taken
            await asyncio.sleep(0)
            await self.room.wait()

    async def _vetted(self, runtime: SourceRuntime, records: list[Any]) -> list[Any]:
        """What of a slice may be folded at once without ending the process."""
        if self.poison is None:
            return records

        def work(part: list[Any]) -> None:
            decoded = decode_records(runtime.topic, part, runtime.care.poison)
            kafka_ms = np.array([record.timestamp for record in part], dtype=np.int64)
            poisoned("fold", part, runtime.care.poison)
            assert runtime.state is not None
            runtime.state.apply(part[-1].offset, kafka_ms, decoded.ok, decoded.columns)

        place = (runtime.topic, runtime.partition, runtime.log_id)
        return await self.poison.vetted(place, runtime.care, records, work, lambda: not self.revoked.is_set())

    async def _unseen(self, runtime: SourceRuntime, records: list[Any]) -> list[Any]:
        """The records after the last one applied; none if they are not the next ones."""
        expected = runtime.next_offset
        if records[0].offset < expected:
            records = list(itertools.dropwhile(lambda record: record.offset < expected, records))
        if not records or records[0].offset == expected:
            return records
        if self.holes is None:
            die(f"{runtime.topic}/{runtime.partition}: offset {records[0].offset} came where {expected} was due")
        hole = await self.holes.proven(runtime.topic, runtime.partition, expected, records[0].offset)
        if hole is None or self.revoked.is_set():
            return []
        if hole.deleted and runtime.state is not None:
            self.lose(runtime, expected, hole.begins - 1)
        return records

    def lose(self, runtime: SourceRuntime, first: int, last: int) -> None:
        """Offsets that nobody can read any more: counted, said, and recorded with progress.

        Never too few; perhaps too many, by those whose cells were sent after the last record of progress.
        """
        LOST_OFFSETS.labels(runtime.topic).inc(last + 1 - first)
        # Saved with the next flush: a restart from before the hole would have to find out all of this once more.
        runtime.save_due_s = 0.0
        log.error(
            "records were deleted before they were read",
            topic=runtime.topic,
            partition=runtime.partition,
            first=first,
            last=last,
            lost_offsets=last + 1 - first,
        )
        runtime.lost = [*runtime.lost, LostRange(first, last, now_ms())][-MAX_LOST:]
        if self.on_lost is not None:
            self.on_lost(runtime, runtime.lost[-1:], True)

    async def _fold(self, runtime: SourceRuntime, records: list[Any]) -> int:
        """Decode and apply one slice; returns how many records were taken.

        Fewer than given while nearly everything is bad; 0 if the partition was taken away meanwhile.
        """
        topic = runtime.topic
        began = monotonic()
        decoded = decode_records(topic, records, runtime.care.poison)
        decoded_at = monotonic()
        passing("after_decode")
        kafka_ms = np.fromiter((record.timestamp for record in records), dtype=np.int64, count=len(records))
        bad = _bad(runtime, decoded, int(kafka_ms.max()))
        if bad and runtime.guard.would_flood(bad, len(records)):
            if len(records) > PROBE_RECORDS:
                return await self._fold(runtime, records[:PROBE_RECORDS])
            if not await self._pause(runtime, decoded, records[0].offset):
                return 0
        elif runtime.paused:
            self._set_paused(runtime, records[0].offset, False)
        assert runtime.state is not None
        folding_at = monotonic()
        poisoned("fold", records, runtime.care.poison)
        outcome = runtime.state.apply(records[-1].offset, kafka_ms, decoded.ok, decoded.columns)
        done = monotonic()
        runtime.tail = records[-1]
        self._dead_letters(runtime, decoded, outcome, records)
        runtime.guard.add(len(decoded.dead) + len(outcome.future), len(records))
        self.moved.set()
        DECODE_SECONDS.labels(topic).inc(decoded_at - began)
        AGGREGATE_SECONDS.labels(topic).inc(done - folding_at)
        EVENTS.labels(topic).inc(len(records))
        BYTES.labels(topic).inc(sum(len(record.value) for record in records if record.value))
        self._count(topic, outcome)
        return len(records)

    @staticmethod
    def _count(topic: str, outcome: Outcome) -> None:
        if outcome.duplicates:
            DUPLICATES.labels(topic).inc(outcome.duplicates)
        if outcome.repeated:
            REPEATED.labels(topic).inc(outcome.repeated)
        for size, late in outcome.late.items():
            if late:
                LATE.labels(topic, size).inc(late)

    def _dead_letters(self, runtime: SourceRuntime, decoded: Decoded, outcome: Outcome, records: list[Any]) -> None:
        bad = [(position, reason, text) for position, reason, text in decoded.dead]
        bad += [(int(decoded.ok[i]), DeadReason.FUTURE_EVENT, _FUTURE) for i in outcome.future]
        for position, reason, text in sorted(bad, key=lambda item: item[0]):
            INVALID.labels(runtime.topic, reason.value).inc()
            if records[position].offset > runtime.dead_until:
                runtime.dead.append(DeadLetter(records[position], reason.value, text))

    async def _pause(self, runtime: SourceRuntime, decoded: Decoded, offset: int) -> bool:
        """Wait while nearly everything is bad: a small probe passes every so often, the rest stays in the topic.

        False if the partition is being taken away. The pause ends with the first probe that is not as bad, so that
        people are told once.
        """
        if not runtime.paused:
            log.error(
                "nearly every record is bad: the topic is paused and probed",
                topic=runtime.topic,
                partition=runtime.partition,
                offset=offset,
                reason=decoded.dead[0][2] if decoded.dead else _FUTURE,
                limit=runtime.guard.limit,
                probe_every_s=self.settings.flood_probe_s,
            )
            self._set_paused(runtime, offset, True)
        try:
            await asyncio.wait_for(self.revoked.wait(), self.settings.flood_probe_s)
        except TimeoutError:
            return True
        self._set_paused(runtime, offset, False)
        return False

    def _set_paused(self, runtime: SourceRuntime, offset: int, paused: bool) -> None:
        runtime.paused = paused
        PAUSED.labels(runtime.topic).set(any(r.paused for r in self.runtimes.values() if r.topic == runtime.topic))
        self._on_pause(runtime.topic, runtime.partition, offset, paused)

    @property
    def paused(self) -> bool:
        """Whether some partition is held back because nearly everything is bad."""
        return any(runtime.paused for runtime in self.runtimes.values())


def _bad(runtime: SourceRuntime, decoded: Decoded, newest_ms: int) -> int:
    """Records that surely become dead letters: unreadable ones, and those ahead even of the slice's newest log time."""
    assert runtime.state is not None
    log_ms = max(newest_ms, runtime.state.log_time_ms)
    ahead = int((decoded.array("occurred_at_ms") > log_ms + FUTURE_LIMIT_MS).sum()) if len(decoded.ok) else 0
    return len(decoded.dead) + ahead
