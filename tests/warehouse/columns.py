"""The gold tables as the truth and the comparison know them: keys, columns, and what kind of value each holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

#: Kinds: int, text, uuid, flag, float, day (ISO text), ms (epoch ms), e4 (1/10000 USD), cents.
Key = tuple[Any, ...]
Values = tuple[Any, ...]
Rows = dict[Key, Values]


@dataclass(frozen=True)
class Table:
    """`keys` and `columns` are names and kinds, in the order of a row's key and of its values."""

    name: str
    keys: dict[str, str]
    columns: dict[str, str]

    def row(self, **values: Any) -> Values:
        """Values in the order of the columns; every column must be given."""
        return tuple(values.pop(name) for name in self.columns)


COMPONENTS: Final = ("script", "voice", "image", "processing", "other")

VIDEOS: Final = Table(
    "fact_video_generation",
    {"video_id": "int"},
    {
        "channel_id": "int",
        "user_id": "int",
        "status": "text",
        "requested_at": "ms",
        "started_at": "ms",
        "completed_at": "ms",
        "published_at": "ms",
        "generation_time_seconds": "float",
        "youtube_video_id": "text",
        "video_type": "text",
        "niche": "text",
        "title": "text",
        "duration_seconds": "int",
        "quality_score": "float",
        "error": "text",
        **{f"{component}_cost": "e4" for component in COMPONENTS},
        "total_cost": "e4",
        "views": "int",
        "likes": "int",
        "comments": "int",
        "retention_rate": "float",
        "created_date": "day",
    },
)
ACTIVITY: Final = Table(
    "fact_user_activity",
    {"event_id": "uuid"},
    {
        "user_id": "int",
        "activity_timestamp": "ms",
        "activity_type": "text",
        "resource_type": "text",
        "resource_id": "int",
        "session_id": "uuid",
        "ip_address": "text",
        "user_agent": "text",
        "response_time_ms": "int",
        "activity_date": "day",
    },
)
DIM_USER: Final = Table(
    "dim_user",
    {"user_id": "int", "valid_from": "ms"},
    {
        "email": "text",
        "username": "text",
        "subscription_tier": "text",
        "channels_limit": "int",
        "daily_video_limit": "int",
        "monthly_budget": "cents",
        "total_spent": "e4",
        "videos_generated": "int",
        "created_at": "ms",
        "last_active_at": "ms",
        "valid_to": "ms",
        "is_current": "flag",
    },
)
DIM_CHANNEL: Final = Table(
    "dim_channel",
    {"channel_id": "int", "valid_from": "ms"},
    {
        "user_id": "int",
        "channel_name": "text",
        "niche": "text",
        "youtube_channel_id": "text",
        "is_active": "flag",
        "auto_publish": "flag",
        "total_videos": "int",
        "total_views": "int",
        "subscriber_count": "int",
        "created_at": "ms",
        "updated_at": "ms",
        "valid_to": "ms",
        "is_current": "flag",
    },
)
METRICS: Final = Table(
    "daily_metrics",
    {"day": "day", "metric": "text", "grain": "text", "dimension": "text", "dimension_value": "text"},
    {"value": "float"},
)
RETENTION: Final = Table(
    "retention_weekly",
    {"cohort_week": "day", "weeks_since": "int"},
    {"users": "int", "returning": "int", "rate": "float"},
)
FINANCIAL: Final = Table(
    "financial_daily", {"day": "day"}, {"subscription": "e4", "refunds": "e4", "youtube": "e4", "cost": "e4"}
)
GOLD: Final = (VIDEOS, ACTIVITY, DIM_USER, DIM_CHANNEL, METRICS, RETENTION, FINANCIAL)
