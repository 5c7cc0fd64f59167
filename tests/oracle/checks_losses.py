"""Nothing is lost without a row that says so: `meta.lost_offsets` against what was really deleted unread."""

from __future__ import annotations

import duckdb

from tests.oracle.report import Finding, count, of_query
from tests.oracle.stores import ClickHouse


def check(db: duckdb.DuckDBPyConnection, clickhouse: ClickHouse) -> Finding:
    """Offsets of the rows and those in table `gone` (of `--lost`) are the same ones."""
    clickhouse.into(
        db, "lost_rows", "SELECT DISTINCT topic, partition AS part, first, last, reason FROM meta.lost_offsets FINAL"
    )
    return of_query(
        db,
        "I6",
        "what was deleted unread has a row, nothing else has",
        count(db, "SELECT sum(after - first) FROM gone") + count(db, "SELECT sum(last + 1 - first) FROM lost_rows"),
        """
        WITH said AS (SELECT DISTINCT topic, part, reason, unnest(range(first::BIGINT, last::BIGINT + 1)) AS off FROM lost_rows),
             really AS (SELECT topic, part, 'deleted_before_counted' AS reason, unnest(range(first, after)) AS off FROM gone)
        SELECT coalesce(s.topic, t.topic) AS topic, coalesce(s.part, t.part) AS part, coalesce(s.off, t.off) AS off,
               coalesce(s.reason, t.reason) AS reason,
               CASE WHEN t.off IS NULL THEN 'has a row but was not deleted unread' ELSE 'was deleted unread and has no row' END AS what
        FROM said s FULL JOIN really t ON s.topic = t.topic AND s.part = t.part AND s.off = t.off AND s.reason = t.reason
        WHERE s.off IS NULL OR t.off IS NULL ORDER BY ALL""",
        "{topic}/{part}/{off} ({reason}) {what}",
    )
