"""Nothing is lost without a row that says so: ranges of lost offsets on their way to ClickHouse and to people.

Progress records carry the newest ranges along, and every restore hands them over again: a worker that dies before the row is
written leaves that to the next one. Rows have the range as their key, so repeats are harmless.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Final, Protocol

from schemas.alerts import AlertTransition
from streamproc.agents.notices import lost_offsets
from streamproc.errors import PermanentError, RetryableError
from streamproc.logs import get_logger
from streamproc.sinks.lost_offsets_store import LostOffsets

log = get_logger("losses")

_RETRY_S: Final = 2.0


class LossStore(Protocol):
    """Where rows go."""

    async def write(self, rows: Sequence[LostOffsets]) -> None:
        """One insert; raises RetryableError or PermanentError."""


class LossRecorder:
    """Writes a row of each range, as long as it takes, and tells people by `announce`."""

    def __init__(self, store: LossStore, announce: Callable[[AlertTransition], None]) -> None:
        self._store = store
        self._announce = announce
        self._waiting: dict[LostOffsets, None] = {}
        self._wake = asyncio.Event()

    def found(self, row: LostOffsets) -> None:
        """A range was found out just now: people are told."""
        for transition in lost_offsets(row.topic, row.partition, row.log_id, row.first, row.last):
            self._announce(transition)
        self.remember([row])

    def remember(self, rows: Iterable[LostOffsets]) -> None:
        """Ranges of progress records: have their rows written, if somebody has died before that."""
        self._waiting.update(dict.fromkeys(rows))
        if self._waiting:
            self._wake.set()

    async def run(self) -> None:
        """Write for ever; ends by cancellation only. Nothing is dropped."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                rows = list(self._waiting)
                try:
                    await self._store.write(rows)
                except (RetryableError, PermanentError) as error:
                    log.warning("lost offsets are not recorded yet; trying again", rows=len(rows), error=str(error))
                    await asyncio.sleep(_RETRY_S)
                else:
                    for row in rows:
                        self._waiting.pop(row, None)
