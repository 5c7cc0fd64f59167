"""How far the stream has counted: what a comparison with silver may rest upon."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from aiokafka import TopicPartition

from batch.reconcile.recipes import TABLES
from schemas import topics
from streamproc.agents.log_reader import LogReader, LogReaders, log_identity, record_hash
from streamproc.agents.progress_log import Known, read_known
from streamproc.clock import monotonic
from streamproc.config import Settings
from streamproc.errors import RetryableError
from streamproc.sinks.bronze import TABLES as BRONZE
from streamproc.sinks.clickhouse_client import ClickHouse

_PATIENCE_S: Final = 60.0

Counted = dict[tuple[str, int, str], int]
"""Last offset counted, by (topic, partition, log); -1: nothing of that log yet."""


async def counted_and_stored(settings: Settings, clickhouse: ClickHouse, note: Callable[[str], None]) -> Counted:
    """How far the windows are in each log that goes on, once the archive is as far and all their cells are stored.

    Without that an event that is on its way would look like one that was lost. `note` is told what is waited for.

    Raises:
        RetryableError: 'broker_slow', 'broker_unavailable', 'archive_behind' or 'windows_behind'.
    """
    deadline = monotonic() + _PATIENCE_S
    async with LogReaders(settings.bootstrap_servers) as readers:
        counted = await _counted(readers, settings)
        ends = await _ends(readers, settings)
        await _until(deadline, "windows_behind", note, lambda: _unstored(readers, settings, ends))
    await _until(deadline, "archive_behind", note, lambda: _unarchived(clickhouse, counted))
    return counted


async def _until(deadline: float, reason: str, note: Callable[[str], None], missing: Callable[[], object]) -> None:
    while True:
        what = await missing()  # type: ignore[misc]  # an awaitable of text, '' once nothing is missing
        if not what:
            return
        if monotonic() > deadline:
            raise RetryableError(reason, f"{what}; are all workers running? `streamproc doctor` shows it")
        note(str(what))
        await asyncio.sleep(0.5)


async def _counted(readers: LogReaders, settings: Settings) -> Counted:
    wanted = [
        (topic, partition) for topic in TABLES for partition in await readers.first.partitions(settings.topic(topic))
    ]
    known = await read_known(readers, settings, wanted)

    async def one(reader: LogReader, name: tuple[str, int]) -> tuple[str, int] | None:
        return await _current(reader, TopicPartition(settings.topic(name[0]), name[1]), known.get(name, []))

    found = await readers.each(one, wanted)
    return {(*name, current[0]): current[1] for name, current in zip(wanted, found, strict=True) if current is not None}


async def _current(reader: LogReader, tp: TopicPartition, known: list[Known]) -> tuple[str, int] | None:
    """The log that is there now, and how far it was counted; None if the partition is empty."""
    begin = (await reader.beginning([tp]))[tp]
    if known and known[0].offset >= 0:
        newest = known[0]
        at = (await reader.first_records({tp: newest.offset}))[tp]
        if begin > newest.offset or (
            at is not None and at.offset == newest.offset and record_hash(at) == newest.tail_hash
        ):
            return newest.log_id, newest.offset
    first = (await reader.first_records({tp: begin}))[tp]
    return None if first is None else (log_identity(first), -1)


async def _ends(readers: LogReaders, settings: Settings) -> dict[int, int]:
    """Where each partition of window-partials ends; those without a record are left out."""
    name = settings.topic(topics.WINDOW_PARTIALS)

    async def end(reader: LogReader, partition: int) -> tuple[int, int]:
        tp = TopicPartition(name, partition)
        return (await reader.beginning([tp]))[tp], await reader.end(tp)

    partitions = await readers.first.partitions(name)
    found = await readers.each(end, partitions)
    return {number: end for number, (begin, end) in zip(partitions, found, strict=True) if end > begin}


async def _unstored(readers: LogReaders, settings: Settings, ends: dict[int, int]) -> str:
    """Which partitions of window-partials are not stored up to their ends; '' if all are."""
    known = await read_known(readers, settings, [("merge", number) for number in ends])
    until = {number: max((each.offset for each in known.get(("merge", number), [])), default=0) for number in ends}
    behind = {number: end - until[number] for number, end in ends.items() if until[number] < end}
    return f"the windows worker has {sum(behind.values())} messages of cells to store" if behind else ""


async def _unarchived(clickhouse: ClickHouse, counted: Counted) -> str:
    """What of the counted records is not in bronze yet; '' if all is there."""
    behind = 0
    for topic in TABLES:
        rows = await clickhouse.rows(
            f"SELECT partition, log_id, max(offset) FROM {BRONZE[topic]}"
            " WHERE topic = {topic:String} GROUP BY partition, log_id",
            {"topic": topic},
        )
        there = {(partition, log_id): offset for partition, log_id, offset in rows}
        for (of, partition, log_id), offset in counted.items():
            if of == topic and offset >= 0:
                behind += max(0, offset - there.get((partition, log_id), -1))
    return f"the archive is {behind} records behind the windows" if behind else ""
