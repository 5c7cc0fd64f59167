"""The committed dashboard and provisioning files: whole, consistent, and as wide as the catalogue."""

from __future__ import annotations

import re
from itertools import combinations
from typing import Any

import pytest

from streamproc.catalogue import METRICS
from streamproc.catalogue.daily import DAILY_METRICS
from streamproc.catalogue.grafana.goals import UNITS, steps
from streamproc.catalogue.metrics import WINDOWS
from tests.grafana.files import DASHBOARD, FOLDER, Panel, all_panels, panels, provisioned

PANELS = panels()
BY_PANEL = pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel.title)


def _asks(sql: str, table: str, metric: str) -> bool:
    return f"FROM {table}" in sql and re.search(rf"\bmetric = '{metric}'", sql) is not None


def test_every_windowed_metric_is_live() -> None:
    """Each has a panel in "Live", with the series of each of its dimensions. If not: `python -m tests.docs.pages`."""
    for metric in METRICS:
        table = "gold.entities" if metric.entity else "gold.windows_latest"
        found = [
            p for p in PANELS if p.row == ("Costs" if metric.entity else "Live") and _asks(p.sql, table, metric.name)
        ]
        assert len(found) == 1, metric.name
        if not metric.entity:
            assert all(f"'{dimension}'" in found[0].sql for dimension in metric.dimensions), metric.name
        assert metric.meaning[1:] in found[0].model["description"]
        assert metric.formula in found[0].model["description"]


def test_every_daily_metric_has_one_panel() -> None:
    for metric in DAILY_METRICS:
        found = [p for p in PANELS if _asks(p.sql, "gold.daily_metrics FINAL", metric.name)]
        assert len(found) == 1, metric.name
        assert (f"'{metric.dimension}'" in found[0].sql) or not metric.dimension
        assert metric.meaning[1:] in found[0].model["description"]


def _drawn(name: str) -> list[Any]:
    (panel,) = (p for p in PANELS if p.title == name)
    return [step["value"] for step in panel.model["fieldConfig"]["defaults"]["thresholds"]["steps"]]


def test_goals_are_drawn() -> None:
    """The customer's thresholds and targets, in the panels of their metrics."""
    assert _drawn("api_response_time_p95_ms") == [None, 200]
    assert _drawn("queue_processing_time_seconds") == [None, 60]
    assert _drawn("cost_per_video_usd, by day") == [None, 2.5, 3]
    assert _drawn("system_uptime, by day") == [None, 99.9]
    assert _drawn("cost_efficiency, by day") == [None, 3]
    (dearest,) = (p for p in PANELS if p.title.startswith("cost_per_video_usd: "))
    assert [
        step["value"]
        for override in dearest.model["fieldConfig"]["overrides"]
        for item in override["properties"]
        if item["id"] == "thresholds"
        for step in item["value"]["steps"][1:]
    ] == [2.5, 3.0]


def test_goals_and_units_that_are_not_understood_are_refused() -> None:
    assert [step["color"] for step in steps("", "> 3.0")] == ["red", "green"]
    for goal in (("about 5 ms", ""), ("", "as low as can be")):
        with pytest.raises(ValueError, match="expected"):
            steps(*goal)
    assert {metric.unit for metric in (*METRICS, *DAILY_METRICS)} <= set(UNITS)


def test_panels_have_their_place() -> None:
    """Numbers are unique, and nothing overlaps or sticks out; a collapsed row's panels lie below it."""
    models = all_panels()
    assert len({model["id"] for model in models}) == len(models) > 40
    places = [model["gridPos"] for model in DASHBOARD["panels"]]
    groups = [places, *([p["gridPos"] for p in m["panels"]] for m in models if m["type"] == "row" and m["collapsed"])]
    assert len(groups) > 1
    for group in groups:
        assert all(p["x"] >= 0 and p["w"] > 0 and p["h"] > 0 and p["x"] + p["w"] <= 24 for p in group)
        for a, b in combinations(group, 2):
            beside = a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"]
            assert beside or a["y"] + a["h"] <= b["y"] or b["y"] + b["h"] <= a["y"], (a, b)


def test_titles_say_which_panel_it_is() -> None:
    assert len({panel.title for panel in PANELS}) == len(PANELS)


@BY_PANEL
def test_a_panel_is_complete(panel: Panel) -> None:
    """It explains itself, and asks the provisioned data source in the plugin's own terms."""
    (source,) = provisioned("datasources")["datasources"]
    reference = {"type": source["type"], "uid": source["uid"]}
    assert panel.model["datasource"] == panel.target["datasource"] == reference
    assert len(panel.model["description"]) > 10
    assert panel.target["editorType"] == "sql"
    assert (panel.target["queryType"], panel.target["format"]) in {("timeseries", 0), ("table", 1)}
    assert panel.model["fieldConfig"]["defaults"].get("unit", "none") in {*UNITS.values(), "short", "none"}
    assert re.fullmatch(r"\d+d", panel.model.get("timeFrom", "1d"))


@BY_PANEL
def test_a_query_is_bounded_and_safe(panel: Panel) -> None:
    """By the range, with quoted variables, and without SETTINGS, which a read-only user may not have."""
    assert re.search(r"\$__(timeFilter\(|fromTime\b|toTime\b)", panel.sql)
    assert "SETTINGS" not in panel.sql.upper()
    assert set(re.findall(r"\$\{[^}]*\}", panel.sql)) <= {"${window:singlequote}"}
    # Earlier versions of the plugin read a macro's argument up to the last of two closing brackets.
    assert re.search(r"\$__\w+\([^()]*\)\)", panel.sql) is None


def test_the_dashboard_is_one_that_grafana_11_reads() -> None:
    assert DASHBOARD["uid"] == "streamproc"
    assert DASHBOARD["id"] is None
    assert DASHBOARD["schemaVersion"] >= 39
    assert DASHBOARD["refresh"] == "5s"
    assert DASHBOARD["timezone"] == "utc"
    (window,) = DASHBOARD["templating"]["list"]
    assert window["name"] == "window"
    assert tuple(option["value"] for option in window["options"]) == WINDOWS == tuple(window["query"].split(","))


def test_provisioning_reads_its_secrets_from_the_environment() -> None:
    """Every variable is in the example with a default, but for the password, which has none anywhere."""
    (source,) = provisioned("datasources")["datasources"]
    (provider,) = provisioned("dashboards")["providers"]
    assert source["type"] == "grafana-clickhouse-datasource"
    data = source["jsonData"]
    assert data["protocol"] == "http"
    given = [data["host"], data["port"], data["username"], source["secureJsonData"]["password"]]
    given.append(provider["options"]["path"])
    # The form ${X} is put in as it is; $__env{X} would expand a $ in a password once more.
    names = [re.fullmatch(r"\$\{(GRAFANA_\w+)\}", value)[1] for value in given]  # type: ignore[index]
    lines = (FOLDER / "grafana.env.example").read_text(encoding="utf-8").splitlines()
    example = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    assert set(example) == {*names, "GF_PATHS_PROVISIONING"}
    assert {name for name, value in example.items() if not value} == {"GRAFANA_CLICKHOUSE_PASSWORD"}
    assert example["GRAFANA_CLICKHOUSE_PORT"] == "8123"
