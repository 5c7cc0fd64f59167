"""The outbox: transitions on the `alerts` topic without a delivery record are sent until they have one."""

from __future__ import annotations

import asyncio
import random
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

import msgspec

from schemas.alerts import AlertState, AlertTransition
from streamproc.alerts.rules import RuleSet
from streamproc.clock import monotonic, now_ms
from streamproc.errors import PermanentError, RetryableError
from streamproc.failpoints import passing
from streamproc.logs import get_logger
from streamproc.notify.grouping import GROUP_INTERVAL_S, GROUP_WAIT_S, Grouper, Notice
from streamproc.notify.logfile import FileSender
from streamproc.notify.reminders import Reminders

#: Undelivered notices above which `put` waits: the rest stays in the topic.
MAX_PENDING: Final = 20_000
#: Ids that are remembered, so that a repeated record is not sent again.
MAX_KNOWN: Final = 100_000
FIRST_BACKOFF_S: Final = 0.5
MAX_BACKOFF_S: Final = 60.0
_REMINDER_CHECK_S: Final = 1.0
_SENT_STATES: Final = (AlertState.FIRING, AlertState.RESOLVED)

#: Produces the delivery record to the alerts topic and to gold.alerts; may raise RetryableError.
RecordDelivery = Callable[[AlertTransition], Awaitable[None]]

_log = get_logger("outbox")


class Sender(Protocol):
    """Delivers notices as one message; raises RetryableError or PermanentError. `broken` is '' or why it is given up."""

    @property
    def label(self) -> str: ...

    @property
    def broken(self) -> str: ...

    async def send(self, notices: Sequence[Notice]) -> None: ...

    async def close(self) -> None: ...


@dataclass(slots=True)
class Stats:
    """Counters since start: messages and notices by how they ended, and retries by reason."""

    messages: int = 0
    delivered: dict[str, int] = field(default_factory=dict)
    retries: dict[str, int] = field(default_factory=dict)


class Outbox:
    """Holds what is not delivered yet, and delivers it.

    `restore` with every record of the topic (both kinds, any order), then `run`; new records come through `put`.
    After the receiver's answer a `delivery` record is written for each transition; until it is, a restart sends
    again under the same transition_id.
    """

    def __init__(
        self,
        rules: RuleSet,
        fallback: FileSender,
        *,
        wait_s: float = GROUP_WAIT_S,
        interval_s: float = GROUP_INTERVAL_S,
        max_pending: int = MAX_PENDING,
        wall: Callable[[], int] = now_ms,
    ) -> None:
        self._grouper = Grouper(rules, wait_s, interval_s)
        self._reminders = Reminders(rules)
        self._fallback = fallback
        self._max_pending = max_pending
        self._wall = wall
        self._known: OrderedDict[str, None] = OrderedDict()
        #: Done, but not yet recorded: transition and how it was delivered.
        self._to_record: deque[tuple[AlertTransition, str]] = deque()
        self._wake = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self.stats = Stats()

    @property
    def pending(self) -> int:
        """Notices that wait for their delivery."""
        return len(self._grouper)

    def restore(self, records: Iterable[AlertTransition]) -> None:
        """Take the topic's history, all at once or in parts: what has no delivery record is pending again."""
        undelivered: dict[str, AlertTransition] = {}
        delivered: set[str] = set()
        for record in records:
            if record.kind == "delivery":
                delivered.add(record.transition_id)
                self._take_delivery(record)
            else:
                self._reminders.transition(record)
                undelivered[record.transition_id] = record
        for record in undelivered.values():
            if record.transition_id not in delivered and record.state in _SENT_STATES:
                self._enqueue(record)
        self._changed()

    def forget(self, belongs: Callable[[AlertTransition], bool]) -> None:
        """Leave to another worker what is pending (its partitions were taken away); `restore` brings it back.

        A message that is on its way is still finished and recorded.
        """
        notices = [notice for notice in self._grouper.all() if belongs(notice.item)]
        self._grouper.remove([notice.key for notice in notices])
        for notice in notices:
            self._known.pop(notice.item.transition_id, None)
        self._reminders.forget(belongs)
        self._changed()

    async def put(self, record: AlertTransition) -> None:
        """Take one record of the topic; waits while too much is pending."""
        await self._room.wait()
        self.add(record)

    def add(self, record: AlertTransition) -> None:
        """Take one record of the topic at once (see `put`)."""
        if record.kind == "delivery":
            self._take_delivery(record)
        else:
            ended = self._reminders.transition(record)
            if ended:
                self._grouper.remove([(ended.transition_id, True)])
            if record.state in _SENT_STATES:
                self._enqueue(record)
        self._changed()

    def _take_delivery(self, record: AlertTransition) -> None:
        self._know(record.transition_id)
        self._reminders.told(record, record.delivered_at_ms)
        self._grouper.remove([(record.transition_id, False)])

    async def run(self, sender: Sender, record_delivery: RecordDelivery) -> None:
        """Deliver for ever; cancel to stop.

        Raises:
            Exception: what `record_delivery` raises besides RetryableError (in a group): nothing is lost, because
                what is not recorded is pending again after a restart.
        """
        failures = 0
        while True:
            await self._record(record_delivery)
            await self._shed()
            self._remind()
            notices = self._grouper.take(monotonic())
            if not notices:
                if not self._to_record:
                    await self._sleep_until_due()
                continue
            wait_s = await self._deliver(sender, notices, failures)
            failures = failures + 1 if wait_s else 0
            await self._record(record_delivery)
            await asyncio.sleep(wait_s)

    async def _deliver(self, sender: Sender, notices: list[Notice], failures: int) -> float:
        """One attempt; returns the seconds to wait before the next one, 0 if these notices are done."""
        how = sender.label
        try:
            await sender.send(notices)
            passing("after_slack")
        except RetryableError as error:
            self.stats.retries[error.reason] = self.stats.retries.get(error.reason, 0) + 1
            wait_s = error.retry_after_s if error.retry_after_s is not None else _backoff_s(failures)
            _log.warning(
                "delivery failed, will be tried again",
                reason=str(error),
                wait_s=round(wait_s, 2),
                alerts=len(notices),
                pending=self.pending,
            )
            return max(wait_s, 0.001)
        except PermanentError as error:
            how = f"failed: {error.reason}"
            _log.error("alerts were not delivered", reason=str(error), alerts=len(notices))
            await self._write_down(notices, error.reason)
        self.stats.messages += 1
        self._done(notices, how)
        return 0.0

    async def _write_down(self, notices: list[Notice], reason: str) -> None:
        try:
            await self._fallback.send(notices, reason)
        except RetryableError as error:
            # They are in the log by now, and in the topic; a full disk must not stop the next ones.
            _log.error("alerts.log cannot be written", reason=str(error))

    def _done(self, notices: list[Notice], how: str) -> None:
        self._grouper.remove([notice.key for notice in notices], sent_at=monotonic())
        self._to_record.extend((notice.item, how) for notice in notices)
        self.stats.delivered[how] = self.stats.delivered.get(how, 0) + len(notices)
        for notice in notices:
            self._reminders.told(notice.item, self._wall())
        self._changed()

    async def _record(self, record_delivery: RecordDelivery) -> None:
        """Write the delivery records; only what is written leaves memory."""
        while self._to_record:
            chunk = [self._to_record[i] for i in range(min(100, len(self._to_record)))]
            async with asyncio.TaskGroup() as tasks:
                for item, how in chunk:
                    tasks.create_task(self._record_one(record_delivery, item, how))
            for _ in chunk:
                self._to_record.popleft()

    async def _record_one(self, record_delivery: RecordDelivery, item: AlertTransition, how: str) -> None:
        at = self._wall()
        record = msgspec.structs.replace(item, kind="delivery", recorded_at_ms=at, delivered_at_ms=at, delivery=how)
        failures = 0
        while True:
            try:
                await record_delivery(record)
                return
            except RetryableError as error:
                _log.warning("the delivery record failed, will be tried again", reason=str(error))
                await asyncio.sleep(_backoff_s(failures))
                failures += 1

    def _enqueue(self, record: AlertTransition) -> None:
        if record.transition_id in self._known:
            return
        self._know(record.transition_id)
        if record.inhibited_by:
            self._to_record.append((record, "inhibited"))
            self.stats.delivered["inhibited"] = self.stats.delivered.get("inhibited", 0) + 1
        else:
            self._grouper.add(Notice(record), monotonic())

    def _remind(self) -> None:
        for item in self._reminders.due(self._wall()):
            self._grouper.add(Notice(item, reminder=True), monotonic())

    async def _shed(self) -> None:
        """After a restore there can be more than memory should hold: the oldest are given up, in writing."""
        excess = self.pending - 2 * self._max_pending
        if excess > 0:
            notices = self._grouper.all()[:excess]
            _log.error("too many undelivered alerts: the oldest go to alerts.log only", alerts=len(notices))
            await self._write_down(notices, "overflow")
            self._done(notices, "failed: overflow")

    def _know(self, transition_id: str) -> None:
        self._known[transition_id] = None
        self._known.move_to_end(transition_id)
        if len(self._known) > MAX_KNOWN:
            self._known.popitem(last=False)

    def _changed(self) -> None:
        self._wake.set()
        if self.pending < self._max_pending:
            self._room.set()
        else:
            self._room.clear()

    async def _sleep_until_due(self) -> None:
        self._wake.clear()
        due = self._grouper.next_due()
        wait_s = _REMINDER_CHECK_S if due is None else min(_REMINDER_CHECK_S, max(0.0, due - monotonic()))
        try:
            async with asyncio.timeout(wait_s):
                await self._wake.wait()
        except TimeoutError:
            return


def _backoff_s(failures: int) -> float:
    """Exponential with jitter between half and all of it, so that workers do not come back together."""
    ceiling = min(MAX_BACKOFF_S, FIRST_BACKOFF_S * 2.0 ** min(failures, 20))
    return ceiling * (0.5 + random.random() / 2)
