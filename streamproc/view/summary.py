"""What a run has done, read from the stores at its end."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from schemas.topics import SOURCES
from streamproc.view.collector import Collector
from streamproc.view.snapshot import Snapshot, shown_bytes, shown_number
from streamproc.view.stores import ClickHouseReader

_WINDOWS_SQL = """
SELECT metric, count(), countIf(window = '1m'), countIf(window = '5m'), countIf(window = '1h'), countIf(window = '1d')
FROM gold.windows FINAL GROUP BY metric ORDER BY metric
"""
_SHOWN = ("active_users", "user_events", "videos_completed", "total_cost_usd", "api_response_time_p95_ms")


def _since(begun_ms: int) -> str:
    moment = datetime.fromtimestamp(begun_ms / 1000, UTC)
    return f"toDateTime64('{moment:%Y-%m-%d %H:%M:%S}', 3, 'UTC')"


async def summary(collector: Collector, begun_ms: int) -> list[str]:
    """Lines about the run since `begun_ms` (epoch ms): events, windows by metric, values, dead letters, alerts."""
    shot = await collector.snapshot(fresh=True)
    lines = ["", "Summary"]
    lines += await _events(collector.clickhouse, shot, begun_ms)
    lines += await _windows(collector.clickhouse)
    lines += _values(shot)
    lines += await _alerts(collector.clickhouse, shot, begun_ms)
    parts = ", ".join(f"{row.name} {shown_bytes(row.rss_bytes)}" for row in shot.processes if row.rss_bytes)
    return [*lines, f"  memory            {shown_bytes(shot.memory_bytes)}: {parts}"]


async def _events(clickhouse: ClickHouseReader, shot: Snapshot, begun_ms: int) -> list[str]:
    """Counted in bronze: the workers' counters see an event again when it is read again after a crash."""
    total, stored = 0, []
    for topic in SOURCES:
        table = f"bronze.{topic.replace('-', '_')}"
        # The names are our own constants, the time is formatted above: nothing foreign enters the query.
        rows = await clickhouse.rows(
            f"SELECT count(), countIf(error != '') FROM {table} FINAL WHERE ingested_at >= {_since(begun_ms)}"  # noqa: S608
        )
        total += int(rows[0][0]) if rows else 0
        stored.append(f"{topic} {_cell(rows, 0)} ({_cell(rows, 1)} bad)")
    return [
        f"  events taken      {total:,}: {', '.join(stored)}",
        f"  of these          duplicates {shot.duplicates:,}, late for their minute {shot.late:,}, "
        f"dead letters {shot.dead_letters:,}",
    ]


async def _windows(clickhouse: ClickHouseReader) -> list[str]:
    rows = await clickhouse.rows(_WINDOWS_SQL)
    if rows is None:
        return ["  gold.windows      ClickHouse cannot say"]
    lines = [f"  gold.windows      {sum(int(row[1]) for row in rows):,} windows of {len(rows)} metrics"]
    for metric, total, *by_size in rows:
        sizes = ", ".join(
            f"{size} {int(number):,}" for size, number in zip(("1m", "5m", "1h", "1d"), by_size, strict=True)
        )
        lines.append(f"    {metric:<32} {int(total):>8,}  ({sizes})")
    return lines


def _values(shot: Snapshot) -> list[str]:
    if not shot.redis_up:
        return ["  Redis             cannot be reached"]
    lines = ["  Redis, today so far"]
    for row in shot.live:
        if row.metric.name in _SHOWN:
            lines.append(f"    {row.metric.name:<32} {shown_number(row.values.get('1d', '')):>12} {row.metric.unit}")
    return lines


async def _alerts(clickhouse: ClickHouseReader, shot: Snapshot, begun_ms: int) -> list[str]:
    rows = await clickhouse.rows(
        "SELECT rule, severity, countIf(state = 'firing'), countIf(state = 'resolved') FROM gold.alerts FINAL "  # noqa: S608
        f"WHERE kind = 'transition' AND recorded_at >= {_since(begun_ms)} GROUP BY rule, severity ORDER BY rule"
    )
    if rows is None:
        return ["  alerts            ClickHouse cannot say"]
    counts = [f"{rule} ({severity}) fired {fired}, resolved {resolved}" for rule, severity, fired, resolved in rows]
    return [f"  alerts            {'; '.join(counts) or 'none'}; firing now: {len(shot.alerts)}"]


def _cell(rows: list[list[Any]] | None, column: int) -> str:
    return f"{int(rows[0][column]):,}" if rows else "?"
