"""The comparison on a real server: silent where all is as due, and it names each thing that is not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.support.clickhouse import start_clickhouse
from tests.warehouse.clickhouse import ClickHouse
from tests.warehouse.columns import GOLD, Rows, Table
from tests.warehouse.compare import CDC, SILVER, Options, compare
from tests.warehouse.month import write_month
from tests.warehouse.month_company import Plan
from tests.warehouse.month_write import iso
from tests.warehouse.truth import Truth, compute

_TYPES = {
    "int": "Int64",
    "text": "String",
    "uuid": "UUID",
    "flag": "Bool",
    "float": "Float64",
    "day": "Date",
    "ms": "DateTime64(3, 'UTC')",
    "e4": "Decimal(18, 4)",
    "cents": "Decimal(10, 2)",
}
_SILVER = {"occurred_at": "ms", "kafka_timestamp": "ms"}


def _told(kind: str, value: Any) -> Any:
    """A value as JSONCompactEachRow takes it."""
    if value is None:
        return None
    if kind == "ms":
        return iso(value).replace("T", " ")
    scale = {"e4": 4, "cents": 2}.get(kind)
    if scale is None:
        return value
    sign, digits = "-" if value < 0 else "", f"{abs(value):0{scale + 1}d}"
    return f"{sign}{digits[:-scale]}.{digits[-scale:]}"


def _fill(server: ClickHouse, name: str, table: Table, rows: Rows) -> None:
    keys = {column: _TYPES[kind] for column, kind in table.keys.items()}
    columns = keys | {column: f"Nullable({_TYPES[kind]})" for column, kind in table.columns.items()}
    listed = ", ".join(f"`{column}` {type_}" for column, type_ in columns.items())
    engine = f"ReplacingMergeTree(version) ORDER BY ({', '.join(keys)})"
    server.run(f"CREATE TABLE {name} ({listed}, version UInt8) ENGINE = {engine}")
    kinds = [*table.keys.values(), *table.columns.values()]
    for version in (2, 1):
        # The older version of each row is another one, and in a part of its own: only FINAL hides it.
        lines = []
        for key, values in rows.items():
            row = key + (values if version == 2 else (None,) * len(values))
            lines.append([_told(kind, value) for kind, value in zip(kinds, row, strict=True)])
        body = b"\n".join(orjson.dumps([*line, version]) for line in lines)
        server.run(f"INSERT INTO {name} FORMAT JSONCompactEachRow", body)


@pytest.fixture(scope="module")
def month(tmp_path_factory: pytest.TempPathFactory) -> Truth:
    directory = tmp_path_factory.mktemp("month")
    write_month(Plan(users=20, videos=40, events=3000, days=32), directory)
    return compute(directory)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, month: Truth) -> Iterator[ClickHouse]:
    handle = start_clickhouse(tmp_path_factory.mktemp("clickhouse"))
    try:
        server = ClickHouse(handle.url)
        for database in ("gold", "silver"):
            server.run(f"CREATE DATABASE {database}")
        for table in GOLD:
            _fill(server, f"gold.{table.name}", table, month.gold[table.name])
        for topic, name in SILVER.items():
            rows: Rows = {(event_id,): place for event_id, place in month.silver[topic].items()}
            _fill(server, f"silver.{name}", Table(name, {"event_id": "uuid"}, _SILVER), rows)
        for topic, name in CDC.items():
            changes = Table(name, {"id": "int", "lsn": "int"}, {})
            _fill(server, f"silver.{name}", changes, dict.fromkeys(month.changes[topic], ()))
        yield server
    finally:
        handle.stop()


def test_nothing_differs_where_all_is_as_due(server: ClickHouse, month: Truth) -> None:
    assert compare(server.url, month, Options(cdc=("id", "lsn"))) == []


def test_without_final_old_versions_are_seen(server: ClickHouse, month: Truth) -> None:
    options = Options(final={"gold.retention_weekly": False}, only=frozenset(["gold.retention_weekly"]), limit=1000)
    wrong = compare(server.url, month, options)
    assert wrong
    assert any("is there more than once" in line for line in wrong)


def test_each_difference_is_named(server: ClickHouse, month: Truth) -> None:
    """A row missing, one extra, a value and a null; 20 of many are shown and all are counted."""
    truth = Truth(gold={name: dict(rows) for name, rows in month.gold.items()}, silver=month.silver)
    videos, finance = truth.gold["fact_video_generation"], truth.gold["financial_daily"]
    first, second, *_ = videos
    del videos[first]
    videos[999_999,] = videos[second]
    videos[second] = (12345, *videos[second][1:])
    for key, row in finance.items():
        finance[key] = (row[0] + 1, *row[1:])
    metrics = truth.gold["daily_metrics"]
    key = next(key for key, (value,) in metrics.items() if value is not None)
    metrics[key] = (None,)
    wrong = compare(server.url, truth, Options())
    assert [line.split(" ")[0] for line in wrong[:3]] == ["gold.fact_video_generation"] * 3
    assert any(f"video_id={first[0]}]: is there and should not be" in line for line in wrong)
    assert any("video_id=999999]: is missing" in line for line in wrong)
    assert any("channel_id got" in line and "due 12345" in line for line in wrong)
    assert any(f"metric='{key[1]}'" in line and "due None" in line for line in wrong)
    told = [line for line in wrong if line.startswith("gold.financial_daily")]
    assert len(told) == 21
    assert told[-1] == f"gold.financial_daily: {len(finance)} differences in all, the first 20 are shown"
    assert len(wrong) == 3 + 1 + 21


def test_what_may_be_encrypted_can_be_left_out(server: ClickHouse, month: Truth) -> None:
    rows = {key: ("other@x.org", "other", *row[2:]) for key, row in month.gold["dim_user"].items()}
    truth = Truth(gold=month.gold | {"dim_user": rows}, silver=month.silver)
    only = frozenset(["gold.dim_user"])
    assert compare(server.url, truth, Options(only=only))
    assert compare(server.url, truth, Options(only=only, private=False)) == []


def test_a_table_that_is_not_there(server: ClickHouse, month: Truth) -> None:
    """It is one difference, and the others are compared nevertheless."""
    server.run("CREATE TABLE gold.kept AS gold.dim_channel")
    server.run("RENAME TABLE gold.dim_channel TO gold.away")
    try:
        wrong = compare(server.url, month)
    finally:
        server.run("RENAME TABLE gold.away TO gold.dim_channel")
    assert len(wrong) == 1
    assert wrong[0].startswith("gold.dim_channel cannot be read: ")


def test_the_kafka_time_can_be_left_out(tmp_path: Path, server: ClickHouse, month: Truth) -> None:
    """Where the broker sets its own; the event's time is compared all the same."""
    moved = {event_id: (at, log + 1) for event_id, (at, log) in month.silver["billing-events"].items()}
    truth = Truth(gold=month.gold, silver=month.silver | {"billing-events": moved})
    only = frozenset(["silver.billing"])
    assert compare(server.url, truth, Options(only=only))
    assert compare(server.url, truth, Options(only=only, kafka_time=False)) == []
