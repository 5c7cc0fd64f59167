"""Records of the `dead-letters` topic into meta.dead_letters, keyed by where the bad record lay."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from streamproc.sinks.clickhouse_client import ClickHouse
from streamproc.sinks.native_block import DATETIME_MS, blobs, block, integers, texts

_COLUMNS: Final = (
    "topic",
    "partition",
    "log_id",
    "offset",
    "error",
    "reason",
    "key",
    "payload",
    "kafka_timestamp",
    "recorded_at",
)

#: Largest integers of the columns `partition` and `offset`. The numbers come from message headers, which anybody can
#: write: one that does not fit must not hold up all others.
_UINT32: Final = 2**32 - 1
_UINT64: Final = 2**64 - 1
_INT64: Final = 2**63 - 1


class DeadLetter(NamedTuple):
    """One record that did not count, by where it lay. Times are epoch ms; `recorded_at_ms` is Kafka's time of the
    message on the `dead-letters` topic, so that a repeated write is the same row."""

    topic: str
    partition: int
    log_id: str
    offset: int
    error: str
    reason: str
    key: bytes
    payload: bytes
    timestamp_ms: int
    recorded_at_ms: int


class DeadLettersStore:
    """Writes dead letters. The caller retries; a repeated write changes nothing."""

    def __init__(self, clickhouse: ClickHouse) -> None:
        self._clickhouse = clickhouse

    async def write(self, letters: Sequence[DeadLetter]) -> None:
        """One insert.

        Raises:
            RetryableError, PermanentError: with a reason; the insert may have been applied all the same.
        """
        if letters:
            await self._clickhouse.insert("meta.dead_letters", _COLUMNS, _encode(letters))


def _within(value: int, largest: int) -> int:
    return min(max(value, 0), largest)


def _encode(letters: Sequence[DeadLetter]) -> bytes:
    return block(
        (
            texts("topic", [letter.topic for letter in letters]),
            integers("partition", "UInt32", [_within(letter.partition, _UINT32) for letter in letters]),
            texts("log_id", [letter.log_id for letter in letters]),
            integers("offset", "UInt64", [_within(letter.offset, _UINT64) for letter in letters]),
            texts("error", [letter.error for letter in letters]),
            texts("reason", [letter.reason for letter in letters]),
            blobs("key", [letter.key for letter in letters]),
            blobs("payload", [letter.payload for letter in letters]),
            integers("kafka_timestamp", DATETIME_MS, [_within(letter.timestamp_ms, _INT64) for letter in letters]),
            integers("recorded_at", DATETIME_MS, [letter.recorded_at_ms for letter in letters]),
        ),
        len(letters),
    )
