"""Builders of valid events of each topic, as dictionaries, and their bytes and keys as contracts name them."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime
from typing import Any

USER_EVENTS = "user-events"
OPS_EVENTS = "ops-events"
VIDEO_STATUS = "video-status"
COST_EVENTS = "cost-events"

Event = dict[str, Any]


def rfc3339(epoch_ms: int) -> str:
    """Epoch milliseconds as RFC 3339 in UTC with three decimals."""
    seconds, millis = divmod(epoch_ms, 1000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{millis:03d}Z"


def _head(at_ms: int, event_id: str | None) -> Event:
    return {
        "event_id": event_id or str(uuid.uuid4()),
        "schema_version": "1.0.0",
        "occurred_at": rfc3339(at_ms),
    }


def user_event(at_ms: int, *, event_id: str | None = None, **fields: Any) -> Event:
    """A valid user event; `fields` override or add (a value of None stays as JSON null)."""
    return {
        **_head(at_ms, event_id),
        "user_id": 1,
        "activity_type": "view_video",
        "response_time_ms": 120,
        **fields,
    }


def video_event(at_ms: int, status: str = "requested", *, event_id: str | None = None, **fields: Any) -> Event:
    """A valid video-status event with the times that its status requires.

    Requested 120 s, started 90 s, completed 10 s before `at_ms`, or at `at_ms` where that is the status' own time.
    """
    event: Event = {
        **_head(at_ms, event_id),
        "video_id": 1,
        "channel_id": 10,
        "user_id": 1,
        "status": status,
        "requested_at": rfc3339(at_ms if status == "requested" else at_ms - 120_000),
    }
    if status in ("started", "completed", "failed", "published"):
        event["started_at"] = rfc3339(at_ms if status == "started" else at_ms - 90_000)
    if status in ("completed", "published"):
        event["completed_at"] = rfc3339(at_ms if status == "completed" else at_ms - 10_000)
    if status == "published":
        event |= {"published_at": rfc3339(at_ms), "youtube_video_id": "yt-0000001"}
    if status == "failed":
        event["error"] = "voice provider timed out"
    return event | {"video_type": "short", "niche": "science"} | fields


def cost_event(at_ms: int, amount_usd: str | float = "0.5000", *, event_id: str | None = None, **fields: Any) -> Event:
    """A valid cost event; `video_id=None` makes it overhead."""
    return {
        **_head(at_ms, event_id),
        "video_id": 1,
        "channel_id": 10,
        "user_id": 1,
        "component": "voice",
        "amount_usd": amount_usd,
        **fields,
    }


def encode(event: Event) -> bytes:
    """The event as compact JSON in UTF-8."""
    return json.dumps(event, separators=(",", ":"), ensure_ascii=False).encode()


def key_of(topic: str, event: Event) -> bytes:
    """The message key of a topic: user_id, or video_id, or `overhead` for a cost of no single video."""
    if topic == USER_EVENTS:
        return str(event["user_id"]).encode()
    video = event.get("video_id")
    return b"overhead" if video is None else str(video).encode()
