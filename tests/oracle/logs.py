"""Logs made in memory for tests of the rules: seeded traffic over partitions, on a clock that also jumps."""

from __future__ import annotations

import random
from collections import Counter
from typing import NamedTuple

import duckdb

from tests.oracle.log import RecordTable
from tests.oracle.traffic import Mix, Traffic


class Entry(NamedTuple):
    """A record as aiokafka gives it, and where it lies."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes
    value: bytes | None


def made_up(seed: int, events: int, begin_ms: int, mix: Mix, partitions: int = 3) -> list[Entry]:
    """Traffic whose log time runs, stands, falls back, and now and then jumps by minutes, hours or days."""
    rng = random.Random(f"clock {seed}")
    traffic = Traffic(seed, mix)
    now, entries = begin_ms, []
    ends: Counter[tuple[str, int]] = Counter()
    for _ in range(events):
        draw = rng.random()
        now += int(draw * 400)
        if draw < 0.004:
            now += rng.choice((61_000, 599_999, 600_000, 3_600_000, 86_400_000, 7 * 86_400_000))
        event = traffic.next(now)
        part = (hash_of(event.key) + event.other_partition) % partitions
        stamp = now - rng.choice((0, 0, 0, 1, 5_000, 700_000))
        entries.append(Entry(event.topic, part, ends[event.topic, part], stamp, event.key, event.value))
        ends[event.topic, part] += 1
    return entries


def hash_of(key: bytes) -> int:
    """The same in every process, unlike Python's own."""
    return int.from_bytes(key, "little") * 2_654_435_761 >> 7


def connect() -> duckdb.DuckDBPyConnection:
    """DuckDB as the oracle uses it, in memory."""
    db = duckdb.connect(":memory:")
    db.execute("SET threads = 1; SET TimeZone = 'UTC'; SET enable_progress_bar = false")
    return db


def fill(db: duckdb.DuckDBPyConnection, entries: list[Entry]) -> None:
    """Table `rec` of these records."""
    table = RecordTable(db)
    for entry in entries:
        table.add(entry.topic, entry.partition, [entry])
    table.close()
