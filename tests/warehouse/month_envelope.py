"""Rows and changes as Debezium's PostgreSQL connector writes them in JSON, with and without the schema part.

Declared once, here. With the schema part a column says what it is: io.debezium.time.Timestamp (epoch ms),
io.debezium.time.MicroTimestamp (epoch microseconds), io.debezium.time.ZonedTimestamp (ISO text), and
org.apache.kafka.connect.data.Decimal (base64 of the unscaled number, scale beside it), string or double for decimals.
Without it: times are epoch microseconds or ISO text, decimals text or numbers. Rows here hold times as epoch
microseconds and decimals as text.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

import orjson

Row = dict[str, Any]

#: Columns of the tables: int, text, bool, time (epoch us), money (2 decimals).
TABLES: Final[dict[str, dict[str, str]]] = {
    "users": {
        "id": "int",
        "email": "text",
        "username": "text",
        "subscription_tier": "text",
        "channels_limit": "int",
        "daily_video_limit": "int",
        "monthly_budget": "money",
        "created_at": "time",
        "last_active_at": "time",
    },
    "channels": {
        "id": "int",
        "user_id": "int",
        "channel_name": "text",
        "niche": "text",
        "youtube_channel_id": "text",
        "is_active": "bool",
        "auto_publish": "bool",
        "created_at": "time",
        "updated_at": "time",
    },
    "subscriptions": {
        "id": "int",
        "user_id": "int",
        "plan": "text",
        "status": "text",
        "mrr_usd": "money",
        "started_at": "time",
        "cancelled_at": "time",
    },
}

#: Styles by name: (with the schema part, times, decimals).
STYLES: Final[dict[str, tuple[bool, str, str]]] = {
    "plain, micros, text": (False, "micros", "string"),
    "plain, micros, number": (False, "micros", "double"),
    "plain, ISO, text": (False, "iso", "string"),
    "plain, ISO, number": (False, "iso", "double"),
    "schema, millis, precise": (True, "millis", "precise"),
    "schema, micros, precise": (True, "micros", "precise"),
    "schema, ISO, text": (True, "iso", "string"),
    "schema, millis, number": (True, "millis", "double"),
}

_SOURCE_FIELDS: Final = {
    "version": "string",
    "connector": "string",
    "name": "string",
    "ts_ms": "int64",
    "snapshot": "string",
    "db": "string",
    "sequence": "string",
    "schema": "string",
    "table": "string",
    "txId": "int64",
    "lsn": "int64",
    "xmin": "int64",
}
_TIMES: Final = {
    "millis": {"type": "int64", "name": "io.debezium.time.Timestamp"},
    "micros": {"type": "int64", "name": "io.debezium.time.MicroTimestamp"},
    "iso": {"type": "string", "name": "io.debezium.time.ZonedTimestamp"},
}
_DECIMALS: Final[dict[str, Row]] = {
    "precise": {
        "type": "bytes",
        "name": "org.apache.kafka.connect.data.Decimal",
        "parameters": {"scale": "2", "connect.decimal.precision": "10"},
    },
    "string": {"type": "string"},
    "double": {"type": "double"},
}


@dataclass(frozen=True)
class Change:
    """One change of one row: `lsn` and `ts_ms` are its position and time at the source."""

    table: str
    op: str
    before: Row | None
    after: Row | None
    ts_ms: int
    lsn: int
    tx: int
    snapshot: str = "false"

    @property
    def id(self) -> int:
        row = self.after or self.before
        assert row is not None
        return int(row["id"])

    @property
    def key(self) -> str:
        return f'{{"id":{self.id}}}'


def _time(micros: int, style: str) -> object:
    if style == "iso":
        seconds, rest = divmod(micros, 1_000_000)
        return f"{datetime.fromtimestamp(seconds, UTC).isoformat()[:19]}.{rest:06d}Z"
    return micros // 1000 if style == "millis" else micros


def _money(amount: str, style: str) -> object:
    if style == "precise":
        unscaled = int(Decimal(amount) * 100)
        return base64.b64encode(unscaled.to_bytes((unscaled.bit_length() // 8) + 1, "big", signed=True)).decode()
    return amount if style == "string" else float(amount)


def _row(table: str, row: Row | None, times: str, decimals: str) -> Row | None:
    if row is None:
        return None
    told: Row = {}
    for name, kind in TABLES[table].items():
        value = row[name]
        if value is not None and kind == "time":
            value = _time(value, times)
        elif value is not None and kind == "money":
            value = _money(value, decimals)
        told[name] = value
    return told


def _schema(table: str, times: str, decimals: str) -> Row:
    plain = {"int": {"type": "int64"}, "text": {"type": "string"}, "bool": {"type": "boolean"}}
    kinds: dict[str, Row] = {**plain, "time": _TIMES[times] | {"version": 1}, "money": _DECIMALS[decimals]}
    columns = [kinds[kind] | {"optional": name != "id", "field": name} for name, kind in TABLES[table].items()]
    row = {"type": "struct", "fields": columns, "optional": True, "name": f"cdc.app.{table}.Value"}
    source = [{"type": kind, "optional": True, "field": name} for name, kind in _SOURCE_FIELDS.items()]
    fields: list[Row] = [
        row | {"field": "before"},
        row | {"field": "after"},
        {"type": "struct", "fields": source, "optional": False, "field": "source"},
        {"type": "string", "optional": False, "field": "op"},
        {"type": "int64", "optional": True, "field": "ts_ms"},
    ]
    return {"type": "struct", "fields": fields, "optional": False, "name": f"cdc.app.{table}.Envelope", "version": 2}


def encode(change: Change, style: str, told_ms: int) -> str:
    """A change as the value of a record; `told_ms` is when the connector told it."""
    with_schema, times, decimals = STYLES[style]
    payload = {
        "before": _row(change.table, change.before, times, decimals),
        "after": _row(change.table, change.after, times, decimals),
        "source": {
            "version": "2.7.3.Final",
            "connector": "postgresql",
            "name": "cdc",
            "ts_ms": change.ts_ms,
            "snapshot": change.snapshot,
            "db": "app",
            "sequence": f'["{change.lsn - 56}","{change.lsn}"]',
            "schema": "app",
            "table": change.table,
            "txId": change.tx,
            "lsn": change.lsn,
            "xmin": None,
        },
        "op": change.op,
        "ts_ms": told_ms,
        "transaction": None,
    }
    value = {"schema": _schema(change.table, times, decimals), "payload": payload} if with_schema else payload
    return orjson.dumps(value).decode()
