"""What lies in ClickHouse against the truth: `compare(url, truth)` returns the differences in words.

`python -m tests.warehouse.compare --url http://127.0.0.1:8123 --month DIR` prints them and exits 1 if there are any.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.oracle.unseal import Unsealer
from tests.warehouse.clickhouse import ClickHouse, ReadError
from tests.warehouse.columns import GOLD, Key, Rows, Table
from tests.warehouse.month_write import iso
from tests.warehouse.truth import Truth, compute

#: Columns that are stored sealed, and compared as they came.
PRIVATE: Final = ("email", "username", "ip_address")
SILVER: Final = {
    "user-events": "user_activity",
    "video-status": "video_status",
    "cost-events": "cost_events",
    "ops-events": "ops_events",
    "billing-events": "billing",
}
CDC: Final = {
    "cdc.app.users": "cdc_users",
    "cdc.app.channels": "cdc_channels",
    "cdc.app.subscriptions": "cdc_subscriptions",
}
#: A score may lie there as a float of 32 bits.
_TOLERANCE: Final = {"quality_score": 1e-6}


@dataclass(frozen=True)
class Options:
    """How to read and compare.

    `final`: table (gold.dim_user) -> whether to read it with FINAL; for others the engine says it. `private`: whether
    e-mail, username and ip_address are compared. `kafka_time`: whether silver's kafka_timestamp is (not if the broker
    sets its own). `cdc`: names of the columns of id and position in silver's CDC tables; None leaves these out.
    `only`: the tables to compare, empty for all.
    """

    final: Mapping[str, bool] = field(default_factory=dict)
    private: bool = True
    kafka_time: bool = True
    cdc: tuple[str, str] | None = None
    only: frozenset[str] = frozenset()
    limit: int = 20


def _shown(kind: str, value: Any) -> str:
    return f"{iso(value)}Z" if kind == "ms" and isinstance(value, int) else repr(value)


def _equal(name: str, kind: str, got: Any, due: Any) -> bool:
    if got is None or due is None:
        return got is None and due is None
    if kind == "float":
        return math.isclose(got, due, rel_tol=1e-9, abs_tol=_TOLERANCE.get(name, 1e-12))
    return bool(got == due)


def differences(
    name: str,
    table: Table,
    found: Iterable[tuple[Any, ...]],
    due: Rows,
    limit: int = 20,
    left_out: tuple[str, ...] = (),
) -> list[str]:
    """In words: rows missing, extra or there twice, and columns that differ. `found` has the keys first, then the
    columns but those `left_out`; `due` has all columns."""
    wrong: list[str] = []
    count = 0
    kinds = list(table.keys.values())
    columns = [(place, *item) for place, item in enumerate(table.columns.items()) if item[0] not in left_out]
    seen: set[Key] = set()

    def note(key: Key, text: str) -> None:
        nonlocal count
        count += 1
        if count <= limit:
            named = ", ".join(f"{n}={_shown(k, v)}" for (n, k), v in zip(table.keys.items(), key, strict=True))
            wrong.append(f"{name} [{named}]: {text}")

    for row in found:
        key, values = row[: len(kinds)], row[len(kinds) :]
        if key in seen:
            note(key, "is there more than once")
            continue
        seen.add(key)
        expected = due.get(key)
        if expected is None:
            note(key, f"is there and should not be: {values}")
            continue
        for (place, column, kind), got in zip(columns, values, strict=True):
            if not _equal(column, kind, got, expected[place]):
                note(key, f"{column} got {_shown(kind, got)}, due {_shown(kind, expected[place])}")
    for key in sorted(due.keys() - seen):
        note(key, f"is missing: {due[key]}")
    if count > limit:
        wrong.append(f"{name}: {count} differences in all, the first {limit} are shown")
    return wrong


def _tables(truth: Truth, options: Options) -> Iterable[tuple[str, Table, Rows]]:
    for table in GOLD:
        yield f"gold.{table.name}", table, truth.gold[table.name]
    times = {"occurred_at": "ms", "kafka_timestamp": "ms"}
    for topic, name in SILVER.items():
        rows: Rows = {(event_id,): place for event_id, place in truth.silver[topic].items()}
        yield f"silver.{name}", Table(name, {"event_id": "uuid"}, times), rows
    for topic, name in CDC.items() if options.cdc else ():
        assert options.cdc is not None
        number, position = options.cdc
        yield (
            f"silver.{name}",
            Table(name, {number: "int", position: "int"}, {}),
            dict.fromkeys(truth.changes[topic], ()),
        )


def _in_clear(unsealer: Unsealer, columns: list[str], rows: Iterable[tuple[Any, ...]]) -> Iterable[tuple[Any, ...]]:
    """The same rows with what is sealed as it came."""
    private = {place: column for place, column in enumerate(columns) if column in PRIVATE}
    for row in rows:
        yield tuple(
            unsealer.text(value, private[place]) if place in private else value for place, value in enumerate(row)
        )


def compare(url: str, truth: Truth, options: Options | None = None) -> list[str]:
    """All differences in words; [] if ClickHouse holds what the truth says. A table that cannot be read is one."""
    options = options or Options()
    server = ClickHouse(url)
    left_out = (() if options.private else PRIVATE) + (() if options.kafka_time else ("kafka_timestamp",))
    unsealer = Unsealer(server.rows)
    wrong: list[str] = []
    for name, table, due in _tables(truth, options):
        if options.only and name not in options.only:
            continue
        try:
            final = options.final.get(name)
            if final is None:
                final = server.merges(*name.split("."))
            columns = table.keys | {column: kind for column, kind in table.columns.items() if column not in left_out}
            found = _in_clear(unsealer, list(columns), server.typed(name, columns, final))
            wrong += differences(name, table, found, due, options.limit, left_out)
        except ReadError as error:
            wrong.append(f"{name} cannot be read: {error}")
    return wrong


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True, help="ClickHouse's HTTP port")
    parser.add_argument("--month", required=True, type=Path, help="the directory that tests.warehouse.month wrote")
    parser.add_argument("--only", nargs="*", default=(), metavar="gold.TABLE")
    parser.add_argument("--no-final", nargs="*", default=(), metavar="gold.TABLE", help="read these without FINAL")
    parser.add_argument("--no-private", action="store_true", help="leave out what is sealed")
    parser.add_argument("--no-kafka-time", action="store_true", help="the broker sets its own timestamps")
    parser.add_argument("--cdc", nargs=2, metavar=("ID", "POSITION"), help="columns of silver's CDC tables")
    given = parser.parse_args()
    options = Options(
        final=dict.fromkeys(given.no_final, False),
        private=not given.no_private,
        kafka_time=not given.no_kafka_time,
        cdc=tuple(given.cdc) if given.cdc else None,
        only=frozenset(given.only),
    )
    wrong = compare(given.url, compute(given.month), options)
    print("\n".join(wrong) or "no differences")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
