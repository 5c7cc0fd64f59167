"""Measures: which field of which events goes into which accumulator, by which dimensions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from schemas.topics import COST_EVENTS, OPS_EVENTS, USER_EVENTS, VIDEO_STATUS

#: Names of accumulator types (streamproc/windows/accumulators.py).
Kind = Literal["count", "sum", "distinct", "histogram", "ratio", "sum_distinct", "id_sum", "uptime"]


@dataclass(frozen=True, slots=True)
class Measure:
    """What is accumulated.

    `selector` names the subset of a topic's events (streamproc/windows/selectors.py) and `value` the column that the
    accumulator takes. `dimensions` are columns by which it is broken down beside the total; `entity` is the column
    whose values have running totals instead of windows. `also` names a second topic whose events are taken in by the same
    selector and columns. `is_regular`: each dimension value is to be heard of in every window, and rules may ask where one was
    not (streamproc/windows/presence.py).
    """

    name: str
    topic: str
    kind: Kind
    selector: str = "all"
    value: str = ""
    dimensions: tuple[str, ...] = ()
    entity: str = ""
    also: str = ""
    is_regular: bool = False

    @property
    def topics(self) -> tuple[str, ...]:
        """The topics whose events it takes."""
        return (self.topic, self.also) if self.also else (self.topic,)


_VIDEO_DIMENSIONS = ("niche", "video_type")

MEASURES: tuple[Measure, ...] = (
    Measure("active_users", USER_EVENTS, "distinct", value="user_id"),
    Measure("user_events", USER_EVENTS, "count", dimensions=("activity_type",)),
    Measure("api_response_time", USER_EVENTS, "histogram", "has_response_time", "response_time_ms", also=OPS_EVENTS),
    Measure("videos_requested", VIDEO_STATUS, "count", "requested", dimensions=_VIDEO_DIMENSIONS),
    Measure("videos_started", VIDEO_STATUS, "count", "started", dimensions=_VIDEO_DIMENSIONS),
    Measure("videos_completed", VIDEO_STATUS, "count", "completed", dimensions=_VIDEO_DIMENSIONS),
    Measure("videos_failed", VIDEO_STATUS, "count", "failed", dimensions=_VIDEO_DIMENSIONS),
    Measure("videos_published", VIDEO_STATUS, "count", "published", dimensions=_VIDEO_DIMENSIONS),
    Measure("generation_time", VIDEO_STATUS, "sum", "completed", "generation_e4", _VIDEO_DIMENSIONS),
    Measure("queue_time", VIDEO_STATUS, "sum", "left_queue", "queue_e4", ("queue",), also=OPS_EVENTS),
    Measure("video_success", VIDEO_STATUS, "ratio", "completed_or_published", "is_published"),
    Measure("total_cost", COST_EVENTS, "sum", value="amount_e4", dimensions=("component",)),
    Measure("cost_by_video", COST_EVENTS, "sum_distinct", "has_video", "amount_e4"),
    Measure("ai_latency", OPS_EVENTS, "histogram", "ai_call", "latency_ms", ("provider",)),
    Measure("ai_errors", OPS_EVENTS, "ratio", "ai_call", "is_error", ("provider",)),
    Measure("uptime", OPS_EVENTS, "uptime", "health", "ok", ("service",), is_regular=True),
    Measure("cost_per_video", COST_EVENTS, "id_sum", "has_video", "amount_e4", entity="video_id"),
)

_BY_NAME = {measure.name: measure for measure in MEASURES}


def measure_of(name: str) -> Measure:
    """The measure with that name.

    Raises:
        KeyError: there is none.
    """
    return _BY_NAME[name]
