"""Panels as Grafana's dashboard JSON has them, without their place and number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

Json = dict[str, Any]

PLUGIN: Final = "grafana-clickhouse-datasource"
DATASOURCE_UID: Final = "streamproc-clickhouse"
#: Grid columns of a dashboard.
GRID: Final = 24

# The plugin's own names and numbers for the forms of an answer.
_TIME_SERIES: Final = ("timeseries", 0)
_TABLE: Final = ("table", 1)
_GREEN: Final = [{"color": "green", "value": None}]
_BY_SERIES: Final = "${__field.labels.series}"


def datasource() -> Json:
    """Reference to the provisioned data source."""
    return {"type": PLUGIN, "uid": DATASOURCE_UID}


def _target(sql: str, form: tuple[str, int]) -> Json:
    kind, number = form
    return {
        "datasource": datasource(),
        "editorType": "sql",
        "format": number,
        "pluginVersion": "4.0.0",
        "queryType": kind,
        "rawSql": sql,
        "refId": "A",
    }


def _panel(kind: str, title: str, description: str, sql: str, form: tuple[str, int], size: tuple[int, int]) -> Json:
    width, height = size
    return {
        "type": kind,
        "title": title,
        "description": description,
        "datasource": datasource(),
        "gridPos": {"w": width, "h": height},
        "targets": [_target(sql, form)],
    }


def time_series(
    title: str,
    description: str,
    sql: str,
    unit: str,
    *,
    steps: Sequence[Json] = (),
    by_series: bool = True,
    bars: bool = False,
    stacked: bool = False,
    size: tuple[int, int] = (8, 7),
    over: str = "",
) -> Json:
    """Lines, or bars, over time. `steps` draws thresholds; `over` is a range of its own, for instance 35d."""
    custom = {
        "drawStyle": "bars" if bars else "line",
        "fillOpacity": 60 if bars else 8,
        "lineWidth": 1,
        "showPoints": "auto",
        "spanNulls": False,
        "stacking": {"mode": "normal" if stacked else "none", "group": "A"},
        "thresholdsStyle": {"mode": "dashed" if len(steps) > 1 else "off"},
    }
    defaults: Json = {
        "color": {"mode": "palette-classic"},
        "custom": custom,
        "thresholds": {"mode": "absolute", "steps": list(steps) or _GREEN},
        "unit": unit,
    }
    if by_series:
        defaults["displayName"] = _BY_SERIES
    panel = _panel("timeseries", title, description, sql, _TIME_SERIES, size)
    panel["fieldConfig"] = {"defaults": defaults, "overrides": []}
    panel["options"] = {
        "legend": {"calcs": ["lastNotNull"], "displayMode": "list", "placement": "bottom", "showLegend": True},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
    return _over(panel, over)


def _over(panel: Json, over: str) -> Json:
    return panel | {"timeFrom": over} if over else panel


def figure(
    title: str,
    description: str,
    sql: str,
    unit: str,
    *,
    steps: Sequence[Json] = (),
    kind: str = "stat",
    series: bool = False,
    size: tuple[int, int] = (4, 7),
) -> Json:
    """The newest number of each field: `kind` is stat or bargauge; with `series` each is called by its series."""
    defaults: Json = {"thresholds": {"mode": "absolute", "steps": list(steps) or _GREEN}, "unit": unit}
    if kind == "bargauge":
        defaults["min"] = 0
    if series:
        defaults["displayName"] = _BY_SERIES
    panel = _panel(kind, title, description, sql, _TIME_SERIES if series else _TABLE, size)
    panel["fieldConfig"] = {"defaults": defaults, "overrides": []}
    options: Json = {"reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False}}
    if kind == "bargauge":
        options |= {"displayMode": "gradient", "orientation": "horizontal", "showUnfilled": True}
    else:
        options |= {"colorMode": "value", "graphMode": "none", "textMode": "auto"}
    panel["options"] = options
    return panel


def table(
    title: str,
    description: str,
    sql: str,
    *,
    units: Mapping[str, str] | None = None,
    steps: Mapping[str, Sequence[Json]] | None = None,
    size: tuple[int, int] = (12, 8),
    over: str = "",
) -> Json:
    """A table; `units` by column, and `steps` by column for those whose cells are coloured."""
    units, steps = units or {}, steps or {}
    overrides = []
    for name in dict.fromkeys((*units, *steps)):
        properties: list[Json] = [{"id": "unit", "value": units[name]}] if name in units else []
        if name in steps:
            properties.append({"id": "thresholds", "value": {"mode": "absolute", "steps": list(steps[name])}})
            properties.append({"id": "custom.cellOptions", "value": {"type": "color-text"}})
        overrides.append({"matcher": {"id": "byName", "options": name}, "properties": properties})
    panel = _panel("table", title, description, sql, _TABLE, size)
    panel["fieldConfig"] = {"defaults": {"custom": {"align": "auto", "filterable": True}}, "overrides": overrides}
    panel["options"] = {"cellHeight": "sm", "showHeader": True}
    return _over(panel, over)


def matrix(title: str, description: str, sql: str, fields: tuple[str, str, str], unit: str, over: str) -> Json:
    """A table of a value by row and column (`fields`: row, column, value), its cells coloured from 0 to 100."""
    row, column, value = fields
    panel = table(title, description, sql, size=(24, 9), over=over)
    panel["transformations"] = [
        {
            "id": "groupingToMatrix",
            "options": {"rowField": row, "columnField": column, "valueField": value, "emptyValue": "null"},
        }
    ]
    panel["fieldConfig"]["defaults"] |= {
        "color": {"mode": "continuous-blues"},
        "custom": {"align": "auto", "cellOptions": {"type": "color-background", "mode": "basic"}},
        "decimals": 1,
        "max": 100,
        "min": 0,
        "unit": unit,
    }
    return panel


def row(title: str, *, collapsed: bool = False) -> Json:
    """A heading; the panels of a collapsed one lie in it and ask nothing until it is opened."""
    return {"type": "row", "title": title, "collapsed": collapsed, "gridPos": {"w": GRID, "h": 1}, "panels": []}
