"""Migration 0012 over rows of 0011: each keeps a right place at once, and a backfill brings what bronze knows better."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from batch.backfill.derive import Deriver
from batch.backfill.slices import slices_of
from streamproc.config import Settings
from streamproc.migrate import known_migrations, migrate
from streamproc.sinks.bronze import BronzeBatch
from streamproc.sinks.clickhouse_client import ClickHouse
from tests.sinks.support import START, bronze_sink, with_clickhouse
from tests.support.clickhouse import ClickHouseHandle, start_clickhouse
from tests.support.events import cost_event, encode
from tests.support.repeated import MINUTE, Sent, first_of, log_id

_TOPIC = "cost-events"
_OLD, _NEW, _CLOCK, _ADDED = (2, log_id(1, 1)), (4, log_id(2, 2)), (10, log_id(3, 3)), (11, log_id(4, 4))


def _id(number: int) -> str:
    return f"{number:08x}-0000-4000-8000-00000000beef"


#: Id 1 is merged before the migration, of id 2 the records lie in two months, which are never merged; of both the lower offset was the younger record. Of id 3 the
#: younger one has a Kafka time of the past, behind a record with a right one: only log time says so.
BEFORE_MERGE = [Sent(*_OLD, 300, START, _id(1), 1), Sent(*_NEW, 5, START + 5 * MINUTE, _id(1), 2)]
AFTER_MERGE = [
    Sent(*_OLD, 301, START + 1, _id(2), 3),
    Sent(*_NEW, 6, START + 6 * MINUTE, _id(2), 4),
    Sent(*_OLD, 302, START + 2 * MINUTE, _id(3), 5),
    Sent(*_CLOCK, 7, START + 9 * MINUTE, _id(4), 6),
    Sent(*_CLOCK, 8, START - 9 * MINUTE, _id(3), 7),
]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ClickHouseHandle]:
    """A ClickHouse at 0011."""
    handle = start_clickhouse(tmp_path / "clickhouse")
    migrate(Settings(clickhouse_url=handle.url), migrations=known_migrations()[:11])
    yield handle
    handle.stop()


def _payload(record: Sent) -> str:
    occurred_ms = START - (40 * 24 * 60 if record.amount == 4 else 1) * MINUTE
    event = cost_event(occurred_ms, event_id=record.key, video_id=7, amount_usd=f"0.{record.amount:04d}")
    return encode(event).decode()


async def _old_release(clickhouse: ClickHouse, records: Sequence[Sent]) -> None:
    """Inserts of a worker that knows no log_time, a part each."""
    for each in records:
        await clickhouse.command(f"""
            INSERT INTO bronze.cost_events (topic, partition, log_id, offset, kafka_timestamp, key, payload, error)
            SELECT '{_TOPIC}', {each.partition}, '{each.log_id}', {each.offset},
                   fromUnixTimestamp64Milli(toInt64({each.kafka_ms})), '7', '{_payload(each)}', ''""")


async def _counted(clickhouse: ClickHouse) -> dict[str, tuple[Any, ...]]:
    sql = "SELECT toString(event_id), partition, log_id, offset, amount_e4 FROM silver.cost_events FINAL"
    rows = await clickhouse.rows(sql)
    assert len({row[0] for row in rows}) == len(rows)
    return {row[0]: row[1:] for row in rows}


def _due(records: Sequence[Sent]) -> dict[str, tuple[Any, ...]]:
    return {key: (*each[:3], each.amount) for key, each in first_of(records).items()}


async def _backfilled(clickhouse: ClickHouse) -> int:
    """Rows that a backfill of all days writes."""
    today, written = datetime.now(UTC).date(), 0
    async with Deriver(clickhouse, _TOPIC, lambda: pytest.fail("no personal data")) as deriver:
        written += (await deriver.derive_raised()).written
        for piece in await slices_of(clickhouse, "bronze.cost_events", _TOPIC, today - timedelta(days=1), today):
            written += (await deriver.derive(piece)).written
    return written


def test_rows_of_before_keep_a_right_place(server: ClickHouseHandle) -> None:
    """With the stream writing beside, by a worker of the release before and by one of this."""

    async def before(clickhouse: ClickHouse) -> None:
        await _old_release(clickhouse, BEFORE_MERGE)
        await clickhouse.command("OPTIMIZE TABLE silver.cost_events FINAL")
        await _old_release(clickhouse, AFTER_MERGE)
        assert (await _counted(clickhouse))[_id(2)][2] == 6, "the old rule: the lower offset"

    async def after(clickhouse: ClickHouse) -> None:
        every = [*BEFORE_MERGE, *AFTER_MERGE]
        due, found = _due(every), await _counted(clickhouse)
        assert found[_id(2)] == due[_id(2)] and found[_id(4)] == due[_id(4)]
        # What is merged away bronze alone has, and what Kafka's time does not say its log does.
        assert found[_id(1)] != due[_id(1)] and found[_id(3)] != due[_id(3)]
        # How many rows that takes depends on what is merged by now.
        assert await _backfilled(clickhouse) >= 1
        assert await _counted(clickhouse) == due
        await clickhouse.command("OPTIMIZE TABLE silver.cost_events FINAL")
        assert await _counted(clickhouse) == due
        assert await _backfilled(clickhouse) == 0

        # A worker that was not restarted yet, then a new one: the youngest at the lowest offset, an older one that comes late.
        young, old = Sent(*_ADDED, 0, START + 20 * MINUTE, _id(4), 8), Sent(*_OLD, 400, START + 3 * MINUTE, _id(4), 9)
        await _old_release(clickhouse, [young])
        assert await _counted(clickhouse) == due
        batch = BronzeBatch(_TOPIC, *_OLD, [400], [old.kafka_ms], [b"7"], [_payload(old).encode()])
        await bronze_sink(clickhouse).write([batch])
        assert await _counted(clickhouse) == _due([*every, young, old]) != due

    with_clickhouse(server.url, before)
    assert migrate(Settings(clickhouse_url=server.url))[0] == "0012_one_rule"
    with_clickhouse(server.url, after, timeout_s=120.0)


def test_a_migration_beside_the_stream_loses_nothing(server: ClickHouseHandle) -> None:
    """Inserts go on while 0012 is applied twice (killed after its last statement, and run again)."""

    async def run(clickhouse: ClickHouse) -> None:
        sent: list[Sent] = []
        done = asyncio.Event()

        async def stream() -> None:
            while not done.is_set() or len(sent) < 20:
                number = 1000 + len(sent)
                sent.append(Sent(*_OLD, number, START + number, _id(number), number % 9999))
                await _old_release(clickhouse, sent[-1:])

        writing = asyncio.create_task(stream())
        for _ in range(2):
            await asyncio.to_thread(migrate, Settings(clickhouse_url=server.url))
            await clickhouse.command("DELETE FROM meta.schema_migrations WHERE version = 12")
        done.set()
        await writing
        assert await _counted(clickhouse) == _due(sent)

    with_clickhouse(server.url, run, timeout_s=120.0)
