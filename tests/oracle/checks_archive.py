"""I2 and I3: every record once in bronze, every valid id once in silver, every refused record once among dead letters."""

from __future__ import annotations

import duckdb

from tests.oracle.report import Finding, count, of_query
from tests.oracle.silver import load_silver, silver_findings, unsealed_functions
from tests.oracle.stores import ClickHouse

_DEAD = "('malformed', 'unknown_version', 'future_event', 'too_large')"
_TABLES = {"user-events": "user_events", "video-status": "video_status", "cost-events": "cost_events"}
_SEALED = "position(payload, 'sealed:1:') > 0"
#: Only of what holds a token is the digest computed here, of what came before it was sealed.
_AS_IT_CAME = (
    "* EXCLUDE (sealed) REPLACE (CASE WHEN sealed = '' THEN digest ELSE digest_as_it_came(sealed) END AS digest)"
)


def load(db: duckdb.DuckDBPyConnection, clickhouse: ClickHouse) -> None:
    """Bronze, silver and meta.dead_letters. Payloads come as the first 8 bytes of their SHA-256."""
    unsealed_functions(db, clickhouse)
    place = "toString(topic) AS topic, toInt64(partition) AS part, toString(log_id) AS log_id, toInt64(offset) AS off,"
    columns = (
        f"{place} reinterpretAsUInt64(substring(SHA256(payload), 1, 8)) AS digest, toUInt64(CRC32(key)) AS key_crc,"
        f" if({_SEALED}, base64Encode(payload), '') AS sealed,"
    )
    db.execute("""
        CREATE OR REPLACE TABLE bronze (topic VARCHAR, part BIGINT, log_id VARCHAR, off BIGINT, digest UBIGINT,
                                        key_crc UBIGINT, ts BIGINT, reason VARCHAR, source VARCHAR)""")
    for topic, table in _TABLES.items():
        clickhouse.into(
            db,
            "part_of_bronze",
            f"SELECT {columns} toUnixTimestamp64Milli(kafka_timestamp) AS ts,"
            f" splitByString(': ', toValidUTF8(error))[1] AS reason FROM bronze.{table} FINAL",
        )
        db.execute(f"INSERT INTO bronze SELECT {_AS_IT_CAME}, '{topic}' FROM part_of_bronze; DROP TABLE part_of_bronze")
    clickhouse.into(
        db,
        "part_of_dead",
        f"SELECT {columns} toString(reason) AS reason, toValidUTF8(error) AS error FROM meta.dead_letters FINAL",
    )
    db.execute(
        f"CREATE OR REPLACE TABLE dead_stored AS SELECT {_AS_IT_CAME} FROM part_of_dead; DROP TABLE part_of_dead"
    )
    _logs(db)
    load_silver(db, clickhouse)


def _logs(db: duckdb.DuckDBPyConnection) -> None:
    """Which of the log's own numbers the service's log_id means: the one with most records alike."""
    db.execute("""
        CREATE OR REPLACE TABLE log_ids AS
        SELECT topic, part, log_id, arg_max(log, n) AS log
        FROM (SELECT b.topic, b.part, b.log_id, r.log, count(*) AS n
              FROM bronze b JOIN rec r ON b.topic = r.topic AND b.part = r.part AND b.off = r.off AND b.digest = r.digest
                                      AND b.ts = r.ts GROUP BY ALL)
        GROUP BY ALL""")


def check(db: duckdb.DuckDBPyConnection, dead_letters_again: bool) -> list[Finding]:
    """Compare what `load` got, and table `dead` (the topic), with `rec` and `outcome`.

    With `dead_letters_again` a dead letter may lie on the topic more than once (workers were killed); it never may in
    ClickHouse.
    """
    found = [_bronze(db), _dead(db, "dead_stored", "meta.dead_letters", again=False)]
    found.append(_dead(db, "dead", "topic dead-letters", again=dead_letters_again))
    return [*found, _accounted(db), *silver_findings(db)]


def _bronze(db: duckdb.DuckDBPyConnection) -> Finding:
    return of_query(
        db,
        "I3",
        "bronze: every offset once, with its payload",
        count(db, "SELECT count(*) FROM rec"),
        f"""
        SELECT topic, part, off, CASE WHEN n IS NULL THEN 'missing' WHEN o.off IS NULL THEN 'nobody produced it'
                   WHEN n > 1 THEN 'there ' || n || ' times' WHEN NOT same THEN 'another payload, key or timestamp'
                   ELSE 'error says ' || reason || ', due ' || due END AS how
        FROM (SELECT b.topic, b.part, coalesce(l.log, 1) AS log, b.off, count(*) AS n, any_value(reason) AS reason,
                     any_value(digest) AS digest, any_value(ts) AS ts, any_value(key_crc) AS key_crc,
                     bool_and(b.topic = b.source) AS home
              FROM bronze b LEFT JOIN log_ids l USING (topic, part, log_id) GROUP BY ALL) b
        FULL JOIN (SELECT o.topic, o.part, o.log, o.off, o.word, r.digest AS r_digest, r.ts AS r_ts, r.key_crc AS r_key,
                          CASE WHEN word IN {_DEAD} THEN word ELSE '' END AS due
                   FROM outcome o JOIN rec r USING (topic, part, log, off)) o USING (topic, part, log, off),
        LATERAL (SELECT digest = r_digest AND ts = r_ts AND key_crc = r_key AND home AS same)
        WHERE word IS DISTINCT FROM 'lost' AND (n IS NULL OR o.word IS NULL OR n > 1 OR NOT same OR reason <> due)
        ORDER BY topic, part, off""",
        "{topic}/{part}/{off}: {how}",
    )


def _dead(db: duckdb.DuckDBPyConnection, table: str, name: str, again: bool) -> Finding:
    """Each refused record exactly once, its bytes and key unchanged; a topic may be lost together with older logs."""
    repeats = count(db, f"SELECT count(*) - count(DISTINCT (topic, part, log_id, off)) FROM {table}")
    return of_query(
        db,
        "I2",
        f"{name}: each refused record once",
        count(db, f"SELECT count(*) FROM outcome WHERE word IN {_DEAD}"),
        f"""
        SELECT topic, part, off, n, reason, word, CASE WHEN n IS NULL THEN 'missing'
                   WHEN word IS NULL OR word NOT IN {_DEAD} THEN 'is no dead letter by the rules'
                   WHEN reason <> word THEN 'another reason' WHEN NOT same THEN 'another payload or key'
                   ELSE 'there ' || n || ' times' END AS how
        FROM (SELECT d.topic, d.part, coalesce(l.log, 0) AS log, d.off, count(*) AS n,
                     string_agg(DISTINCT reason, '+') AS reason, min(digest) AS digest, max(digest) AS digest_too,
                     min(key_crc) AS key_crc
              FROM {table} d LEFT JOIN log_ids l USING (topic, part, log_id) GROUP BY ALL) d
        FULL JOIN (SELECT o.topic, o.part, o.log, o.off, o.word, r.digest AS r_digest, r.key_crc AS r_key
                   FROM outcome o JOIN rec r USING (topic, part, log, off)
                   WHERE word IN {_DEAD} OR (topic, part, log, off) IN (
                       SELECT (topic, part, coalesce(l.log, 0), off) FROM {table} LEFT JOIN log_ids l
                       USING (topic, part, log_id))) o
             USING (topic, part, log, off),
        LATERAL (SELECT digest = r_digest AND digest_too = r_digest AND key_crc = r_key AS same)
        WHERE (n IS NULL AND NOT (log < 0 AND {table == "dead"})) OR word IS NULL OR word NOT IN {_DEAD}
              OR reason <> word OR NOT same OR (n > 1 AND NOT {again})
        ORDER BY topic, part, off""",
        "{topic}/{part}/{off}: {how} (stored: {reason}, rules: {word})",
        f"{repeats} repeated" if repeats else "",
    )


def _accounted(db: duckdb.DuckDBPyConnection) -> Finding:
    """Per partition: records = counted + late for every size + duplicates + repeated statuses + dead letters + lost."""
    words = db.execute("""
        SELECT CASE WHEN late THEN 'late' ELSE word END AS word, count(*) FROM outcome GROUP BY ALL ORDER BY ALL""").fetchall()
    return of_query(
        db,
        "I2",
        "records = counted + duplicates + late + dead letters",
        count(db, "SELECT count(*) FROM rec"),
        f"""
        SELECT topic, part, log, r.n AS records, o.counted, o.late, o.duplicate, o.repeated, coalesce(d.n, 0) AS dead, o.lost
        FROM (SELECT topic, part, log, count(*) AS n FROM rec GROUP BY ALL) r
        LEFT JOIN (SELECT topic, part, log, count(*) FILTER (word = 'counted' AND NOT late) AS counted,
                          count(*) FILTER (late) AS late, count(*) FILTER (word = 'duplicate') AS duplicate,
                          count(*) FILTER (word = 'repeat') AS repeated, count(*) FILTER (word = 'lost') AS lost
                   FROM outcome GROUP BY ALL) o USING (topic, part, log)
        LEFT JOIN (SELECT d.topic, d.part, coalesce(l.log, 0) AS log, count(DISTINCT off) AS n
                   FROM dead_stored d LEFT JOIN log_ids l USING (topic, part, log_id)
                   WHERE d.reason IN {_DEAD} GROUP BY ALL) d USING (topic, part, log)
        WHERE r.n <> counted + o.late + duplicate + repeated + coalesce(d.n, 0) + lost""",
        "{topic}/{part}: {records} records, but {counted} counted, {late} late, {duplicate} duplicates,"
        " {repeated} repeated, {dead} dead letters, {lost} lost",
        ", ".join(f"{word} {n:,}" for word, n in words),
    )
