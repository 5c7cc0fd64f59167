"""Silver: every valid event_id once, of several records the one that counts in totals, and every field as it was sent."""

from __future__ import annotations

import base64
import zlib
from contextlib import suppress

import duckdb

from tests.oracle.expect import FIRST
from tests.oracle.log import first_8
from tests.oracle.report import Finding, count, of_query
from tests.oracle.stores import ClickHouse
from tests.oracle.unseal import Unsealer

_PLACE = (
    "event_id, toInt64(partition) AS part, toInt64(offset) AS off, toString(topic) AS topic,"
    " toUnixTimestamp64Milli(occurred_at) AS occurred"
)


def _crc(*fields: str) -> str:
    """ClickHouse's CRC32 of the fields as tests.oracle.rules joins them: U+001F between, U+0000 for null."""
    return f"toUInt64(CRC32({_joined(*fields)})) AS text"


def _joined(*fields: str) -> str:
    texts = ", char(31), ".join(f"ifNull(toString({field}), char(0))" for field in fields)
    return f"concat({texts}, '')"


def _ms(name: str) -> str:
    return f"toUnixTimestamp64Milli({name}_at) AS {name}"


#: Topic -> (table, SELECT list after _PLACE); names are the columns of `rec` that they must equal.
_SELECTS = {
    "user-events": (
        "silver.user_activity",
        "user_id, toString(activity_type) AS kind, response_time_ms AS number, ifNull(ip_address, char(0)) AS address, "
        + f"{_joined('schema_version', 'resource_type', 'resource_id', 'session_id')} AS before,"
        + f" {_joined('user_agent')} AS after",
    ),
    "video-status": (
        "silver.video_status",
        "user_id, video_id, toString(status) AS kind, toString(niche) AS dim_a, toString(video_type) AS dim_b, "
        + ", ".join(_ms(name) for name in ("requested", "started", "completed", "published"))
        + ", quality_score AS share, "
        + _crc("schema_version", "channel_id", "user_id", "youtube_video_id", "title", "duration_seconds", "error"),
    ),
    "cost-events": (
        "silver.cost_events",
        "video_id, toString(component) AS kind, amount_e4 AS number, "
        + _crc("schema_version", "channel_id", "user_id", "corrects", "provider"),
    ),
}


def _table(topic: str) -> str:
    return "silver_" + topic.replace("-", "_")


def unsealed_functions(db: duckdb.DuckDBPyConnection, clickhouse: ClickHouse) -> None:
    """SQL functions of DuckDB that compute of sealed values what `rec` holds of the values as they came."""
    unseal = Unsealer(clickhouse.rows)

    def digest(payload: str) -> int:
        return first_8(unseal.record(base64.b64decode(payload)))

    def crc(before: str, address: str, after: str) -> int:
        address = unseal.text(address, "ip_address") or ""
        return zlib.crc32("\x1f".join((before, address, after)).encode())

    for name, function, kinds in (("digest_as_it_came", digest, 1), ("crc_as_it_came", crc, 3)):
        with suppress(duckdb.InvalidInputException):
            db.remove_function(name)
        db.create_function(name, function, ["VARCHAR"] * kinds, "UBIGINT")


def load_silver(db: duckdb.DuckDBPyConnection, clickhouse: ClickHouse) -> None:
    """The silver tables, and the number of rows that the views could not cast."""
    for topic, (table, columns) in _SELECTS.items():
        clickhouse.into(db, _table(topic), f"SELECT {_PLACE}, {columns} FROM {table} FINAL")
    db.execute("""
        CREATE OR REPLACE TABLE silver_user_events AS
        SELECT * EXCLUDE (before, address, after), crc_as_it_came(before, address, after) AS text FROM silver_user_events""")
    clickhouse.into(
        db,
        "rejected",
        "SELECT toString(topic) AS topic, toInt64(partition) AS part, toInt64(offset) AS off, reason"
        " FROM silver.rejected FINAL",
    )


def silver_findings(db: duckdb.DuckDBPyConnection) -> list[Finding]:
    """Compare what `load_silver` got with `rec` and `outcome`."""
    found = [_compare(db, topic) for topic in _SELECTS]
    rejected = of_query(
        db,
        "I2",
        "silver.rejected is empty",
        count(db, "SELECT count(*) FROM outcome WHERE word IN ('counted', 'duplicate', 'repeat')"),
        "FROM rejected",
        "{topic}/{part}/{off}: {reason}",
    )
    return [*found, rejected]


def _compare(db: duckdb.DuckDBPyConnection, topic: str) -> Finding:
    table = _table(topic)
    names = [row[0] for row in db.execute(f"DESCRIBE {table}").fetchall()]
    values = [name for name in names if name not in ("event_id", "part", "off", "topic")]
    other = "(s.place IS DISTINCT FROM d.place AND NOT list_contains(d.others, s.place))"
    differs = " || ".join(f"CASE WHEN s.{n} IS DISTINCT FROM r.{n} THEN '{n} ' ELSE '' END" for n in values)
    # As in totals: the older by minute of log time. What was lost to the windows may have come into silver before.
    db.execute(f"""
        CREATE OR REPLACE TEMP TABLE due AS
        SELECT event_id, arg_min(part || '/' || off, {FIRST}) FILTER (word <> 'lost') AS place,
               coalesce(list(part || '/' || off) FILTER (word = 'lost'), []) AS others
        FROM outcome WHERE topic = '{topic}' AND event_id IS NOT NULL
                       AND word IN ('counted', 'duplicate', 'repeat', 'lost') GROUP BY event_id""")
    return of_query(
        db,
        "I2",
        f"{_SELECTS[topic][0]}: each id once, the older record counts",
        count(db, "SELECT count(*) FROM due"),
        f"""
        SELECT event_id, CASE WHEN s.n IS NULL THEN 'missing' WHEN d.event_id IS NULL THEN 'nobody sent a valid one'
                   WHEN s.n > 1 THEN 'there ' || s.n || ' times'
                   WHEN {other} THEN 'is ' || s.place || ', the first is ' || d.place
                   ELSE 'differs in ' || coalesce(s.how, 'its place') END AS how
        FROM due d FULL JOIN (
            SELECT s.event_id, count(*) AS n, any_value(s.part || '/' || s.off) AS place, any_value(r.off IS NULL) AS nowhere,
                   any_value({differs}) AS how
            FROM {table} s
            LEFT JOIN (SELECT DISTINCT ON (topic, part, off, event_id) * FROM rec) r -- two logs may have it at one offset
              ON r.topic = '{topic}' AND r.part = s.part AND r.off = s.off AND r.event_id = s.event_id
            GROUP BY s.event_id) s USING (event_id)
        WHERE (s.n IS NULL AND d.place IS NOT NULL) OR d.event_id IS NULL OR s.n > 1 OR {other} OR s.nowhere OR s.how <> ''""",
        "{event_id}: {how}",
    )
