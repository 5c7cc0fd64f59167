"""The alert agent: judges published values, records each transition on the `alerts` topic, and follows that topic.

Every worker follows the whole topic, so whoever judges a metric next knows the state of its alerts.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec

from schemas import topics
from schemas.alerts import AlertState, AlertTransition
from schemas.internal import readable
from schemas.results import MetricValue
from streamproc.agents.publisher import Message, Publisher
from streamproc.alerts.engine import AlertEngine
from streamproc.alerts.rules import RuleSet
from streamproc.clock import monotonic, now_ms
from streamproc.config import Settings
from streamproc.errors import PermanentError, RetryableError
from streamproc.failpoints import passing
from streamproc.logs import get_logger
from streamproc.telemetry import ALERTS, TRANSITIONS

log = get_logger("alerting")

#: With an empty alerts topic and ClickHouse away, judging waits this long for gold.alerts before it goes on.
_RESTORE_PATIENCE_S: Final = 30.0

encode_transition = msgspec.json.Encoder().encode
decode_transition = readable(msgspec.json.Decoder(AlertTransition).decode)

LoadStates = Callable[[], Awaitable[list[AlertTransition]]]


def alert_partition(settings: Settings, item: AlertTransition) -> int:
    """The partition of the `alerts` topic that holds an alert instance."""
    return int(item.fingerprint[:8], 16) % settings.partitions


def alert_message(settings: Settings, item: AlertTransition) -> Message:
    """A transition or delivery as it goes to the `alerts` topic (partitioned by fingerprint)."""
    place = alert_partition(settings, item)
    return Message(settings.topic(topics.ALERTS), place, item.fingerprint.encode(), encode_transition(item))


class AlertAgent:
    """Holds the engine; `judge` is synchronous and cheap, recording happens in `run`."""

    def __init__(self, settings: Settings, rules: RuleSet, publisher: Publisher, load: LoadStates) -> None:
        self.engine = AlertEngine(rules)
        self._settings = settings
        self._publisher = publisher
        self._load = load
        self._restored = False
        self._waiting: dict[tuple[str, str, str, str, int], MetricValue] = {}
        self._outgoing: deque[AlertTransition] = deque()
        self._wake = asyncio.Event()

    def follow(self, record: Any) -> None:
        """Take one record of the alerts topic (ours or another worker's)."""
        try:
            item = decode_transition(record.value)
        except msgspec.MsgspecError as error:
            log.error("a record of the alerts topic is not readable", offset=record.offset, error=str(error))
            return
        self.engine.restore([item])

    def judge(self, value: MetricValue) -> None:
        """Judge a published value; until the state of alerts is restored, the newest of each is kept."""
        if not self._restored:
            key = (value.metric, value.size, value.dimension, value.dimension_value, value.window_start_ms)
            self._waiting[key] = value
            return
        found = self.engine.observe(value, now_ms())
        if found:
            self._outgoing.extend(found)
            self._wake.set()

    def release(self) -> None:
        """Partitions were taken away: what others judge is no longer ours to judge by the clock."""
        self.engine.release()

    async def restore(self, caught_up: asyncio.Event, topic_is_empty: Callable[[], bool]) -> None:
        """Wait for the topic's records and for gold.alerts (a lost log took the topic along); then judge."""
        await caught_up.wait()
        began = monotonic()
        while True:
            try:
                self.engine.restore(await self._load())
                break
            except (RetryableError, PermanentError) as error:
                if not topic_is_empty() or monotonic() - began > _RESTORE_PATIENCE_S:
                    log.warning("gold.alerts cannot be read; the topic alone says what fires", error=str(error))
                    break
                await asyncio.sleep(1.0)
        self._restored = True
        waiting, self._waiting = self._waiting, {}
        for value in waiting.values():
            self.judge(value)

    async def run(self) -> None:
        """Record transitions in order; never cancelled with some unsent while the process goes on."""
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), 1.0)
            self._wake.clear()
            if self._restored:
                self._outgoing.extend(self.engine.tick(now_ms()))
            await self.record_outgoing()
            for state, count in self.engine.counts().items():
                ALERTS.labels(state.value).set(count)

    def announce(self, item: AlertTransition) -> None:
        """Record a transition that no metric rule made (a paused topic)."""
        self._outgoing.append(item)
        self._wake.set()

    async def record_outgoing(self) -> None:
        """Send what is judged and not recorded yet."""
        while self._outgoing:
            items = [self._outgoing[i] for i in range(min(500, len(self._outgoing)))]
            passing("before_alert")
            await self._publisher.send_all([alert_message(self._settings, item) for item in items])
            for item in items:
                self._outgoing.popleft()
                TRANSITIONS.labels(item.rule, item.state.value).inc()
                if item.state in (AlertState.FIRING, AlertState.RESOLVED):
                    log.info("alert", rule=item.rule, state=item.state.value, labels=item.labels, value=item.value)
