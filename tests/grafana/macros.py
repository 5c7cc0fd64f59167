"""What Grafana and its ClickHouse plugin make of a panel's SQL before ClickHouse reads it.

Written from the plugin's documentation, "Macros" of
https://grafana.com/docs/plugins/grafana-clickhouse-datasource/latest/query-editor/ and Grafana's "Variable syntax": Grafana puts
in variables first, the plugin expands macros after it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime


@dataclass(frozen=True)
class View:
    """What a person looks at: a range in epoch seconds, the panel's interval in seconds, and the variables."""

    begin: int
    end: int
    interval: int = 60
    variables: tuple[tuple[str, str], ...] = (("window", "1m"),)


def expand(sql: str, view: View) -> str:
    """The SQL that ClickHouse is asked; raises ValueError for a variable or macro that is none."""
    text = _macros(_variables(sql, dict(view.variables)), view)
    if "$" in text:
        raise ValueError(f"something is left of {sql}: {text}")
    return text


def _variables(sql: str, values: dict[str, str]) -> str:
    def value_of(match: re.Match[str]) -> str:
        name, form = match["name"] or match["plain"], match["form"] or ""
        if name not in values:
            raise ValueError(f"no variable {name!r}")
        if form == "singlequote":
            return "'" + values[name].replace("'", "\\'") + "'"
        if form:
            raise ValueError(f"the form {form!r} is not known here")
        return values[name]

    return re.sub(r"\$\{(?P<name>\w+)(?::(?P<form>\w+))?\}|\$(?!__)(?P<plain>\w+)", value_of, sql)


def _macros(sql: str, view: View) -> str:
    parts, at = [], 0
    for match in re.finditer(r"\$__(\w+)", sql):
        if match.start() < at:
            raise ValueError("a macro in a macro's argument")
        arguments, end = _arguments(sql, match.end())
        parts += [sql[at : match.start()], _macro(match[1], arguments, view)]
        at = end
    return "".join([*parts, sql[at:]])


def _arguments(sql: str, at: int) -> tuple[list[str], int]:
    """Arguments in brackets right behind a macro's name, and where they end."""
    if sql[at : at + 1] != "(":
        return [], at
    depth, begin, found = 0, at + 1, []
    for end in range(at, len(sql)):
        depth += {"(": 1, ")": -1}.get(sql[end], 0)
        if depth == 0 or (depth == 1 and sql[end] == ","):
            found.append(sql[begin:end].strip())
            begin = end + 1
        if depth == 0:
            return found, end + 1
    raise ValueError("a bracket is left open")


def _macro(name: str, given: list[str], view: View) -> str:
    def date(at: int) -> str:
        return f"toDate('{datetime.fromtimestamp(at, UTC):%Y-%m-%d}')"

    begin, end = f"toDateTime({view.begin})", f"toDateTime({view.end})"
    begin_ms, end_ms = (f"fromUnixTimestamp64Milli({at * 1000})" for at in (view.begin, view.end))
    plain = {
        "fromTime": begin,
        "toTime": end,
        "fromTime_ms": begin_ms,
        "toTime_ms": end_ms,
        "interval_s": str(view.interval),
    }
    if name in plain and not given:
        return plain[name]
    of_column = {
        "timeFilter": "{0} >= " + begin + " AND {0} <= " + end,
        "timeFilter_ms": "{0} >= " + begin_ms + " AND {0} <= " + end_ms,
        "dateFilter": "{0} >= " + date(view.begin) + " AND {0} <= " + date(view.end),
        "timeInterval": f"toStartOfInterval(toDateTime({{0}}), INTERVAL {view.interval} second)",
        "timeInterval_ms": f"toStartOfInterval(toDateTime64({{0}}, 3), INTERVAL {view.interval * 1000} millisecond)",
    }
    if name in of_column and len(given) == 1 and given[0]:
        return of_column[name].format(*given)
    raise ValueError(f"no macro $__{name} with {len(given)} arguments")
