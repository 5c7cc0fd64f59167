"""Videos by hand: which statuses count, what their row says, and what they cost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.warehouse.columns import VIDEOS
from tests.warehouse.hand import Hand, ms
from tests.warehouse.truth import Truth


def _fact(truth: Truth, video: int) -> dict[str, Any]:
    return dict(zip(VIDEOS.columns, truth.gold["fact_video_generation"][video,], strict=True))


def test_a_status_counts_once_in_seven_days_of_log_time(tmp_path: Path) -> None:
    """Exactly 7 days after is a repeat, a millisecond more is not; what was no count does not shift the 7 days."""
    hand, week = Hand(), 7 * 86_400_000
    begin = ms("2026-10-01 12:00")
    hand.video("2026-10-01 12:00", 1, "completed", log=begin)
    hand.video("2026-10-04 12:00", 1, "completed", log=begin + week // 2)
    hand.video("2026-10-08 12:00", 1, "completed", log=begin + week)
    hand.video("2026-10-08 12:00", 1, "completed", log=begin + week + 1)
    # Log time counts, not event time: far apart in events, near in the log.
    hand.video("2026-10-01 12:00", 2, "completed", log=begin + 2 * week)
    hand.video("2026-10-14 12:00", 2, "completed", log=begin + 2 * week + 5)
    truth = hand.truth(tmp_path)
    counts = {day: truth.metric(f"2026-10-{day:02}", "video_generation_rate") for day in (1, 4, 8, 14)}
    assert counts == {1: 2.0, 4: 0.0, 8: 1.0, 14: 0.0}


def test_an_event_that_is_a_duplicate_starts_no_seven_days(tmp_path: Path) -> None:
    hand = Hand()
    first = hand.video("2026-10-01 12:00", 1, "completed")
    hand.video("2026-10-01 12:00", 1, "completed", event_id=first, log="2026-10-20 12:00")
    hand.video("2026-10-21 12:00", 1, "completed")
    truth = hand.truth(tmp_path)
    assert truth.metric("2026-10-01", "video_generation_rate") == 1.0
    assert truth.metric("2026-10-21", "video_generation_rate") == 1.0


def test_a_retried_video(tmp_path: Path) -> None:
    """The latest event says status and requested_at; each other field is of the latest event that has it."""
    hand = Hand()
    asked = "2026-10-01 10:00"
    hand.video(asked, 1, "requested", title="first", niche="a", video_type="short")
    hand.video("2026-10-01 10:01", 1, "started", requested_at=asked, niche="b", title=None)
    hand.video("2026-10-01 10:02", 1, "failed", requested_at=asked, started_at="2026-10-01 10:01", error="broke")
    again = "2026-10-02 10:00"
    hand.video(again, 1, "requested", channel_id=11, user_id=2)
    hand.video("2026-10-02 10:05", 1, "started", requested_at=again, channel_id=12, user_id=3)
    done: dict[str, Any] = {"requested_at": again, "started_at": "2026-10-02 10:05", "quality_score": 1}
    hand.video("2026-10-02 10:09", 1, "completed", **done, channel_id=12, user_id=3, duration_seconds=61)
    fact = _fact(hand.truth(tmp_path), 1)
    assert fact == {
        "channel_id": 12,
        "user_id": 3,
        "status": "completed",
        "requested_at": ms(again),
        "started_at": ms("2026-10-02 10:05"),
        "completed_at": ms("2026-10-02 10:09"),
        "published_at": None,
        "generation_time_seconds": 540.0,
        "youtube_video_id": None,
        "video_type": "short",
        "niche": "b",
        "title": "first",
        "duration_seconds": 61,
        "quality_score": 1.0,
        "error": "broke",
        **dict.fromkeys(("script_cost", "voice_cost", "image_cost", "processing_cost", "other_cost", "total_cost"), 0),
        **dict.fromkeys(("views", "likes", "comments"), 0),
        "retention_rate": None,
        "created_date": "2026-10-02",
    }


def test_ties_of_time_go_by_rank_and_then_by_id(tmp_path: Path) -> None:
    hand, at = Hand(), "2026-10-01 10:00"
    hand.video(at, 1, "published", title="p")
    hand.video(at, 1, "completed", title="c")
    hand.video(at, 2, "failed", title="f")
    hand.video(at, 2, "started", title="s")
    for number, title in ((0xB, "late"), (0xA, "early")):
        hand.video(at, 3, "requested", title=title, event_id=f"0000000{number:X}-0000-4000-8000-00000000000A")
    truth = hand.truth(tmp_path)
    told = [(_fact(truth, video)["status"], _fact(truth, video)["title"]) for video in (1, 2, 3)]
    assert told == [("published", "p"), ("failed", "f"), ("requested", "late")]


def test_costs_of_a_video(tmp_path: Path) -> None:
    """Half to even at the fourth decimal, corrections, costs before its first status; unknown videos have no row."""
    hand = Hand()
    hand.cost("2026-09-30 10:00", "0.00005", 1)
    hand.video("2026-10-01 10:00", 1, "requested")
    for amount in ("0.00015", 0.00025, "0.000250001", "1"):
        hand.cost("2026-10-01 11:00", amount, 1, component="other")
    hand.cost("2026-10-20 10:00", "-0.00015", 1, component="script", corrects="00000000-0000-4000-8000-000000000001")
    hand.cost("2026-10-20 10:00", "5", 2)
    hand.cost("2026-10-20 10:00", "7")
    truth = hand.truth(tmp_path)
    fact = _fact(truth, 1)
    assert (fact["voice_cost"], fact["other_cost"], fact["script_cost"]) == (0, 2 + 2 + 3 + 10_000, -2)
    assert fact["total_cost"] == 10_005
    assert len(truth.gold["fact_video_generation"]) == 1
    assert truth.metric("2026-10-20", "daily_burn_rate_usd") == pytest.approx(11.9998)


def test_daily_figures_of_videos(tmp_path: Path) -> None:
    """Two videos completed on one day, one of them published days later; all costs of both, whenever they came."""
    hand, asked = Hand(), "2026-10-01 10:00"
    for video, done in ((1, "2026-10-01 10:01"), (2, "2026-10-01 10:03")):
        hand.video(done, video, "completed", requested_at=asked, started_at="2026-10-01 10:00:30")
    hand.video("2026-10-03 10:00", 2, "published")
    hand.cost("2026-10-02 09:00", "1.0001", 1, component="image")
    hand.cost("2026-10-03 09:00", "2", 2)
    hand.video("2026-10-02 10:00:40", 3, "started", requested_at="2026-10-02 10:00")
    truth = hand.truth(tmp_path)

    def first(metric: str, *more: str) -> float | None:
        return truth.metric("2026-10-01", metric, *more)

    assert first("avg_generation_time_seconds") == 120.0
    assert first("video_success_rate") == 50.0
    assert first("cost_per_video_usd") == pytest.approx(1.50005)
    by_component = {"script": 0.0, "voice": 1.0, "image": 0.50005, "processing": 0.0, "other": 0.0}
    assert {name: first("cost_per_video_usd", "component", name) for name in by_component} == by_component
    nothing = ("avg_generation_time_seconds", "video_success_rate", "cost_per_video_usd")
    assert [truth.metric("2026-10-02", metric) for metric in nothing] == [None, None, None]
    assert truth.metric("2026-10-02", "cost_per_video_usd", "component", "voice") is None
    assert truth.metric("2026-10-02", "queue_processing_time_seconds", "queue", "video-generation") == 40.0
    assert first("queue_processing_time_seconds") is None
    assert first("avg_views_per_video") is None


def test_published_counts_if_it_is_valid_whenever_it_came(tmp_path: Path) -> None:
    """Also a publication told before the completion, by event time, and one that is a repeat."""
    hand = Hand()
    hand.video("2026-10-01 10:00", 1, "published")
    hand.video("2026-10-05 10:00", 1, "completed", log="2026-10-05 10:00")
    assert hand.truth(tmp_path).metric("2026-10-05", "video_success_rate") == 100.0
