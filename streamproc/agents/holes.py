"""Every batch must begin at the next offset: what lies between is looked up in the log itself, never assumed.

Markers of transactions leave holes. Records that retention has deleted are lost, and the caller says so. If records do lie
between, the consumer is at a wrong position: the batch is dropped and read again from where it was due.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from streamproc.agents.fatal import die
from streamproc.agents.log_reader import LogReader
from streamproc.config import Settings
from streamproc.errors import RetryableError
from streamproc.logs import get_logger
from streamproc.telemetry import SEEK_BACKS

log = get_logger("holes")

#: As often in a row without progress of the partition, and seeking back does not help: a new process may.
MAX_SEEK_BACKS: Final = 5
_RETRY_S: Final = 0.4


@dataclass(slots=True, frozen=True)
class Hole:
    """Offsets `first` to `last` hold no records to read; those before `begins` were deleted."""

    first: int
    last: int
    begins: int

    @property
    def deleted(self) -> int:
        """How many of its offsets retention took."""
        return max(0, self.begins - self.first)


class HoleGuard:
    """Judges batches that do not begin where they are due. Topics are the contract's, offsets those of their logs.

    `is_same_log(topic, partition)` says whether the log is the one that was read until now, `seek_back(topic, partition,
    offset)` moves the consumer, `is_ours()` ends a wait while partitions are being taken away.
    """

    def __init__(
        self,
        settings: Settings,
        is_same_log: Callable[[str, int], Awaitable[bool]],
        seek_back: Callable[[str, int, int], Awaitable[None]],
        is_ours: Callable[[], bool],
    ) -> None:
        self._settings = settings
        self._is_same_log = is_same_log
        self._seek_back = seek_back
        self._is_ours = is_ours
        #: (topic, partition) -> where it was sought back to, and how often in a row.
        self._tries: dict[tuple[str, int], tuple[int, int]] = {}

    async def proven(self, topic: str, partition: int, expected: int, offset: int) -> Hole | None:
        """The hole before a batch that begins at `offset` where `expected` was due; None: the batch is not to be taken."""
        while self._is_ours():
            tp = TopicPartition(self._settings.topic(topic), partition)
            try:
                async with LogReader(self._settings.bootstrap_servers) as reader:
                    begins = (await reader.beginning([tp]))[tp]
                    found = (await reader.first_records({tp: max(expected, begins)}))[tp]
                if found is not None and found.offset >= offset:
                    return Hole(expected, offset - 1, begins)
                await self._wrong_position(topic, partition, expected, offset)
                return None
            except (KafkaError, OSError, TimeoutError, RetryableError) as error:
                log.warning("a hole cannot be proven yet; trying again", topic=topic, error=repr(error))
                await asyncio.sleep(_RETRY_S)
        return None

    async def _wrong_position(self, topic: str, partition: int, expected: int, offset: int) -> None:
        place, tries = self._tries.get((topic, partition), (expected, 0))
        tries = tries + 1 if place == expected else 1
        self._tries[topic, partition] = (expected, tries)
        wrong = f"{topic}/{partition}: offset {offset} came where {expected} was due"
        if not await self._is_same_log(topic, partition):
            die(f"{wrong}, and the log is another one")
        if tries > MAX_SEEK_BACKS:
            die(f"{wrong}, again and again")
        SEEK_BACKS.labels(topic).inc()
        log.warning(
            "a batch from a wrong position: seeking back", topic=topic, partition=partition, due=expected, at=offset
        )
        await self._seek_back(topic, partition, expected)
