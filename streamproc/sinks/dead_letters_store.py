"""Records of the `dead-letters` topic into meta.dead_letters, keyed by where the bad record lay."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from streamproc.sinks.clickhouse_client import ClickHouse
from streamproc.sinks.native_block import DATETIME_MS, blobs, block, integers, texts
from streamproc.sinks.sealing import Sealing

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

#: Largest integers of the columns `partition` and `offset`.
_UINT32: Final = 2**32 - 1
_UINT64: Final = 2**64 - 1
_DIGITS: Final = 20


class _Letter(NamedTuple):
    topic: str
    partition: int
    log_id: str
    offset: int
    error: str
    reason: str
    key: bytes
    payload: bytes
    kafka_ms: int
    recorded_ms: int


class DeadLetters:
    """Writes dead letters, those that may hold personal data sealed. The caller retries; a repeated write changes nothing."""

    def __init__(self, clickhouse: ClickHouse, sealing: Sealing) -> None:
        self._clickhouse = clickhouse
        self._sealing = sealing

    async def write(self, records: Sequence[Any]) -> None:
        """One insert of Kafka records (`topic`, `partition`, `offset`, `timestamp` in ms, `value`, `headers`).

        Raises:
            RetryableError, PermanentError: with a reason; the insert may have been applied all the same.
        """
        if records:
            letters = [_letter(each) for each in records]
            payloads = await self._sealing.letters(
                [letter.topic for letter in letters], [letter.payload for letter in letters]
            )
            sealed = [letter._replace(payload=payload) for letter, payload in zip(letters, payloads, strict=True)]
            await self._clickhouse.insert("meta.dead_letters", _COLUMNS, _encode(sealed))


def _letter(record: Any) -> _Letter:
    """A record without a source (somebody else wrote it, or the intake, of what never became a record) is kept too, under its
    own place on the topic."""
    headers: dict[str, bytes] = dict(record.headers or ())
    text = {name: bytes(value or b"").decode("utf-8", "replace") for name, value in headers.items() if name != "key"}
    partition, offset = _number(text.get("partition"), _UINT32), _number(text.get("offset"), _UINT64)
    value = record.value or b""
    if not text.get("topic") or partition is None or offset is None:
        place = (record.topic, record.partition, "", record.offset)
        error, reason, key = "no source in its headers", "malformed", b""
        if text.get("stream"):
            error, reason, key = text.get("error", ""), text.get("reason", ""), headers.get("key") or b""
        return _Letter(*place, error, reason, key, value, record.timestamp, record.timestamp)
    kafka_ms = _number(text.get("kafka_timestamp"), 2**63 - 1)
    return _Letter(
        text["topic"],
        partition,
        text.get("log_id", ""),
        offset,
        text.get("error", ""),
        text.get("reason", ""),
        headers.get("key") or b"",
        value,
        record.timestamp if kafka_ms is None else kafka_ms,
        # Kafka's time, not the wall clock: a repeated write is the same row.
        record.timestamp,
    )


def _number(text: str | None, largest: int) -> int | None:
    # Python refuses to read a number of more than 4,300 digits, so the length is looked at first.
    if not text or len(text) > _DIGITS or not (text.isascii() and text.isdigit()):
        return None
    return int(text) if int(text) <= largest else None


def _encode(letters: Sequence[_Letter]) -> bytes:
    return block(
        (
            texts("topic", [letter.topic for letter in letters]),
            integers("partition", "UInt32", [letter.partition for letter in letters]),
            texts("log_id", [letter.log_id for letter in letters]),
            integers("offset", "UInt64", [letter.offset for letter in letters]),
            texts("error", [letter.error for letter in letters]),
            texts("reason", [letter.reason for letter in letters]),
            blobs("key", [letter.key for letter in letters]),
            blobs("payload", [letter.payload for letter in letters]),
            integers("kafka_timestamp", DATETIME_MS, [letter.kafka_ms for letter in letters]),
            integers("recorded_at", DATETIME_MS, [letter.recorded_ms for letter in letters]),
        ),
        len(letters),
    )
