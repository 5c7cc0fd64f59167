"""Reads change records: what Debezium's envelope says, with and without its schema part, in one form."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import orjson

from tests.warehouse.read import records

Row = dict[str, Any]

#: Columns that are times (read as epoch ms, cut off) and those that are money (Decimal); all others are as they come.
TIMES: Final = ("created_at", "updated_at", "last_active_at", "started_at", "cancelled_at")
MONEY: Final = ("monthly_budget", "mrr_usd")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Change:
    """One change: `row` is the new row, or for a delete the old one."""

    id: int
    lsn: int
    ts_ms: int
    op: str
    row: Row


def _columns(schema: Row | None, field: str) -> dict[str, Row]:
    """Column -> its type, as the schema part says for `before` or `after`."""
    for part in (schema or {}).get("fields", ()):
        if part.get("field") == field:
            return {column["field"]: column for column in part.get("fields", ())}
    return {}


def _time_ms(value: object, column: Row) -> int:
    if isinstance(value, str):
        return (datetime.fromisoformat(value) - _EPOCH) // timedelta(milliseconds=1)
    if not isinstance(value, int):
        raise TypeError(f"no time: {value!r}")
    return value if column.get("name") == "io.debezium.time.Timestamp" else value // 1000


def _money(value: object, column: Row) -> Decimal:
    if column.get("type") == "bytes":
        unscaled = int.from_bytes(base64.b64decode(str(value)), "big", signed=True)
        return Decimal(unscaled).scaleb(-int(column["parameters"]["scale"]))
    # repr of a double is its shortest text: 249.9 and "249.90" are the same amount.
    return Decimal(str(value))


def _plain(row: Row, columns: dict[str, Row]) -> Row:
    plain: Row = {}
    for name, value in row.items():
        column = columns.get(name, {})
        if value is not None and name in TIMES:
            value = _time_ms(value, column)
        elif value is not None and name in MONEY:
            value = _money(value, column)
        plain[name] = value
    return plain


def read_change(value: bytes | None) -> Change | None:
    """The change that a record tells; None for tombstones, heartbeats, transactions' records and what is no JSON."""
    if not value:
        return None
    try:
        told = orjson.loads(value)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(told, dict):
        return None
    schema = told.get("schema") if "payload" in told else None
    payload = told.get("payload", told)
    if not isinstance(payload, dict) or payload.get("op") not in ("c", "u", "r", "d"):
        return None
    op, source = payload["op"], payload["source"]
    side = "before" if op == "d" else "after"
    row = _plain(payload[side], _columns(schema, side))
    return Change(row["id"], source["lsn"], source["ts_ms"], op, row)


def read_changes(path: Path) -> dict[int, list[Change]]:
    """id -> its changes in order of position, each position once."""
    found: dict[tuple[int, int], Change] = {}
    if path.exists():
        for _, value in records(path):
            change = read_change(value)
            if change is not None:
                found.setdefault((change.id, change.lsn), change)
    changes: dict[int, list[Change]] = {}
    for (number, _), change in sorted(found.items()):
        changes.setdefault(number, []).append(change)
    return changes
