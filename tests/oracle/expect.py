"""What the written rules make of table `rec`: outcomes, the windows of every size, entity totals.

Tables made here, all keyed by (topic, part, log, off) where they speak of records:
`outcome` (word: counted, duplicate, repeat, lost, or the reason of a dead letter; `late` = too late for every size),
`ev` (counted events), `want` (metric, win, start, dim, dv, value, n, late, sum_e4), `want_open` (value and n of windows that
are open, where they differ), `want_total` (metric, entity, sum_e4, n).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import duckdb

SIZES: Final = {"1m": 60_000, "5m": 300_000, "1h": 3_600_000, "1d": 86_400_000}
_AHEAD_MS: Final = 300_000
_LATENESS_MS: Final = 600_000
_DUPLICATE_MS: Final = 600_000
_STATUS_MS: Final = 7 * 86_400_000
_DIMENSION_LIMIT: Final = 1000
#: Of several events with one id the first by this counts in totals: offsets of two partitions say nothing of age (an id
#: that was used again after partitions were added lies in a young partition at a low offset), minutes of log time do.
FIRST: Final = "(log_ms // 60000, part::VARCHAR, log, off)"

#: (topic, partition, log, first lost offset, offset after the last): deleted before they were read, as the driver saw to.
Lost = tuple[str, int, int, int, int]
Place = tuple[str, int, int, int]


def expect(db: duckdb.DuckDBPyConnection, lost: Sequence[Lost] = ()) -> None:
    """Make all tables of this module from `rec`."""
    _judge(db, lost)
    _mark(db, "duplicate", "event_id", _DUPLICATE_MS, "TRUE")
    _mark(db, "repeat", "(video_id, kind)", _STATUS_MS, "topic = 'video-status'")
    _events(db)
    _windows(db)
    _totals(db)


def _judge(db: duckdb.DuckDBPyConnection, lost: Sequence[Lost]) -> None:
    db.execute("CREATE TABLE gone (topic VARCHAR, part BIGINT, log BIGINT, first BIGINT, after BIGINT)")
    if lost:
        db.executemany("INSERT INTO gone VALUES (?, ?, ?, ?, ?)", [list(each) for each in lost])
    # Log time is the running maximum of Kafka's timestamps, whatever else is wrong with a record.
    db.execute(f"""
        CREATE TABLE outcome AS
        SELECT topic, part, log, off, log_ms, occurred, event_id,
               CASE WHEN lost THEN 'lost' WHEN reason <> '' THEN reason
                    WHEN occurred > log_ms + {_AHEAD_MS} THEN 'future_event' ELSE 'counted' END AS word
        FROM (SELECT *, max(CASE WHEN NOT lost THEN ts END) OVER (PARTITION BY topic, part, log ORDER BY off) AS log_ms
              FROM (SELECT r.*, g.topic IS NOT NULL AS lost FROM rec r LEFT JOIN gone g
                    ON r.topic = g.topic AND r.part = g.part AND r.log = g.log AND r.off >= g.first AND r.off < g.after))""")


def _mark(db: duckdb.DuckDBPyConnection, word: str, key: str, horizon_ms: int, where: str) -> None:
    """Mark what has the key of a counted record at most a horizon of log time before; each partition by itself."""
    found = db.execute(f"""
        SELECT o.topic, part, log, off, dense_rank() OVER (ORDER BY key), log_ms
        FROM (SELECT o.topic, o.part, o.log, o.off, o.log_ms, {key.replace("event_id", "o.event_id")} AS key
              FROM outcome o {"JOIN rec r USING (topic, part, log, off)" if "video_id" in key else ""}
              WHERE o.word = 'counted' AND {where.replace("topic", "o.topic")}
              QUALIFY count(*) OVER (PARTITION BY o.topic, o.part, o.log, key) > 1) o
        ORDER BY topic, part, log, off""").fetchall()
    latest: dict[tuple[Any, ...], int] = {}
    marked: list[Place] = []
    for topic, part, log, off, rank, log_ms in found:
        name = (topic, part, log, rank)
        before = latest.get(name)
        if before is not None and log_ms - before <= horizon_ms:
            marked.append((topic, part, log, off))
        else:
            latest[name] = log_ms
    _update(db, word, marked)


def _update(db: duckdb.DuckDBPyConnection, word: str, places: list[Place]) -> None:
    import numpy as np

    if not places:
        return
    topics, *numbers = zip(*places, strict=True)
    marked: dict[str, Any] = {"topic": np.array(topics, dtype=object)}
    marked |= {name: np.array(column) for name, column in zip(("part", "log", "off"), numbers, strict=True)}
    db.register("marked", marked)
    db.execute(f"""
        UPDATE outcome o SET word = '{word}' FROM marked m
        WHERE o.topic = m.topic::VARCHAR AND o.part = m.part AND o.log = m.log AND o.off = m.off""")
    db.unregister("marked")


def _events(db: duckdb.DuckDBPyConnection) -> None:
    """Counted events, each with the highest event time of those before it (-1: it is the first)."""
    db.execute("""
        CREATE TABLE ev AS
        SELECT r.*, o.log_ms, coalesce(max(r.occurred) OVER (
                   PARTITION BY r.topic, r.part, r.log ORDER BY r.off
                   ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), -1) AS before
        FROM rec r JOIN outcome o USING (topic, part, log, off) WHERE o.word = 'counted'""")
    largest = max(SIZES.values())
    db.execute(f"""
        ALTER TABLE outcome ADD COLUMN late BOOLEAN DEFAULT FALSE;
        UPDATE outcome o SET late = TRUE FROM ev
        WHERE ev.before >= ev.occurred - ev.occurred % {largest} + {largest} + {_LATENESS_MS}
          AND o.topic = ev.topic AND o.part = ev.part AND o.log = ev.log AND o.off = ev.off""")
    dimensions = (
        ("user-events", "kind"),
        ("video-status", "dim_a"),
        ("video-status", "dim_b"),
        ("ops-events", "dim_a"),
    )
    for topic, column in dimensions:
        missing = "unknown" if column != "kind" else ""
        if missing:
            db.execute(f"UPDATE ev SET {column} = '{missing}' WHERE {column} IS NULL AND topic = '{topic}'")
        _limit(db, topic, column)


def _limit(db: duckdb.DuckDBPyConnection, topic: str, column: str) -> None:
    """After 1,000 values of a dimension in a partition, in the order of the log: `other`."""
    db.execute(f"""
        CREATE OR REPLACE TEMP TABLE too_many AS
        SELECT part, log, {column} AS value FROM ev WHERE topic = '{topic}' GROUP BY part, log, {column}
        QUALIFY row_number() OVER (PARTITION BY part, log ORDER BY min(off)) > {_DIMENSION_LIMIT}""")
    db.execute(f"""
        UPDATE ev SET {column} = 'other' FROM too_many t
        WHERE ev.topic = '{topic}' AND ev.part = t.part AND ev.log = t.log AND ev.{column} = t.value""")


_USER = """
    INSERT INTO want SELECT 'active_users', $w, start, '', '', count(DISTINCT user_id), count(*), sum(after), 0
        FROM u GROUP BY start;
    CREATE OR REPLACE TEMP TABLE g AS SELECT start, kind, count(*) AS n, sum(after) AS late FROM u GROUP BY ALL;
    INSERT INTO want SELECT 'user_events', $w, start, 'activity_type', kind, n, n, late, 0 FROM g;
    INSERT INTO want SELECT 'user_events', $w, start, '', '', sum(n), sum(n), sum(late), 0 FROM g GROUP BY start;
    CREATE OR REPLACE TEMP TABLE h AS
        SELECT start, number, sum(n) OVER (PARTITION BY start ORDER BY number) AS upto,
               sum(n) OVER (PARTITION BY start) AS n, sum(late) OVER (PARTITION BY start) AS late
        FROM (SELECT start, number, count(*) AS n, sum(after) AS late FROM u WHERE number IS NOT NULL GROUP BY ALL);
    INSERT INTO want
        SELECT 'api_response_time_p' || p || '_ms', $w, start, '', '', min(number), any_value(n), any_value(late), 0
        FROM h, (VALUES (50), (95), (99)) ranks (p) WHERE upto * 100 >= n * p GROUP BY start, p;
"""
_VIDEO = """
    CREATE OR REPLACE TEMP TABLE g AS
        SELECT start, kind AS status, dim, dv, count(*) AS n, sum(after) AS late,
               sum(completed - requested) AS made, sum(started - requested) AS queued
        FROM (SELECT *, unnest(['', 'niche', 'video_type']) AS dim, unnest(['', dim_a, dim_b]) AS dv FROM v) GROUP BY ALL;
    INSERT INTO want SELECT 'videos_' || status, $w, start, dim, dv, n, n, late, 0 FROM g;
    INSERT INTO want SELECT 'avg_generation_time_seconds', $w, start, dim, dv, made / n / 1000, n, late, made * 10
        FROM g WHERE status = 'completed';
    INSERT INTO want SELECT 'queue_processing_time_seconds', $w, start, '', '', queued / n / 1000, n, late, queued * 10
        FROM g WHERE status = 'started' AND dim = '';
    INSERT INTO want SELECT 'queue_processing_time_seconds', $w, start, 'queue', 'video-generation',
               queued / n / 1000, n, late, queued * 10 FROM g WHERE status = 'started' AND dim = '';
    INSERT INTO want
        SELECT 'video_success_rate', $w, start, '', '', 100 * p / nullif(c, 0), c, late, 0
        FROM (SELECT start, coalesce(sum(n) FILTER (status = 'published'), 0) AS p,
                     coalesce(sum(n) FILTER (status = 'completed'), 0) AS c, sum(late) AS late
              FROM g WHERE dim = '' AND status IN ('completed', 'published') GROUP BY start);
"""
_COST = """
    CREATE OR REPLACE TEMP TABLE g AS
        SELECT start, kind, count(*) AS n, sum(after) AS late, sum(number) AS e4 FROM c GROUP BY ALL;
    INSERT INTO want SELECT 'total_cost_usd', $w, start, 'component', kind, e4 / 10000, n, late, e4 FROM g;
    INSERT INTO want SELECT 'total_cost_usd', $w, start, '', '', sum(e4) / 10000, sum(n), sum(late), sum(e4)
        FROM g GROUP BY start;
    INSERT INTO want
        SELECT 'avg_cost_per_video_usd', $w, start, '', '', sum(number) / count(DISTINCT video_id) / 10000,
               count(DISTINCT video_id), sum(after), sum(number)
        FROM c WHERE video_id IS NOT NULL GROUP BY start;
"""


#: A minute is up if its last health event is ok (of two at one instant that with the higher id); a service is watched from its
#: first minute in the window to the window's end, while the window is open to the newest minute that is known.
_HEALTH = """
    CREATE OR REPLACE TEMP TABLE m AS
        SELECT start, ms, dim_a AS service, occurred // 60000 AS minute, count(*) AS n, sum(after) AS late,
               arg_max(number, (occurred, event_id::VARCHAR)) AS up
        FROM o WHERE kind = 'health' GROUP BY ALL;
    CREATE OR REPLACE TEMP TABLE s AS
        SELECT start, service, sum(up) AS up, sum(late) AS late, (start + ms) // 60000 - min(minute) AS watched,
               min(minute) AS since, max(minute) AS newest
        FROM m GROUP BY start, ms, service;
    INSERT INTO want SELECT 'system_uptime', $w, start, 'service', service, 100 * up / watched, watched, late, 0 FROM s;
    INSERT INTO want SELECT 'system_uptime', $w, start, '', '', 100 * sum(up) / sum(watched), sum(watched), sum(late), 0
        FROM s GROUP BY start;
    INSERT INTO want_open SELECT 'system_uptime', $w, start, 'service', service, 100 * up / (newest - since + 1),
               newest - since + 1 FROM s;
    INSERT INTO want_open SELECT 'system_uptime', $w, start, '', '', 100 * sum(up) / sum(heard - since), sum(heard - since)
        FROM (SELECT *, max(newest) OVER (PARTITION BY start) + 1 AS heard FROM s) GROUP BY start;
"""


def _windows(db: duckdb.DuckDBPyConnection) -> None:
    db.execute("""
        CREATE TABLE want (metric VARCHAR, win VARCHAR, start BIGINT, dim VARCHAR, dv VARCHAR, value DOUBLE, n BIGINT,
                           late BIGINT, sum_e4 HUGEINT)""")
    # What a window says as long as it is open, where that is something else.
    db.execute("""
        CREATE TABLE want_open (metric VARCHAR, win VARCHAR, start BIGINT, dim VARCHAR, dv VARCHAR, value DOUBLE, n BIGINT)
        """)
    for win, ms in SIZES.items():
        end = f"(occurred - occurred % {ms} + {ms})"
        for name, topic in (("u", "user-events"), ("v", "video-status"), ("c", "cost-events"), ("o", "ops-events")):
            db.execute(f"""
                CREATE OR REPLACE TEMP VIEW {name} AS
                SELECT *, {end} - {ms} AS start, {ms} AS ms, (before >= {end})::BIGINT AS after
                FROM ev WHERE topic = '{topic}' AND before < {end} + {_LATENESS_MS}""")
        for statement in ";".join((_USER, _VIDEO, _COST, _HEALTH)).replace("$w", f"'{win}'").split(";"):
            if statement.strip():
                db.execute(statement)


def _totals(db: duckdb.DuckDBPyConnection) -> None:
    """Costs of a video's life: every event whatever its age, no id twice, the first amount wins."""
    db.execute(f"""
        CREATE TABLE want_total AS
        SELECT 'cost_per_video_usd' AS metric, video_id::VARCHAR AS entity, sum(e4)::HUGEINT AS sum_e4, count(*) AS n
        FROM (SELECT video_id, event_id, arg_min(number, {FIRST}) AS e4
              FROM ev WHERE topic = 'cost-events' AND video_id IS NOT NULL GROUP BY ALL)
        GROUP BY ALL""")
