"""The modelled broker: logs of records, retention, lost and re-created topics; and the clients that the role is given."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Self

from streamproc.agents.log_reader import LogReaders
from streamproc.agents.publisher import Publisher
from tests.simulation import virtual

Tp = tuple[str, int]


class Record:
    """A record as Kafka clients give it."""

    __slots__ = ("headers", "key", "offset", "timestamp", "value")

    def __init__(
        self, offset: int, timestamp: int, key: bytes | None, value: bytes | None, headers: tuple[Any, ...] = ()
    ) -> None:
        self.offset = offset
        self.timestamp = timestamp
        self.key = key
        self.value = value
        self.headers = headers


class Log:
    """One partition's log, from its creation to its loss. `everything` keeps what retention has deleted."""

    __slots__ = ("_offsets", "everything", "lost_ms", "name", "next_offset", "recorded", "start", "trims", "was_read")

    def __init__(self, name: Tp) -> None:
        self.name = name
        self.everything: list[Record] = []
        self._offsets: list[int] = []
        self.start = 0
        #: Whether anybody has fetched of it.
        self.was_read = False
        #: Where the log has begun since its creation.
        self.trims = [0]
        self.next_offset = 0
        #: Wall clock at which this log was lost or its topic made again; -1 while it is served.
        self.lost_ms = -1
        #: Highest offset that was recorded as progress when the log was lost.
        self.recorded = -1

    def append(
        self, timestamp: int, key: bytes | None, value: bytes | None, headers: tuple[Any, ...] = (), hole: int = 0
    ) -> int:
        """Append a record after a hole of so many offsets (transaction markers leave such); returns its offset."""
        offset = self.next_offset + hole
        self.everything.append(Record(offset, timestamp, key, value, headers))
        self._offsets.append(offset)
        self.next_offset = offset + 1
        return offset

    def read(self, start: int, most: int) -> list[Record]:
        """The first records at or after an offset."""
        first = bisect_left(self._offsets, max(start, self.start))
        return self.everything[first : first + most]

    def trim(self, start: int) -> None:
        """Retention: delete everything before an offset."""
        self.start = max(self.start, start)
        self.trims.append(self.start)

    @property
    def length(self) -> int:
        """Offsets from the first record still there to the end."""
        return self.next_offset - self.start


class Broker:
    """All logs. `connection` changes whenever a client would have to connect anew."""

    def __init__(self) -> None:
        self.logs: dict[Tp, Log] = {}
        #: Every log that was ever there, in order of creation.
        self.history: list[Log] = []
        self.connection = 0
        self.connected = frozenset((0,))

    def create(self, topic: str, partition: int) -> Log:
        """Add an empty partition."""
        log = self.logs[topic, partition] = Log((topic, partition))
        self.history.append(log)
        return log

    def renew(self, topics: Iterable[str], now_ms: int) -> None:
        """These topics' logs are lost; they are there again, empty."""
        gone = set(topics)
        for (topic, partition), log in list(self.logs.items()):
            if topic in gone:
                log.lost_ms = now_ms
                self.create(topic, partition)
        self.connection += 1
        self.connected = frozenset((self.connection,))

    def partitions(self, topic: str) -> list[int]:
        """Partition numbers of a topic."""
        return sorted(partition for name, partition in self.logs if name == topic)


class Metadata:
    """What an acknowledgement tells."""

    __slots__ = ("offset",)

    def __init__(self, offset: int) -> None:
        self.offset = offset


class SimProducer:
    """aiokafka's producer as the real Publisher uses it: `send` queues, the returned future is the acknowledgement."""

    def __init__(self) -> None:
        assert virtual.running is not None
        self._process = virtual.running.process

    async def send(
        self, topic: str, value: bytes, key: bytes | None, partition: int, headers: list[tuple[str, bytes]]
    ) -> Any:
        """Queue one message; the scheduler decides what becomes of it."""
        world = self._process.world

        def append() -> Metadata:
            log = world.broker.logs[topic, partition]
            return Metadata(log.append(virtual.clock.ms, key, value, tuple(headers)))

        return self._process.request("broker", append)

    async def start(self) -> None:
        """Nothing to connect to."""

    async def stop(self) -> None:
        """Nothing to disconnect."""


class SimPublisher(Publisher):
    """The real Publisher with our producer under it."""

    def __init__(self, bootstrap: list[str]) -> None:
        self._producer = SimProducer()
        self.failing = False


class SimReader:
    """What LogReader offers, read from the modelled logs; each call may be interrupted by others, or fail."""

    def __init__(self, bootstrap: list[str]) -> None:
        assert virtual.running is not None
        self._process = virtual.running.process
        self._logs = self._process.world.broker.logs

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        return None

    async def partitions(self, topic: str) -> list[int]:
        """Partition numbers of a topic."""
        await self._process.reading()
        found: list[int] = self._process.world.broker.partitions(topic)
        return found

    async def beginning(self, tps: Iterable[Tp]) -> dict[Tp, int]:
        """First offset of each partition."""
        await self._process.reading()
        return {tp: self._logs[tp].start for tp in tps}

    async def end(self, tp: Tp) -> int:
        """Offset after the last record."""
        await self._process.reading()
        return self._logs[tp].next_offset

    async def first_records(self, positions: dict[Tp, int], timeout_s: float = 30.0) -> dict[Tp, Record | None]:
        """The first record at or after each position; None where the log ends there."""
        await self._process.reading()
        found: dict[Tp, Record | None] = {}
        for tp, offset in positions.items():
            records = self._logs[tp].read(offset, 1)
            found[tp] = records[0] if records else None
        return found

    async def read_from(
        self, tp: Tp, start: int, stop: int | None = None, timeout_s: float = 60.0, most_bytes: int = 0
    ) -> list[Record]:
        """Records from `start` up to `stop` (exclusive) or to the end."""
        await self._process.reading()
        log = self._logs[tp]
        end = log.next_offset if stop is None else stop
        return [record for record in log.read(start, len(log.everything)) if record.offset < end]


class SimReaders(LogReaders):
    """The real LogReaders with ours in them, and no more of them than there is to ask: each takes a task."""

    def __init__(self, bootstrap: list[str]) -> None:
        self._reader = SimReader(bootstrap)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        return None

    @property
    def first(self) -> Any:
        """One of them."""
        return self._reader

    async def each(self, work: Callable[[Any, Any], Awaitable[Any]], items: Iterable[Any]) -> list[Any]:
        """`work(reader, item)` for each item, four at a time."""
        todo = list(items)
        if len(todo) < 2:
            return [await work(self._reader, item) for item in todo]
        self._readers = [self._reader] * min(_READERS, len(todo))
        return await super().each(work, todo)


_READERS = 4
