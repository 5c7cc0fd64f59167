"""The SQL that recomputes a day's windows from silver, and which of their events came too late for the stream."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from batch.reconcile.recipes import TABLES, Part, Recipe
from schemas.outcomes import ALLOWED_LATENESS_MS, STATUS_HORIZON_MS
from schemas.results import SIZES_MS
from schemas.topics import VIDEO_STATUS

DAY_MS: Final = SIZES_MS["1d"]
#: An event of a day comes at the earliest 5 minutes before it (allowed clock skew), so no earlier one can make it late.
_BEFORE_MS: Final = DAY_MS

_SIZES: Final = ", ".join(f"('{name}', {ms})" for name, ms in SIZES_MS.items())
_STATUS_SPAN_MS: Final = _BEFORE_MS + STATUS_HORIZON_MS


@dataclass(frozen=True, slots=True)
class Scope:
    """A UTC day (its first epoch ms), and how far the stream has counted: last offset by (topic, partition, log). What
    lies behind that in silver is not compared; logs that are not named are over and count as a whole."""

    day_ms: int
    counted: Mapping[tuple[str, int, str], int]

    def condition(self, topic: str) -> str:
        """What of a topic's rows of silver the stream has counted by now."""
        behind = [
            f"(partition = {partition} AND log_id = '{_safe(log_id)}' AND offset > {offset})"
            if offset >= 0
            else f"(partition = {partition} AND log_id = '{_safe(log_id)}')"
            for (of, partition, log_id), offset in sorted(self.counted.items())
            if of == topic
        ]
        return f"NOT ({' OR '.join(behind)})" if behind else "1"


def _safe(name: str) -> str:
    return "".join(c for c in name if c.isalnum() or c in "-_.:")


def windows_sql(recipe: Recipe, scope: Scope, percents: Sequence[int] = ()) -> str:
    """One row a window and dimension value of the day: size, start_ms, dimension, dimension_value, n, total, ids, late,
    and an array with the percentiles asked for (nearest rank)."""
    if percents:
        at = ", ".join(f"sorted[toUInt64(greatest(1, intDiv(n * {percent} + 99, 100)))]" for percent in percents)
        ranks = f"WITH arraySort(groupArray(v)) AS sorted SELECT {KEY}, [{at}] AS percentiles"
    else:
        ranks = f"SELECT {KEY}, CAST([], 'Array(Int64)') AS percentiles"
    return f"""{ranks}, count() AS n, sum(toInt128(v)) AS total, uniqExact(id) AS ids, sum(is_late) AS late
    FROM ({_events(recipe, scope)}) GROUP BY {KEY}"""


def details_sql(recipe: Recipe, scope: Scope, keys: Sequence[tuple[str, int, str, str]]) -> str:
    """Of these windows: their distinct ids, and (value, count) of all values."""
    return f"""
        SELECT {KEY}, groupUniqArrayArray(some_ids) AS ids, groupArray((v, c)) AS counts
        FROM (SELECT {KEY}, v, count() AS c, groupUniqArray(id) AS some_ids
              FROM ({_events(recipe, scope)}) WHERE ({KEY}) IN ({keys_sql(keys)}) GROUP BY {KEY}, v)
        GROUP BY {KEY}"""


KEY: Final = "size, start_ms, dimension, dimension_value"


def keys_sql(keys: Sequence[tuple[str, int, str, str]]) -> str:
    """Windows as tuples of literals."""
    return ", ".join(
        f"('{size}', {start}, '{_safe(dimension)}', {_literal(value)})" for size, start, dimension, value in keys
    )


def _literal(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _events(recipe: Recipe, scope: Scope) -> str:
    """A row an event, window size and dimension: size, start_ms, dimension, dimension_value, v, id, is_late."""
    return " UNION ALL ".join(_events_of(part, scope) for part in recipe.parts)


def _events_of(part: Part, scope: Scope) -> str:
    dimensions = ", ".join(["('', '')", *(f"('{name}', {of})" for name, of in part.dimensions.items())])
    return f"""
        SELECT s.1 AS size, intDiv(t, s.2) * s.2 AS start_ms, d.1 AS dimension, d.2 AS dimension_value, v, id,
               start_ms + s.2 + {ALLOWED_LATENESS_MS} <= highest AS is_late
        FROM (SELECT t, highest, {part.value} AS v, {part.id} AS id, arrayJoin([{dimensions}]) AS d
              FROM ({timed_sql(part.topic, scope)})
              WHERE t >= {scope.day_ms} AND t < {scope.day_ms + DAY_MS} AND ({part.where}))
        ARRAY JOIN [{_SIZES}] AS s"""


def timed_sql(topic: str, scope: Scope) -> str:
    """Silver's rows, each with `t`, and `highest`: the highest event time of those before it in its partition."""
    since = f"ingested_at >= fromUnixTimestamp64Milli(toInt64({scope.day_ms - _BEFORE_MS}))"
    counted = scope.condition(topic)
    if topic == VIDEO_STATUS:
        counted += f" AND event_id IN ({_counted_statuses(scope)})"
    return f"""
        SELECT *, toUnixTimestamp64Milli(occurred_at) AS t,
               max(toUnixTimestamp64Milli(occurred_at)) OVER (
                   PARTITION BY partition, log_id ORDER BY offset
                   ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS highest
        FROM {TABLES[topic]} FINAL WHERE {since} AND {counted}"""


def _counted_statuses(scope: Scope) -> str:
    """A status of a video counts once in 7 days of log time; nearly all have one event."""
    since = f"ingested_at >= fromUnixTimestamp64Milli(toInt64({scope.day_ms - _STATUS_SPAN_MS}))"
    return f"""
        SELECT arrayJoin(arrayFold(
            (acc, x) -> if(acc.1 < 0 OR x.1 - acc.1 > {STATUS_HORIZON_MS}, (x.1, arrayPushBack(acc.2, x.3)), acc),
            arraySort(x -> (x.1, x.2), groupArray((toUnixTimestamp64Milli(kafka_timestamp), toInt64(offset), event_id))),
            (toInt64(-1), CAST([], 'Array(UUID)'))).2)
        FROM silver.video_status FINAL WHERE {since} AND {scope.condition(VIDEO_STATUS)} GROUP BY video_id, status"""


def totals_sql(topic: str, entity: str, amount: str, scope: Scope) -> str:
    """Running totals of the entities that have an event on the day: entity, total, count, and (event id, amount) of each."""
    table, counted = TABLES[topic], scope.condition(topic)
    day = (
        f"occurred_at >= fromUnixTimestamp64Milli(toInt64({scope.day_ms}))"
        f" AND occurred_at < fromUnixTimestamp64Milli(toInt64({scope.day_ms + DAY_MS}))"
    )
    return f"""
        SELECT toString(assumeNotNull({entity})) AS name, sum(toInt128({amount})) AS total, count() AS n
        FROM {table} FINAL
        WHERE {counted} AND isNotNull({entity}) AND {entity} IN (SELECT {entity} FROM {table} WHERE {day})
        GROUP BY name"""


def total_ids_sql(topic: str, entity: str, amount: str, scope: Scope, names: Sequence[str]) -> str:
    """(entity, event id as text, amount) of these entities' events."""
    wanted = ", ".join(_literal(name) for name in names)
    return f"""
        SELECT toString(assumeNotNull({entity})) AS name, toString(event_id), {amount}
        FROM {TABLES[topic]} FINAL
        WHERE {scope.condition(topic)} AND isNotNull({entity}) AND name IN ({wanted})"""
