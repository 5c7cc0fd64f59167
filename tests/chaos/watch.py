"""How far the service is, seen from outside: its own progress in `window-progress` beside the ends of the logs."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from schemas.internal import Progress, decode_progress
from tests.chaos.world import World
from tests.support.stack import EVENT_TOPICS

#: Progress is recorded once a second, so that a worker that keeps up is never seen closer than that.
KEEPS_UP_S: Final = 2.5
_POLL_S: Final = 0.25
_STOP_S: Final = 5.0
_FOLLOWED: Final = ("window-progress", "alerts")
Ends = dict[tuple[str, int], int]


class Watch:
    """Follows progress records, alerts and the ends of the event logs; survives brokers that go away."""

    def __init__(self, world: World) -> None:
        self._world = world
        #: (topic, partition) -> the newest progress record of the log that was reported last.
        self.progress: dict[tuple[str, int], Progress] = {}
        #: (topic, partition) -> offset of the newest snapshot of that log.
        self.snapshots: dict[tuple[str, int], int] = {}
        #: Ids of alert transitions that are to be sent, and of those with a delivery record.
        self.alerts: set[str] = set()
        self.delivered: set[str] = set()
        self._ends: deque[tuple[float, Ends]] = deque(maxlen=4000)
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to follow."""
        self._tasks = [asyncio.create_task(self._again(self._follow)), asyncio.create_task(self._again(self._measure))]

    async def stop(self) -> None:
        """Stop following; raises what ended a task.

        Clients whose broker is away swallow cancellations: they are left behind after a while.
        """
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            done, _ = await asyncio.wait(self._tasks, timeout=_STOP_S)
            for task in done:
                if not task.cancelled():
                    task.result()

    async def new_logs(self) -> None:
        """Begin anew: all logs are others now."""
        await self.stop()
        self.progress.clear()
        self.snapshots.clear()
        self._ends.clear()
        self.start()

    async def _again(self, work: Any) -> None:
        """A connection that broke is made anew: brokers are killed on purpose here."""
        while True:
            consumer = AIOKafkaConsumer(
                bootstrap_servers=self._world.bootstrap,
                enable_auto_commit=False,
                auto_offset_reset="earliest",
                request_timeout_ms=5000,
                metadata_max_age_ms=5000,
            )
            try:
                await consumer.start()
                await work(consumer)
            except (KafkaError, OSError, TimeoutError) as error:
                self._world.log({"event": "watch_lost_broker", "error": repr(error)})
            finally:
                with contextlib.suppress(KafkaError, OSError, TimeoutError):
                    await asyncio.wait_for(consumer.stop(), _STOP_S)
            await asyncio.sleep(0.2)

    async def _follow(self, consumer: AIOKafkaConsumer) -> None:
        parts = [TopicPartition(topic, n) for topic in _FOLLOWED for n in range(self._world.partitions)]
        consumer.assign(parts)
        await consumer.seek_to_beginning(*parts)
        while True:
            for tp, records in (await consumer.getmany(timeout_ms=300)).items():
                for record in records:
                    self._take(tp.topic, record.value)

    def _take(self, topic: str, value: bytes) -> None:
        if topic == "alerts":
            item = msgspec.json.decode(value)
            known = self.delivered if item.get("kind") == "delivery" else self.alerts
            if item["state"] in ("firing", "resolved"):
                known.add(item["transition_id"])
            return
        progress = decode_progress(value)
        name = (progress.topic, progress.partition)
        known_progress = self.progress.get(name)
        same_log = known_progress is not None and known_progress.log_id == progress.log_id
        if known_progress is None or (
            progress.offset >= known_progress.offset if same_log else progress.wall_ms > known_progress.wall_ms
        ):
            self.progress[name] = progress
            if progress.kind == "snapshot":
                self.snapshots[name] = progress.offset

    async def _measure(self, consumer: AIOKafkaConsumer) -> None:
        while True:
            await consumer._client.force_metadata_update()
            parts = [TopicPartition(t, n) for t in EVENT_TOPICS for n in sorted(consumer.partitions_for_topic(t) or ())]
            ends = await consumer.end_offsets(parts) if parts else {}
            # The last offset. The embedded broker's end may be one too low; the workers' own lag says the rest at the end.
            self._ends.append((time.monotonic(), {(tp.topic, tp.partition): n - 1 for tp, n in ends.items()}))
            await asyncio.sleep(_POLL_S)

    def behind(
        self, ago_s: float = KEEPS_UP_S, reached: Mapping[tuple[str, int], int] | None = None
    ) -> dict[tuple[str, int], int]:
        """Partitions where `reached` (offsets; own progress without it) is not what was the end of the log `ago_s` ago,
        with the distance.

        Without a fresh look at the ends all are behind.
        """
        now = time.monotonic()
        if not self._ends or now - self._ends[-1][0] > 2.0 + _POLL_S:
            return {("the ends of the logs are unknown", 0): 1}
        then = next((ends for at, ends in reversed(self._ends) if at <= now - ago_s), {})
        if not ago_s:
            then = self._ends[-1][1]
        gaps = {
            name: end - (self._at(name) if reached is None else reached.get(name, -1)) for name, end in then.items()
        }
        return {name: gap for name, gap in gaps.items() if gap > 0}

    def _at(self, name: tuple[str, int]) -> int:
        known = self.progress.get(name)
        return known.offset if known is not None else -1

    @property
    def undelivered(self) -> set[str]:
        """Alert transitions without a delivery record."""
        return self.alerts - self.delivered
