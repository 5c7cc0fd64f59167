"""Sending with a ledger: one lane a partition, whole batches, and a line for what became of each record.

An acknowledged batch tells the offset of each of its records. What ended without an answer may or may not lie in the
log: it is written down as `unknown` and sent again, as any producer does that must not lose; so the log can hold it twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
from collections import Counter, deque
from pathlib import Path
from typing import IO, Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import IncompatibleBrokerVersion, KafkaError, MessageSizeTooLargeError
from aiokafka.partitioner import murmur2

from tests.oracle.traffic import Event

#: Records in one batch at most; the size in bytes is bounded by the producer.
_BATCH = 1000
_LARGEST = 4 << 20
_PAUSE_S = 0.2
#: All brokers may be away when a producer starts.
_START_S = 30.0


class Ledger:
    """JSON lines: event_id, topic, partition, offset (null if not known), outcome, sha256 of the value ('' counts for none).

    `outcome` is acked (it lies at that offset), unknown (perhaps it does), or failed (refused, or never sent).
    """

    def __init__(self, path: Path) -> None:
        self._file: IO[str] = path.open("a", encoding="utf-8", buffering=1 << 16)
        self.counts: Counter[str] = Counter()

    def write(self, topic: str, partition: int, events: list[Event], base: int | None, outcome: str) -> None:
        """Lines for a batch, at once in the hands of the system."""
        if not events:
            return
        lines = []
        for place, event in enumerate(events):
            offset = "null" if base is None else base + place
            digest = hashlib.sha256(event.value or b"").hexdigest()
            lines.append(
                f'{{"event_id":"{event.event_id}","topic":"{topic}","partition":{partition},"offset":{offset}'
                f',"outcome":"{outcome}","sha256":"{digest}"}}\n'
            )
        self.counts[outcome] += len(events)
        self._file.write("".join(lines))
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class _Lane:
    """What waits for one partition, and the task that sends it, one batch at a time."""

    def __init__(self, topic: str, partition: int) -> None:
        self.topic, self.partition = topic, partition
        self.waiting: deque[tuple[Event, int]] = deque()
        self.wake = asyncio.Event()
        self.task: asyncio.Task[None] | None = None


class Sender:
    """Sends events to their partitions. `waiting` is how many were taken and have no outcome yet."""

    def __init__(self, bootstrap: str, ledger: Ledger, linger_s: float, compression: str | None, prefix: str) -> None:
        self._ledger, self._linger_s, self._prefix = ledger, linger_s, prefix
        self._settings: dict[str, Any] = {
            "bootstrap_servers": bootstrap.split(","),
            "acks": "all",
            "compression_type": compression,
            "max_request_size": _LARGEST,
            "max_batch_size": _LARGEST // 4,
            "request_timeout_ms": 15_000,
            "retry_backoff_ms": 100,
            "metadata_max_age_ms": 5_000,
        }
        self._producer = AIOKafkaProducer(**self._settings)
        self._renewing = asyncio.Lock()
        self._lanes: dict[tuple[str, int], _Lane] = {}
        self._places: dict[bytes, int] = {}
        self._partitions: dict[str, int] = {}
        self._idle = asyncio.Event()
        self._idle.set()
        self.waiting = 0

    async def start(self, topics: tuple[str, ...]) -> None:
        """Connect, and wait until every topic is known.

        Raises:
            KafkaError: no broker answered for `_START_S`.
        """
        deadline = asyncio.get_running_loop().time() + _START_S
        while True:
            try:
                await self._producer.start()
                break
            except KafkaError:
                await self._producer.stop()
                if asyncio.get_running_loop().time() > deadline:
                    raise
                await asyncio.sleep(_PAUSE_S)
                self._producer = AIOKafkaProducer(**self._settings)
        for topic in topics:
            await self._producer.partitions_for(self._prefix + topic)
        self.refresh()

    def refresh(self) -> None:
        """Take note of how many partitions the topics have now."""
        for topic in list(self._producer.client.cluster.topics()):
            found = self._producer.client.cluster.partitions_for_topic(topic)
            if found:
                self._partitions[topic] = len(found)

    def take(self, event: Event, timestamp_ms: int) -> None:
        """Queue an event for its partition; `timestamp_ms` is Kafka's timestamp where the broker keeps ours."""
        topic = self._prefix + event.topic
        hashed = self._places.get(event.key)
        if hashed is None:
            if len(self._places) > 200_000:
                self._places.clear()
            hashed = self._places[event.key] = murmur2(event.key) & 0x7FFFFFFF
        place = (hashed + event.other_partition) % self._partitions[topic]
        lane = self._lanes.get((topic, place))
        if lane is None:
            lane = self._lanes[topic, place] = _Lane(topic, place)
            lane.task = asyncio.create_task(self._run(lane))
        lane.waiting.append((event, timestamp_ms))
        lane.wake.set()
        self._idle.clear()
        self.waiting += 1

    async def finish(self, patience_s: float) -> None:
        """Send what waits for as long as that, write down what has no outcome then, and disconnect."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._idle.wait(), patience_s)
        tasks = [lane.task for lane in self._lanes.values() if lane.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for lane in self._lanes.values():
            self._ledger.write(lane.topic, lane.partition, [event for event, _ in lane.waiting], None, "failed")
        with contextlib.suppress(TimeoutError, KafkaError):
            await asyncio.wait_for(self._producer.stop(), 5)

    async def _run(self, lane: _Lane) -> None:
        while True:
            await lane.wake.wait()
            await asyncio.sleep(self._linger_s)
            while lane.waiting:
                await self._send(lane)
            lane.wake.clear()

    async def _send(self, lane: _Lane) -> None:
        """One batch from the head of the lane until it has an outcome; then it leaves the lane, unless unknown."""
        builder = self._producer.create_batch()
        events: list[Event] = []
        for event, timestamp_ms in lane.waiting:
            if builder.append(key=event.key, value=event.value, timestamp=timestamp_ms) is None:
                break
            events.append(event)
            if len(events) == _BATCH:
                break
        builder.close()
        handed_over = False
        try:
            future: Any = await self._producer.send_batch(builder, lane.topic, partition=lane.partition)
            handed_over = True
            answer = await asyncio.shield(future)
        except (MessageSizeTooLargeError, IncompatibleBrokerVersion):
            self._done(lane, events, None, "failed")
        except (KafkaError, AssertionError):
            # An assertion of aiokafka: the partition is not in its metadata (the broker has lost its topics).
            if handed_over:
                self._ledger.write(lane.topic, lane.partition, events, None, "unknown")
            await asyncio.sleep(_PAUSE_S)
            await self._renew()
        except asyncio.CancelledError:
            if handed_over:
                self._done(lane, events, None, "unknown")
            raise
        else:
            self._done(lane, events, answer.offset, "acked")

    async def _renew(self) -> None:
        """A new client for one whose sending task has died: it would fail everything from then on."""
        async with self._renewing:
            dead = self._producer
            if not dead._sender.sender_task.done():
                return
            self._producer = AIOKafkaProducer(**self._settings)
            try:
                await self._producer.start()
            except KafkaError:
                # Away just now: the next batch that fails tries again.
                await self._producer.stop()
                self._producer = dead
                return
            with contextlib.suppress(KafkaError):
                await dead.stop()

    def _done(self, lane: _Lane, events: list[Event], base: int | None, outcome: str) -> None:
        for _ in events:
            lane.waiting.popleft()
        self.waiting -= len(events)
        if not self.waiting:
            self._idle.set()
        self._ledger.write(lane.topic, lane.partition, events, base, outcome)


def read_ledger(path: Path) -> list[dict[str, Any]]:
    """Every line of a ledger (for small ones; a last line that was cut off by a kill is left out)."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]
