"""Rows of silver's tables of YouTube, and how they are sent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final

from batch.youtube.values import DayKey
from streamproc.sinks.native_block import (
    DATETIME_MS,
    Column,
    block,
    integers,
    nullable_floats,
    nullable_integers,
    nullable_texts,
    texts,
)

Encoded = tuple[tuple[str, ...], bytes]
_EPOCH: Final = date(1970, 1, 1)


@dataclass(frozen=True, slots=True)
class ChannelRow:
    """silver.youtube_channels."""

    channel_id: str
    title: str | None
    views: int
    subscribers: int | None
    videos: int
    fetched_ms: int


@dataclass(frozen=True, slots=True)
class VideoRow:
    """silver.youtube_videos; times are epoch ms."""

    video_id: str
    channel_id: str
    title: str | None
    published_ms: int | None
    duration_s: int | None
    privacy: str | None
    views: int
    likes: int | None
    comments: int | None
    fetched_ms: int


@dataclass(frozen=True, slots=True)
class AnalyticsRow:
    """silver.youtube_analytics_daily."""

    key: DayKey
    views: int
    engaged_views: int | None
    minutes: int
    percentage: float | None
    likes: int
    comments: int
    shares: int
    gained: int
    lost: int
    revenue_e4: int | None
    fetched_ms: int


def _encoded(columns: Sequence[Column], rows: int) -> Encoded:
    return tuple(name for name, _, _ in columns), block(columns, rows)


def channel_block(rows: Sequence[ChannelRow]) -> Encoded:
    """Column names and a Native block."""
    columns = (
        texts("youtube_channel_id", [one.channel_id for one in rows]),
        nullable_texts("title", [one.title for one in rows]),
        integers("view_count", "UInt64", [one.views for one in rows]),
        nullable_integers("subscriber_count", "UInt64", [one.subscribers for one in rows]),
        integers("video_count", "UInt64", [one.videos for one in rows]),
        integers("fetched_at", DATETIME_MS, [one.fetched_ms for one in rows]),
    )
    return _encoded(columns, len(rows))


def video_block(rows: Sequence[VideoRow]) -> Encoded:
    """Column names and a Native block."""
    columns = (
        texts("youtube_video_id", [one.video_id for one in rows]),
        texts("youtube_channel_id", [one.channel_id for one in rows]),
        nullable_texts("title", [one.title for one in rows]),
        nullable_integers("published_at", DATETIME_MS, [one.published_ms for one in rows]),
        nullable_integers("duration_seconds", "UInt32", [one.duration_s for one in rows]),
        nullable_texts("privacy_status", [one.privacy for one in rows]),
        integers("view_count", "UInt64", [one.views for one in rows]),
        nullable_integers("like_count", "UInt64", [one.likes for one in rows]),
        nullable_integers("comment_count", "UInt64", [one.comments for one in rows]),
        integers("fetched_at", DATETIME_MS, [one.fetched_ms for one in rows]),
    )
    return _encoded(columns, len(rows))


def analytics_block(rows: Sequence[AnalyticsRow]) -> Encoded:
    """Column names and a Native block."""
    columns = (
        integers("day", "UInt16", [(date.fromisoformat(one.key.day) - _EPOCH).days for one in rows]),
        texts("youtube_channel_id", [one.key.channel_id for one in rows]),
        texts("youtube_video_id", [one.key.video_id for one in rows]),
        integers("views", "UInt64", [one.views for one in rows]),
        nullable_integers("engaged_views", "UInt64", [one.engaged_views for one in rows]),
        integers("watch_time_minutes", "UInt64", [one.minutes for one in rows]),
        nullable_floats("average_view_percentage", [one.percentage for one in rows]),
        integers("likes", "Int64", [one.likes for one in rows]),
        integers("comments", "Int64", [one.comments for one in rows]),
        integers("shares", "UInt64", [one.shares for one in rows]),
        integers("subscribers_gained", "UInt64", [one.gained for one in rows]),
        integers("subscribers_lost", "UInt64", [one.lost for one in rows]),
        nullable_integers("estimated_revenue_e4", "Int64", [one.revenue_e4 for one in rows]),
        integers("fetched_at", DATETIME_MS, [one.fetched_ms for one in rows]),
    )
    return _encoded(columns, len(rows))
