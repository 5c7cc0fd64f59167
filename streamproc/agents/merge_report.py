"""How far window-partials need not be read again: what is before is stored, judged, and its alerts are recorded."""

from __future__ import annotations

import asyncio
from typing import Final, Protocol

from schemas import internal, topics
from schemas.internal import Progress
from streamproc.agents.merge import MergeAgent
from streamproc.agents.publisher import Message, Publisher
from streamproc.clock import now_ms
from streamproc.config import Settings

_INTERVAL_S: Final = 2.0

_Place = tuple[int, str]
"""An offset of window-partials, and the identity of the record before it."""


class Judging(Protocol):
    """What the report needs of the alert agent."""

    def has_judged(self, partition: int) -> bool:
        """Whether values of this partition of window-partials are judged when they are published."""

    async def record_outgoing(self) -> None:
        """Send what is judged and not recorded yet."""


class MergeReport:
    """Writes the `merge` records of window-progress."""

    def __init__(self, settings: Settings, merge: MergeAgent, judging: Judging, publisher: Publisher) -> None:
        self._settings = settings
        self._merge = merge
        self._judging = judging
        self._publisher = publisher

    async def run(self) -> None:
        """Write every two seconds; for ever."""
        while True:
            await asyncio.sleep(_INTERVAL_S)
            stored = self._stored()
            # A cell can be stored before its value is published and judged. If this worker died in between, the next one
            # would find an entity as it should be, and nobody would judge it until it changes.
            await self._merge.published()
            await self._write(stored)

    async def finish(self) -> None:
        """Write the last time, when nothing publishes any more."""
        stored = self._stored()
        await self._merge.emit_now()
        await self._write(stored)

    def _stored(self) -> dict[int, _Place]:
        places: dict[int, _Place] = {}
        for number, held in self._merge.partitions.items():
            until = held.stored_until()
            places[number] = until, held.hash_before(until)
        return places

    async def _write(self, stored: dict[int, _Place]) -> None:
        """Record, by partition, until where all was stored before the last values were published."""
        await self._judging.record_outgoing()
        topic = self._settings.topic(topics.WINDOW_PROGRESS)
        messages = []
        for number, (until, tail_hash) in stored.items():
            held = self._merge.partitions.get(number)
            if held is None or until == held.reported or not self._judging.has_judged(number):
                continue
            # Meanwhile the log can have become another one.
            if not tail_hash or held.hash_before(until) != tail_hash:
                continue
            held.reported = until
            place = internal.partition_of_source("merge", number, self._settings.partitions)
            progress = Progress(
                kind="merge",
                source=f"merge/{number}",
                topic="merge",
                partition=number,
                log_id="",
                offset=until,
                wall_ms=now_ms(),
                tail_hash=tail_hash,
            )
            messages.append(Message(topic, place, progress.source.encode(), internal.encode(progress)))
        if messages:
            await self._publisher.send_all(messages)
