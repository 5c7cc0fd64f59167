"""Metrics: what is published from each measure, with meaning, unit, formula, frequency and threshold or target."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from streamproc.catalogue.measures import MEASURES

#: How alert rules may judge a metric: additive ones on every update, estimates only on final windows.
Judged = Literal["every_update", "final_only"]

WINDOWS = ("1m", "5m", "1h", "1d")


@dataclass(frozen=True, slots=True)
class Metric:
    """One published metric.

    `formula` names a function of streamproc/windows/formulas.py; `threshold`/`target` are the customer's (spec.md),
    in `unit`. `alias` is the second name of its 1d window. `entity` is set for running totals (no windows).
    """

    name: str
    measure: str
    formula: str
    meaning: str
    unit: str
    null_when: str = "never"
    judged: Judged = "every_update"
    frequency: str = "real-time"
    source: str = ""
    threshold: str = ""
    target: str = ""
    alias: str = ""
    entity: str = ""

    @property
    def dimensions(self) -> tuple[str, ...]:
        """Dimensions by which it is published beside the total."""
        return next(m.dimensions for m in MEASURES if m.name == self.measure)


def _videos(status: str) -> Metric:
    return Metric(
        f"videos_{status}",
        f"videos_{status}",
        "count",
        f"number of videos that became {status} in the window; a status of a video counts once",
        "videos",
        source="video-status",
    )


def _response_time(percent: int) -> Metric:
    return Metric(
        f"api_response_time_p{percent}_ms",
        "api_response_time",
        f"p{percent}",
        f"{percent}th percentile (nearest rank, within 1 %) of response_time_ms of user events and of ops events api_request",
        "ms",
        null_when="no request in the window",
        judged="final_only",
        source="user-events, ops-events",
        threshold="< 200 ms" if percent == 95 else "",
    )


METRICS: tuple[Metric, ...] = (
    Metric(
        "active_users",
        "active_users",
        "distinct",
        "distinct users with any action in the window (exact); count = events",
        "users",
        source="user-events",
        alias="dau",
    ),
    Metric("user_events", "user_events", "count", "number of user events", "events", source="user-events"),
    _response_time(50),
    _response_time(95),
    _response_time(99),
    *(_videos(status) for status in ("requested", "started", "completed", "failed", "published")),
    Metric(
        "avg_generation_time_seconds",
        "generation_time",
        "mean",
        "mean of completed_at - requested_at over videos completed in the window",
        "s",
        null_when="no video completed",
        judged="final_only",
        source="video-status",
    ),
    Metric(
        "queue_processing_time_seconds",
        "queue_time",
        "mean",
        "mean of started_at - requested_at over videos started in the window (queue video-generation), and of "
        "processing_start - queued_at over ops events queue",
        "s",
        null_when="nothing started",
        judged="final_only",
        source="video-status, ops-events",
        threshold="< 60 s",
    ),
    Metric(
        "video_success_rate",
        "video_success",
        "percent",
        "100 * published / completed in the window; may pass 100 in a short window; count = completed",
        "%",
        null_when="no video completed",
        judged="final_only",
        frequency="daily",
        source="video-status",
    ),
    Metric(
        "total_cost_usd",
        "total_cost",
        "money",
        "sum of all costs in the window",
        "USD",
        source="cost-events",
        alias="daily_burn_rate_usd",
    ),
    Metric(
        "avg_cost_per_video_usd",
        "cost_by_video",
        "money_per_distinct",
        "sum of costs with a video / distinct videos with a cost in the window; count = videos",
        "USD",
        null_when="no cost with a video",
        judged="final_only",
        source="cost-events",
    ),
    Metric(
        "ai_latency_p95_ms",
        "ai_latency",
        "p95",
        "95th percentile (nearest rank, within 1 %) of latency_ms of calls of AI services",
        "ms",
        null_when="no call",
        judged="final_only",
        source="ops-events",
    ),
    Metric(
        "ai_error_rate",
        "ai_errors",
        "share",
        "100 * calls of AI services that failed / calls; count = calls",
        "%",
        null_when="no call",
        judged="final_only",
        source="ops-events",
    ),
    Metric(
        "system_uptime",
        "uptime",
        "uptime",
        "100 * minutes up / minutes since a service was first heard of in the window, in all summed over the services; a minute is "
        "up if its last health event (of two at one millisecond that with the higher id) is ok, a silent minute is down; once the "
        "window is final its minutes go to its end, while it is open to the newest health event in it (by service: of that "
        "service); count = those minutes",
        "%",
        null_when="no health event in the window",
        judged="final_only",
        source="ops-events",
        target="99.9 %",
    ),
    Metric(
        "cost_per_video_usd",
        "cost_per_video",
        "id_money",
        "running total of all costs of a video's life; no event id counts twice",
        "USD",
        source="cost-events",
        threshold="< 3.00 USD, alert above 2.50 USD",
        entity="video_id",
    ),
)

_BY_NAME = {metric.name: metric for metric in METRICS}
_BY_MEASURE = {measure.name: tuple(m for m in METRICS if m.measure == measure.name) for measure in MEASURES}


def metric_named(name: str) -> Metric:
    """The metric with that name (an alias counts).

    Raises:
        KeyError: there is none.
    """
    if name in _BY_NAME:
        return _BY_NAME[name]
    return next((m for m in METRICS if m.alias == name), None) or _BY_NAME[name]


def metrics_of_measure(name: str) -> tuple[Metric, ...]:
    """The metrics published from one measure."""
    return _BY_MEASURE[name]
