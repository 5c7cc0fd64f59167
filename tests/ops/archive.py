"""Puts records into ClickHouse as the archive role does: bronze, and dead letters."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import NamedTuple, TypeVar

from streamproc.config import Settings
from streamproc.sinks.bronze import BronzeBatch
from streamproc.sinks.clickhouse_client import ClickHouse
from streamproc.sinks.native_block import DATETIME_MS, blobs, block, integers, texts
from streamproc.sinks.sealing import Sealing
from tests.sinks.support import bronze_sink, key_store

T = TypeVar("T")


class Archived(NamedTuple):
    """One record; `reason` and `error` are empty for a valid one."""

    offset: int
    kafka_ms: int
    value: bytes
    key: bytes = b"1"
    reason: str = ""
    error: str = ""


def with_clickhouse(settings: Settings, act: Callable[[ClickHouse], Awaitable[T]]) -> T:
    """Run something with a connection of its own."""

    async def run() -> T:
        clickhouse = ClickHouse.of(settings)
        try:
            return await act(clickhouse)
        finally:
            await clickhouse.close()

    return asyncio.run(run())


def archive(settings: Settings, topic: str, partition: int, log_id: str, records: list[Archived]) -> None:
    """Write records of one partition, and the dead ones as letters too."""
    batch = BronzeBatch(
        topic,
        partition,
        log_id,
        [record.offset for record in records],
        [record.kafka_ms for record in records],
        [record.key for record in records],
        [record.value for record in records],
        [record.error for record in records],
        owners=[1] * len(records),
    )
    dead = [record for record in records if record.reason]

    async def write(clickhouse: ClickHouse) -> None:
        await bronze_sink(clickhouse).write([batch])
        if dead:
            values = [record.value for record in dead]
            payloads = await Sealing(key_store(clickhouse)).letters([topic] * len(dead), values)
            columns = [
                texts("topic", [topic] * len(dead)),
                integers("partition", "UInt32", [partition] * len(dead)),
                texts("log_id", [log_id] * len(dead)),
                integers("offset", "UInt64", [record.offset for record in dead]),
                texts("error", [record.error for record in dead]),
                texts("reason", [record.reason for record in dead]),
                blobs("key", [record.key for record in dead]),
                blobs("payload", payloads),
                integers("kafka_timestamp", DATETIME_MS, [record.kafka_ms for record in dead]),
            ]
            names = [name for name, _, _ in columns]
            await clickhouse.insert("meta.dead_letters", names, block(columns, len(dead)))

    with_clickhouse(settings, write)


def add_window(settings: Settings, metric: str, size: str, start_ms: int, value: float, status: str = "open") -> None:
    """One published total."""
    sql = f"""INSERT INTO gold.windows (metric, window, window_start, dimension, dimension_value, value, count, sum_e4, status,
              late, version, updated_at) VALUES ('{metric}', '{size}', toDateTime({start_ms // 1000}, 'UTC'), '', '', {value}, 1, 0,
              '{status}', 0, 1, now64(3, 'UTC'))"""
    with_clickhouse(settings, lambda clickhouse: clickhouse.command(sql))
