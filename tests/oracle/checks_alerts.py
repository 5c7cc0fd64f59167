"""I7: each transition that is due is recorded once, in order, and delivered; nothing fires that should not."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import duckdb
import orjson

from tests.oracle.expect import FIRST
from tests.oracle.report import Finding, count, of_query, of_words
from tests.oracle.stores import ClickHouse, Redis, write

#: The customer's thresholds on a video's cost, in 1/10000 USD; strictly above fires.
_COSTS = {"video-cost-warning": 25_000, "video-cost-critical": 30_000}
#: Rules on final 5-minute windows: metric, threshold, events that a window needs.
_FINAL = {
    "api-slow": ("api_response_time_p95_ms", 200.0, 20),
    "queue-slow": ("queue_processing_time_seconds", 60.0, 5),
}
#: A firing window alert gives up when windows have moved on by three of five minutes without a word.
_STALE_MS = 3 * 300_000
_SHAPE = (
    "id VARCHAR, fingerprint VARCHAR, seq BIGINT, kind VARCHAR, rule VARCHAR, state VARCHAR, entity VARCHAR,"
    " inhibited_by VARCHAR, delivery VARCHAR"
)


class AlertTable:
    """The topic `alerts` as table `alert_topic`."""

    def __init__(self, db: duckdb.DuckDBPyConnection) -> None:
        self._db = db
        db.execute(f"CREATE OR REPLACE TABLE alert_topic ({_SHAPE})")
        self._rows: list[tuple[Any, ...]] = []

    def add(self, records: Iterable[Any]) -> None:
        """Take records of the topic (JSON)."""
        for record in records:
            item = orjson.loads(record.value)
            head = (item["transition_id"], item["fingerprint"], item["seq"], item["kind"], item["rule"], item["state"])
            tail = (item["labels"].get("video_id", ""), item["inhibited_by"], item["delivery"])
            self._rows.append(head + tail)

    def close(self) -> None:
        """Write what was taken."""
        write(self._db, "alert_topic", self._rows)


def load(db: duckdb.DuckDBPyConnection, clickhouse: ClickHouse) -> None:
    """gold.alerts as table `alert_stored`; both together, each record once, as `alert`."""
    clickhouse.into(
        db,
        "alert_stored",
        "SELECT transition_id AS id, fingerprint, toInt64(seq) AS seq, toString(kind) AS kind, toString(rule) AS rule,"
        " toString(state) AS state, labels['video_id'] AS entity, inhibited_by, delivery,"
        " toUnixTimestamp64Milli(window_start) AS start FROM gold.alerts FINAL",
    )
    db.execute("CREATE OR REPLACE TABLE alert AS FROM alert_topic UNION SELECT * EXCLUDE (start) FROM alert_stored")


def check(db: duckdb.DuckDBPyConnection, store: Redis, slack: Path | None) -> list[Finding]:
    """Compare what is recorded with the expected totals and the (verified) windows; `slack` is the receiver's own log."""
    return [_once(db), _both(db), _alternate(db), _costs(db), _windows(db), *_delivered(db, slack), _redis(db, store)]


def _transitions(db: duckdb.DuckDBPyConnection) -> int:
    return count(db, "SELECT count(DISTINCT id) FROM alert WHERE kind = 'transition'")


def _once(db: duckdb.DuckDBPyConnection) -> Finding:
    return of_query(
        db,
        "I7",
        "each alert transition recorded once",
        _transitions(db),
        """
        WITH own AS (SELECT DISTINCT id, fingerprint, seq, rule, state, entity FROM alert WHERE kind = 'transition')
        SELECT rule, entity, fingerprint, seq, 'recorded as ' || string_agg(id || ' ' || state, ', ') AS how
        FROM own GROUP BY ALL HAVING count(*) > 1
        UNION ALL
        SELECT any_value(rule), any_value(entity), fingerprint, max(seq), 'only ' || count(DISTINCT seq) || ' numbers up to it'
        FROM own GROUP BY fingerprint HAVING count(DISTINCT seq) <> max(seq) OR min(seq) <> 1
        UNION ALL
        SELECT any_value(rule), any_value(entity), any_value(fingerprint), min(seq), id || ' stands for several transitions'
        FROM own GROUP BY id HAVING count(*) > 1
        UNION ALL
        SELECT any_value(rule), any_value(entity), any_value(fingerprint), any_value(seq),
               count(*) || ' rows of one ' || kind || ' in gold.alerts'
        FROM alert_stored GROUP BY id, kind HAVING count(*) > 1""",
        "{rule} {entity} ({fingerprint}) number {seq}: {how}",
    )


def _both(db: duckdb.DuckDBPyConnection) -> Finding:
    """With an older log of the events, the topic's own older log is gone too: then only gold.alerts has it all."""
    renewed = bool(count(db, "SELECT count(*) FROM rec WHERE log < 0"))
    return of_query(
        db,
        "I7",
        "topic alerts and gold.alerts say the same",
        count(db, "SELECT count(DISTINCT (id, kind)) FROM alert"),
        f"""
        SELECT coalesce(t.id, s.id) AS id, coalesce(t.kind, s.kind) AS kind, coalesce(t.rule, s.rule) AS rule,
               CASE WHEN t.id IS NULL THEN 'only in gold.alerts' WHEN s.id IS NULL THEN 'only on the topic'
                    ELSE 'differs' END AS how
        FROM (SELECT DISTINCT id, kind, rule, state, seq FROM alert_topic) t
        FULL JOIN (SELECT DISTINCT id, kind, rule, state, seq FROM alert_stored) s USING (id, kind, rule, state, seq)
        WHERE s.id IS NULL OR (t.id IS NULL AND NOT {renewed})""",
        "{rule} {kind} {id}: {how}",
    )


def _alternate(db: duckdb.DuckDBPyConnection) -> Finding:
    """Firing and resolved take turns; a firing may follow one that was silenced."""
    return of_query(
        db,
        "I7",
        "alerts fire and resolve in turns",
        count(db, "SELECT count(DISTINCT fingerprint) FROM alert WHERE kind = 'transition'"),
        """
        SELECT rule, entity, fingerprint, seq, state, before FROM (
            SELECT *, lag(state) OVER w AS before, lag(inhibited_by) OVER w AS silenced
            FROM (SELECT DISTINCT rule, entity, fingerprint, seq, state, inhibited_by FROM alert
                  WHERE kind = 'transition' AND state IN ('firing', 'resolved'))
            WINDOW w AS (PARTITION BY fingerprint ORDER BY seq))
        WHERE (before IS NULL AND state = 'resolved') OR (before = state AND (state = 'resolved' OR silenced = ''))""",
        "{rule} {entity} ({fingerprint}) number {seq}: {state} after {before}",
    )


def _costs(db: duckdb.DuckDBPyConnection) -> Finding:
    """By the video's final total; and where no correction made it smaller, exactly one firing and no more.

    An id that was used again for another amount (in another partition) counts once in the end; before both are joined
    either may be all that is known.
    """
    rules = ", ".join(f"('{rule}', {limit})" for rule, limit in _COSTS.items())
    db.execute(f"""
        CREATE OR REPLACE TEMP TABLE dear AS
        SELECT rule, video_id::VARCHAR AS entity, total, limit_e4, lowest >= 0 AS only_grew, highest <= limit_e4 AS never
        FROM (SELECT video_id, sum(e4) AS total, min(CASE WHEN low = high THEN low ELSE -1 END) AS lowest,
                     sum(greatest(high, 0)) AS highest
              FROM (SELECT video_id, event_id, arg_min(number, {FIRST}) AS e4, min(number) AS low, max(number) AS high
                    FROM ev WHERE topic = 'cost-events' AND video_id IS NOT NULL GROUP BY ALL) GROUP BY ALL),
             (VALUES {rules}) r (rule, limit_e4)""")
    return of_query(
        db,
        "I7",
        "costs of videos: what must fire, fires",
        count(db, "SELECT count(*) FROM dear WHERE NOT never"),
        """
        SELECT rule, entity, total / 10000 AS usd, limit_e4 / 10000 AS above, coalesce(state, 'nothing') AS state,
               coalesce(n, 0) AS n, CASE WHEN d.total IS NULL THEN ' (unknown)' ELSE '' END AS whose
        FROM dear d FULL JOIN (
            SELECT rule, entity, arg_max(state, seq) AS state, count(DISTINCT seq) FILTER (state = 'firing') AS n
            FROM alert WHERE kind = 'transition' AND rule IN (SELECT rule FROM dear) GROUP BY ALL) a USING (rule, entity)
        WHERE d.total IS NULL OR (never AND n > 0) OR (total > limit_e4 AND state IS DISTINCT FROM 'firing')
              OR (total <= limit_e4 AND state = 'firing') OR (only_grew AND n > 1)
        ORDER BY entity, rule""",
        "{rule} video {entity}{whose}: {usd} USD in all, fires above {above}; recorded {state}, fired {n} times",
    )


def _windows(db: duckdb.DuckDBPyConnection) -> Finding:
    """The newest final window that says something decides whether the alert fires now, and each firing has its window.

    How often it fires in between depends on the order in which windows became final, which faults may change: noted.
    """
    wrong: list[str] = []
    notes: list[str] = []
    checked = 0
    for rule, (metric, limit, least) in _FINAL.items():
        rows = db.execute(f"""
            SELECT start, value, n FROM got WHERE metric = '{metric}' AND win = '5m' AND dim = '' AND status <> 'open'
            ORDER BY start""").fetchall()
        judged = [(start, value) for start, value, n in rows if value is not None and n >= least]
        states = db.execute(f"""
            SELECT DISTINCT seq, state FROM alert WHERE kind = 'transition' AND rule = '{rule}' ORDER BY seq""").fetchall()
        state = states[-1][1] if states else None
        checked += len(judged)
        due = bool(judged) and judged[-1][1] > limit
        stale = bool(judged) and rows[-1][0] >= judged[-1][0] + _STALE_MS
        if (state == "firing") != due and not (stale and due):
            wrong.append(f"{rule}: {state or 'nothing'} recorded, the newest window that counts has {judged[-1:]}")
        wrong += _unfounded(db, rule, metric, limit, least)
        above = [value > limit for _, value in judged]
        turns = sum(now and not before for before, now in zip([False, *above], above, strict=False))
        notes.append(f"{rule} fired {sum(s == 'firing' for _, s in states)} times, {turns} by windows in order")
    return of_words("I7", "alerts on final windows: the newest decides", checked, wrong, ", ".join(notes))


def _unfounded(db: duckdb.DuckDBPyConnection, rule: str, metric: str, limit: float, least: int) -> list[str]:
    """Firings whose window, as it is stored, is not beyond the threshold (a corrected one was another then)."""
    rows = db.execute(f"""
        SELECT a.seq, a.start, g.value, g.n FROM alert_stored a LEFT JOIN got g
          ON g.metric = '{metric}' AND g.win = '5m' AND g.dim = '' AND g.start = a.start
        WHERE a.kind = 'transition' AND a.rule = '{rule}' AND a.state = 'firing' AND g.status IS DISTINCT FROM 'corrected'
          AND (g.value IS NULL OR g.value <= {limit} OR g.n < {least})""").fetchall()
    return [
        f"{rule} number {seq} fired for the window of {start}, which has {value} of {n}"
        for seq, start, value, n in rows
    ]


def _delivered(db: duckdb.DuckDBPyConnection, slack: Path | None) -> list[Finding]:
    """Each transition that is not silenced has a delivery record, and its id was answered with 200."""
    db.execute("""
        CREATE OR REPLACE TEMP TABLE to_send AS
        SELECT DISTINCT id, rule, entity, state FROM alert
        WHERE kind = 'transition' AND state IN ('firing', 'resolved') AND inhibited_by = ''""")
    recorded = of_query(
        db,
        "I7",
        "each alert has a delivery record",
        count(db, "SELECT count(*) FROM to_send"),
        "SELECT * FROM to_send ANTI JOIN (SELECT id FROM alert WHERE kind = 'delivery') USING (id)",
        "{rule} {entity} {state} ({id}) has no delivery record",
    )
    if slack is None:
        return [recorded]
    text = slack.read_bytes()
    calls = orjson.loads(text) if text.lstrip().startswith(b"[") else [orjson.loads(line) for line in text.splitlines()]
    sent = [name for call in calls if call["status"] == 200 for name in call["ids"]]
    db.execute("CREATE OR REPLACE TABLE answered (id VARCHAR)")
    write(db, "answered", [(name,) for name in sent])
    arrived = of_query(
        db,
        "I7",
        "each alert was answered with 200 by Slack",
        count(db, "SELECT count(*) FROM to_send"),
        """
        SELECT t.id, rule, entity, state, coalesce(delivery, 'nothing') AS delivery
        FROM to_send t ANTI JOIN answered USING (id)
        LEFT JOIN (SELECT id, any_value(delivery) AS delivery FROM alert WHERE kind = 'delivery' GROUP BY id) d USING (id)
        UNION ALL
        SELECT DISTINCT a.id, '', '', 'is no recorded transition', '' FROM answered a
        ANTI JOIN (SELECT id FROM alert WHERE kind = 'transition') USING (id)""",
        "{rule} {entity} {state} ({id}): never answered, recorded as delivered by {delivery}",
        f"{len(calls):,} calls, {len(sent) - len(set(sent))} ids more than once",
    )
    return [recorded, arrived]


def _redis(db: duckdb.DuckDBPyConnection, store: Redis) -> Finding:
    newest = db.execute("""
        SELECT fingerprint, arg_max(state, seq), max(seq) FROM alert WHERE kind = 'transition' GROUP BY fingerprint
        """).fetchall()
    due = {f"alert:{fingerprint}": (state, seq) for fingerprint, state, seq in newest}
    wrong = []
    for key, shown in store.hashes(list(due)):
        state, seq = due[key]
        if (shown.get("state"), shown.get("seq")) != (state, str(seq)) and (shown or state != "resolved"):
            wrong.append(f"{key}: {shown.get('state')} number {shown.get('seq')}, recorded is {state} number {seq}")
    return of_words("I7", "Redis: state of each alert", len(due), wrong)
