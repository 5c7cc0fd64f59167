"""Rows of silver.cdc_*: decoded changes and where their records lie, as columns of one Native block."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from schemas.changes import ROWS, Kind
from schemas.topics import CDC_CHANNELS, CDC_SUBSCRIPTIONS, CDC_USERS
from streamproc.decode.changes import Change
from streamproc.sinks.native_block import (
    DATETIME_MS,
    Column,
    block,
    integers,
    nullable_integers,
    nullable_texts,
    texts,
)

#: Contract topic -> silver table.
CHANGE_TABLES: Final[dict[str, str]] = {
    CDC_USERS: "silver.cdc_users",
    CDC_CHANNELS: "silver.cdc_channels",
    CDC_SUBSCRIPTIONS: "silver.cdc_subscriptions",
}

_KINDS: Final[dict[Kind, str]] = {"int": "Int64", "amount": "Int64", "time": DATETIME_MS, "bool": "Bool"}


class PlacedChange(NamedTuple):
    """A change and its record: partition, log, offset and Kafka's timestamp (epoch ms)."""

    change: Change
    partition: int
    log_id: str
    offset: int
    timestamp_ms: int


def encode_changes(topic: str, rows: Sequence[PlacedChange]) -> tuple[tuple[str, ...], bytes]:
    """Names of the columns, and the rows as one Native block.

    Raises:
        KeyError: no topic of changes.
        PermanentError: a value does not fit into its column (the decoder lets none through).
    """
    changes = [row.change for row in rows]
    columns = [
        integers("id", "Int64", [change.id for change in changes]),
        *_fields(topic, changes),
        texts("op", [change.op for change in changes]),
        integers("deleted", "Bool", [change.deleted for change in changes]),
        integers("position", "UInt64", [change.position for change in changes]),
        integers("source_ts", DATETIME_MS, [change.source_ms for change in changes]),
        integers("snapshot", "Bool", [change.snapshot for change in changes]),
        texts("topic", [topic] * len(rows)),
        integers("partition", "UInt32", [row.partition for row in rows]),
        texts("log_id", [row.log_id for row in rows]),
        integers("offset", "UInt64", [row.offset for row in rows]),
        integers("kafka_timestamp", DATETIME_MS, [row.timestamp_ms for row in rows]),
    ]
    return tuple(name for name, _, _ in columns), block(columns, len(rows))


def _fields(topic: str, changes: Sequence[Change]) -> list[Column]:
    columns = []
    for place, field in enumerate(ROWS[topic]):
        values = [change.values[place] for change in changes]
        if field.kind == "text":
            column = nullable_texts(field.stored_as, [None if value is None else str(value) for value in values])
        else:
            numbers = [None if value is None else int(value) for value in values]
            column = nullable_integers(field.stored_as, _KINDS[field.kind], numbers)
        columns.append(column)
    return columns
