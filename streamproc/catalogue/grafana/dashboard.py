"""The dashboard as a whole: rows laid out on Grafana's grid, with the variable `window`."""

from __future__ import annotations

import json
from typing import Final

from streamproc.catalogue.grafana import rows
from streamproc.catalogue.grafana.panels import GRID, Json, row
from streamproc.catalogue.metrics import WINDOWS

DASHBOARD_UID: Final = "streamproc"
#: Of Grafana 11; newer ones bring it up to date when they load it.
_SCHEMA: Final = 39


def dashboard() -> Json:
    """The JSON model, the same for the same catalogue."""
    placed: list[Json] = []
    y = number = 0
    for title, panels, collapsed in (
        ("Live", rows.live(), False),
        ("Costs", rows.costs(), False),
        ("Video funnel", rows.funnel(), False),
        ("Business, by day", rows.business(), True),
        ("Alerts", rows.alerts(), False),
        ("Health", rows.health(), True),
    ):
        heading = row(title, collapsed=collapsed)
        heading["gridPos"] |= {"x": 0, "y": y}
        below = _lay_out(panels, y + 1)
        for panel in (heading, *panels):
            number += 1
            panel["id"] = number
        placed.append(heading)
        if collapsed:
            heading["panels"] = panels
            y += 1
        else:
            placed += panels
            y = below
    return _model(placed)


def _lay_out(panels: list[Json], y: int) -> int:
    """Side by side from left to right, in lines as high as their highest; the line below the last."""
    x = height = 0
    for panel in panels:
        place = panel["gridPos"]
        if x + place["w"] > GRID:
            x, y, height = 0, y + height, 0
        place |= {"x": x, "y": y}
        x, height = x + place["w"], max(height, place["h"])
    return y + height


def _model(panels: list[Json]) -> Json:
    return {
        "annotations": {"list": []},
        "description": "Live windows, costs, the way of videos, daily metrics and alerts. Written by "
        "`python -m tests.docs.pages` from the metric catalogue of streamproc.",
        "editable": False,
        "graphTooltip": 1,
        "id": None,
        "links": [],
        "panels": panels,
        "refresh": "5s",
        "schemaVersion": _SCHEMA,
        "tags": ["streamproc"],
        "templating": {"list": [_window_variable()]},
        "time": {"from": "now-6h", "to": "now"},
        "timepicker": {"refresh_intervals": ["5s", "10s", "30s", "1m", "5m", "15m"]},
        "timezone": "utc",
        "title": "streamproc",
        "uid": DASHBOARD_UID,
        "version": 1,
    }


def _window_variable() -> Json:
    options = [{"selected": at == 0, "text": name, "value": name} for at, name in enumerate(WINDOWS)]
    return {
        "current": options[0],
        "description": "Size of the windows in the live rows.",
        "hide": 0,
        "includeAll": False,
        "label": "Window",
        "multi": False,
        "name": "window",
        "options": options,
        "query": ",".join(WINDOWS),
        "skipUrlSync": False,
        "type": "custom",
    }


def dashboard_json() -> str:
    """The text of deploy/grafana/dashboards/streamproc.json."""
    return json.dumps(dashboard(), indent=2, ensure_ascii=False) + "\n"
