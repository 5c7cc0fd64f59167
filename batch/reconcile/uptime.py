"""The SQL that recomputes a day's uptime from silver: of each minute of each service the last health event decides."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from batch.reconcile.truth import DAY_MS, KEY, Scope, keys_sql, timed_sql
from schemas.outcomes import ALLOWED_LATENESS_MS
from schemas.results import SIZES_MS
from schemas.topics import OPS_EVENTS

_SIZES: Final = ", ".join(f"('{name}', {ms})" for name, ms in SIZES_MS.items())


def _minutes(scope: Scope) -> str:
    """A row a window, dimension, service and minute: up (0 or 1), n, late, and the last event: t, id."""
    return f"""
        SELECT s.1 AS size, s.2 AS size_ms, intDiv(t, s.2) * s.2 AS start_ms, d.1 AS dimension, d.2 AS dimension_value,
               name, intDiv(t, 60000) AS minute, argMax((toUInt8(assumeNotNull(ok)), t, toString(event_id)),
               (t, toString(event_id))) AS last, count() AS n,
               countIf(start_ms + s.2 + {ALLOWED_LATENESS_MS} <= highest) AS late
        FROM (SELECT t, highest, ok, event_id, service::String AS name,
                     arrayJoin([('', ''), ('service', service::String)]) AS d
              FROM ({timed_sql(OPS_EVENTS, scope)})
              WHERE t >= {scope.day_ms} AND t < {scope.day_ms + DAY_MS} AND kind = 'health')
        ARRAY JOIN [{_SIZES}] AS s
        GROUP BY size, size_ms, start_ms, dimension, dimension_value, name, minute"""


def windows_sql(scope: Scope) -> str:
    """One row a window and service of the day, as of other measures: size, start_ms, dimension, dimension_value, an array with
    the minutes due while the window is open, n, minutes up, minutes due, late."""
    return f"""
        SELECT {KEY}, [toInt64(max(newest) + 1) * toInt64(count()) - toInt64(sum(first))] AS open_due, sum(events) AS n,
               sum(minutes_up) AS up, sum(intDiv(start_ms + size_ms, 60000) - first) AS due, sum(too_late) AS late
        FROM (SELECT {KEY}, size_ms, name, min(minute) AS first, max(minute) AS newest, sum(last.1) AS minutes_up,
                     sum(n) AS events, sum(late) AS too_late
              FROM ({_minutes(scope)}) GROUP BY {KEY}, size_ms, name)
        GROUP BY {KEY}"""


def details_sql(scope: Scope, keys: Sequence[tuple[str, int, str, str]]) -> str:
    """Of these windows: (service, time, event id, ok) of the last health event of each minute."""
    return f"""
        SELECT {KEY}, groupArray((name, last.2, last.3, last.1)) AS marks
        FROM ({_minutes(scope)}) WHERE ({KEY}) IN ({keys_sql(keys)}) GROUP BY {KEY}"""
