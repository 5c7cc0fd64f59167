"""Restore of sources at an assignment: the last snapshot whose log is really this log, then reading on after it.

Nothing here decides what counts: a snapshot is the state after a prefix of the log, so any snapshot is a right place to
start from, and none at all (offset 0) is too. Log identity is what must not be wrong: a broker that lost its log, or a
topic made again, starts at offset 0 with other records.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import msgspec
from aiokafka import TopicPartition

from schemas import internal, topics
from schemas.internal import Progress
from streamproc.agents.aggregate import MAX_LOST, Aggregator
from streamproc.agents.bridge import SentCells, key_of_cell
from streamproc.agents.log_reader import LogReader, LogReaders, log_identity, record_hash
from streamproc.agents.messages import CHUNK_BYTES
from streamproc.agents.poison import PoisonGuard
from streamproc.agents.progress_log import Known, read_known
from streamproc.agents.runtime import SourceRuntime
from streamproc.catalogue import measure_of
from streamproc.clock import monotonic, now_ms
from streamproc.config import Settings
from streamproc.logs import get_logger
from streamproc.telemetry import NEW_LOGS, RESTORE_SECONDS
from streamproc.windows.accumulators import UnreadableError, load_accumulator
from streamproc.windows.dimensions import DimensionIndex
from streamproc.windows.source import NEVER, SourceState

log = get_logger("restore")

#: Messages between two that are wanted, up to which reading on is cheaper than another round trip.
_SMALL_GAP: Final = 8
#: Lost ranges found so long ago have their row, and have been told.
_LOST_KNOWN_MS: Final = 3 * 86_400_000


@dataclass(slots=True, frozen=True)
class _Stored:
    """Messages of window-state and of window-ids, by their offset."""

    chunks: dict[int, bytes]
    keys: dict[int, bytes]


class SourceRestorer:
    """Brings the runtimes of assigned partitions to where they were, and says where to read on."""

    def __init__(
        self,
        settings: Settings,
        aggregator: Aggregator,
        poison: PoisonGuard | None = None,
        sent: SentCells | None = None,
    ) -> None:
        self.settings = settings
        self.aggregator = aggregator
        self._poison = poison
        #: Finds what was sent of records that are gone; None: what is gone is lost.
        self._sent = sent
        self._begins: dict[tuple[str, int], int] = {}
        #: Restored, and their poison not known yet: a restore that fails midway is tried again, and finds them held.
        self._unbegun: set[tuple[str, int]] = set()

    async def restore(self, assigned: set[tuple[str, int]]) -> dict[tuple[str, int], int]:
        """Restore exactly these (contract topic, partition); others are forgotten. Returns the offset to read next."""
        began = monotonic()
        runtimes = self.aggregator.runtimes
        for name in [name for name in runtimes if name not in assigned]:
            del runtimes[name]
        self.aggregator.revoked.clear()
        async with LogReaders(self.settings.bootstrap_servers) as readers:
            reader = readers.first
            held = {name for name in assigned if name in runtimes and runtimes[name].state is not None}
            lost = {name for name in held if not await self.is_same(reader, runtimes[name])}
            for name in lost:
                NEW_LOGS.labels(name[0]).inc()
                log.warning("the log is a new one", topic=name[0], partition=name[1])
                self.aggregator.retired.append(runtimes.pop(name))
            fresh = assigned - (held - lost)
            self._unbegun = (self._unbegun & assigned) | fresh
            known = await read_known(readers, self.settings, self._unbegun)
            await self._restore_fresh(readers, {name: known.get(name, []) for name in sorted(fresh)})
        await self._begun({name: known.get(name, []) for name in self._unbegun})
        self._unbegun.clear()
        RESTORE_SECONDS.labels("windows").observe(monotonic() - began)
        log.info("restored", partitions=len(assigned), kept=len(held - lost), seconds=round(monotonic() - began, 2))
        return {name: runtimes[name].next_offset for name in assigned}

    async def _begun(self, known: dict[tuple[str, int], list[Known]]) -> None:
        """Note where each source begins, and learn which of its records are poison."""
        if self._poison is None:
            return
        for name, logs in known.items():
            runtime = self.aggregator.runtime(*name)
            if runtime.state is not None:
                runtime.care = self._poison.begin(*name, runtime.log_id, logs)
        await self._poison.record_begun()

    def _tp(self, topic: str, partition: int) -> TopicPartition:
        return TopicPartition(self.settings.topic(topic), partition)

    async def is_same(self, reader: LogReader, runtime: SourceRuntime) -> bool:
        """Whether the log still holds the last record applied; before any was, whether it still begins as it did."""
        if runtime.state is None:
            return True
        if runtime.state.offset < 0:
            return await self._begins_with(reader, runtime)
        tail = record_hash(runtime.tail) if runtime.tail is not None else runtime.tail_hash
        name = (runtime.topic, runtime.partition)
        return (await self._held_offsets(reader, {name: (runtime.state.offset, tail)}))[name]

    async def _begins_with(self, reader: LogReader, runtime: SourceRuntime) -> bool:
        """Whether the log's first record is the one that gave it its identity, or has been outlived by retention."""
        tp = self._tp(runtime.topic, runtime.partition)
        begins = (await reader.beginning([tp]))[tp]
        first = (await reader.first_records({tp: begins}))[tp]
        return begins > 0 or (first is not None and log_identity(first) == runtime.log_id)

    async def _restore_fresh(self, readers: LogReaders, known: dict[tuple[str, int], list[Known]]) -> None:
        """Each source from the newest snapshot of the log that is really there; all are asked for together, since what
        a restore takes is round trips."""
        reader = readers.first
        snapshots = {
            name: [(log_, log_.snapshot) for log_ in logs if log_.snapshot is not None] for name, logs in known.items()
        }
        while snapshots:
            asked = {name: candidates[0][1] for name, candidates in snapshots.items() if candidates}
            there = await self._held_offsets(reader, {name: (s.offset, s.tail_hash) for name, s in asked.items()})
            places: dict[int, list[tuple[str, int]]] = {}
            for name in snapshots:
                places.setdefault(internal.partition_of_source(*name, self.settings.partitions), []).append(name)
            await readers.each(partial(self._restore_place, snapshots, there, known), places.items())

    async def _restore_place(
        self,
        snapshots: dict[tuple[str, int], list[tuple[Known, Progress]]],
        there: dict[tuple[str, int], bool],
        known: dict[tuple[str, int], list[Known]],
        reader: LogReader,
        place: tuple[int, list[tuple[str, int]]],
    ) -> None:
        """Take the next snapshot of each source whose messages lie in one partition. Those of several sources lie one among
        the other: read for each source by itself, a restart read 100 MB to get 38."""
        number, names = place
        saved = [snapshots[name][0][1] for name in names if snapshots[name] and there[name]]
        chunks = await self._messages(
            reader, topics.WINDOW_STATE, number, [o for each in saved for o in each.state_offsets]
        )
        segments = [segment.offset for each in saved for segment in (*each.ids, *each.statuses)]
        keys = await self._messages(reader, topics.WINDOW_IDS, number, segments)
        for name in names:
            await self._restore_one(snapshots, there, known, reader, name, _Stored(chunks, keys))
            await asyncio.sleep(0)

    async def _restore_one(
        self,
        snapshots: dict[tuple[str, int], list[tuple[Known, Progress]]],
        there: dict[tuple[str, int], bool],
        known: dict[tuple[str, int], list[Known]],
        reader: LogReader,
        name: tuple[str, int],
        stored: _Stored,
    ) -> None:
        """Take a source's next snapshot, or begin its log if there is none left; done with, it leaves `snapshots`."""
        runtime = self.aggregator.runtime(*name)
        if not snapshots[name]:
            await self._begin(reader, runtime, known[name])
            del snapshots[name]
            return
        found, saved = snapshots[name].pop(0)
        if there[name] and self._load(runtime, saved, stored):
            runtime.dead_until = found.offset
            await self._bridge(runtime, found, saved.offset, self._begins[name])
            del snapshots[name]

    async def _bridge(self, runtime: SourceRuntime, known: Known, saved: int, begins: int) -> None:
        """Go on where the log begins now, if that is after what is saved: with what was sent of what is gone."""
        state = runtime.state
        assert state is not None
        recent = now_ms() - _LOST_KNOWN_MS
        runtime.lost = sorted(lost for lost in known.lost if lost.found_ms > recent)[-MAX_LOST:]
        if runtime.lost and self.aggregator.on_lost is not None:
            self.aggregator.on_lost(runtime, runtime.lost, False)
        if begins <= saved + 1:
            return
        sent = {} if self._sent is None else await self._sent.after(runtime.source, saved)
        points = [point for point in known.points if saved < point[0] < begins]
        _, log_ms, event_ms = max(points, default=(-1, NEVER, NEVER))
        state.go_on_after(begins - 1, sent, log_ms, event_ms)
        runtime.tail_hash = ""
        log.warning(
            "the log begins after what is saved of it: going on with the cells that were sent",
            topic=runtime.topic,
            partition=runtime.partition,
            saved=saved,
            begins=begins,
            cells=len(sent),
        )
        first = max(saved, known.sent if sent else -1) + 1
        if first < begins:
            self.aggregator.lose(runtime, first, begins - 1)

    async def _held_offsets(
        self, reader: LogReader, places: dict[tuple[str, int], tuple[int, str]]
    ) -> dict[tuple[str, int], bool]:
        """Whether each log still has that record at that offset, or has outlived it by retention."""
        tps = {self._tp(*name): name for name in places}
        if not tps:
            return {}
        begins = await reader.beginning(tps)
        self._begins.update({name: begins[tp] for tp, name in tps.items()})
        held = {name: begins[tp] > places[name][0] for tp, name in tps.items()}
        ask = {tp: places[name][0] for tp, name in tps.items() if not held[name]}
        found = await reader.first_records(ask)
        # Retention can come between the two questions: a record that is gone says nothing until it is asked again.
        gone = [tp for tp, record in found.items() if record is None or record.offset > ask[tp]]
        begins = await reader.beginning(gone) if gone else {}
        self._begins.update({tps[tp]: offset for tp, offset in begins.items()})
        for tp, record in found.items():
            offset, tail_hash = places[tps[tp]]
            same = record is not None and record.offset == offset and record_hash(record) == tail_hash
            held[tps[tp]] = same or begins.get(tp, 0) > offset
        return held

    async def _begin(self, reader: LogReader, runtime: SourceRuntime, logs: list[Known]) -> None:
        """A log without a snapshot is read from where it begins; dead letters already sent are known by its identity."""
        tp = self._tp(runtime.topic, runtime.partition)
        begins = (await reader.beginning([tp]))[tp]
        first = (await reader.first_records({tp: begins}))[tp]
        if first is None:
            return
        log_id = await self._identity(reader, runtime, first, logs)
        state = runtime.open(log_id, self.settings.dedup_horizon_ms)
        state.offset = first.offset - 1
        of_log = next((known for known in logs if known.log_id == log_id), None)
        if of_log is not None:
            runtime.dead_until = of_log.offset
            await self._bridge(runtime, of_log, -1, begins)
        if logs and all(known.log_id != log_id for known in logs):
            NEW_LOGS.labels(runtime.topic).inc()
            log.warning("the log is a new one", topic=runtime.topic, partition=runtime.partition, log_id=log_id)

    async def _identity(self, reader: LogReader, runtime: SourceRuntime, first: Any, logs: list[Known]) -> str:
        """The log's identity is its first record; where retention has deleted that, the last one that was recorded."""
        for known in logs:
            if known.offset >= first.offset:
                tp = self._tp(runtime.topic, runtime.partition)
                found = (await reader.first_records({tp: known.offset}))[tp]
                if found is not None and found.offset == known.offset and record_hash(found) == known.tail_hash:
                    return known.log_id
        return log_identity(first)

    def _load(self, runtime: SourceRuntime, saved: Progress, read: _Stored) -> bool:
        """Fill the runtime from a snapshot; False if its messages are gone (then more is read again)."""
        segments = (*saved.ids, *saved.statuses)
        if any(o not in read.chunks for o in saved.state_offsets) or any(s.offset not in read.keys for s in segments):
            log.warning("a snapshot is no longer whole", topic=runtime.topic, partition=runtime.partition)
            return False
        try:
            stored = internal.decode_state(b"".join(read.chunks[offset] for offset in saved.state_offsets))
        except msgspec.MsgspecError as error:
            log.error("a snapshot is not readable", topic=runtime.topic, partition=runtime.partition, error=str(error))
            return False
        state = runtime.open(saved.log_id, self.settings.dedup_horizon_ms)
        try:
            load_state(state, stored)
            state.ids.load(*(read.keys[segment.offset] for segment in saved.ids))
            state.statuses.load(*(read.keys[segment.offset] for segment in saved.statuses))
        except UnreadableError as error:
            log.error("a snapshot is not readable", topic=runtime.topic, partition=runtime.partition, error=str(error))
            runtime.state = None
            return False
        runtime.ids, runtime.statuses = list(saved.ids), list(saved.statuses)
        runtime.saved, runtime.saved_offset, runtime.tail_hash = saved, saved.offset, saved.tail_hash
        runtime.save_due_s = monotonic() + self.settings.snapshot_interval_s
        return True

    async def _messages(self, reader: LogReader, topic: str, place: int, offsets: list[int]) -> dict[int, bytes]:
        """Values of single messages of an internal topic, by offset; without those that are gone."""
        tp = TopicPartition(self.settings.topic(topic), place)
        values: dict[int, bytes] = {}
        for first, last in _ranges(offsets):
            most_bytes = (last + 1 - first) * CHUNK_BYTES
            for record in await reader.read_from(tp, first, last + 1, most_bytes=most_bytes):
                if record.value is not None:
                    values[record.offset] = record.value
        return values


def _ranges(offsets: list[int]) -> list[tuple[int, int]]:
    """(first, last) of stretches that hold all offsets; small gaps (other sources' messages) are read as well."""
    ranges: list[tuple[int, int]] = []
    for offset in sorted(offsets):
        if ranges and offset - ranges[-1][1] <= _SMALL_GAP:
            ranges[-1] = (ranges[-1][0], offset)
        else:
            ranges.append((offset, offset))
    return ranges


def load_state(state: SourceState, stored: internal.SavedState) -> None:
    """Put a saved state into an empty one."""
    state.offset = stored.offset
    state.log_time_ms = stored.log_time_ms
    state.max_event_ms = stored.max_event_ms
    state.dimensions = {name: DimensionIndex(values) for name, values in stored.dimensions.items()}
    for cell in stored.cells:
        key = key_of_cell(cell)
        if key is not None:
            state.put(key, load_accumulator(measure_of(cell.measure).kind, cell.data))
