"""Reading `window-progress` back: the newest records of the sources that are asked for, without reading it all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

import msgspec
from aiokafka import TopicPartition

from schemas import internal, topics
from schemas.internal import LostRange, Progress
from streamproc.agents.log_reader import LogReader, LogReaders
from streamproc.config import Settings
from streamproc.logs import get_logger

log = get_logger("progress")

_FIRST_STEP: Final = 4000
_LAST_STEP: Final = 500_000


@dataclass(slots=True)
class Known:
    """What `window-progress` says of one topic's partition and one of its logs: the newest snapshot, the highest offset
    and the hash of the record there, and where the last record about it was written."""

    log_id: str
    snapshot: Progress | None = None
    offset: int = -1
    tail_hash: str = ""
    written_at: int = -1
    poison: set[int] = field(default_factory=set)
    #: How often a role's workers began to read on where that offset was the last one safe.
    begun: Counter[tuple[str, int]] = field(default_factory=Counter)
    #: Up to here every cell was sent to window-partials.
    sent: int = -1
    lost: set[LostRange] = field(default_factory=set)
    #: (offset, log time, highest event time) of each record.
    points: list[tuple[int, int, int]] = field(default_factory=list)

    def add(self, record: Progress, position: int) -> None:
        """Highest offset wins: the last record written can be a zombie's."""
        self.poison.update(record.poison)
        if record.kind == "begun":
            self.begun[record.role, record.offset] += 1
        if record.topic.startswith(internal.BESIDE):
            return
        self.written_at = max(self.written_at, position)
        self.sent = max(self.sent, record.sent)
        self.lost.update(record.lost)
        self.points.append((record.offset, record.log_time_ms, record.max_event_ms))
        if record.offset > self.offset:
            self.offset, self.tail_hash = record.offset, record.tail_hash
        if record.kind != "progress" and (self.snapshot is None or record.offset >= self.snapshot.offset):
            self.snapshot = record


async def read_known(
    readers: LogReaders, settings: Settings, wanted: Iterable[tuple[str, int]]
) -> dict[tuple[str, int], list[Known]]:
    """For each (contract topic, partition): what is known of its logs, newest written first.

    A snapshot that is not found only means that more is read again, so the search back is bounded.
    """
    by_place: dict[int, set[tuple[str, int]]] = {}
    for topic, partition in wanted:
        place = internal.partition_of_source(topic, partition, settings.partitions)
        by_place.setdefault(place, set()).add((topic, partition))

    async def read(reader: LogReader, place: int) -> dict[tuple[str, int], dict[str, Known]]:
        return await _read_place(reader, TopicPartition(settings.topic(topics.WINDOW_PROGRESS), place), by_place[place])

    return {
        name: sorted(logs.values(), key=lambda known: -known.written_at)
        for found in await readers.each(read, by_place)
        for name, logs in found.items()
    }


async def _read_place(
    reader: LogReader, tp: TopicPartition, names: set[tuple[str, int]]
) -> dict[tuple[str, int], dict[str, Known]]:
    begin = (await reader.beginning([tp]))[tp]
    end = await reader.end(tp)
    found: dict[tuple[str, int], dict[str, Known]] = {}
    step = _FIRST_STEP
    stop = end
    while stop > begin:
        start = max(begin, stop - step)
        for record in await reader.read_from(tp, start, stop):
            _add(found, names, record)
        complete = all(any(known.snapshot for known in found.get(name, {}).values()) for name in names)
        if complete or step >= _LAST_STEP:
            break
        stop, step = start, step * 4
    return found


def _add(found: dict[tuple[str, int], dict[str, Known]], names: set[tuple[str, int]], record: object) -> None:
    value, offset = record.value, record.offset  # type: ignore[attr-defined]  # aiokafka's record is untyped
    try:
        progress = internal.decode_progress(value)
    except msgspec.MsgspecError as error:
        log.error("a record of window-progress is not readable", offset=offset, error=str(error))
        return
    name = (progress.topic.removeprefix(internal.BESIDE), progress.partition)
    if name in names:
        known = found.setdefault(name, {}).setdefault(progress.log_id, Known(progress.log_id))
        known.add(progress, offset)
