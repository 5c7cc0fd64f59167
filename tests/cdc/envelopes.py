"""Debezium's envelopes as its converter writes them, made by hand from plain values: what the decoder must give back."""

from __future__ import annotations

import base64
import datetime
import json
from decimal import Decimal
from typing import Any

CONNECT = "org.apache.kafka.connect.data."
DEBEZIUM = "io.debezium.time."

#: Logical type and Connect's type of each way to write an instant, by name.
TIMES = {
    "millis": (DEBEZIUM + "Timestamp", "int64"),
    "micros": (DEBEZIUM + "MicroTimestamp", "int64"),
    "nanos": (DEBEZIUM + "NanoTimestamp", "int64"),
    "connect": (CONNECT + "Timestamp", "int64"),
    "zoned": (DEBEZIUM + "ZonedTimestamp", "string"),
    "iso": (DEBEZIUM + "IsoTimestamp", "string"),
}


def precise(amount: Decimal, scale: int) -> str:
    """The base64 of an amount at a scale, as Java's BigInteger has its bytes."""
    unscaled = int(amount.scaleb(scale))
    size = (unscaled if unscaled >= 0 else ~unscaled).bit_length() // 8 + 1
    return base64.b64encode(unscaled.to_bytes(size, "big", signed=True)).decode()


def instant(ms: int, form: str, extra_us: int = 0) -> int | str:
    """An instant (epoch ms, and microseconds on top) in one of TIMES."""
    if form in ("millis", "connect"):
        return ms
    us = ms * 1000 + extra_us
    if form == "micros":
        return us
    if form == "nanos":
        return us * 1000 + 999
    moment = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC) + datetime.timedelta(microseconds=us)
    return moment.isoformat().replace("+00:00", "Z")


def schema_of(columns: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """A schema part; `columns` are the fields' schemas without their names."""
    fields = [{"optional": True, "field": name, **column} for name, column in columns.items()]
    row = {"type": "struct", "optional": True, "name": "cdc.app.t.Value", "fields": fields}
    sides = [{**row, "field": side} for side in ("before", "after")]
    op = {"type": "string", "optional": False, "field": "op"}
    return {"type": "struct", "optional": False, "name": "cdc.app.t.Envelope", "version": 2, "fields": [*sides, op]}


def envelope(op: str = "u", **fields: Any) -> dict[str, Any]:
    """An envelope; `after`, `before`, `source` and others as keyword arguments."""
    source = {"version": "3.1.3.Final", "connector": "postgresql", "ts_ms": 1_772_323_200_123, "lsn": 4711}
    made = {
        "before": None,
        "after": None,
        "source": {**source, "snapshot": "false"},
        "op": op,
        "ts_ms": 1_772_323_200_456,
    }
    made["source"] |= fields.pop("source", {})
    return made | fields


def encoded(payload: Any, schema: dict[str, Any] | None = None) -> bytes:
    """A value as bytes, with its schema part if there is one."""
    return json.dumps(payload if schema is None else {"schema": schema, "payload": payload}).encode()
