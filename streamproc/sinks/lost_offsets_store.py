"""Ranges of offsets that nobody could read, into meta.lost_offsets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from streamproc.sinks.clickhouse_client import ClickHouse
from streamproc.sinks.native_block import DATETIME_MS, block, integers, texts

_COLUMNS: Final = ("topic", "partition", "log_id", "first", "last", "found_at", "reason")

#: Reasons: who missed them.
NOT_COUNTED: Final = "deleted_before_counted"
NOT_ARCHIVED: Final = "deleted_before_archived"


class LostOffsets(NamedTuple):
    """Offsets `first` to `last` of one log; `found_ms` (epoch ms) is when somebody came to read them."""

    topic: str
    partition: int
    log_id: str
    first: int
    last: int
    found_ms: int
    reason: str


class LostOffsetsStore:
    """Writes rows. The caller retries; a repeated write changes nothing."""

    def __init__(self, clickhouse: ClickHouse) -> None:
        self._clickhouse = clickhouse

    async def write(self, rows: Sequence[LostOffsets]) -> None:
        """One insert.

        Raises:
            RetryableError, PermanentError: with a reason; the insert may have been applied all the same.
        """
        columns = (
            texts("topic", [row.topic for row in rows]),
            integers("partition", "UInt32", [row.partition for row in rows]),
            texts("log_id", [row.log_id for row in rows]),
            integers("first", "UInt64", [row.first for row in rows]),
            integers("last", "UInt64", [row.last for row in rows]),
            integers("found_at", DATETIME_MS, [row.found_ms for row in rows]),
            texts("reason", [row.reason for row in rows]),
        )
        await self._clickhouse.insert("meta.lost_offsets", _COLUMNS, block(columns, len(rows)))
