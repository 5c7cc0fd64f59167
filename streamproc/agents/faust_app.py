"""How our Faust apps are made: settings that survive what was found about Faust, and our own progress as the authority.

Kafka's committed offset is a hint for tools. On every assignment the transport asks our `Restorer` where to read on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

import faust
from faust.tables import TableManager
from faust.types import TP

from streamproc.agents.batching import BatchScheduler
from streamproc.agents.consumer import OwnProgressTransport, Restorer
from streamproc.config import Settings

#: The longest that a group waits for a member of which it hears heartbeats and no more.
REBALANCE_TIMEOUT_S: Final = 60.0
_FOREVER_S = 1_000_000.0


class NoTables(TableManager):  # type: ignore[misc]  # Faust is untyped here
    """Faust's tables, of which we have none: it would wait a second for them to be declared before it joins the group."""

    async def on_start(self) -> None:
        """Start at once what runs an assignment."""
        await self._update_channels()
        await self.recovery.start()


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
        broker_rebalance_timeout=REBALANCE_TIMEOUT_S,
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
    # Of one topic: its agent has work while the next fetch comes. Sixty-four batches of a catch-up are 500 MB.
    app.max_waiting_records = 2 * settings.max_batch_records
    return app


def _url(text: str) -> Any:
    from yarl import URL

    return URL(text)


def add_batch_agent(app: Any, topic: str, handle: Callable[[str, int, list[Any]], Awaitable[None]]) -> None:
    """An agent that gives the records of each partition of a batch to `handle(topic, partition, records)`.

    Faust acknowledges what an agent raises on, so nothing may leave the body: an unexpected error ends the process
    before the acknowledgement, and the supervisor's next process starts from our own progress. What was fetched before
    the last seek of its partition is passed over.
    """
    channel = app.topic(topic, value_type=None, value_serializer="raw", key_serializer="raw", allow_empty=True)

    async def agent(stream: Any) -> None:
        async for event in stream.events():
            batch = event.message.value
            try:
                for records in batch:
                    if app.consumer.is_current(TP(topic, records[0].partition), batch.number):
                        await handle(topic, records[0].partition, records)
            except asyncio.CancelledError:
                raise
            except BaseException:
                from streamproc.agents.fatal import die

                die(f"agent on {topic} failed")
            finally:
                batch.clear()

    app.agent(channel, name=f"batch:{topic}")(agent)
