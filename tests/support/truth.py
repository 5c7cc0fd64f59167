"""The expected windows, entity totals and counts of any log, computed in SQL (DuckDB) by the written rules alone.

Imports nothing of the product: an error shared by both sides would otherwise stay unseen.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import numpy as np

from tests.support.truth_check import check_record

_SQL = Path(__file__).with_suffix(".sql")

#: (metric, window, window_start in epoch ms, dimension, dimension_value); entity totals have window `all`, start 0.
Key = tuple[str, str, int, str, str]
#: (value in the metric's unit or None, count, late); late is 0 for entity totals.
Value = tuple[float | None, int, int]

_INTEGERS: dict[str, str] = {
    "occurred_ms": "occurred_at",
    "requested_ms": "requested_at",
    "started_ms": "started_at",
    "completed_ms": "completed_at",
    "user_id": "user_id",
    "video_id": "video_id",
    "response_time_ms": "response_time_ms",
    "amount_e4": "amount_usd",
    "queued_ms": "queued_at",
    "begun_ms": "processing_start",
    "latency_ms": "latency_ms",
    "ok": "ok",
}
_TEXTS = (
    "event_id",
    "activity_type",
    "status",
    "niche",
    "video_type",
    "component",
    "kind",
    "queue",
    "provider",
    "service",
)


class Ended(tuple[float | None, int, int]):
    """A Value of a window that is over; `while_open` is what the window says until then, where that is something else."""

    while_open: Value

    def __new__(cls, value: Value, while_open: Value) -> Ended:
        """Both."""
        made = super().__new__(cls, value)
        made.while_open = while_open
        return made


class Record(NamedTuple):
    """A record as the broker has it; `topic` is the contract's name, without a prefix."""

    topic: str
    partition: int
    offset: int
    kafka_timestamp_ms: int
    value: bytes | None


@dataclass(frozen=True, slots=True)
class Truth:
    """What the written rules make of a log.

    `dead`: reason -> records; `dead_by_topic`: (topic, reason) -> records; `duplicates`, `repeats` (statuses of a
    video after its first), `accepted`: topic -> records; `late`: (topic, size) -> events that no window of the size took.
    A window without any event of its metric has no row; where an open window says something else, its value is `Ended`. The limit of 1,000 values a dimension is not applied.
    """

    windows: dict[Key, Value]
    entities: dict[Key, Value]
    dead: dict[str, int]
    dead_by_topic: dict[tuple[str, str], int]
    duplicates: dict[str, int]
    repeats: dict[str, int]
    accepted: dict[str, int]
    late: dict[tuple[str, str], int]


def _columns(records: Iterable[Record]) -> dict[str, np.ndarray[Any, Any]]:
    lists: dict[str, list[Any]] = {name: [] for name in ("topic", "part", "off", "kafka_ms", "reason")}
    lists |= {name: [] for name in (*_INTEGERS, *_TEXTS)}
    integers = [(lists[column], field) for column, field in _INTEGERS.items()]
    texts = [(lists[name], name) for name in _TEXTS]
    for topic, partition, offset, kafka_ms, value in records:
        reason, row = check_record(topic, value)
        lists["topic"].append(topic)
        lists["part"].append(partition)
        lists["off"].append(offset)
        lists["kafka_ms"].append(kafka_ms)
        lists["reason"].append(reason)
        for target, field in integers + texts:
            target.append(row.get(field))
    arrays: dict[str, np.ndarray[Any, Any]] = {}
    for name, values in lists.items():
        if name in _INTEGERS or name in _TEXTS:
            # Nulls travel beside the values: DuckDB ignores numpy's masks, object arrays of integers would go through
            # float, and a long column of nulls alone ends with "no attribute 'first_valid_index'".
            arrays[f"{name}_null"] = np.array([value is None for value in values], dtype=np.bool_)
            values = [("" if name in _TEXTS else 0) if value is None else value for value in values]
        whole = name in _INTEGERS or name in ("part", "off", "kafka_ms")
        arrays[name] = np.array(values, dtype=np.int64 if whole else object)
    return arrays


def compute(records: Iterable[Record], *, late_too: bool = False) -> Truth:
    """Apply the rules to a log; records of a partition may come in any order, `offset` says theirs. With `late_too` windows
    hold what came too late as well, as they do once the day is reconciled."""
    columns = _columns(records)
    with duckdb.connect(":memory:") as db:
        db.execute("SET TimeZone = 'UTC'")
        db.register("incoming", columns)
        nullable = ", ".join(
            f"CASE WHEN NOT {name}_null THEN {name}::{'VARCHAR' if name in _TEXTS else 'BIGINT'} END AS {name}"
            for name in (*_TEXTS, *_INTEGERS)
        )
        db.execute(
            "CREATE TABLE rec AS SELECT topic::VARCHAR AS topic, reason::VARCHAR AS reason, part, off, kafka_ms,"
            f" {nullable} FROM incoming"
        )
        sql = _SQL.read_text()
        db.execute(sql.replace("FROM sized WHERE NOT is_late;", "FROM sized;") if late_too else sql)

        def pairs(sql: str) -> list[tuple[Any, ...]]:
            return db.execute(sql).fetchall()

        by_topic = {
            (t, r): n for t, r, n in pairs("SELECT topic, reason, count(*) FROM judged WHERE reason <> '' GROUP BY ALL")
        }
        dead: dict[str, int] = {}
        for (_, reason), n in by_topic.items():
            dead[reason] = dead.get(reason, 0) + n
        windows: dict[Key, Value] = {tuple(row[:5]): tuple(row[5:]) for row in pairs("FROM windows")}  # type: ignore[misc]  # rows are untyped
        for *key, value, n, late in pairs("FROM while_open"):
            windows[tuple(key)] = Ended(windows[tuple(key)], (value, n, late))  # type: ignore[index]  # rows are untyped
        return Truth(
            windows=windows,
            entities={
                (m, "all", 0, "video_id", str(video)): (value, n, 0) for m, video, value, n in pairs("FROM entities")
            },
            dead=dead,
            dead_by_topic=by_topic,
            duplicates=dict(pairs("SELECT topic, count(*) FROM duplicates GROUP BY ALL")),
            repeats=dict(pairs("SELECT topic, count(*) FROM repeats GROUP BY ALL")),
            accepted=dict(pairs("SELECT topic, count(*) FROM accepted GROUP BY ALL")),
            late={(t, s): n for t, s, n in pairs("SELECT topic, size, count(*) FROM sized WHERE is_late GROUP BY ALL")},
        )


def expected(records: Iterable[Record]) -> dict[Key, Value]:
    """All windows and entity totals that a log must lead to."""
    truth = compute(records)
    return truth.windows | truth.entities
