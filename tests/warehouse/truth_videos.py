"""Which statuses count, and the facts: one row a video, one row a user event."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Final

from tests.warehouse.columns import ACTIVITY, COMPONENTS, VIDEOS, Rows
from tests.warehouse.read import Cost, UserEvent, VideoStatus

DAY_MS: Final = 86_400_000
_WEEK_MS: Final = 7 * DAY_MS
_RANKS: Final = {"requested": 0, "started": 1, "failed": 2, "completed": 3, "published": 4}
#: Fields of the latest event that has them, each by itself.
_NEWEST: Final = (
    "started_at",
    "completed_at",
    "published_at",
    "youtube_video_id",
    "video_type",
    "niche",
    "title",
    "duration_seconds",
    "quality_score",
    "error",
)
_days: dict[int, str] = {}


def day_of(epoch_ms: int) -> str:
    """The UTC day as YYYY-MM-DD."""
    number = epoch_ms // DAY_MS
    if number not in _days:
        _days[number] = f"{datetime.fromtimestamp(number * 86_400, UTC):%Y-%m-%d}"
    return _days[number]


def counted_statuses(events: Iterable[VideoStatus]) -> list[VideoStatus]:
    """Those that count, of events in log order: the first of a (video, status), and the next more than 7 days on."""
    last: dict[tuple[int, str], int] = {}
    counted = []
    for event in events:
        before = last.get((event.video_id, event.status))
        if before is None or event.log_ms - before > _WEEK_MS:
            last[event.video_id, event.status] = event.log_ms
            counted.append(event)
    return counted


def costs_by_video(costs: Iterable[Cost]) -> dict[int, dict[str, int]]:
    """video_id -> component -> sum in 1/10000 USD."""
    sums: dict[int, dict[str, int]] = defaultdict(lambda: dict.fromkeys(COMPONENTS, 0))
    for cost in costs:
        if cost.video_id is not None:
            sums[cost.video_id][cost.component] += cost.amount
    return sums


def _order(event: VideoStatus) -> tuple[int, int, str]:
    return event.at, _RANKS[event.status], event.event_id


def video_facts(events: Iterable[VideoStatus], costs: Iterable[Cost]) -> dict[int, dict[str, Any]]:
    """video_id -> column -> value of gold.fact_video_generation."""
    by_video: dict[int, list[VideoStatus]] = defaultdict(list)
    for event in events:
        by_video[event.video_id].append(event)
    spent = costs_by_video(costs)
    facts: dict[int, dict[str, Any]] = {}
    for video, told in by_video.items():
        told.sort(key=_order)
        newest = told[-1].fields
        fact: dict[str, Any] = dict.fromkeys(_NEWEST)
        for event in told:
            fact |= {name: event.fields[name] for name in _NEWEST if event.fields.get(name) is not None}
        fact |= {name: newest[name] for name in ("status", "channel_id", "user_id", "requested_at")}
        done = fact["completed_at"]
        fact["generation_time_seconds"] = None if done is None else (done - fact["requested_at"]) / 1000
        sums = spent.get(video) or dict.fromkeys(COMPONENTS, 0)
        fact |= {f"{component}_cost": amount for component, amount in sums.items()}
        fact["total_cost"] = sum(sums.values())
        # YouTube's statistics are loaded by another path: the month has none.
        fact |= {"views": 0, "likes": 0, "comments": 0, "retention_rate": None}
        fact["created_date"] = day_of(fact["requested_at"])
        facts[video] = fact
    return facts


def video_rows(facts: dict[int, dict[str, Any]]) -> Rows:
    """The facts as rows of the table."""
    return {(video,): VIDEOS.row(**fact) for video, fact in facts.items()}


def activity_rows(events: Iterable[UserEvent]) -> Rows:
    """gold.fact_user_activity."""
    assert list(ACTIVITY.columns)[1:9] == ["activity_timestamp", *UserEvent._fields[4:]][:8]
    return {
        (e.event_id,): (
            e.user_id,
            e.at,
            e.activity_type,
            e.resource_type,
            e.resource_id,
            e.session_id,
            e.ip_address,
            e.user_agent,
            e.response_time_ms,
            day_of(e.at),
        )
        for e in events
    }
