"""Role `notify`: recorded alert transitions to Slack, `gold.alerts` and Redis; deliveries are recorded in the topic."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

import msgspec
from aiokafka import TopicPartition

from schemas import topics
from schemas.alerts import AlertTransition
from streamproc.agents.alerting import LoadStates, alert_message, alert_partition, decode_transition
from streamproc.agents.handover import Handover
from streamproc.agents.log_reader import LogReader
from streamproc.agents.publisher import Publisher
from streamproc.agents.role import Role
from streamproc.alerts.rules import RuleSet
from streamproc.config import Settings
from streamproc.errors import PermanentError, RetryableError
from streamproc.logs import get_logger
from streamproc.notify.outbox import Outbox, Sender
from streamproc.notify.receiver import alerts_file
from streamproc.sinks.alerts_store import is_shown
from streamproc.sinks.redis_instance import LiveInstance
from streamproc.telemetry import DELIVERIES

log = get_logger("notify")

Key = tuple[str, int, str, str]

_LOAD_PATIENCE_S: Final = 10.0
_CHECK_S: Final = 1.0
_REFILL_ITEMS: Final = 1000


class AlertStore(Protocol):
    """What the notifier needs of ClickHouse and of Redis; repeats change nothing."""

    async def write(self, items: Sequence[AlertTransition]) -> None:
        """Raises RetryableError or PermanentError."""


class LiveAlertStore(AlertStore, Protocol):
    """Redis, whose data can be gone after it was away."""

    async def instance(self) -> LiveInstance:
        """Which data set answers; raises RetryableError or PermanentError."""


class NotifyRole(Role):
    """Reads `alerts` from its beginning at every assignment: what has no delivery record is delivered."""

    name = "notify"
    fetch_wait_ms = 200

    def __init__(
        self,
        settings: Settings,
        rules: RuleSet,
        sender: Sender,
        gold: AlertStore,
        live: LiveAlertStore,
        load_undelivered: LoadStates,
        load_states: LoadStates,
    ) -> None:
        super().__init__(settings)
        self.publisher = Publisher(settings.bootstrap_servers)
        self.outbox = Outbox(rules, alerts_file(settings))
        self._sender = sender
        self._load = load_undelivered
        self._load_states = load_states
        self._live_store = live
        self._items: dict[Key, AlertTransition] = {}
        self._next: dict[tuple[str, int], int] = {}
        self._gold: Handover[Key] = Handover(
            "gold.alerts", self._writer(gold), max_keys=2000, min_interval_s=0.3, on_confirmed=self._stored
        )
        self._live: Handover[Key] = Handover(
            "redis.alerts", self._writer(live), max_keys=2000, min_interval_s=0.0, on_confirmed=self._stored
        )

    def topics(self) -> list[str]:
        """The alerts."""
        return [topics.ALERTS]

    async def open(self) -> None:
        """Connect; take what gold.alerts knows as undelivered (a lost log took the topic along); start sending."""
        await self.publisher.start()
        try:
            self.outbox.restore(await asyncio.wait_for(self._load(), _LOAD_PATIENCE_S))
        except (RetryableError, PermanentError, TimeoutError) as error:
            log.warning("gold.alerts cannot be read; the topic alone says what is undelivered", error=str(error))
        self.tasks.start("gold.alerts", self._gold.run())
        self.tasks.start("redis.alerts", self._live.run())
        self.tasks.start("refill alerts", self._refill_loop())

    async def close(self) -> None:
        """Bounded: what is not stored or sent is taken up again from the topic."""
        await asyncio.gather(self._gold.drained(3.0), self._live.drained(2.0))
        await self._sender.close()
        await self.tasks.within(2.0, "closing the producer", self.publisher.stop())

    async def restore(self, assigned: set[tuple[str, int]]) -> Mapping[tuple[str, int], int]:
        """Read the whole history of the assigned partitions before anything is sent, so that nothing is sent twice."""
        async with LogReader(self.settings.bootstrap_servers) as reader:
            # Undelivered alerts of partitions that are no longer ours are sent by their new owner.
            ours = {number for _, number in assigned}
            self.outbox.forget(lambda item: alert_partition(self.settings, item) not in ours)
            history: list[AlertTransition] = []
            for name in sorted(assigned):
                tp = TopicPartition(self.settings.topic(name[0]), name[1])
                begins = (await reader.beginning([tp]))[tp]
                records = await reader.read_from(tp, begins)
                self._next[name] = records[-1].offset + 1 if records else begins
                history += [item for item in map(self._decoded, records) if item is not None]
        self.outbox.restore(history)
        for item in history:
            self._remember(item)
        if not self.ready:
            self.tasks.start("outbox", self.outbox.run(self._sender, self._record_delivery))
        return {name: self._next[name] for name in assigned}

    async def handle(self, topic: str, partition: int, records: list[Any]) -> None:
        """Take new transitions and deliveries; sending and storing happen in their own tasks."""
        for record in records:
            item = self._decoded(record)
            if item is None:
                continue
            self._remember(item)
            await self.outbox.put(item)
        self._next[topic, partition] = records[-1].offset + 1

    @staticmethod
    def _decoded(record: Any) -> AlertTransition | None:
        try:
            return decode_transition(record.value)
        except msgspec.MsgspecError as error:
            log.error("a record of the alerts topic is not readable", offset=record.offset, error=str(error))
            return None

    def _remember(self, item: AlertTransition) -> None:
        key = (item.fingerprint, item.seq, item.transition_id, item.kind)
        self._items[key] = item
        self._gold.add(key)
        self._live.add(key)

    async def _refill_loop(self) -> None:
        """Once a second: does the same Redis still hold the alerts? A restarted or emptied one is filled again."""
        known, away = "", False
        while True:
            await asyncio.sleep(_CHECK_S)
            try:
                seen = await self._live_store.instance()
                if away:
                    self._live.retry()
                if seen.name != known and (known or seen.is_young):
                    await self._refill()
            except (RetryableError, PermanentError):
                # Whichever is away is reported where it is written to; asked again in a second.
                away = True
                continue
            known, away = seen.name, False

    async def _refill(self) -> None:
        """What gold.alerts knows of each instance, and what it does not have yet."""
        shown = [item for item in await self._load_states() if is_shown(item)]
        for first in range(0, len(shown), _REFILL_ITEMS):
            await self._live_store.write(shown[first : first + _REFILL_ITEMS])
        for key in self._items:
            self._live.add(key)

    def _writer(self, store: AlertStore) -> Any:
        async def write(keys: list[Key]) -> None:
            await store.write([self._items[key] for key in keys if key in self._items])

        return write

    def _stored(self, keys: list[Key]) -> None:
        for key in keys:
            if key not in self._gold and key not in self._live:
                self._items.pop(key, None)

    def problem(self) -> str:
        """Not ready once the receiver refuses for good (a revoked webhook): alerts then go to the log and the file."""
        return f"the alert receiver is broken: {self._sender.broken}" if self._sender.broken else ""

    async def _record_delivery(self, item: AlertTransition) -> None:
        DELIVERIES.labels(item.delivery.split(":", 1)[0]).inc()
        await self.publisher.send_all([alert_message(self.settings, item)])

    def lag(self) -> dict[tuple[str, int], int]:
        """Records after the last one taken."""
        lags: dict[tuple[str, int], int] = {}
        for (topic, partition), following in self._next.items():
            lag = self.behind(topic, partition, following)
            if lag is not None:
                lags[topic, partition] = lag
        return lags
