"""I1 and I4 in ClickHouse: every window of every size and every total equals the rules; versions follow from the cells."""

from __future__ import annotations

import duckdb

from tests.oracle.expect import SIZES
from tests.oracle.report import Finding, count, of_query
from tests.oracle.stores import ClickHouse

#: Percentiles are within 1 %; means are quotients of exact integers in double precision.
_VALUE_DIFFERS = """
    CASE WHEN g.value IS NULL OR w.value IS NULL THEN g.value IS NOT NULL OR w.value IS NOT NULL
         WHEN metric LIKE '%\\_p__\\_ms' ESCAPE '\\' THEN abs(g.value - w.value) > 0.01 * abs(w.value) + 1e-9
         ELSE abs(g.value - w.value) > 1e-9 * greatest(abs(w.value), 1) END"""
#: Metrics whose sum underneath is published too.
_SUMS = "('total_cost_usd', 'avg_cost_per_video_usd', 'avg_generation_time_seconds', 'queue_processing_time_seconds')"


def load(db: duckdb.DuckDBPyConnection, clickhouse: ClickHouse) -> None:
    """gold.windows, gold.entities and the versions of cells; `want_now`: what windows must say in the status that they have."""
    clickhouse.into(
        db,
        "got",
        "SELECT toString(metric) AS metric, toString(window) AS win, toInt64(toUnixTimestamp(window_start)) * 1000 AS start,"
        " toString(dimension) AS dim, dimension_value AS dv, value, toInt64(count) AS n, toInt64(late) AS late, sum_e4,"
        " toString(status) AS status, version FROM gold.windows FINAL",
    )
    clickhouse.into(
        db,
        "got_total",
        "SELECT toString(metric) AS metric, entity, value, sum_e4, toInt64(count) AS n FROM gold.entities FINAL",
    )
    clickhouse.into(
        db,
        "cells",
        "SELECT toString(measure) AS measure, toString(dimension) AS dim, dimension_value AS dv, toString(size) AS win,"
        " start_ms AS start, toInt64(count()) AS sources, sum(version + 1) AS versions FROM meta.window_sources FINAL"
        " WHERE size != 'all' GROUP BY ALL",
    )
    db.execute("""
        CREATE OR REPLACE VIEW want_now AS
        SELECT w.* REPLACE (CASE WHEN o.n IS NULL THEN w.value ELSE o.value END AS value, coalesce(o.n, w.n) AS n)
        FROM want w LEFT JOIN (SELECT o.* FROM want_open o JOIN got g USING (metric, win, start, dim, dv)
                               WHERE g.status = 'open') o USING (metric, win, start, dim, dv)""")


def check(db: duckdb.DuckDBPyConnection) -> list[Finding]:
    """Compare what `load` got with the expected tables."""
    windows = of_query(
        db,
        "I1",
        "gold.windows equals the rules",
        count(db, "SELECT count(*) FROM want"),
        f"""
        SELECT metric, win, make_timestamp(start * 1000) AS moment, dim, dv,
               CASE WHEN g.n IS NULL THEN 'missing' WHEN w.n IS NULL THEN 'nothing in the log' ELSE 'differs' END AS how,
               CASE WHEN g.n IS NOT NULL THEN {{'value': g.value, 'count': g.n, 'late': g.late, 'sum_e4': g.sum_e4}} END AS got,
               CASE WHEN w.n IS NOT NULL THEN {{'value': w.value, 'count': w.n, 'late': w.late, 'sum_e4': w.sum_e4}} END AS due
        FROM got g FULL JOIN want_now w USING (metric, win, start, dim, dv)
        WHERE CASE WHEN g.n IS NULL THEN TRUE
                   WHEN w.n IS NULL THEN g.n <> 0 OR coalesce(g.value, 0) <> 0
                   ELSE g.n <> w.n OR g.late <> w.late OR ({_VALUE_DIFFERS}) OR (metric IN {_SUMS} AND g.sum_e4 <> w.sum_e4) END
        ORDER BY start, metric, win, dim, dv""",
        "{metric} {win} {moment} {dim}={dv}: {how}; stored {got}, due {due}",
    )
    totals = of_query(
        db,
        "I1",
        "gold.entities equals the rules",
        count(db, "SELECT count(*) FROM want_total"),
        """
        SELECT metric, entity, {'sum_e4': g.sum_e4, 'count': g.n, 'value': g.value} AS got,
               {'sum_e4': w.sum_e4, 'count': w.n} AS due
        FROM got_total g FULL JOIN want_total w USING (metric, entity)
        WHERE g.n IS NULL OR w.n IS NULL OR g.n <> w.n OR g.sum_e4 <> w.sum_e4
              OR abs(g.value - w.sum_e4 / 10000) > 1e-9 * greatest(abs(g.value), 1) OR g.value IS NULL
        ORDER BY metric, entity""",
        "{metric} {entity}: stored {got}, due {due}",
    )
    return [windows, totals, _conserved(db), _versions(db)]


def _conserved(db: duckdb.DuckDBPyConnection) -> Finding:
    """Per topic and size: events in the stored windows and those too late for their window are all that counted."""
    late = " UNION ALL ".join(
        f"SELECT topic, '{win}' AS win, count(*) FILTER (before >= occurred - occurred % {ms} + {ms} + 600000) AS late,"
        " count(*) AS n FROM ev WHERE topic <> 'ops-events' GROUP BY topic"
        for win, ms in SIZES.items()
    )
    return of_query(
        db,
        "I1",
        "events in windows + late = events counted",
        count(db, "SELECT count(*) FROM ev WHERE topic <> 'ops-events'") * len(SIZES),
        f"""
        SELECT topic, win, e.n, e.late, coalesce(w.n, 0) AS stored
        FROM ({late}) e LEFT JOIN (
            SELECT CASE metric WHEN 'user_events' THEN 'user-events' WHEN 'total_cost_usd' THEN 'cost-events'
                        ELSE 'video-status' END AS topic, win, sum(n) AS n
            FROM got WHERE dim = '' AND (metric IN ('user_events', 'total_cost_usd') OR metric IN (
                'videos_requested', 'videos_started', 'videos_completed', 'videos_failed', 'videos_published'))
            GROUP BY ALL) w USING (topic, win)
        WHERE e.n <> e.late + coalesce(w.n, 0)""",
        "{topic} {win}: {n} counted, {late} late, {stored} in windows",
    )


_MEASURES = {
    "active_users": ("active_users",),
    "user_events": ("user_events",),
    "api_response_time": tuple(f"api_response_time_p{p}_ms" for p in (50, 95, 99)),
    **{f"videos_{s}": (f"videos_{s}",) for s in ("requested", "started", "completed", "failed", "published")},
    "generation_time": ("avg_generation_time_seconds",),
    "queue_time": ("queue_processing_time_seconds",),
    "video_success": ("video_success_rate",),
    "total_cost": ("total_cost_usd",),
    "cost_by_video": ("avg_cost_per_video_usd",),
    "uptime": ("system_uptime",),
}


def _versions(db: duckdb.DuckDBPyConnection) -> Finding:
    """A window's version is 4 x the sum over its sources of (version + 1), and its status: nothing known is unpublished."""
    pairs = ", ".join(f"('{measure}', '{metric}')" for measure, metrics in _MEASURES.items() for metric in metrics)
    return of_query(
        db,
        "I4",
        "a window's version follows from its stored cells",
        count(db, "SELECT count(*) FROM got"),
        f"""
        SELECT metric, win, make_timestamp(start * 1000) AS moment, dim, dv, g.status, g.version, c.versions, c.sources
        FROM got g
        FULL JOIN (SELECT p.metric, cells.* FROM cells JOIN (VALUES {pairs}) p (measure, metric) USING (measure)) c
             USING (metric, win, start, dim, dv)
        WHERE g.version IS NULL OR c.versions IS NULL
              OR g.version <> 4 * c.versions + (CASE g.status WHEN 'open' THEN 0 WHEN 'final' THEN 1 ELSE 2 END)""",
        "{metric} {win} {moment} {dim}={dv} ({status}): version {version}, {sources} cells give 4 x {versions} + status",
    )
