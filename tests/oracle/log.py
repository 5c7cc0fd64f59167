"""Every record of topics, read from offset 0 with plain aiokafka, judged, and put into one DuckDB table."""

from __future__ import annotations

import hashlib
import time
import zlib
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any, Final

import duckdb
import numpy as np
from aiokafka import AIOKafkaConsumer, TopicPartition

from tests.oracle.rules import COLUMNS, TEXTS, judge

SOURCES: Final = ("user-events", "video-status", "cost-events")
_CHUNK: Final = 40_000
_PATIENCE_S: Final = 60.0

#: `digest` and `key_crc` stand for value and key. Beside these `rec` has `log` (0: the newest of its partition, older ones
#: count down) and `cut` (by now the log begins after this record).
_BASE: Final = ("part", "off", "ts", "bytes", "digest", "key_crc", "reason")
_TYPES: Final = {"digest": "UBIGINT", "key_crc": "UBIGINT", "share": "DOUBLE", "text": "UBIGINT", "reason": "VARCHAR"}

Batch = tuple[str, int, list[Any]]


class Unreachable(Exception):
    """A server did not answer: nothing can be said about the run."""


def first_8(value: bytes | None) -> int:
    """The first 8 bytes of the SHA-256 of a value ('' counts for none), as an unsigned little-endian number."""
    return int.from_bytes(hashlib.sha256(value or b"").digest()[:8], "little")


async def read_topics(bootstrap: str, topics: Iterable[str]) -> AsyncIterator[Batch]:
    """(topic, partition, records) from the beginning of each partition to where it ends now; () for a topic not there.

    Raises:
        Unreachable: the broker did not answer for a minute.
    """
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap.split(","),
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        fetch_max_wait_ms=100,
        fetch_max_bytes=16 << 20,
        max_partition_fetch_bytes=4 << 20,
    )
    await consumer.start()
    try:
        await consumer._client.force_metadata_update()
        known = {topic: consumer.partitions_for_topic(topic) or set() for topic in topics}
        left = {TopicPartition(topic, part) for topic, parts in known.items() for part in parts}
        if not left:
            return
        consumer.assign(sorted(left))
        await consumer.seek_to_beginning(*left)
        heard = time.monotonic()
        while left:
            for tp, records in (await consumer.getmany(timeout_ms=200, max_records=_CHUNK)).items():
                heard = time.monotonic()
                yield tp.topic, tp.partition, records
            for tp in list(left):
                # From a fetch, not from ListOffsets: the embedded broker's answer there is off by one.
                end = consumer.highwater(tp)
                if end is not None and await consumer.position(tp) >= end:
                    left.discard(tp)
                    consumer.pause(tp)
            if time.monotonic() - heard > _PATIENCE_S:
                raise Unreachable(f"the broker said nothing of {sorted(left)[:3]} for {_PATIENCE_S:.0f} s")
    finally:
        await consumer.stop()


class RecordTable:
    """The table `rec`: one row a record. `add` buffers; call `close` at the end."""

    def __init__(self, db: duckdb.DuckDBPyConnection) -> None:
        self._db = db
        columns = [f"{name} {_TYPES.get(name, 'BIGINT')}" for name in _BASE]
        columns += [f"{n} {'UUID' if n == 'event_id' else 'VARCHAR'}" if n in TEXTS else _typed(n) for n in COLUMNS]
        db.execute(f"CREATE TABLE rec (topic VARCHAR, log INTEGER, cut BOOLEAN, {', '.join(columns)})")
        self._rows: dict[str, list[tuple[Any, ...]]] = {}
        self.count = 0

    def add(self, topic: str, partition: int, records: Iterable[Any]) -> None:
        """Records (offset, timestamp, key, value) of one partition of the log that is there now."""
        rows = self._rows.setdefault(topic, [])
        for record in records:
            value = record.value
            reason, row = judge(topic, value)
            size, crc = len(value or b""), zlib.crc32(record.key or b"")
            rows.append((partition, record.offset, record.timestamp, size, first_8(value), crc, reason, *row))
        if len(rows) >= _CHUNK:
            self._write(topic)

    def close(self) -> None:
        """Write what is buffered."""
        for topic in list(self._rows):
            self._write(topic)

    def _write(self, topic: str) -> None:
        rows = self._rows.pop(topic)
        if not rows:
            return
        self.count += len(rows)
        names = (*_BASE, *COLUMNS)
        incoming: dict[str, np.ndarray[Any, Any]] = {}
        for name, values in zip(names, zip(*rows, strict=True), strict=True):
            kind = _TYPES.get(name, "")
            if name in TEXTS or kind == "VARCHAR":
                incoming[name] = np.array(values, dtype=object)
            else:
                dtype = {"UBIGINT": np.uint64, "DOUBLE": np.float64}.get(kind, np.int64)
                incoming[name] = np.array(values, dtype=dtype)
        self._db.register("incoming", incoming)
        chosen = ", ".join(_nulls(name) for name in names)
        self._db.execute(f"INSERT INTO rec SELECT $topic, 0, FALSE, {chosen} FROM incoming", {"topic": topic})
        self._db.unregister("incoming")


def _typed(name: str) -> str:
    return f"{name} {_TYPES.get(name, 'BIGINT')}"


def _nulls(name: str) -> str:
    """The column with its stand-ins (rules.NIL, rules.NONE) as nulls."""
    if name in TEXTS:
        text = f"nullif({name}::VARCHAR, chr(0))"
        return f"{text}::UUID" if name == "event_id" else text
    if name in COLUMNS and name not in _TYPES:
        return f"nullif({name}, (-9223372036854775808)::BIGINT)"
    return f"nullif({name}, -1.0)" if name == "share" else name


def add_earlier(db: duckdb.DuckDBPyConnection, path: Path) -> dict[tuple[str, int], int]:
    """Records saved before (`--save-log`), the newest file first: of the same log and gone by now, or of an older log.

    It is another log where a record of both differs at the same offset, or where the later one begins or ends before the
    earlier (a log is only ever cut at its beginning and appended to); older logs count down from 0. Topics are lost
    together: where some partitions have another log, one that is not there any more had an older one too.

    Returns which log of each (topic, partition) the file holds.
    """
    db.execute("CREATE OR REPLACE TEMP TABLE earlier AS FROM read_parquet($path)", {"path": str(path)})
    db.execute("CREATE OR REPLACE TEMP TABLE nearest AS SELECT topic, part, min(log) AS log FROM rec GROUP BY ALL")
    db.execute("""
        CREATE OR REPLACE TEMP TABLE renewed AS
        SELECT DISTINCT e.topic, e.part
        FROM earlier e JOIN nearest n USING (topic, part)
        JOIN rec r ON r.topic = e.topic AND r.part = e.part AND r.log = n.log AND r.off = e.off
        WHERE e.digest <> r.digest OR e.ts <> r.ts
        UNION
        SELECT topic, part
        FROM (SELECT topic, part, min(off) AS first, max(off) AS last FROM earlier GROUP BY ALL) e
        JOIN (SELECT topic, part, min(off) AS first, max(off) AS last FROM rec JOIN nearest USING (topic, part, log)
              GROUP BY ALL) r USING (topic, part)
        WHERE r.first < e.first OR r.last < e.last""")
    db.execute("""
        INSERT INTO renewed BY NAME
        SELECT DISTINCT topic, part FROM earlier ANTI JOIN nearest USING (topic, part)
        WHERE EXISTS (FROM renewed)""")
    db.execute("""
        INSERT INTO rec BY NAME
        SELECT e.* REPLACE (coalesce(n.log, 0) - (w.topic IS NOT NULL)::INTEGER AS log, w.topic IS NULL AS cut)
        FROM earlier e LEFT JOIN nearest n USING (topic, part) LEFT JOIN renewed w USING (topic, part)
        WHERE w.topic IS NOT NULL OR NOT EXISTS (
            FROM rec r WHERE r.topic = e.topic AND r.part = e.part AND r.log = n.log AND r.off = e.off)""")
    found = db.execute("""
        SELECT DISTINCT e.topic, e.part, coalesce(n.log, 0) - (w.topic IS NOT NULL)::INTEGER
        FROM earlier e LEFT JOIN nearest n USING (topic, part) LEFT JOIN renewed w USING (topic, part)""").fetchall()
    return {(topic, part): log for topic, part, log in found}


def save_log(db: duckdb.DuckDBPyConnection, path: Path) -> None:
    """Write what was read as Parquet, for `add_earlier`."""
    db.execute(f"COPY (FROM rec WHERE log = 0) TO '{path}' (FORMAT PARQUET)")
