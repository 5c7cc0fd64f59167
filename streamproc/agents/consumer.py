"""Faust's consumer as we need it: it starts where our durable progress ends, and no batch of an earlier position passes.

Faust fetches beside rebalances: a fetch in flight brings records from before a seek, or from the committed offsets of an
assignment whose restore still runs. So every seek has a number, every fetch carries the number of the last seek before
it, and what was fetched before the seek that counts for its partition is dropped; it is read again after that seek.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from aiokafka.errors import IllegalStateError
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from streamproc.agents.batching import Fetched
from streamproc.logs import get_logger
from streamproc.telemetry import STALE_BATCHES

log = get_logger("consumer")

#: (topic, partition) -> offset to read next; topics with the broker's names.
Restorer = Callable[[set[tuple[str, int]]], Awaitable[Mapping[tuple[str, int], int]]]

_SMALL_FETCH = 2000
_FULL_S = 0.02
_COMMIT_PATIENCE_S = 5.0
#: An empty answer of the embedded broker has about 80 bytes a partition, and counts them: with less than that asked for,
#: fetches of an idle worker would follow each other without a pause.
_FETCH_MIN_BYTES = 256


class _Unread(dict[Any, Any]):
    """Faust's read offsets, always unknown: it drops what is below them without a word, and knows one partition of each
    batch only. Agents know themselves what they have applied."""

    def __getitem__(self, _tp: Any) -> None:
        return None

    def __setitem__(self, _tp: Any, _offset: Any) -> None:
        return None


class QuickFetchThread(driver.AIOKafkaConsumerThread):  # type: ignore[misc]  # Faust is untyped here
    """Faust's consumer thread with our fetch wait: 1,500 ms are fixed in the driver, and the embedded broker answers a
    fetch after half of that, however soon a record comes (p50 408 ms at 10 events/s; with 50 ms: 5 ms)."""

    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        consumer._fetch_max_wait_ms = self.app.fetch_wait_ms
        consumer._fetch_min_bytes = _FETCH_MIN_BYTES * self.app.fetch_partitions
        # Records of a transaction that was aborted, or is not over yet, are no events.
        consumer._isolation_level = "read_committed"
        return consumer

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        """Commit a hint, or give up: aiokafka tries for ever to commit for a partition that is not there any more."""
        try:
            return bool(await asyncio.wait_for(super()._commit(offsets), _COMMIT_PATIENCE_S))
        except TimeoutError:
            return False

    #: Number of the last seek that was done. Seeks and fetches both run on this thread's loop.
    seek_number = 0

    async def _fetch_records(self, *args: Any, **kwargs: Any) -> Fetched:
        """As Faust's; no other task runs between records leaving aiokafka and the number that they get."""
        return Fetched(await super()._fetch_records(*args, **kwargs) or {}, self.seek_number)

    async def seek_all(self, positions: Mapping[TP, int], number: int) -> None:
        """Seek these partitions at once, so that every fetch is before or after all of them.

        Raises:
            IllegalStateError: one is no longer assigned: another rebalance goes on.
        """
        await self.call_thread(self._seek_all, self._ensure_consumer(), positions, number)

    async def _seek_all(self, consumer: Any, positions: Mapping[TP, int], number: int) -> None:
        for tp, offset in positions.items():
            consumer.seek(tp, offset)
        self.seek_number = number

    def readable_end(self, tp: TP) -> int | None:
        """Offset after the last record that may be read, None before the first fetch: open transactions are beyond."""
        state = self._state(tp)
        if state is None or state.highwater is None:
            return None
        return int(state.highwater if state.lso is None else min(state.highwater, state.lso))

    def fetch_position(self, tp: TP) -> int | None:
        """Offset of the next fetch, None while it is not known."""
        state = self._state(tp)
        return state.position if state is not None and state.has_valid_position else None

    def _state(self, tp: TP) -> Any | None:
        """What aiokafka knows of a partition; None if it is not ours, or the consumer is gone."""
        subscription = None if self._consumer is None else self._consumer._subscription.subscription
        assignment = None if subscription is None else subscription.assignment
        return None if assignment is None else assignment.state_value(tp)


class OwnProgressConsumer(driver.Consumer):  # type: ignore[misc]  # Faust is untyped here
    """A consumer that starts where our durable progress ends, whatever the group committed."""

    _seeks_due = 0
    _seeks_done = 0
    _restoring = False
    _last_fetch_records = 0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._read_offset = _Unread()
        self._seeking = asyncio.Lock()
        #: Numbers of seeks: the last one begun, the one that counts for all partitions, and later ones for single ones.
        self._number = 0
        self._counts_from = 0
        self._counts_from_of: dict[TP, int] = {}
        #: By partition: the last record that a fetch brought, and where the fetch after it begins.
        self._brought: dict[TP, int] = {}
        self._passed: dict[TP, int] = {}

    def is_current(self, tp: TP, number: int) -> bool:
        """Whether what a fetch with this number brought of a partition was fetched after the seek that counts for it."""
        if number >= max(self._counts_from, self._counts_from_of.get(tp, 0)):
            return True
        STALE_BATCHES.labels(tp.topic).inc()
        return False

    def _outdate(self) -> int:
        """All that was fetched until now is for nobody; returns the number of the seek that is due."""
        self._number += 1
        self._counts_from = self._number
        self._counts_from_of.clear()
        return self._number

    async def on_partitions_revoked(self, revoked: Any) -> None:
        """A rebalance begins: whatever a fetch brings from now on, until the seek after it, is for nobody."""
        self._outdate()
        await super().on_partitions_revoked(revoked)

    def resume_partitions(self, tps: Any) -> None:
        """Faust's recovery calls this right before it has us seek: once per assignment."""
        self._seeks_due += 1
        super().resume_partitions(tps)

    async def perform_seek(self) -> None:
        """Restore and seek, once per assignment.

        Faust's fetcher seeks too when a fetch ends during a rebalance. That would restore beside the rebalance, with
        partitions that are about to go; what that fetch brought is read again anyway, after the seek that is due.
        """
        async with self._seeking:
            due = self._seeks_due
            if due == self._seeks_done:
                return
            self._restoring = True
            try:
                await super().perform_seek()
            finally:
                self._restoring = False
            self._seeks_done = due

    async def _add_gap(self, tp: Any, offset_from: int, offset_to: int) -> None:
        """Nothing: Faust would keep an interval per batch for each partition but one of it, and they are never cut off
        (58,000 objects after two minutes)."""

    def _new_offset(self, tp: Any) -> int | None:
        """Nothing for Faust to commit: its view of a batch is one partition. The role commits what is really applied."""
        self._acked[tp].clear()
        self._acked_index[tp].clear()
        return None

    async def _wait_next_records(self, timeout: float) -> Any:
        """Fetch. Faust drops what comes while the flow is stopped, also what was fetched after the seek: it waits here."""
        records, active = await super()._wait_next_records(timeout)
        if records and not self.flow_active:
            await self.wait(self.can_resume_flow)
        return records, active

    async def _getmany(self, active_partitions: Any, timeout: float) -> Any:
        """Fetch; after a small fetch wait a little first, so that a batch has more than a few records: a batch of 5
        costs as much as one of 100."""
        if self._last_fetch_records < _SMALL_FETCH:
            await asyncio.sleep(self.app.linger_s)
        topics = {tp.topic for tp in active_partitions}
        full = {topic for topic in topics if self.scheduler.waiting(topic) >= self.app.max_waiting_records}
        if full == topics:
            await asyncio.sleep(_FULL_S)
            return Fetched({}, self._thread.seek_number)
        if full:
            # Their agents may be done long before the others have anything to fetch.
            timeout = min(timeout, _FULL_S)
        records = await super()._getmany({tp for tp in active_partitions if tp.topic not in full}, timeout)
        for tp in [tp for tp in records if not self.is_current(tp, records.number)]:
            del records[tp]
        self._last_fetch_records = sum(map(len, records.values()))
        for tp in self.assignment():
            if records.get(tp):
                self._brought[tp] = records[tp][-1].offset
            position = self._thread.fetch_position(tp)
            if position is not None:
                self._passed[tp] = position
        return records

    def end(self, tp: TP) -> int | None:
        """Offset after the last record that may be read, None before the first fetch."""
        found: int | None = self._thread.readable_end(tp)
        return found

    def behind(self, tp: TP, next_offset: int) -> int | None:
        """Records to read after those before `next_offset`, None before the first fetch.

        Markers of transactions and aborted records are none: once the last record that was fetched is taken, all that
        the fetches have passed is done with. Else a log that ends with a marker would be one record behind for ever.
        """
        end = self.end(tp)
        if end is None:
            return None
        if next_offset > self._brought.get(tp, -1):
            next_offset = max(next_offset, self._passed.get(tp, 0))
        return max(0, end - next_offset)

    def _new_consumer_thread(self) -> Any:
        return QuickFetchThread(self, loop=self.loop, beacon=self.beacon)

    async def seek_to_committed(self) -> Mapping[Any, int]:
        """Seek all assigned partitions to our own positions; called once per rebalance, before fetching resumes."""
        number = self._outdate()
        committed = dict(await super().seek_to_committed())
        assigned = {(tp.topic, tp.partition) for tp in self.assignment() if not tp.topic.startswith(self.app.conf.id)}
        if not assigned:
            return committed
        restore: Restorer = self.app.restorer
        positions = await restore(assigned)
        still = self.assignment()
        seeks = {TP(*name): offset for name, offset in positions.items() if TP(*name) in still}
        await self._thread.seek_all(seeks, number)
        # What was fetched before is fetched again.
        self._brought.clear()
        self._passed.clear()
        committed.update(seeks)
        return committed

    async def seek_back(self, tp: TP, offset: int) -> None:
        """Read one partition on from `offset`; what was fetched of it until now is dropped.

        Nothing during a rebalance: the seek after it goes where our progress ends.
        """
        if self._restoring or not self.flow_active:
            return
        async with self._seeking:
            self._number += 1
            self._counts_from_of[tp] = self._number
            try:
                await self._thread.seek_all({tp: offset}, self._number)
            except IllegalStateError:
                log.info("not sought back: the partition is no longer ours", topic=tp.topic, partition=tp.partition)
            self._brought.pop(tp, None)
            self._passed.pop(tp, None)

    def connections(self) -> frozenset[Any]:
        """The connections to brokers as they are now: one that was not there before may lead to another log."""
        consumer = self._thread._consumer
        return frozenset() if consumer is None else frozenset(list(consumer._client._conns.values()))

    def member_id(self) -> str:
        """The id that the group's coordinator gave this worker, '' before."""
        consumer = self._thread._consumer
        coordinator = None if consumer is None else consumer._coordinator
        return str(getattr(coordinator, "member_id", ""))

    async def wait_empty(self) -> None:
        """Faust waits here for the batches in hand before it says that partitions go: who waits must give up first."""
        give_up: Callable[[], None] | None = getattr(self.app, "give_up", None)
        if give_up is not None:
            give_up()
        await super().wait_empty()


class OwnProgressTransport(driver.Transport):  # type: ignore[misc]  # Faust is untyped here
    """Faust's aiokafka transport with our consumer."""

    Consumer = OwnProgressConsumer
