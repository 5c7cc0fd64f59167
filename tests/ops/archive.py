"""Puts records into ClickHouse as the archive role does: bronze, and dead letters."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import NamedTuple, TypeVar

from streamproc.config import Settings
from streamproc.sinks.bronze import BronzeBatch, BronzeSink
from streamproc.sinks.clickhouse_client import ClickHouse
from streamproc.sinks.native_block import DATETIME_MS, blobs, block, integers, texts

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
    )
    dead = [record for record in records if record.reason]
    columns = [
        texts("topic", [topic] * len(dead)),
        integers("partition", "UInt32", [partition] * len(dead)),
        texts("log_id", [log_id] * len(dead)),
        integers("offset", "UInt64", [record.offset for record in dead]),
        texts("error", [record.error for record in dead]),
        texts("reason", [record.reason for record in dead]),
        blobs("key", [record.key for record in dead]),
        blobs("payload", [record.value for record in dead]),
        integers("kafka_timestamp", DATETIME_MS, [record.kafka_ms for record in dead]),
    ]

    async def write(clickhouse: ClickHouse) -> None:
        await BronzeSink(clickhouse).write([batch])
        if dead:
            names = [name for name, _, _ in columns]
            await clickhouse.insert("meta.dead_letters", names, block(columns, len(dead)))

    with_clickhouse(settings, write)


def add_window(settings: Settings, metric: str, size: str, start_ms: int, value: float, status: str = "open") -> None:
    """One published total."""
    sql = f"""INSERT INTO gold.windows (metric, window, window_start, dimension, dimension_value, value, count, sum_e4, status,
              late, version, updated_at) VALUES ('{metric}', '{size}', toDateTime({start_ms // 1000}, 'UTC'), '', '', {value}, 1, 0,
              '{status}', 0, 1, now64(3, 'UTC'))"""
    with_clickhouse(settings, lambda clickhouse: clickhouse.command(sql))
