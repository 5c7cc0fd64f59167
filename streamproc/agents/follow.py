"""Following an internal topic from beside the group: every worker sees all of its records, in order per partition."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from streamproc.agents.log_reader import LogReader, LogReaders, record_hash
from streamproc.clock import monotonic
from streamproc.config import Settings
from streamproc.errors import RetryableError
from streamproc.logs import get_logger

log = get_logger("follow")

_LINGER_S = 0.5


class Follower:
    """Gives each record of a topic to `take`, beginning `back` records before the end (None: at the beginning).

    `caught_up` is set once all that was there at the start has been given.
    """

    def __init__(self, settings: Settings, topic: str, take: Callable[[Any], None], back: int | None) -> None:
        self.caught_up = asyncio.Event()
        self.records = 0
        self._settings = settings
        self._topic = settings.topic(topic)
        self._take = take
        self._back = back
        self._reached: dict[TopicPartition, int] = {}
        self._tails: dict[TopicPartition, str] = {}

    async def run(self) -> None:
        """Follow for ever, across broker restarts; ends by cancellation."""
        while True:
            try:
                await self._follow()
                await asyncio.sleep(0.2)
            except (KafkaError, OSError, TimeoutError, RetryableError) as error:
                log.warning("following a topic was interrupted; trying again", topic=self._topic, error=repr(error))
                await asyncio.sleep(1.0)

    async def read_up(self) -> None:
        """Give what lies in the topic by now and was not given yet, at once; it is given once more when it is followed.

        Raises:
            KafkaError, OSError, RetryableError: the broker does not answer.
        """

        async def read(reader: LogReader, number: int) -> None:
            tp = TopicPartition(self._topic, number)
            begin = (await reader.beginning([tp]))[tp]
            reached = self._reached.get(tp, begin)
            # Beyond the end: a new log, of which nothing is known.
            end = await reader.end(tp)
            for record in await reader.read_from(tp, max(begin, reached) if reached <= end else begin):
                self._take(record)

        async with LogReaders(self._settings.bootstrap_servers) as readers:
            await readers.each(read, await readers.first.partitions(self._topic))

    async def _follow(self) -> None:
        ends = await self._ends()
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._settings.bootstrap_servers,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            fetch_max_wait_ms=1000,
            fetch_min_bytes=4 * 1024,
            metadata_max_age_ms=15_000,
        )
        await consumer.start()
        try:
            consumer.assign(list(ends))
            for tp, (begin, end) in ends.items():
                start = begin if self._back is None else max(begin, end - self._back)
                known = self._reached.get(tp)
                # A log that became shorter is a new one: begin again.
                self._reached[tp] = start if known is None or known > end else max(known, begin)
                consumer.seek(tp, self._reached[tp])
            checked_at = monotonic()
            while True:
                batches = await consumer.getmany(timeout_ms=500, max_records=2000)
                # Nobody waits for the single record: fewer and larger fetches spare the broker.
                await asyncio.sleep(_LINGER_S)
                for tp, records in batches.items():
                    for record in records:
                        self._take(record)
                    self.records += len(records)
                    self._reached[tp] = records[-1].offset + 1
                    self._tails[tp] = record_hash(records[-1])
                # The embedded broker does not say that an offset is out of range: a shorter log is read from its end.
                if any(
                    (consumer.highwater(tp) or 0) < self._reached[tp]
                    for tp in ends
                    if consumer.highwater(tp) is not None
                ):
                    log.warning("the log became shorter: it is a new one", topic=self._topic)
                    return
                if not self.caught_up.is_set() and all(self._reached[tp] >= end for tp, (_, end) in ends.items()):
                    self.caught_up.set()
                if monotonic() - checked_at > 30.0:
                    checked_at = monotonic()
                    if await self._changed(ends):
                        return
        finally:
            await consumer.stop()

    async def _ends(self) -> dict[TopicPartition, tuple[int, int]]:
        async with LogReader(self._settings.bootstrap_servers) as reader:
            tps = [TopicPartition(self._topic, number) for number in await reader.partitions(self._topic)]
            begins = await reader.beginning(tps)
            return {tp: (begins[tp], await reader.end(tp)) for tp in tps}

    async def _changed(self, ends: dict[TopicPartition, tuple[int, int]]) -> bool:
        """Whether partitions were added, or a log is a new one: shorter, or another record lies where we read last."""
        now = await self._ends()
        if set(now) != set(ends) or any(self._reached[tp] > end for tp, (_, end) in now.items()):
            return True
        tails = {tp: self._reached[tp] - 1 for tp in self._tails if now[tp][0] < self._reached[tp]}
        async with LogReader(self._settings.bootstrap_servers) as reader:
            found = await reader.first_records(tails)
        other = [tp for tp, record in found.items() if record is None or record_hash(record) != self._tails[tp]]
        for tp in other:
            del self._reached[tp], self._tails[tp]
        return bool(other)
