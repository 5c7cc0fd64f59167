"""How our Faust apps are made: settings that survive what was found about Faust, and our own progress as the authority.

Kafka's committed offset is a hint for tools. On every assignment the transport asks our `Restorer` where to read on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import faust
from faust.tables import TableManager
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from streamproc.agents.batching import BatchScheduler
from streamproc.config import Settings
from streamproc.logs import get_logger

log = get_logger("consumer")

#: (topic, partition) -> offset to read next; topics with the broker's names.
Restorer = Callable[[set[tuple[str, int]]], Awaitable[Mapping[tuple[str, int], int]]]

_FOREVER_S = 1_000_000.0
_SMALL_FETCH = 2000
#: An empty answer of the embedded broker has about 80 bytes a partition, and counts them: with less than that asked for,
#: fetches of an idle worker would follow each other without a pause.
_FETCH_MIN_BYTES = 256


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
    _seeking: asyncio.Lock | None = None

    def resume_partitions(self, tps: Any) -> None:
        """Faust's recovery calls this right before it has us seek: once per assignment."""
        self._seeks_due += 1
        super().resume_partitions(tps)

    async def perform_seek(self) -> None:
        """Restore and seek, once per assignment.

        Faust's fetcher seeks too when a fetch ends during a rebalance. That would restore beside the rebalance, with
        partitions that are about to go; what that fetch brought is read again anyway, after the seek that is due.
        """
        if self._seeking is None:
            self._seeking = asyncio.Lock()
        async with self._seeking:
            due = self._seeks_due
            if due == self._seeks_done:
                return
            await super().perform_seek()
            self._seeks_done = due

    async def _add_gap(self, tp: Any, offset_from: int, offset_to: int) -> None:
        """Nothing: Faust would keep an interval per batch for each partition but one of it, and they are never cut off
        (58,000 objects after two minutes)."""

    def _new_offset(self, tp: Any) -> int | None:
        """Nothing for Faust to commit: its view of a batch is one partition. The role commits what is really applied."""
        self._acked[tp].clear()
        self._acked_index[tp].clear()
        return None

    _last_fetch_records = 0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        #: By partition: the last record that a fetch brought, and where the fetch after it begins.
        self._brought: dict[TP, int] = {}
        self._passed: dict[TP, int] = {}

    async def _getmany(self, active_partitions: Any, timeout: float) -> Any:
        """Fetch; after a small fetch wait a little first, so that a batch has more than a few records: a batch of 5
        costs as much as one of 100."""
        if self._last_fetch_records < _SMALL_FETCH:
            await asyncio.sleep(self.app.linger_s)
        records = await super()._getmany(active_partitions, timeout)
        self._last_fetch_records = sum(map(len, records.values())) if records else 0
        for tp in self.assignment():
            if records and records.get(tp):
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
        # What was fetched before is fetched again.
        self._brought.clear()
        self._passed.clear()
        committed = dict(await super().seek_to_committed())
        restore: Restorer | None = getattr(self.app, "restorer", None)
        assigned = {(tp.topic, tp.partition) for tp in self.assignment() if not tp.topic.startswith(self.app.conf.id)}
        if restore is None or not assigned:
            return committed
        positions = await restore(assigned)
        still = self.assignment()
        seeks = {TP(*name): offset for name, offset in positions.items() if TP(*name) in still}
        if seeks:
            await self._thread.seek_wait(seeks)
        committed.update(seeks)
        return committed

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


class NoTables(TableManager):  # type: ignore[misc]  # Faust is untyped here
    """Faust's tables, of which we have none: it would wait a second for them to be declared before it joins the group."""

    async def on_start(self) -> None:
        """Start at once what runs an assignment."""
        await self._update_channels()
        await self.recovery.start()


class OwnProgressTransport(driver.Transport):  # type: ignore[misc]  # Faust is untyped here
    """Faust's aiokafka transport with our consumer."""

    Consumer = OwnProgressConsumer


def make_app(
    settings: Settings,
    role: str,
    restorer: Restorer,
    give_up: Callable[[], None],
    datadir: str,
    fetch_wait_ms: int = 200,
    linger_s: float = 0.02,
) -> Any:
    """A Faust app for one role: its own consumer group, batches, no web server, no tables, no committed authority.

    `give_up` is called when partitions are about to be taken away, before Faust waits for the batches in hand.
    `fetch_wait_ms` is how long the broker may gather records before it answers a fetch; `linger_s` is how long a worker that keeps up waits before it fetches again, so that batches are not tiny.
    """
    app = faust.App(
        f"{settings.app_id}-{role}",
        broker=settings.broker_url,
        store="memory://",
        datadir=datadir,
        autodiscover=False,
        web_enabled=False,
        ConsumerScheduler=BatchScheduler,
        TableManager=NoTables,
        # A batch is one item of the stream's buffer; less than two per assigned partition and a full
        # topic stops the others (4,960 of 140,000 records got through).
        stream_buffer_maxsize=max(64, 4 * settings.partitions),
        stream_wait_empty=True,
        consumer_auto_offset_reset="earliest",
        consumer_max_fetch_size=1024 * 1024,
        broker_max_poll_records=settings.max_batch_records,
        # A consumer held back longer than this leaves the group and never comes back.
        broker_max_poll_interval=_FOREVER_S,
        broker_session_timeout=settings.session_timeout_s,
        broker_heartbeat_interval=max(0.3, settings.session_timeout_s / 5),
        broker_rebalance_timeout=60.0,
        # Also the time that a restore may take (Faust bounds perform_seek by it).
        broker_request_timeout=600.0,
        broker_commit_interval=2.8,
        producer_request_timeout=30.0,
        topic_disable_leader=True,
        topic_allow_declare=False,
        stream_recovery_delay=0.0,
        consumer_metadata_max_age_ms=15_000,
    )
    app.transport = OwnProgressTransport([_url(part) for part in settings.broker_url.split(";")], app, loop=None)
    app.restorer = restorer
    app.give_up = give_up
    app.fetch_wait_ms = fetch_wait_ms
    app.linger_s = linger_s
    app.fetch_partitions = 4 * settings.partitions
    return app


def _url(text: str) -> Any:
    from yarl import URL

    return URL(text)


def add_batch_agent(app: Any, topic: str, handle: Callable[[str, int, list[Any]], Awaitable[None]]) -> None:
    """An agent that gives the records of each partition of a batch to `handle(topic, partition, records)`.

    Faust acknowledges what an agent raises on, so nothing may leave the body: an unexpected error ends the process
    before the acknowledgement, and the supervisor's next process starts from our own progress.
    """
    channel = app.topic(topic, value_type=None, value_serializer="raw", key_serializer="raw", allow_empty=True)

    async def agent(stream: Any) -> None:
        async for event in stream.events():
            try:
                for records in event.message.value:
                    await handle(topic, records[0].partition, records)
            except asyncio.CancelledError:
                raise
            except BaseException:
                from streamproc.agents.fatal import die

                die(f"agent on {topic} failed")

    app.agent(channel, name=f"batch:{topic}")(agent)
