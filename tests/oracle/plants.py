"""Mistakes to plant in the stores of a finished run, each with the finding that must report it, and a word of it."""

from __future__ import annotations

from typing import NamedTuple

from tests.oracle.report import Finding


class Plant(NamedTuple):
    """`sql` is run in ClickHouse. The finding with that name must then show a violation with these words in it."""

    what: str
    finding: str
    words: tuple[str, ...]
    sql: str = ""

    def reported(self, findings: list[Finding]) -> bool:
        """Whether the finding says it."""
        texts = [text for each in findings if each.name == self.finding for text in each.shown]
        return any(all(word in text for word in self.words) for text in texts)


def _again(table: str, where: str, **changes: str) -> str:
    """One row of a table once more, changed."""
    changed = ", ".join(f"{value} AS {name}" for name, value in changes.items())
    # In a SELECT of its own: the changed names would stand for the changes in WHERE too.
    return f"INSERT INTO {table} SELECT * REPLACE ({changed}) FROM (SELECT * FROM {table} FINAL WHERE {where} LIMIT 1)"


_WINDOWS, _TOTALS = "gold.windows equals the rules", "gold.entities equals the rules"
_BRONZE = "bronze: every offset once, with its payload"
_DEAD = "meta.dead_letters: each refused record once"
_ONCE, _BOTH = "each alert transition recorded once", "topic alerts and gold.alerts say the same"

PLANTS = (
    Plant(
        "a window off by one",
        _WINDOWS,
        ("user_events 1d", "differs"),
        _again(
            "gold.windows",
            "metric = 'user_events' AND window = '1d' AND dimension = ''",
            value="value + 1",
            count="count + 1",
            version="version + 4",
        ),
    ),
    Plant(
        "a window without one of its late events",
        _WINDOWS,
        ("active_users 1d", "differs"),
        _again("gold.windows", "metric = 'active_users' AND window = '1d'", late="late + 1", version="version + 4"),
    ),
    Plant(
        "a sum off by 1/10000, hidden by the value's rounding",
        _WINDOWS,
        ("total_cost_usd 1d", "differs"),
        _again(
            "gold.windows",
            "metric = 'total_cost_usd' AND window = '1d' AND dimension = ''",
            sum_e4="sum_e4 + 1",
            version="version + 4",
        ),
    ),
    Plant(
        "a percentile off by 3 %",
        _WINDOWS,
        ("api_response_time_p95_ms 1d", "differs"),
        _again(
            "gold.windows",
            "metric = 'api_response_time_p95_ms' AND window = '1d'",
            value="value * 1.03",
            version="version + 4",
        ),
    ),
    Plant(
        "a window that is missing",
        _WINDOWS,
        ("videos_started 1d", "missing"),
        "DELETE FROM gold.windows WHERE metric = 'videos_started' AND window = '1d' AND dimension = ''",
    ),
    Plant(
        "a window that nobody sent",
        _WINDOWS,
        ("user_events 1m", "nothing in the log"),
        _again(
            "gold.windows",
            "metric = 'user_events' AND window = '1m' AND dimension = ''",
            window_start="window_start - INTERVAL 5 DAY",
        ),
    ),
    Plant(
        "an old version left standing",
        "a window's version follows from its stored cells",
        ("videos_failed 1d",),
        "INSERT INTO gold.windows SELECT * REPLACE (version + 8 AS version) FROM gold.windows FINAL"
        " WHERE metric = 'videos_failed' AND window = '1d' AND dimension = '' LIMIT 1",
    ),
    Plant(
        "a total off by 1/10000",
        _TOTALS,
        ("'sum_e4'",),
        _again("gold.entities", "sum_e4 > 0", sum_e4="sum_e4 + 1", version="version + 1"),
    ),
    Plant(
        "a record counted again by the archive",
        _BRONZE,
        ("there 2 times",),
        _again("bronze.user_events", "partition = 0 AND offset = 1", log_id="'ffffffffffffffff'"),
    ),
    Plant(
        "a record lost by the archive",
        _BRONZE,
        ("user-events/0/2: missing",),
        "DELETE FROM bronze.user_events WHERE partition = 0 AND offset = 2",
    ),
    Plant(
        "a record changed by the archive",
        _BRONZE,
        ("user-events/0/3: another payload",),
        _again("bronze.user_events", "partition = 0 AND offset = 3", payload="concat(payload, ' ')"),
    ),
    Plant(
        "a loss that never was",
        "what was deleted unread has a row, nothing else has",
        ("user-events/1/1 (deleted_before_counted) has a row but",),
        "INSERT INTO meta.lost_offsets SELECT 'user-events', 1, 'x', 1, 2, now64(3), 'deleted_before_counted'",
    ),
    Plant(
        "a record that nobody produced",
        _BRONZE,
        ("user-events/0/999999: nobody produced it",),
        _again("bronze.user_events", "partition = 0 AND offset = 4", offset="999999"),
    ),
    Plant(
        "a good record with an error",
        _BRONZE,
        ("error says malformed, due ",),
        _again("bronze.cost_events", "error = ''", error="'malformed: planted'"),
    ),
    Plant(
        "a field changed in silver",
        "silver.user_activity: each id once, the older record counts",
        ("differs in user_id",),
        _again("silver.user_activity", "offset = 5", user_id="user_id + 1"),
    ),
    Plant(
        "text changed in silver",
        "silver.cost_events: each id once, the older record counts",
        ("differs in text",),
        _again("silver.cost_events", "provider = 'p1'", provider="'p2'"),
    ),
    Plant(
        "an id missing in silver",
        "silver.video_status: each id once, the older record counts",
        (": missing",),
        "DELETE FROM silver.video_status WHERE event_id = (SELECT max(event_id) FROM silver.video_status)",
    ),
    Plant(
        "a row that silver could not cast",
        "silver.rejected is empty",
        ("planted",),
        "INSERT INTO silver.rejected (topic, partition, offset, reason, ingested_at)"
        " VALUES ('user-events', 0, 1, 'planted', now())",
    ),
    Plant(
        "a personal value in clear",
        "personal values lie in ClickHouse sealed",
        ("silver.rejected holds 1 personal values in clear, e.g. at offset 2",),
        "INSERT INTO silver.rejected (topic, partition, offset, reason, payload, ingested_at)"
        " VALUES ('user-events', 0, 2, 'planted', '{\"email\":\"a.b@example.com\"}', now())",
    ),
    Plant(
        "a dead letter that is missing",
        _DEAD,
        (": missing", "rules: malformed"),
        "DELETE FROM meta.dead_letters WHERE (topic, partition, offset) ="
        " (SELECT max((topic, partition, offset)) FROM meta.dead_letters WHERE reason = 'malformed')",
    ),
    Plant(
        "a dead letter with other bytes",
        _DEAD,
        ("another payload or key",),
        _again("meta.dead_letters", "payload != ''", payload="'planted'", recorded_at="now64(3) + 60"),
    ),
    Plant(
        "a dead letter doubled under another log",
        _DEAD,
        ("there 2 times",),
        _again("meta.dead_letters", "payload != 'planted' AND topic = 'video-status'", log_id="'ffffffffffffffff'"),
    ),
    Plant(
        "a good record among the dead letters",
        _DEAD,
        ("no dead letter by the rules", "user-events/0/"),
        _again("meta.dead_letters", "topic = 'cost-events'", topic="'user-events'", partition="0", offset="7"),
    ),
    Plant(
        "an alert transition recorded twice",
        _ONCE,
        ("recorded as", "planted-twice"),
        _again("gold.alerts", "kind = 'transition' AND state = 'firing'", transition_id="'planted-twice'"),
    ),
    Plant(
        "an alert that nothing explains",
        "costs of videos: what must fire, fires",
        ("video 424242 (unknown)",),
        _again(
            "gold.alerts",
            "kind = 'transition' AND rule = 'video-cost-critical'",
            transition_id="'planted-alert'",
            fingerprint="'planted'",
            seq="1",
            labels="map('video_id', '424242')",
        ),
    ),
    Plant(
        "a delivery record that is gone",
        _BOTH,
        ("delivery", "only on the topic"),
        "DELETE FROM gold.alerts WHERE kind = 'delivery' AND transition_id ="
        " (SELECT max(transition_id) FROM gold.alerts WHERE kind = 'delivery')",
    ),
)
