"""Retention has passed the place where a source's state was saved: what had been sent of the records that are gone counts on.

Every cell that a worker sent holds exactly what there is for it up to its version. So the state that nobody can fold again
is put together from the last snapshot and from the newest cells sent after it, out of ClickHouse and of what lies in
`window-partials` behind what is stored; and only records that were in no cell yet are lost. The ids seen among the records that
are gone are lost as well: a repeat of one of them, which comes later, counts once more.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import msgspec
from aiokafka import TopicPartition

from schemas import internal, topics
from schemas.results import ALL, Cell
from streamproc.agents.log_reader import LogReader, LogReaders
from streamproc.agents.progress_log import read_known
from streamproc.agents.stores import WindowStore
from streamproc.catalogue import MEASURES, measure_of
from streamproc.config import Settings
from streamproc.errors import PermanentError, RetryableError
from streamproc.logs import get_logger
from streamproc.windows.accumulators import UnreadableError, load_accumulator
from streamproc.windows.arithmetic import SIZE_NAMES
from streamproc.windows.source import CellKey

log = get_logger("bridge")

_KNOWN = frozenset(measure.name for measure in MEASURES)


def key_of_cell(cell: Cell) -> CellKey | None:
    """Where a cell lies in its source's state; None if it is of another release."""
    if cell.measure not in _KNOWN or (cell.size not in SIZE_NAMES and cell.size != ALL):
        return None
    size = SIZE_NAMES.index(cell.size) if cell.size in SIZE_NAMES else -1
    return CellKey(cell.measure, cell.dimension, cell.dimension_value, size, cell.start_ms)


class SentCells:
    """Finds the cells that any worker has sent of a source."""

    def __init__(self, settings: Settings, store: WindowStore) -> None:
        self._settings = settings
        self._store = store

    async def after(self, source: str, offset: int) -> dict[CellKey, tuple[int, Any]]:
        """(version, accumulator) of the newest cells of a source whose version is above `offset`.

        Raises:
            RetryableError: ClickHouse or the broker does not answer; without them values would fall.
        """
        try:
            cells = await self._store.load_source(source, offset)
        except PermanentError as error:
            raise RetryableError(error.reason, str(error)) from error
        cells += await self._on_their_way(source)
        newest: dict[CellKey, Cell] = {}
        for cell in cells:
            key = key_of_cell(cell)
            if key is not None and cell.version > max(offset, newest[key].version if key in newest else -1):
                newest[key] = cell
        found: dict[CellKey, tuple[int, Any]] = {}
        for key, cell in newest.items():
            try:
                found[key] = (cell.version, load_accumulator(measure_of(cell.measure).kind, cell.data))
            except UnreadableError as error:
                log.error("a cell is not readable", measure=cell.measure, source=source, error=str(error))
        return found

    async def _on_their_way(self, source: str) -> list[Cell]:
        """Cells in window-partials that are perhaps not in ClickHouse yet."""
        async with LogReaders(self._settings.bootstrap_servers) as readers:
            numbers = await readers.first.partitions(self._settings.topic(topics.WINDOW_PARTIALS))
            known = await read_known(readers, self._settings, [("merge", number) for number in numbers])
            stored = {
                number: max((entry.offset for entry in known.get(("merge", number), [])), default=0)
                for number in numbers
            }
            found = await readers.each(partial(self._read, source, stored), numbers)
        return [cell for cells in found for cell in cells]

    async def _read(self, source: str, stored: dict[int, int], reader: LogReader, number: int) -> list[Cell]:
        tp = TopicPartition(self._settings.topic(topics.WINDOW_PARTIALS), number)
        begins = (await reader.beginning([tp]))[tp]
        start = max(begins, min(stored[number], await reader.end(tp)))
        cells: list[Cell] = []
        for record in await reader.read_from(tp, start):
            if record.key != source.encode():
                continue
            try:
                cells += internal.decode_partials(record.value or b"").cells
            except msgspec.MsgspecError as error:
                log.error("a record of window-partials is not readable", offset=record.offset, error=str(error))
        return cells
