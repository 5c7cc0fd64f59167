"""Trace: counted, duplicate, repeated, late, dead, or not found."""

from __future__ import annotations

import threading
import uuid

import pytest
from typer.testing import CliRunner

from streamproc.cli.main import build_app
from streamproc.clock import now_ms
from streamproc.config import Settings
from streamproc.tracing import COUNTED, DEAD, DUPLICATE, REPEATED, Trace, trace
from tests.ops.archive import Archived, add_window, archive, with_clickhouse
from tests.support.events import COST_EVENTS, USER_EVENTS, VIDEO_STATUS, cost_event, encode, user_event, video_event

MINUTE = 60_000


def _trace(settings: Settings, event_id: str, wait_s: float = 0.0) -> Trace:
    return with_clickhouse(settings, lambda clickhouse: trace(clickhouse, event_id, 600_000, wait_s))


@pytest.fixture
def log_id() -> str:
    """A log of this test's own."""
    return uuid.uuid4().hex[:12]


def test_a_counted_event_with_its_windows(settings: Settings, log_id: str) -> None:
    """Every metric of the catalogue that takes it, in four windows, with present values where there are any."""
    now = now_ms()
    event = user_event(now, activity_type="login")
    archive(settings, USER_EVENTS, 1, log_id, [Archived(5, now, encode(event))])
    add_window(settings, "user_events", "1h", now // 3_600_000 * 3_600_000, 42, "open")
    result = _trace(settings, event["event_id"].upper())
    assert [(record.verdict, record.place.offset, record.late_for) for record in result.found] == [(COUNTED, 5, ())]
    assert result.occurred_ms == now
    assert result.settled
    metrics = {(window.metric, window.dimension, window.dimension_value) for window in result.windows}
    assert ("user_events", "activity_type", "login") in metrics
    assert {name for name, _, _ in metrics} == {
        "active_users",
        "user_events",
        *(f"api_response_time_p{percent}_ms" for percent in (50, 95, 99)),
    }
    hour = [w for w in result.windows if (w.metric, w.size, w.dimension) == ("user_events", "1h", "")]
    assert [(window.value, window.status) for window in hour] == [(42, "open")]


def test_without_a_response_time_no_percentile_takes_it(settings: Settings, log_id: str) -> None:
    """Selectors of the catalogue are followed."""
    now = now_ms()
    event = user_event(now, response_time_ms=None)
    archive(settings, USER_EVENTS, 1, log_id, [Archived(0, now, encode(event))])
    names = {window.metric for window in _trace(settings, event["event_id"]).windows}
    assert names == {"active_users", "user_events"}


def test_duplicates_within_ten_minutes_of_log_time(settings: Settings, log_id: str) -> None:
    """The lower offset is named; beyond the horizon the same id is accepted again."""
    now = now_ms()
    event = user_event(now)
    value, upper = encode(event), encode(event | {"event_id": event["event_id"].upper()})
    records = [
        Archived(0, now, value),
        Archived(1, now + 600_000, upper),
        Archived(2, now + 600_001, value),
        # Log time does not step back with this timestamp.
        Archived(3, now + 1000, value),
    ]
    archive(settings, USER_EVENTS, 2, log_id, records)
    result = _trace(settings, event["event_id"])
    verdicts = {record.place.offset: record.verdict for record in result.found}
    assert verdicts == {0: COUNTED, 1: DUPLICATE, 2: COUNTED, 3: DUPLICATE}
    assert "of offset 0" in next(record.because for record in result.found if record.place.offset == 1)


def test_late_sizes_are_named(settings: Settings, log_id: str) -> None:
    """Twelve minutes behind the highest event time: too late for 1m, perhaps 5m, never for the hour or day here."""
    hour = now_ms() // 3_600_000 * 3_600_000 - 3_600_000
    late = cost_event(hour, video_id=77)
    records = [
        Archived(0, hour, encode(cost_event(hour + 11 * MINUTE))),
        Archived(1, hour, encode(late)),
    ]
    archive(settings, COST_EVENTS, 3, log_id, records)
    result = _trace(settings, late["event_id"])
    assert [(record.verdict, record.late_for) for record in result.found] == [(COUNTED, ("1m",))]
    assert {"cost_per_video_usd", "total_cost_usd", "avg_cost_per_video_usd"} == {w.metric for w in result.windows}


def test_a_repeated_status_names_the_first(settings: Settings, log_id: str) -> None:
    """And it does not move the highest event time."""
    now = now_ms()
    video = 10**9 + int(log_id[:6], 16)
    first = video_event(now - 30 * MINUTE, "started", video_id=video)
    second = video_event(now, "started", video_id=video)
    third = video_event(now - 31 * MINUTE, "requested", video_id=video)
    records = [Archived(i, now, encode(event)) for i, event in enumerate((first, second, third))]
    archive(settings, VIDEO_STATUS, 4, log_id, records)
    repeated = _trace(settings, second["event_id"]).found[0]
    assert (repeated.verdict, repeated.because[:8]) == (REPEATED, "offset 0")
    assert _trace(settings, third["event_id"]).found[0].late_for == ()


def test_a_dead_event_says_why(settings: Settings, log_id: str) -> None:
    """Found by its id, though silver never had it; an event that only refers to the id is not it."""
    now = now_ms()
    event = cost_event(now, component="coffee")
    value = encode(event)
    records = [
        Archived(0, now, value, reason="malformed", error="component: not one of script, voice"),
        Archived(1, now, encode(cost_event(now, "-0.1", corrects=event["event_id"]))),
    ]
    archive(settings, COST_EVENTS, 5, log_id, records)
    result = _trace(settings, event["event_id"])
    assert [(record.verdict, record.place.offset) for record in result.found] == [(DEAD, 0)]
    assert result.found[0].because == "malformed: component: not one of script, voice"
    assert result.settled


def test_waiting_until_it_appears(settings: Settings, log_id: str) -> None:
    """The event comes while trace waits."""
    now = now_ms()
    event = user_event(now)
    records = [Archived(0, now, encode(event), reason="malformed", error="for this test")]
    timer = threading.Timer(0.3, lambda: archive(settings, USER_EVENTS, 6, log_id, records))
    timer.start()
    try:
        assert _trace(settings, event["event_id"], wait_s=20.0).found[0].verdict == DEAD
    finally:
        timer.join()


def test_the_command(settings: Settings, log_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit 1 and a hint if not found; else a table."""
    monkeypatch.setenv("STREAMPROC_CLICKHOUSE_URL", settings.clickhouse_url.get_secret_value())
    monkeypatch.setenv("COLUMNS", "200")
    run, app = CliRunner(), build_app()
    missing = run.invoke(app, ["trace", str(uuid.uuid4())])
    assert (missing.exit_code, "not found" in missing.output) == (1, True)
    assert run.invoke(app, ["trace", "no-uuid"]).exit_code == 1
    now = now_ms()
    event = video_event(now, "completed", video_id=10**9 + int(log_id[:6], 16))
    archive(settings, VIDEO_STATUS, 7, log_id, [Archived(0, now, encode(event))])
    found = run.invoke(app, ["trace", event["event_id"]])
    assert found.exit_code == 0
    assert "counted: video-status partition 7 offset 0" in found.output
    assert "avg_generation_time_seconds niche=science" in found.output
