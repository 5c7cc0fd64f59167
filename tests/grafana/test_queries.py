"""Every panel's query, with Grafana's macros expanded, against a real ClickHouse with a built warehouse."""

from __future__ import annotations

import re

import pytest

from streamproc.catalogue import METRICS, Metric
from streamproc.catalogue.grafana.queries import MOST_SERIES
from streamproc.catalogue.metrics import WINDOWS
from tests.grafana.conftest import Answer, Warehouse
from tests.grafana.files import Panel, panels
from tests.grafana.macros import View, expand
from tests.grafana.stream import DEEP, ENTITIES, LATE, WIDE, value_of

pytestmark = [pytest.mark.xdist_group("grafana"), pytest.mark.timeout(600)]

PANELS = panels()
BY_PANEL = pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel.title)
BY_METRIC = pytest.mark.parametrize("metric", [m for m in METRICS if not m.entity], ids=lambda metric: metric.name)
HOUR, DAY = 3600, 86_400

_NUMBER = re.compile(r"(Nullable\()?(U?Int\d+|Float64)\)?")
#: What Grafana's plugin makes a field of; maps, tuples and arrays come as text of no use.
_FIELD = re.compile(r"(LowCardinality\()?(Nullable\()?(String|U?Int\d+|Float64|Bool|Date|DateTime(64)?(\([^)]*\))?)\)*")


def _view(panel: Panel, warehouse: Warehouse, window: str = "1m") -> View:
    """The panel's own range if it has one, as Grafana takes it."""
    own = panel.model.get("timeFrom")
    return warehouse.view(int(own.removesuffix("d")) * DAY if own else 6 * HOUR, window)


def _ask(title: str, warehouse: Warehouse, view: View | None = None) -> Answer:
    (panel,) = (each for each in PANELS if each.title == title)
    return warehouse.ask(expand(panel.sql, view or _view(panel, warehouse)))


@BY_PANEL
def test_a_panel_gets_what_it_shows(panel: Panel, warehouse: Warehouse) -> None:
    """Rows, in columns of the kinds and names that the panel is made for."""
    answer = warehouse.ask(expand(panel.sql, _view(panel, warehouse)))
    assert answer.rows
    assert all(_FIELD.fullmatch(kind) for kind in answer.types.values()), answer.types
    if panel.target["queryType"] == "timeseries":
        _is_time_series(panel, answer)
    else:
        _is_table(panel, answer)


#: Columns of sorting or partition keys by which a range bounds what is read.
_KEYS = {
    "gold.windows_latest": "window_start",
    "gold.daily_metrics": "day",
    "gold.financial_daily": "day",
    "gold.retention_weekly": "cohort_week",
    "gold.fact_video_generation": "created_date",
    "gold.alerts": "recorded_at",
    "meta.dead_letters": "recorded_at",
}
#: Few rows, or none of whose keys is a time.
_WITHOUT = {"gold.entities", "meta.lost_offsets", "meta.build_marks"}


@BY_PANEL
def test_clickhouse_reads_only_the_range(panel: Panel, warehouse: Warehouse) -> None:
    """Each table is read by an index that knows both ends of the range."""
    tables = re.findall(r"\b(?:gold|meta)\.\w+", panel.sql)
    assert tables
    assert set(tables) <= set(_KEYS) | _WITHOUT
    plan = "\n".join(
        warehouse.ask(f"EXPLAIN indexes = 1 {expand(panel.sql, _view(panel, warehouse))}").column("explain")
    )
    for table in set(tables) - _WITHOUT:
        assert re.search(rf"\({_KEYS[table]} in \[-?\d+, ", plan), plan
        assert re.search(rf"\({_KEYS[table]} in \S+, -?\d+\]", plan) or "recorded_at" in _KEYS[table], plan


def _is_time_series(panel: Panel, answer: Answer) -> None:
    """Of the long form that the plugin turns into lines: by time, at most one label, then numbers."""
    first, *others = answer.types
    assert first == "time"
    assert answer.types["time"].startswith("DateTime")
    by_series = "series" in others
    assert by_series == ("${__field.labels.series}" in str(panel.model["fieldConfig"]["defaults"].get("displayName")))
    numbers = [name for name in others if name != "series"]
    assert numbers
    assert all(_NUMBER.fullmatch(answer.types[name]) for name in numbers), answer.types
    times = answer.column("time")
    assert times == sorted(times)
    points = list(zip(times, answer.column("series"), strict=True)) if by_series else times
    assert len(set(points)) == len(points)


def _is_table(panel: Panel, answer: Answer) -> None:
    overrides = [override["matcher"]["options"] for override in panel.model["fieldConfig"]["overrides"]]
    matrices = [each["options"] for each in panel.model.get("transformations", ())]
    fields = [each[field] for each in matrices for field in ("rowField", "columnField", "valueField")]
    assert {*overrides, *fields} <= set(answer.types)
    if panel.model["type"] != "table":
        assert len(answer.rows) == 1
        assert all(_NUMBER.fullmatch(kind) for kind in answer.types.values())


@BY_PANEL
@pytest.mark.parametrize("window", WINDOWS)
def test_a_range_without_data_is_no_error(panel: Panel, window: str, warehouse: Warehouse) -> None:
    """A new house, or a quiet night."""
    at = warehouse.now - 400 * DAY
    answer = warehouse.ask(expand(panel.sql, View(at, at + DAY, variables=(("window", window),))))
    assert panel.model["type"] != "table" or not answer.rows


@BY_METRIC
@pytest.mark.parametrize("window", WINDOWS)
def test_live_series_are_what_was_published(metric: Metric, window: str, warehouse: Warehouse) -> None:
    """The newest version of each window, and of each dimension the largest values."""
    answer = _ask(metric.name, warehouse, warehouse.view(40 * DAY, window))
    series = {"total": 0}
    for dimension in metric.dimensions:
        series |= {f"{dimension} kind-{n:02}": n for n in range(WIDE - MOST_SERIES + 1, WIDE + 1)}
    due = {(name, value_of(metric.name, window, ago, n)) for name, n in series.items() for ago in range(DEEP)}
    found = list(zip(answer.column("series"), answer.column("value"), strict=True))
    assert set(found) == due
    assert len(found) == len(due)


def test_the_day_is_shown_though_it_began_before_the_range(warehouse: Warehouse) -> None:
    """At the left edge; the day before, which ended before the range, is not."""
    view = warehouse.view(2 * HOUR, "1d")
    answer = _ask("active_users", warehouse, view)
    assert answer.column("value") == [value_of("active_users", "1d", 0, 0)]
    ((edge,),) = warehouse.ask(f"SELECT toDateTime({view.begin}, 'UTC')").rows
    assert answer.column("time") == [edge]


def test_windows_that_end_with_the_begin_of_the_range_are_not_shown(warehouse: Warehouse) -> None:
    begin = warehouse.now // 300 * 300 - 600
    answer = _ask("user_events", warehouse, View(begin, warehouse.now, variables=(("window", "5m"),)))
    totals = [v for s, v in zip(answer.column("series"), answer.column("value"), strict=True) if s == "total"]
    assert totals == [value_of("user_events", "5m", ago, 0) for ago in (2, 1, 0)]


def test_today_is_the_day_in_which_the_range_ends(warehouse: Warehouse) -> None:
    assert _ask("Burn rate today", warehouse).column("value") == [value_of("total_cost_usd", "1d", 0, 0)]
    parts = _ask("Burn rate today by component", warehouse)
    assert parts.column("series") == [f"component kind-{n:02}" for n in range(WIDE, WIDE - MOST_SERIES, -1)]
    yesterday = _ask("Burn rate today", warehouse, View(warehouse.now - 3 * DAY, warehouse.now - DAY))
    assert yesterday.column("value") == [value_of("total_cost_usd", "1d", 1, 0)]


def test_the_funnel_adds_up_the_windows_of_the_range(warehouse: Warehouse) -> None:
    answer = _ask("From request to publication", warehouse)
    due = {
        step: sum(value_of(f"videos_{step}", "1m", ago, 0) for ago in range(DEEP))
        for step in ("requested", "started", "completed", "published", "failed")
    }
    assert dict(zip(answer.types, answer.rows[0], strict=True)) == due


def test_the_dearest_totals_are_the_newest(warehouse: Warehouse) -> None:
    answer = _ask("cost_per_video_usd: highest, live", warehouse)
    assert answer.column("total") == [number / 10 for number in range(ENTITIES, ENTITIES - 20, -1)]
    few = _ask("cost_per_video_usd: highest, live", warehouse, warehouse.view(5 * 60 + 30))
    assert few.column("video_id") == ["5", "4", "3", "2", "1"]


def test_firing_is_what_has_not_been_resolved(warehouse: Warehouse) -> None:
    assert [int(number) for number in _ask("Firing", warehouse).column("firing")] == [2]
    assert _ask("Firing alerts", warehouse).column("rule") == ["rule-b", "rule-c"]
    before = warehouse.view(3 * HOUR)
    earlier = View(before.begin, warehouse.now - 90 * 60)
    assert _ask("Firing alerts", warehouse, earlier).column("rule") == ["rule-a", "rule-c"]
    changes = _ask("Latest changes of alerts", warehouse)
    shown = list(zip(changes.column("rule"), changes.column("state"), changes.column("delivery"), strict=True))
    assert shown == [("rule-a", "resolved", ""), ("rule-b", "firing", ""), ("rule-a", "firing", "slack")]


def test_health_counts_each_once(warehouse: Warehouse) -> None:
    letters = _ask("Dead letters", warehouse)
    count: dict[str, float] = {}
    for reason, number in zip(letters.column("series"), letters.column("value"), strict=True):
        count[reason] = count.get(reason, 0) + number
    # A letter that is written again five seconds later may count in two minutes until ClickHouse merges it.
    assert count["too_large"] == 1
    assert 2 <= count["malformed"] <= 3
    late = _ask("Late events", warehouse)
    assert set(late.column("series")) == {metric.name for metric in METRICS if not metric.entity}
    assert set(late.column("value")) == {float(LATE)}
    statuses = dict(
        zip(*(_ask("Windows by status", warehouse).column(name) for name in ("status", "windows")), strict=True)
    )
    assert {name: int(n) for name, n in statuses.items()} == {
        "open": len(set(late.column("series"))),
        "final": (DEEP - 1) * len(set(late.column("series"))),
    }
    assert [int(n) for n in _ask("Lost records", warehouse).column("records")] == [20]


def test_tables_of_videos_agree_with_the_facts(warehouse: Warehouse) -> None:
    """All videos of the month were requested within the panels' range."""
    sql = """SELECT count(), countIf(status = 'failed'), toFloat64(max(total_cost)) FROM gold.fact_video_generation FINAL
             WHERE requested_at <= toDateTime({now})"""
    ((videos, failed, dearest),) = warehouse.ask(sql.replace("{now}", str(warehouse.now))).rows
    niches = _ask("Videos by niche", warehouse)
    assert sum(map(int, niches.column("requested"))) == int(videos) > 50
    assert sum(map(int, niches.column("failed"))) == int(failed) > 0
    assert sum(map(int, _ask("Why videos failed", warehouse).column("videos"))) == int(failed)
    assert _ask("Dearest videos, by what was paid for", warehouse).column("total")[0] == dearest


def test_daily_panels_show_gold_as_it_is(warehouse: Warehouse) -> None:
    sql = """SELECT day, value FROM gold.daily_metrics FINAL
             WHERE metric = 'dau' AND grain = 'day' AND dimension = '' ORDER BY day"""
    days = warehouse.ask(sql).rows
    shown = _ask("dau, by day", warehouse)
    last = max(str(time) for time in shown.column("time"))[:10]
    found = [[str(time)[:10], value] for time, value in zip(shown.column("time"), shown.column("value"), strict=True)]
    assert found == [row for row in days if row[0] <= last]
    assert len(found) > 14
