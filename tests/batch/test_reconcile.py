"""Reconciling: what came too late is brought in, tampering is found and put right, and a second run changes nothing."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from batch.reconcile.recipes import RECIPES, TOTALS
from streamproc.catalogue import MEASURES
from streamproc.catalogue.daily import DAILY_METRICS
from tests.support.compare import differences
from tests.support.events import USER_EVENTS, encode, user_event
from tests.support.stack import Stack, wait_for
from tests.support.truth import Truth, compute
from tests.support.workload import Workload

#: Windows of the workload lie in the afternoon of this day, all of them.
DAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=3)


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    with Stack(tmp_path / "stack", idle_timeout_s="1") as running:
        running.create_topics()
        for role in ("windows", "archive"):
            running.worker(role)
        yield running


def _reconcile(stack: Stack, *options: str) -> dict[str, Any]:
    done = stack.cli("reconcile", "--day", f"{DAY:%Y-%m-%d}", "--json", *options, check=False)
    assert done.stdout.startswith("{"), done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found | {"exit": done.returncode}


def _sum(found: dict[str, Any], what: str) -> int:
    return sum(each[what] for each in found["measures"].values())


def _of_day(truth: Truth) -> dict[Any, Any]:
    return truth.windows | truth.entities


def _until_equal(stack: Stack, truth: dict[Any, Any], late: bool = False) -> None:
    deadline = time.monotonic() + 60
    while (wrong := differences(stack.windows(), truth, late)) and time.monotonic() < deadline:
        time.sleep(0.3)
    assert not wrong, f"{len(wrong)} differences, e.g.\n" + "\n".join(wrong[:15])


def test_a_day_is_reconciled_once_and_tampering_is_mended(stack: Stack) -> None:
    """Every window then equals the truth with the late events in it; so it does after rows of gold and cells were changed."""
    base_ms = int((DAY + timedelta(hours=15)).timestamp() * 1000)
    stack.produce((m.topic, m.key, m.value) for m in Workload(5, 12_000, base_ms, 0.1).messages())
    # The day after has begun: a day that goes on has less of its minutes behind it.
    stack.produce([(USER_EVENTS, b"1", encode(user_event(base_ms + 86_400_000, user_id=1)))])
    records = stack.log_records()
    before, after = _of_day(compute(records)), _of_day(compute(records, late_too=True))
    _until_equal(stack, before, late=True)

    dry = _reconcile(stack, "--dry-run")
    assert _sum(dry, "late_events") and not dry["sent"] and not _sum(dry, "drift"), dry
    assert not differences(stack.windows(), before)

    first = _reconcile(stack)
    assert first["sent"] and first["exit"] == 0, first
    assert not _sum(first, "drift") and not _sum(first, "wrong") and not _sum(first, "stuck"), first
    assert _sum(first, "late_events") == _sum(dry, "late_events")
    _until_equal(stack, after)
    # Redis follows: today's window is the live one, and the day itself is in the series.
    start_s = int(DAY.timestamp())
    users = after["active_users", "1d", start_s * 1000, "", ""][0]
    wait_for("Redis follows", lambda: float(stack.redis.hget("sp:series:active_users:1d", str(start_s)) or -1) == users)

    again = _reconcile(stack)
    assert again["sent"] == 0 and _sum(again, "late_events") == 0 and again["drift"] == 0, again

    _daily_equals_live(stack)

    _tamper(stack)
    assert differences(stack.windows(), after, late=False)
    mended = _reconcile(stack)
    assert mended["sent"] == 4 and mended["exit"] == 0, mended
    assert mended["measures"]["total_cost"]["wrong"] == 2, mended
    assert mended["measures"]["user_events"]["drift"] == 1 and mended["measures"]["cost_per_video"]["wrong"] == 1, (
        mended
    )
    _until_equal(stack, after)
    assert _reconcile(stack)["sent"] == 0
    books = stack.query("SELECT job, status, rows FROM meta.job_runs FINAL WHERE job = 'reconcile' ORDER BY started_at")
    assert [rows for _, _, rows in books] == [first["sent"], 0, 4, 0]


def _daily_equals_live(stack: Stack) -> None:
    """A daily metric with the same definition as a live one says what the day's window says; percentiles within 1 %."""
    # Nobody paid anything that day: an alert, recorded by the first build alone.
    assert "1 alerts recorded" in stack.cli("warehouse", "build", "--no-tests").stdout
    assert "0 alerts recorded" in stack.cli("warehouse", "build", "--no-tests").stdout
    live = {
        (metric, dimension, name): value
        for metric, dimension, name, value in stack.query(
            "SELECT metric, dimension, dimension_value, value FROM gold.windows_latest"
            f" WHERE window = '1d' AND window_start = '{DAY:%Y-%m-%d} 00:00:00'"
        )
    }
    daily = {
        (metric, dimension, name): value
        for metric, dimension, name, value in stack.query(
            "SELECT metric, dimension, dimension_value, value FROM gold.daily_metrics FINAL"
            f" WHERE day = '{DAY:%Y-%m-%d}' AND grain = 'day'"
        )
    }
    compared, uptimes = 0, 0
    for metric in DAILY_METRICS:
        if not metric.live:
            continue
        for (name, dimension, value), said in daily.items():
            if name != metric.name:
                continue
            shown = live.get((metric.live, dimension, value))
            # A component without costs has no window.
            assert (shown is None) == (not said), (metric.name, dimension, value, said)
            within = 0.0101 if metric.live.endswith("_ms") else 1e-9
            assert shown is None or shown == pytest.approx(said, rel=within, abs=1e-9), (metric.name, dimension, value)
            compared += shown is not None
            uptimes += metric.live == "system_uptime" and shown is not None and 0 < shown < 100
    assert compared >= 7
    assert uptimes == 6, "five services, and all of them"


def _tamper(stack: Stack) -> None:
    """A value changed in place, one under a far higher version, an entity's total, and a cell that is gone."""
    day = f"{DAY:%Y-%m-%d} 00:00:00"
    where = f"metric = 'total_cost_usd' AND window = '1d' AND window_start = '{day}' AND dimension = ''"
    stack.query(
        f"ALTER TABLE gold.windows UPDATE value = value + 1, sum_e4 = sum_e4 + 10000 WHERE {where} SETTINGS mutations_sync = 2"
    )
    stack.query(
        "INSERT INTO gold.windows SELECT * REPLACE (count + 7 AS count, version + 4000000 AS version)"
        " FROM gold.windows FINAL WHERE metric = 'total_cost_usd' AND window = '1h' AND dimension = '' AND count > 0 LIMIT 1"
    )
    stack.query(
        "INSERT INTO gold.entities SELECT * REPLACE (sum_e4 - 5 AS sum_e4, version + 1 AS version)"
        " FROM gold.entities FINAL WHERE metric = 'cost_per_video_usd' LIMIT 1"
    )
    # The worker holds no window of that day any more, or it would not miss the cell.
    cell = stack.query(
        "SELECT dimension_value, start_ms, source FROM meta.window_sources FINAL WHERE measure = 'user_events'"
        " AND size = '1h' AND dimension = 'activity_type' AND source NOT LIKE 'reconcile/%' ORDER BY length(data) DESC LIMIT 1"
    )[0]
    key = f"measure = 'user_events' AND size = '1h' AND dimension = 'activity_type' AND dimension_value = '{cell[0]}' AND start_ms = {cell[1]}"
    wait_for("windows let go", lambda: stack.workers[0].metric("streamproc_open_windows") == 0, 90)
    stack.query(
        f"ALTER TABLE meta.window_sources DELETE WHERE {key} AND source = '{cell[2]}' SETTINGS mutations_sync = 2"
    )
    stack.query(
        "INSERT INTO gold.windows SELECT * REPLACE (0 AS count, 0 AS value, version + 1 AS version) FROM gold.windows FINAL"
        f" WHERE metric = 'user_events' AND window = '1h' AND dimension = 'activity_type' AND dimension_value = '{cell[0]}'"
        f" AND toUnixTimestamp(window_start) = {cell[1] // 1000}"
    )


def test_a_day_that_goes_on_is_refused(stack: Stack) -> None:
    """Today's windows still take events."""
    done = stack.cli("reconcile", "--day", f"{datetime.now(UTC):%Y-%m-%d}", check=False)
    assert done.returncode == 2 and "allowed are days before that" in done.stderr + done.stdout


def test_every_measure_has_a_recipe() -> None:
    """A measure that is added to the catalogue is reconciled too, by the same dimensions."""
    assert {recipe.measure for recipe in RECIPES} == {m.name for m in MEASURES if not m.entity}
    assert set(TOTALS) == {m.name for m in MEASURES if m.entity}
    dimensions = {m.name: set(m.dimensions) for m in MEASURES}
    for recipe in RECIPES:
        assert {name for part in recipe.parts for name in part.dimensions} == dimensions[recipe.measure]
        assert {part.topic for part in recipe.parts} == set(
            next(m for m in MEASURES if m.name == recipe.measure).topics
        )
