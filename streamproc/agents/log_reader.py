"""Reading a log beside the consumer group: single records, first records, and ranges, without moving any group."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from aiokafka import AIOKafkaConsumer, TopicPartition

from streamproc.clock import monotonic
from streamproc.errors import RetryableError

_Item = TypeVar("_Item")
_Answer = TypeVar("_Answer")

#: How long the broker may take for a fetch that finds nothing. A restore asks dozens of partitions one after the other, and
#: most of them have nothing to say: with 100 ms here and 200 ms below, 24 partitions took 14 s, so 1.3 s.
_FETCH_WAIT_MS: Final = 5
#: The embedded broker stops looking when that time is over: in a log of some 20,000 batches it found nothing in 5 ms, time
#: and again. It gets four times as long after each such wait, between these.
_LONGER_MS: Final = (20, 500)
_SILENCE_S: Final = 0.2

_MAX_RECORDS: Final = 5000
#: What a fetch may bring of a partition. Of a busy topic 4 MB come with the one record that was asked for, too.
MANY_BYTES: Final = 4 * 1024 * 1024
_ONE_BYTES: Final = 64 * 1024
#: What a restore takes is round trips: with more readers than this the broker's work is what it waits for.
_READERS: Final = 4


def record_hash(record: Any) -> str:
    """Identity of a record: offset, timestamp, key and value."""
    digest = hashlib.blake2b(digest_size=8)
    digest.update(f"{record.offset}/{record.timestamp}/".encode())
    digest.update(record.key or b"")
    digest.update(b"/")
    digest.update(record.value or b"")
    return digest.hexdigest()


def log_identity(first: Any) -> str:
    """Identity of a log, by its first record. Sorts by age: of an id that two logs of a partition have, the older one's
    event counts in totals by entity, and sources are joined in the order of their names."""
    return f"{max(0, first.timestamp):012x}{record_hash(first)[:8]}"


class LogReader:
    """A consumer without a group. Use as an async context manager."""

    def __init__(self, bootstrap: list[str]) -> None:
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=bootstrap,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            fetch_max_wait_ms=_FETCH_WAIT_MS,
            max_partition_fetch_bytes=MANY_BYTES,
            metadata_max_age_ms=15_000,
            # As the agents do: else a log that begins with an aborted record would have two identities.
            isolation_level="read_committed",
        )
        self._heard_at_s = 0.0

    async def __aenter__(self) -> Self:
        await self._consumer.start()
        # aiokafka's own task must have begun before it is cancelled at the end, or its cancellation comes back to us.
        await asyncio.sleep(0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._consumer.stop()

    async def partitions(self, topic: str) -> list[int]:
        """Partition numbers of a topic, [] if it is not known."""
        await self._consumer._client.force_metadata_update()
        return sorted(self._consumer.partitions_for_topic(topic) or set())

    async def beginning(self, tps: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """First offset of each partition."""
        found = await self._consumer.beginning_offsets(list(tps))
        return dict(found)

    async def end(self, tp: TopicPartition) -> int:
        """Offset after the last record. Read from a fetch: the embedded broker's own answer is its last batch's base."""
        guess = (await self._consumer.end_offsets([tp]))[tp]
        found = (await self.first_records({tp: guess}))[tp]
        return max(int(guess) if found is None else int(found.offset) + 1, self._readable_end(tp) or 0)

    def _readable_end(self, tp: TopicPartition) -> int | None:
        """Offset after the last record that may be read, by the last fetch; None before it."""
        mark, stable = self._consumer.highwater(tp), self._consumer.last_stable_offset(tp)
        return None if mark is None else int(mark if stable is None else min(mark, stable))

    def _ask(self, most_bytes: int) -> None:
        """A new question: fetches bring so many bytes at the most (one batch at least, whatever its size), and the broker has as
        long for each as at the beginning: it may have been silent because it was away."""
        fetcher = self._consumer._fetcher
        fetcher._max_partition_fetch_bytes, fetcher._fetch_max_wait_ms = most_bytes, _FETCH_WAIT_MS
        self._heard_at_s = monotonic()

    def _heard(self, anything: bool) -> None:
        """Note whether a fetch brought something; after a while of nothing the broker gets longer to look for more."""
        now = monotonic()
        if anything:
            self._heard_at_s = now
        elif now > self._heard_at_s + _SILENCE_S:
            fetcher = self._consumer._fetcher
            least, most = _LONGER_MS
            fetcher._fetch_max_wait_ms = min(max(4 * fetcher._fetch_max_wait_ms, least), most)
            fetcher._max_partition_fetch_bytes = MANY_BYTES
            self._heard_at_s = now

    async def first_records(
        self, positions: dict[TopicPartition, int], timeout_s: float = 30.0
    ) -> dict[TopicPartition, Any | None]:
        """The first record at or after each position; None where there is none (markers of transactions are none).

        The embedded broker's end offsets are off by one, so emptiness is read from a fetch's high watermark.

        Raises:
            RetryableError: the broker did not answer for every partition in time.
        """
        consumer = self._consumer
        found: dict[TopicPartition, Any | None] = {}
        if not positions:
            return found
        consumer.assign(list(positions))
        for tp, offset in positions.items():
            consumer.seek(tp, offset)
        self._ask(_ONE_BYTES)
        deadline = monotonic() + timeout_s
        while len(found) < len(positions):
            waiting = [tp for tp in positions if tp not in found]
            batch = await consumer.getmany(*waiting, timeout_ms=10, max_records=1)
            for tp, records in batch.items():
                found[tp] = records[0]
                consumer.pause(tp)
            for tp in waiting:
                end = self._readable_end(tp)
                if tp not in found and end is not None and end <= await consumer.position(tp):
                    found[tp] = None
            self._heard(any(tp in found for tp in waiting))
            if monotonic() > deadline:
                raise RetryableError("broker_slow", f"no answer for {[tp for tp in positions if tp not in found]}")
        return found

    async def read_from(
        self,
        tp: TopicPartition,
        start: int,
        stop: int | None = None,
        timeout_s: float = 60.0,
        most_bytes: int = MANY_BYTES,
    ) -> list[Any]:
        """Records from `start` up to `stop` (exclusive) or to the end of the log as it is now, if that is nearer.

        `most_bytes` is about how many there are, so that no fetch brings megabytes of what comes after them.

        Raises:
            RetryableError: the broker did not answer in time.
        """
        consumer = self._consumer
        consumer.assign([tp])
        consumer.seek(tp, start)
        records: list[Any] = []
        self._ask(min(most_bytes, MANY_BYTES))
        deadline = monotonic() + timeout_s
        end: int | None = None
        position = start
        while True:
            # Records beyond `stop` would be unpacked for nothing: a fetch brings megabytes of them.
            most = _MAX_RECORDS if stop is None else max(1, min(stop - position, _MAX_RECORDS))
            batch = await consumer.getmany(tp, timeout_ms=10, max_records=most)
            self._heard(bool(batch))
            records.extend(batch.get(tp, []))
            if end is None:
                now = self._readable_end(tp)
                end = now if now is None or stop is None else min(now, stop)
            position = await consumer.position(tp)
            if end is not None and position >= end:
                break
            if monotonic() > deadline:
                raise RetryableError("broker_slow", f"no answer for {tp}")
            await asyncio.sleep(0)
        return [record for record in records if stop is None or record.offset < stop]


class LogReaders:
    """A few readers that ask at the same time. Use as an async context manager."""

    def __init__(self, bootstrap: list[str], count: int = _READERS) -> None:
        self._readers = [LogReader(bootstrap) for _ in range(count)]

    async def __aenter__(self) -> Self:
        started = await asyncio.gather(*(reader.__aenter__() for reader in self._readers), return_exceptions=True)
        error = next((found for found in started if isinstance(found, BaseException)), None)
        if error is not None:
            await self.__aexit__(type(error), error, error.__traceback__)
            raise error
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        async with AsyncExitStack() as stack:
            for reader in self._readers:
                stack.push_async_exit(reader)

    @property
    def first(self) -> LogReader:
        """One of them, for single questions; not while `each` runs."""
        return self._readers[0]

    async def each(
        self, work: Callable[[LogReader, _Item], Awaitable[_Answer]], items: Iterable[_Item]
    ) -> list[_Answer]:
        """`work(reader, item)` for each item, as many at a time as there are readers; answers in the order of items.

        Raises:
            the first error of `work`, once nothing runs any more.
        """
        todo = list(items)
        answers: dict[int, _Answer] = {}
        numbers = iter(range(len(todo)))

        async def run(reader: LogReader) -> None:
            for number in numbers:
                answers[number] = await work(reader, todo[number])

        ended = await asyncio.gather(*(run(reader) for reader in self._readers), return_exceptions=True)
        for error in ended:
            if error is not None:
                raise error
        return [answers[number] for number in range(len(todo))]
