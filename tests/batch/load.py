"""A month's files into bronze and silver as the archive worker would have them there, without a broker in between."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import orjson

from schemas.outcomes import FUTURE_LIMIT_MS
from schemas.topics import CHANGES, SOURCES
from streamproc.agents.archive_changes import change_batch
from streamproc.agents.archive_role import owners_of
from streamproc.decode import decode_batch
from streamproc.sinks.bronze import BronzeBatch
from streamproc.sinks.clickhouse_client import ClickHouse
from tests.sinks.support import bronze_sink

LOG = "month"
_AT_ONCE = 20_000


async def load_month(clickhouse: ClickHouse, directory: Path, begin: float = 0.0, end: float = 1.0) -> int:
    """Write the records between two shares of every topic's file; how many."""
    sink, count = bronze_sink(clickhouse), 0
    for topic in (*SOURCES, *CHANGES):
        for batch in _batches(directory, topic, begin, end):
            await sink.write([batch])
            count += len(batch.offsets)
    return count


def _batches(directory: Path, topic: str, begin: float, end: float) -> Iterator[BronzeBatch]:
    lines = (directory / f"{topic}.ndjson").read_bytes().splitlines()
    records = [_record(offset, orjson.loads(line)) for offset, line in enumerate(lines)]
    log_ms = np.maximum.accumulate(np.array([record.timestamp for record in records], dtype=np.int64))
    first, last = int(begin * len(records)), int(end * len(records))
    for at in range(first, last, _AT_ONCE):
        part = records[at : min(at + _AT_ONCE, last)]
        if topic in CHANGES:
            yield change_batch(topic, 0, LOG, part, set())
        else:
            yield _events(topic, part, log_ms[at : at + len(part)])


def _record(offset: int, row: dict[str, str | int | None]) -> SimpleNamespace:
    value = row.get("value")
    raw = (
        base64.b64decode(str(row["value_b64"]))
        if "value_b64" in row
        else None
        if value is None
        else str(value).encode()
    )
    key = row.get("key")
    return SimpleNamespace(
        offset=offset, timestamp=row["ts"], key=None if key is None else str(key).encode(), value=raw
    )


def _events(topic: str, records: list[SimpleNamespace], log_ms: np.ndarray) -> BronzeBatch:
    """The verdicts are those of the archive role."""
    decoded = decode_batch(topic, [record.value for record in records])
    errors = [""] * len(records)
    for position, reason, text in decoded.dead:
        errors[position] = f"{reason.value}: {text}"
    for i in np.flatnonzero(decoded.array("occurred_at_ms") > log_ms[decoded.ok] + FUTURE_LIMIT_MS).tolist():
        errors[int(decoded.ok[i])] = "future_event: ahead of the log's time"
    return BronzeBatch(
        topic,
        0,
        LOG,
        [record.offset for record in records],
        [record.timestamp for record in records],
        [record.key or b"" for record in records],
        [record.value or b"" for record in records],
        errors if any(errors) else (),
        owners=owners_of(topic, decoded, len(records)),
        log_times=log_ms.tolist(),
    )
