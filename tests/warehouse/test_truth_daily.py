"""Daily metrics by hand: days and windows of days, uptime, nearest rank, queues, and cohorts over a year's end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.warehouse.hand import Hand, rfc


def test_active_users(tmp_path: Path) -> None:
    """The 30 days end with the day; a day is there though nothing happened on it."""
    hand = Hand()
    hand.user("2026-10-01 23:59:59", 1)
    hand.user("2026-10-02", 2)
    hand.user("2026-10-02 10:00", 2)
    hand.cost("2026-11-01", "1")
    truth = hand.truth(tmp_path)
    assert truth.days == ("2026-10-01", "2026-11-01")
    days = ("2026-10-01", "2026-10-02", "2026-10-03", "2026-10-30", "2026-10-31", "2026-11-01")
    assert [truth.metric(day, "dau") for day in days] == [1.0, 1.0, 0.0, 0.0, 0.0, 0.0]
    assert [truth.metric(day, "mau") for day in days] == [1.0, 2.0, 2.0, 2.0, 1.0, 0.0]


def test_a_day_has_all_its_rows(tmp_path: Path) -> None:
    """Metrics without a value are there as null; services and queues only where they were seen."""
    hand = Hand()
    hand.cost("2026-10-01", "1")
    rows = hand.truth(tmp_path).gold["daily_metrics"]
    assert len([key for key in rows if key[2] == "day" and not key[3]]) == 19
    assert len([key for key in rows if key[3] == "component"]) == 10
    assert not [key for key in rows if key[3] in ("service", "queue")]
    empty = {key[1] for key, (value,) in rows.items() if value is None and key[2] == "day" and not key[3]}
    assert empty == {
        "avg_generation_time_seconds",
        "video_success_rate",
        "avg_views_per_video",
        "cost_per_video_usd",
        "arpu_usd",
        "clv_usd",
        "api_response_time_p95_ms",
        "system_uptime",
        "queue_processing_time_seconds",
    }


def test_days_come_from_valid_events_alone(tmp_path: Path) -> None:
    """A future event, a malformed one and a duplicate's other day make no day."""
    hand = Hand()
    first = hand.user("2026-10-02")
    hand.user("2026-12-01", log="2026-10-02 10:00")
    hand.user("2026-09-01", event_id=first, log="2026-10-02 11:00")
    hand.user("2026-09-02", user_id=None, log="2026-10-02 12:00")
    assert hand.truth(tmp_path).days == ("2026-10-02", "2026-10-02")


def test_uptime(tmp_path: Path) -> None:
    """The last event of a minute counts, silence is down, and a service counts from its first minute."""
    hand, day = Hand(), "2026-10-01"
    hand.health(f"{day} 23:50:30", ok=True)
    hand.health(f"{day} 23:51:00", ok=True)
    hand.health(f"{day} 23:51:59", ok=False)
    hand.health(f"{day} 23:53:10", ok=True, event_id="B0000000-0000-4000-8000-000000000000")
    hand.health(f"{day} 23:53:10", ok=False, event_id="a0000000-0000-4000-8000-000000000000")
    hand.health(f"{day} 23:59:59", ok=True, service="web")
    hand.health("2026-10-02 00:03:59", ok=False, service="web")
    hand.health("2026-10-02 00:00:00", ok=True)
    hand.user("2026-10-02 12:00")
    truth = hand.truth(tmp_path)
    assert truth.metric(day, "system_uptime", "service", "api") == 20.0
    assert truth.metric(day, "system_uptime", "service", "web") == 100.0
    assert truth.metric(day, "system_uptime") == pytest.approx(300 / 11)
    # The last of all days ends with the last minute that any service told of.
    assert truth.metric("2026-10-02", "system_uptime", "service", "api") == 25.0
    assert truth.metric("2026-10-02", "system_uptime", "service", "web") == 0.0
    assert truth.metric("2026-10-02", "system_uptime") == 20.0


def test_uptime_of_a_day_before_a_silent_one(tmp_path: Path) -> None:
    """That day is not the last of all days, so silence counts to its end."""
    hand = Hand()
    hand.health("2026-10-01 00:00", ok=True)
    waited = {"queued_at": rfc("2026-10-01"), "processing_start": rfc("2026-10-01")}
    hand.event("ops-events", "2026-10-01", service="late", kind="queue", queue="q", **waited)
    hand.user("2026-10-02")
    truth = hand.truth(tmp_path)
    assert truth.metric("2026-10-01", "system_uptime") == pytest.approx(100 / 1440)
    assert truth.metric("2026-10-02", "system_uptime") is None
    services = {key[4] for key in truth.gold["daily_metrics"] if key[3] == "service"}
    assert services == {"api"}


def test_response_times_are_nearest_rank_over_both_topics(tmp_path: Path) -> None:
    """Of 20 values the 19th, of 21 the 20th; calls of AI are none of them."""
    hand = Hand()
    for number in range(1, 20):
        hand.user("2026-10-01", response_time_ms=number)
        hand.user("2026-10-02", response_time_ms=number)
    request: dict[str, Any] = {"service": "api", "kind": "api_request", "endpoint": "/", "http_status": 200}
    hand.event("ops-events", "2026-10-01", **request, response_time_ms=1000)
    hand.event("ops-events", "2026-10-02", **request, response_time_ms=1000)
    hand.event("ops-events", "2026-10-02", **request, response_time_ms=2000)
    hand.event(
        "ops-events", "2026-10-02", service="api", kind="ai_call", provider="p", model="m", latency_ms=9000, ok=True
    )
    hand.user("2026-10-03")
    truth = hand.truth(tmp_path)
    days = ("2026-10-01", "2026-10-02", "2026-10-03")
    assert [truth.metric(day, "api_response_time_p95_ms") for day in days] == [19.0, 1000.0, None]


def test_queues(tmp_path: Path) -> None:
    """Items of a queue of ops called video-generation stand with the videos."""
    hand, day = Hand(), "2026-10-01"
    for queue, seconds in (("q", 10), ("q", 20), ("video-generation", 5)):
        times = {"queued_at": rfc(f"{day} 10:00:00"), "processing_start": rfc(f"{day} 10:00:{seconds:02}")}
        hand.event("ops-events", f"{day} 11:00", service="w", kind="queue", queue=queue, **times)
    hand.video(f"{day} 10:00:15", 1, "started", requested_at=f"{day} 10:00")
    hand.video(f"{day} 10:00:45", 1, "started", requested_at=f"{day} 10:00")
    truth = hand.truth(tmp_path)
    assert truth.metric(day, "queue_processing_time_seconds", "queue", "q") == 15.0
    assert truth.metric(day, "queue_processing_time_seconds", "queue", "video-generation") == 10.0
    assert truth.metric(day, "queue_processing_time_seconds") == 12.5


def test_cohorts_over_the_end_of_a_year(tmp_path: Path) -> None:
    """2026-12-31 is of week 53; its week goes on until Sunday, 2027-01-03."""
    hand = Hand()
    for at, user in (
        ("2026-12-31", 1),
        ("2027-01-03 23:59:59", 2),
        ("2027-01-04", 1),
        ("2027-01-04", 3),
        ("2027-01-05", 1),
    ):
        hand.user(at, user)
    hand.cost("2027-01-12", "1")
    assert hand.truth(tmp_path).gold["retention_weekly"] == {
        ("2026-12-28", 0): (2, 2, 100.0),
        ("2026-12-28", 1): (2, 1, 50.0),
        ("2026-12-28", 2): (2, 0, 0.0),
        ("2027-01-04", 0): (1, 1, 100.0),
        ("2027-01-04", 1): (1, 0, 0.0),
    }


def test_nothing_at_all(tmp_path: Path) -> None:
    """No files, no days, no rows."""
    truth = Hand().truth(tmp_path)
    assert truth.days is None
    assert not any(truth.gold.values())
