"""What each measure accumulates, as SQL over silver: written apart from the stream's code, held to the catalogue by a test."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from schemas.topics import COST_EVENTS, OPS_EVENTS, USER_EVENTS, VIDEO_STATUS

#: Contract topic -> table of silver.
TABLES: Final[dict[str, str]] = {
    USER_EVENTS: "silver.user_activity",
    VIDEO_STATUS: "silver.video_status",
    COST_EVENTS: "silver.cost_events",
    OPS_EVENTS: "silver.ops_events",
}

_MS: Final = "toUnixTimestamp64Milli(assumeNotNull({0}))"


@dataclass(frozen=True, slots=True)
class Part:
    """Events of one topic that a measure takes: a condition, and expressions over the columns of silver.

    `value` is Int64: an amount in 1/10000, a latency in ms, or 1 for the numerator of a ratio. `id` is Int64.
    """

    topic: str
    where: str = "1"
    value: str = "toInt64(0)"
    id: str = "toInt64(0)"
    dimensions: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Recipe:
    """One measure of the catalogue."""

    measure: str
    parts: tuple[Part, ...]
    #: What is accumulated are minutes of services: batch/reconcile/uptime.py has the SQL.
    of_minutes: bool = False


def _between(later: str, earlier: str) -> str:
    return f"({_MS.format(later)} - {_MS.format(earlier)}) * 10"


_VIDEO: Final = {"niche": "ifNull(toString(niche), 'unknown')", "video_type": "ifNull(toString(video_type), 'unknown')"}
_PROVIDER: Final = {"provider": "ifNull(toString(provider), 'unknown')"}


def _videos(status: str) -> Recipe:
    return Recipe(f"videos_{status}", (Part(VIDEO_STATUS, f"status = '{status}'", dimensions=_VIDEO),))


RECIPES: Final[tuple[Recipe, ...]] = (
    Recipe("active_users", (Part(USER_EVENTS, id="user_id"),)),
    Recipe("user_events", (Part(USER_EVENTS, dimensions={"activity_type": "toString(activity_type)"}),)),
    Recipe(
        "api_response_time",
        (
            Part(USER_EVENTS, "isNotNull(response_time_ms)", "assumeNotNull(response_time_ms)"),
            Part(OPS_EVENTS, "kind = 'api_request'", "assumeNotNull(response_time_ms)"),
        ),
    ),
    *(_videos(status) for status in ("requested", "started", "completed", "failed", "published")),
    Recipe(
        "generation_time",
        (Part(VIDEO_STATUS, "status = 'completed'", _between("completed_at", "requested_at"), dimensions=_VIDEO),),
    ),
    Recipe(
        "queue_time",
        (
            Part(
                VIDEO_STATUS,
                "status = 'started'",
                _between("started_at", "requested_at"),
                dimensions={"queue": "'video-generation'"},
            ),
            Part(
                OPS_EVENTS,
                "kind = 'queue'",
                _between("processing_start", "queued_at"),
                dimensions={"queue": "ifNull(toString(queue), 'unknown')"},
            ),
        ),
    ),
    Recipe(
        "video_success",
        (Part(VIDEO_STATUS, "status IN ('completed', 'published')", "toInt64(status = 'published')"),),
    ),
    Recipe("total_cost", (Part(COST_EVENTS, value="amount_e4", dimensions={"component": "toString(component)"}),)),
    Recipe("cost_by_video", (Part(COST_EVENTS, "isNotNull(video_id)", "amount_e4", "assumeNotNull(video_id)"),)),
    Recipe("ai_latency", (Part(OPS_EVENTS, "kind = 'ai_call'", "assumeNotNull(latency_ms)", dimensions=_PROVIDER),)),
    Recipe(
        "uptime", (Part(OPS_EVENTS, "kind = 'health'", dimensions={"service": "service::String"}),), of_minutes=True
    ),
    Recipe("ai_errors", (Part(OPS_EVENTS, "kind = 'ai_call'", "toInt64(NOT ifNull(ok, 0))", dimensions=_PROVIDER),)),
)

#: Running totals: measure -> (topic, column of the entity, amount).
TOTALS: Final[dict[str, tuple[str, str, str]]] = {"cost_per_video": (COST_EVENTS, "video_id", "amount_e4")}
