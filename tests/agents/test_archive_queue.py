"""The archive's queue before ClickHouse: how soon it goes on after an outage."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from schemas import topics
from streamproc.agents.archive_queue import ArchiveQueues
from streamproc.config import Settings
from streamproc.migrate import migrate
from streamproc.sinks.bronze import BronzeSink
from streamproc.sinks.clickhouse_client import ClickHouse
from streamproc.sinks.dead_letters_store import DeadLetters
from tests.sinks.support import batch, user_event
from tests.support.clickhouse import start_clickhouse
from tests.support.proxy import Mode, TcpProxy, start_proxy

AWAY_S = 3.0


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[TcpProxy]:
    """Before a migrated ClickHouse."""
    server = start_clickhouse(tmp_path)
    migrate(Settings(clickhouse_url=server.url))
    proxy = start_proxy(server.port)
    yield proxy
    proxy.stop()
    server.stop()


def test_after_an_outage_the_next_insert_does_not_wait_for_its_share_of_the_time(proxy: TcpProxy) -> None:
    """The time for which nobody answered counted as work that ClickHouse was to rest from, twelve times as long."""

    async def act() -> float:
        clickhouse = ClickHouse(f"http://127.0.0.1:{proxy.port}")
        queues = ArchiveQueues([topics.USER_EVENTS], BronzeSink(clickhouse), DeadLetters(clickhouse), lambda: None)
        inserting = asyncio.create_task(queues.insert_loop(topics.USER_EVENTS))

        async def rows() -> int:
            return int((await clickhouse.rows("SELECT count() FROM bronze.user_events"))[0][0])

        async def until(count: int) -> None:
            async with asyncio.timeout(60):
                while True:
                    if await rows() >= count:
                        return
                    await asyncio.sleep(0.1)

        try:
            proxy.set(Mode.REFUSE)
            queues.put(topics.USER_EVENTS, batch("log", [0], [user_event(1)]), 100)
            await asyncio.sleep(0.4)
            deadline = time.monotonic() + AWAY_S
            while time.monotonic() < deadline:
                assert queues.failing
                await asyncio.sleep(0.1)
            proxy.set(Mode.PASS)
            await until(1)
            queues.put(topics.USER_EVENTS, batch("log", [1], [user_event(2)]), 100)
            began = time.monotonic()
            await until(2)
            return time.monotonic() - began
        finally:
            inserting.cancel()
            await clickhouse.close()

    assert asyncio.run(act()) < 15
