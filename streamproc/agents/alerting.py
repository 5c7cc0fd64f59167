"""The alert agent: judges published values, records each transition on the `alerts` topic, and follows that topic.

Every worker follows the whole topic, so whoever judges a metric next knows the state of its alerts. Only who holds the
partition of window-partials that a value comes from judges it, and only after all that the last owner recorded was read: with
half of it read, an alert that was over fired once more under a number that another transition had.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final, Protocol

import msgspec
from aiokafka.errors import KafkaError

from schemas import internal, topics
from schemas.alerts import AlertState, AlertTransition
from schemas.internal import readable
from schemas.results import ALL, DAY, MetricValue
from streamproc.agents.publisher import Message, Publisher
from streamproc.alerts.engine import AlertEngine
from streamproc.alerts.rules import RuleSet
from streamproc.catalogue import metric_named
from streamproc.clock import monotonic, now_ms
from streamproc.config import Settings
from streamproc.errors import PermanentError, RetryableError
from streamproc.failpoints import passing
from streamproc.logs import get_logger
from streamproc.telemetry import ALERTS, TRANSITIONS

log = get_logger("alerting")

#: With ClickHouse away at the start, judging waits this long for gold.alerts before it goes on: a broker that lost its
#: log took the topic along, and what fired since then hides that it is not whole.
_RESTORE_PATIENCE_S: Final = 30.0
_RETRY_S: Final = 0.5

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


class Followed(Protocol):
    """What the agent needs of the follower of the alerts topic."""

    caught_up: asyncio.Event

    async def read_up(self) -> None:
        """Take all that lies in the topic by now; raises what a broker that is away raises."""


class AlertAgent:
    """Holds the engine; `judge` is synchronous and cheap, recording happens in `run`."""

    def __init__(self, settings: Settings, rules: RuleSet, publisher: Publisher, load: LoadStates) -> None:
        self.engine = AlertEngine(rules, self._owns)
        self._settings = settings
        self._publisher = publisher
        self._load = load
        #: Partitions of window-partials that are held, and those of them whose alerts are known.
        self._held: frozenset[int] = frozenset()
        self._owned: frozenset[int] = frozenset()
        self._assigned = asyncio.Event()
        self._waiting: dict[tuple[int, str, str, str, str, int], MetricValue] = {}
        self._outgoing: deque[AlertTransition] = deque()
        self._wake = asyncio.Event()
        self._recorded = asyncio.Event()
        self._recording = asyncio.Lock()

    def follow(self, record: Any) -> None:
        """Take one record of the alerts topic (ours or another worker's); repeats change nothing."""
        try:
            item = decode_transition(record.value)
        except msgspec.MsgspecError as error:
            log.error("a record of the alerts topic is not readable", offset=record.offset, error=str(error))
            return
        self.engine.restore([item])

    def judge(self, value: MetricValue, partition: int) -> None:
        """Judge a published value; until the alerts of its partition are known, the newest of each is kept."""
        if not self.engine.watches(value):
            return
        if partition not in self._owned:
            key = (value.metric, value.size, value.dimension, value.dimension_value, value.window_start_ms)
            self._waiting[partition, *key] = value
            return
        found = self.engine.observe(value, now_ms())
        if found:
            self._outgoing.extend(found)
            self._wake.set()

    def judge_presence(self, value: MetricValue, partition: int) -> None:
        """Judge whether there was anything in a window; only asked while the partition's values are judged."""
        if partition in self._owned and (found := self.engine.observe_presence(value, now_ms())):
            self._outgoing.extend(found)
            self._wake.set()

    def has_judged(self, partition: int) -> bool:
        """Whether values of this partition of window-partials are judged when they are published."""
        return partition in self._owned

    def assign(self, partitions: Iterable[int]) -> None:
        """These partitions of window-partials are held from now on; they are judged as soon as their alerts are known."""
        self._held, self._owned = frozenset(partitions), frozenset()
        self._assigned.set()

    def release(self) -> None:
        """Partitions were taken away: what others judge is no longer ours to judge."""
        self._held = self._owned = frozenset()
        self.engine.release()

    async def handed_over(self, patience_s: float) -> None:
        """Wait, for a bounded time, until all that was judged is recorded: the next owner reads it before it judges."""
        if self._outgoing:
            self._recorded.clear()
            self._wake.set()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._recorded.wait(), patience_s)

    async def take_over(self, follower: Followed) -> None:
        """Know the state of all alerts, and then judge what was assigned, time and again; for ever."""
        await follower.caught_up.wait()
        await self._restore()
        while True:
            await self._assigned.wait()
            self._assigned.clear()
            try:
                await follower.read_up()
            except (KafkaError, OSError, TimeoutError, RetryableError) as error:
                log.warning("the alerts topic cannot be read; trying again", error=repr(error))
                await asyncio.sleep(_RETRY_S)
                self._assigned.set()
                continue
            if not self._assigned.is_set():
                self._own()

    async def _restore(self) -> None:
        """Take the states of gold.alerts: a lost log took the topic along."""
        began = monotonic()
        while True:
            try:
                self.engine.restore(await self._load())
                return
            except (RetryableError, PermanentError) as error:
                if monotonic() - began > _RESTORE_PATIENCE_S:
                    log.warning("gold.alerts cannot be read; the topic alone says what fires", error=str(error))
                    return
                await asyncio.sleep(_RETRY_S)

    def _own(self) -> None:
        if not self._held:
            return  # Taken away while the topic was read: what waits is perhaps given back in a moment.
        self._owned = self._held
        waiting, self._waiting = self._waiting, {}
        for (partition, *_), value in waiting.items():
            # What came from elsewhere is judged by who holds that partition now.
            if partition in self._owned:
                self.judge(value, partition)

    def _owns(self, metric: str, size: str, dimension: str, dimension_value: str) -> bool:
        if size == DAY:
            return False  # judged by who builds the warehouse
        entity = dimension_value if size == ALL else ""
        measure = metric_named(metric).measure
        return internal.partition_of_window(measure, dimension, entity, self._settings.partitions) in self._owned

    async def run(self) -> None:
        """Record transitions in order; never cancelled with some unsent while the process goes on."""
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), 1.0)
            self._wake.clear()
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
        async with self._recording:
            while self._outgoing:
                items = [self._outgoing[i] for i in range(min(500, len(self._outgoing)))]
                passing("before_alert")
                await self._publisher.send_all([alert_message(self._settings, item) for item in items])
                for item in items:
                    self._outgoing.popleft()
                    TRANSITIONS.labels(item.rule, item.state.value).inc()
                    if item.state in (AlertState.FIRING, AlertState.RESOLVED):
                        log.info("alert", rule=item.rule, state=item.state.value, labels=item.labels, value=item.value)
        self._recorded.set()
