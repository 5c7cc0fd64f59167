"""Sends demo traffic at its pace for as long as wanted, through broker restarts, and says now and then how it goes."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from typing import Any, Final

from aiokafka.errors import KafkaError

from streamproc.clock import monotonic, now_ms
from streamproc.config import Settings
from streamproc.errors import RetryableError
from streamproc.kafka_topics import ensure_topics
from streamproc.logs import get_logger
from streamproc.produce.connect import Producer, open_producer
from streamproc.produce.demo import DemoTraffic

log = get_logger("demo")

_TICK_S: Final = 0.05
_STATUS_S: Final = 10.0
#: A pause longer than this is not made up for: traffic goes on from now.
_LONGEST_GAP_MS: Final = 2_000
_FIRST_BACKOFF_S: Final = 0.5
_LONGEST_BACKOFF_S: Final = 10.0
_GIVE_UP_AFTER_S: Final = 5.0
_IN_FLIGHT: Final = 20_000


class _BrokerAway(Exception):
    """Messages are not acknowledged any more."""


@dataclass(slots=True)
class Counts:
    """Messages since the start; `failed` were not acknowledged (they may have arrived all the same)."""

    sent: int = 0
    acknowledged: int = 0
    failed: int = 0


async def run_demo(
    settings: Settings, *, rate: float, seed: int, for_s: float | None = None, stop: asyncio.Event | None = None
) -> Counts:
    """Send demo traffic until `stop` is set or `for_s` seconds are over; a broker that is away is waited for."""
    loop = _DemoLoop(settings, rate, seed, stop or asyncio.Event())
    if for_s is not None:
        asyncio.get_running_loop().call_later(for_s, loop.stop.set)
    await loop.run()
    return loop.counts


class _DemoLoop:
    def __init__(self, settings: Settings, rate: float, seed: int, stop: asyncio.Event) -> None:
        self.counts = Counts()
        self.stop = stop
        self._settings = settings
        self._started_ms = now_ms()
        self._traffic = DemoTraffic(seed, rate, self._started_ms)
        self._now_ms = self._started_ms
        self._waiting = 0
        self._broken: KafkaError | None = None
        self._said_idempotence = False
        self._next_status = monotonic() + _STATUS_S
        self._sent_at_status = 0

    async def run(self) -> None:
        """Send until told to stop; a broker that is away is waited for with a growing backoff."""
        backoff_s = _FIRST_BACKOFF_S
        while not self.stop.is_set():
            acknowledged = self.counts.acknowledged
            try:
                await self._while_broker_answers()
            except (_BrokerAway, RetryableError, KafkaError, OSError) as error:
                if self.counts.acknowledged > acknowledged:
                    backoff_s = _FIRST_BACKOFF_S
                log.warning("broker away, demo traffic waits", reason=str(error), retry_in_s=round(backoff_s, 1))
                await self._pause(backoff_s * random.uniform(0.7, 1.0))
                backoff_s = min(_LONGEST_BACKOFF_S, backoff_s * 2)
        self._say_status("demo traffic ends")

    async def _while_broker_answers(self) -> None:
        # The broker may have come back empty: topics first, or a producer's question would make them with one partition.
        await ensure_topics(self._settings)
        async with open_producer(self._settings, timeout_s=_GIVE_UP_AFTER_S) as producer:
            self._broken = None
            self._say_connected(producer)
            while not self.stop.is_set():
                await self._send_due(producer.kafka)
                if self._broken is not None:
                    raise _BrokerAway(type(self._broken).__name__)
                if monotonic() >= self._next_status:
                    self._say_status("demo traffic")
                await self._pause(_TICK_S)

    async def _send_due(self, kafka: Any) -> None:
        now = now_ms()
        gap_ms = now - self._now_ms
        if gap_ms > _LONGEST_GAP_MS:
            self._traffic.shift(gap_ms)
        # A clock that is set back must not stop the traffic's own time.
        self._now_ms = max(self._now_ms, now)
        if self._waiting >= _IN_FLIGHT:
            return
        for message in self._traffic.due(self._now_ms):
            if self._broken is not None:
                break
            future = await kafka.send(self._settings.topic(message.topic), message.value, message.key)
            self.counts.sent += 1
            self._waiting += 1
            future.add_done_callback(self._settled)

    def _settled(self, future: asyncio.Future[object]) -> None:
        self._waiting -= 1
        error = None if future.cancelled() else future.exception()
        if error is None and not future.cancelled():
            self.counts.acknowledged += 1
            return
        self.counts.failed += 1
        self._broken = error if isinstance(error, KafkaError) else KafkaError("cancelled")

    async def _pause(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self.stop.wait(), seconds)
        except TimeoutError:
            return

    def _say_connected(self, producer: Producer) -> None:
        if not producer.idempotent and not self._said_idempotence:
            self._said_idempotence = True
            log.info(
                "the broker has no idempotent producer: a retry may double a message; duplicates are found by event_id"
            )

    def _say_status(self, text: str) -> None:
        elapsed = monotonic() - self._next_status + _STATUS_S
        rate = (self.counts.sent - self._sent_at_status) / elapsed if elapsed > 0 else 0.0
        log.info(text, events_per_s=round(rate, 1), sent=self.counts.sent, not_acknowledged=self.counts.failed)
        self._sent_at_status = self.counts.sent
        self._next_status = monotonic() + _STATUS_S
