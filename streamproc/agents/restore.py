"""Restore of sources at an assignment: the last snapshot whose log is really this log, then reading on after it.

Nothing here decides what counts: a snapshot is the state after a prefix of the log, so any snapshot is a right place to
start from, and none at all (offset 0) is too. Log identity is what must not be wrong: a broker that lost its log, or a
topic made again, starts at offset 0 with other records.
"""

from __future__ import annotations

from typing import Any

import msgspec
from aiokafka import TopicPartition

from schemas import internal, topics
from schemas.internal import Progress
from streamproc.agents.aggregate import Aggregator
from streamproc.agents.log_reader import LogReader, record_hash
from streamproc.agents.progress_log import Known, read_known
from streamproc.agents.runtime import SourceRuntime
from streamproc.catalogue import MEASURES, measure_of
from streamproc.clock import monotonic
from streamproc.config import Settings
from streamproc.logs import get_logger
from streamproc.telemetry import NEW_LOGS, RESTORE_SECONDS
from streamproc.windows.accumulators import load_accumulator
from streamproc.windows.arithmetic import SIZE_NAMES
from streamproc.windows.dimensions import DimensionIndex
from streamproc.windows.source import CellKey, SourceState

log = get_logger("restore")


class SourceRestorer:
    """Brings the runtimes of assigned partitions to where they were, and says where to read on."""

    def __init__(self, settings: Settings, aggregator: Aggregator) -> None:
        self.settings = settings
        self.aggregator = aggregator

    async def restore(self, assigned: set[tuple[str, int]]) -> dict[tuple[str, int], int]:
        """Restore exactly these (contract topic, partition); others are forgotten. Returns the offset to read next."""
        began = monotonic()
        runtimes = self.aggregator.runtimes
        for name in [name for name in runtimes if name not in assigned]:
            del runtimes[name]
        self.aggregator.revoked.clear()
        async with LogReader(self.settings.bootstrap_servers) as reader:
            held = {name for name in assigned if name in runtimes and runtimes[name].state is not None}
            lost = {name for name in held if not await self.is_same(reader, runtimes[name])}
            for name in lost:
                NEW_LOGS.labels(name[0]).inc()
                log.warning("the log is a new one", topic=name[0], partition=name[1])
                self.aggregator.retired.append(runtimes.pop(name))
            fresh = assigned - (held - lost)
            known = await read_known(reader, self.settings, fresh)
            for name in sorted(fresh):
                await self._restore_one(reader, *name, known.get(name, []))
        RESTORE_SECONDS.labels("windows").observe(monotonic() - began)
        log.info("restored", partitions=len(assigned), kept=len(held - lost), seconds=round(monotonic() - began, 2))
        return {name: runtimes[name].next_offset for name in assigned}

    def _tp(self, topic: str, partition: int) -> TopicPartition:
        return TopicPartition(self.settings.topic(topic), partition)

    async def is_same(self, reader: LogReader, runtime: SourceRuntime) -> bool:
        """Whether the log still holds the last record applied (an empty state fits any log)."""
        if runtime.state is None or runtime.state.offset < 0:
            return True
        tail = record_hash(runtime.tail) if runtime.tail is not None else runtime.tail_hash
        return await self._holds(reader, runtime.topic, runtime.partition, runtime.state.offset, tail)

    async def _holds(self, reader: LogReader, topic: str, partition: int, offset: int, tail_hash: str) -> bool:
        """Whether the log still has that record at that offset, or has outlived it by retention."""
        tp = self._tp(topic, partition)
        begins = (await reader.beginning([tp]))[tp]
        if begins > offset:
            return True
        found = (await reader.first_records({tp: offset}))[tp]
        return found is not None and found.offset == offset and record_hash(found) == tail_hash

    async def _restore_one(self, reader: LogReader, topic: str, partition: int, logs: list[Known]) -> None:
        runtime = self.aggregator.runtime(topic, partition)
        for known in logs:
            saved = known.snapshot
            if saved is None or not await self._holds(reader, topic, partition, saved.offset, saved.tail_hash):
                continue
            if await self._load(reader, runtime, saved):
                runtime.dead_until = known.offset
                return
        await self._begin(reader, runtime, logs)

    async def _begin(self, reader: LogReader, runtime: SourceRuntime, logs: list[Known]) -> None:
        """A log without a snapshot: its identity is its first record; dead letters already sent are known by it."""
        tp = self._tp(runtime.topic, runtime.partition)
        begins = (await reader.beginning([tp]))[tp]
        first = (await reader.first_records({tp: begins}))[tp]
        if first is None:
            return
        log_id = record_hash(first)
        state = runtime.open(log_id, self.settings.dedup_horizon_ms)
        state.offset = first.offset - 1
        runtime.dead_until = max((known.offset for known in logs if known.log_id == log_id), default=-1)
        if logs and all(known.log_id != log_id for known in logs):
            NEW_LOGS.labels(runtime.topic).inc()
            log.warning("the log is a new one", topic=runtime.topic, partition=runtime.partition, log_id=log_id)

    async def _load(self, reader: LogReader, runtime: SourceRuntime, saved: Progress) -> bool:
        """Fill the runtime from a snapshot; False if its messages are gone (then more is read again)."""
        place = internal.partition_of_source(runtime.topic, runtime.partition, self.settings.partitions)
        chunks = await self._messages(reader, topics.WINDOW_STATE, place, saved.state_offsets)
        keys = await self._messages(
            reader, topics.WINDOW_IDS, place, [segment.offset for segment in (*saved.ids, *saved.statuses)]
        )
        if chunks is None or keys is None:
            log.warning("a snapshot is no longer whole", topic=runtime.topic, partition=runtime.partition)
            return False
        try:
            stored = internal.decode_state(b"".join(chunks))
        except msgspec.MsgspecError as error:
            log.error("a snapshot is not readable", topic=runtime.topic, partition=runtime.partition, error=str(error))
            return False
        state = runtime.open(saved.log_id, self.settings.dedup_horizon_ms)
        load_state(state, stored)
        for packed in keys[: len(saved.ids)]:
            state.ids.load(packed)
        for packed in keys[len(saved.ids) :]:
            state.statuses.load(packed)
        runtime.ids, runtime.statuses = list(saved.ids), list(saved.statuses)
        runtime.saved, runtime.saved_offset, runtime.tail_hash = saved, saved.offset, saved.tail_hash
        runtime.save_due_s = monotonic() + self.settings.snapshot_interval_s
        return True

    async def _messages(self, reader: LogReader, topic: str, place: int, offsets: list[int]) -> list[bytes] | None:
        """Values of single messages of an internal topic, or None if one is gone."""
        tp = TopicPartition(self.settings.topic(topic), place)
        values: list[bytes] = []
        for offset in offsets:
            record: Any = (await reader.first_records({tp: offset}))[tp]
            if record is None or record.offset != offset:
                return None
            values.append(record.value)
        return values


def load_state(state: SourceState, stored: internal.SavedState) -> None:
    """Put a saved state into an empty one."""
    state.offset = stored.offset
    state.log_time_ms = stored.log_time_ms
    state.max_event_ms = stored.max_event_ms
    state.dimensions = {name: DimensionIndex(values) for name, values in stored.dimensions.items()}
    known = {measure.name for measure in MEASURES}
    for cell in stored.cells:
        if cell.measure not in known:
            continue  # of another release
        size = SIZE_NAMES.index(cell.size) if cell.size in SIZE_NAMES else -1
        key = CellKey(cell.measure, cell.dimension, cell.dimension_value, size, cell.start_ms)
        state.put(key, load_accumulator(measure_of(cell.measure).kind, cell.data))
