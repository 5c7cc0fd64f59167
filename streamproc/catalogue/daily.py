"""Daily metrics of gold.daily_metrics: meaning, unit, formula, source and edge cases of each, in one place.

A day is a UTC day of event time. They are computed by the models of `batch/dbt`, from silver, where each event id is there once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from streamproc.catalogue.metrics import Judged


@dataclass(frozen=True, slots=True)
class DailyMetric:
    """One metric a day. `live` names the live metric whose 1d window has the same definition: at the end of a day, and once
    the day is reconciled, both are equal (percentiles: within 1 %)."""

    name: str
    meaning: str
    unit: str
    source: str
    null_when: str = "never"
    dimension: str = ""
    live: str = ""
    monthly: bool = False
    threshold: str = ""
    target: str = ""
    #: As of live metrics, for alert rules: no other name, no totals by entity, judged once the day is over.
    alias: ClassVar[str] = ""
    entity: ClassVar[str] = ""
    judged: ClassVar[Judged] = "final_only"

    @property
    def dimensions(self) -> tuple[str, ...]:
        """Dimensions by which it is there beside the total."""
        return (self.dimension,) if self.dimension else ()


_MOVEMENT = "billing-events, by subscription in order of (occurred_at, event_id); positive"

DAILY_METRICS: tuple[DailyMetric, ...] = (
    DailyMetric("dau", "distinct users with any user event that day", "users", "user-events", live="active_users"),
    DailyMetric("mau", "distinct users of the 30 days ending that day", "users", "user-events", monthly=True),
    DailyMetric(
        "video_generation_rate",
        "videos that became completed that day; a status of a video counts once in 7 days, so one that fails and is tried again "
        "counts once",
        "videos",
        "video-status",
        live="videos_completed",
    ),
    DailyMetric(
        "avg_generation_time_seconds",
        "mean of completed_at - requested_at over them",
        "s",
        "video-status",
        null_when="nothing completed",
        live="avg_generation_time_seconds",
    ),
    DailyMetric(
        "video_success_rate",
        "of the videos completed that day, 100 * those published since / all; goes up as they are published",
        "%",
        "video-status",
        null_when="nothing completed",
    ),
    DailyMetric(
        "avg_views_per_video",
        "mean of YouTube's newest view count at the end of the day over all videos that it knows",
        "views",
        "silver.youtube_videos",
        null_when="no video has statistics",
    ),
    DailyMetric(
        "cost_per_video_usd",
        "all costs, of whatever day, of the videos completed that day / their number",
        "USD",
        "video-status, cost-events",
        null_when="nothing completed",
        dimension="component",
        threshold="< 3.00 USD, alert above 2.50 USD",
    ),
    DailyMetric(
        "daily_burn_rate_usd",
        "sum of all costs that day, corrections included",
        "USD",
        "cost-events",
        dimension="component",
        live="total_cost_usd",
    ),
    DailyMetric(
        "cost_efficiency",
        "(payments - refunds) / costs of that day",
        "USD per USD",
        "billing-events, cost-events",
        null_when="costs of 0 or below",
        target="> 3.0",
    ),
    DailyMetric(
        "mrr_usd",
        "sum of the monthly recurring revenue of all subscriptions at the end of the day; a cancelled one is worth 0",
        "USD",
        "billing-events",
        monthly=True,
    ),
    DailyMetric("mrr_new_usd", "MRR of subscriptions that began, or came back, that day", "USD", _MOVEMENT),
    DailyMetric("mrr_expansion_usd", "MRR by which subscriptions grew that day", "USD", _MOVEMENT),
    DailyMetric("mrr_contraction_usd", "MRR by which subscriptions shrank that day", "USD", _MOVEMENT),
    DailyMetric("mrr_churn_usd", "MRR of subscriptions that were cancelled that day", "USD", _MOVEMENT),
    DailyMetric(
        "arpu_usd",
        "(payments - refunds of the 30 days ending that day) / mau",
        "USD",
        "billing-events, user-events",
        null_when="mau is 0",
        monthly=True,
    ),
    DailyMetric(
        "clv_usd",
        "arpu_usd / churn rate; the churn rate is the customers lost in the 90 days ending that day / the customers at the ends "
        "of the days 90, 60 and 30 before, added up; a customer is a user with a subscription that is worth something",
        "USD",
        "billing-events, user-events",
        null_when="nobody was lost, or nobody could be",
        monthly=True,
    ),
    DailyMetric(
        "api_response_time_p95_ms",
        "95th percentile (nearest rank, exact) of response_time_ms of user events and of ops events api_request",
        "ms",
        "user-events, ops-events",
        null_when="no request",
        live="api_response_time_p95_ms",
        threshold="< 200 ms",
    ),
    DailyMetric(
        "system_uptime",
        "100 * minutes up / minutes since a service was first seen that day, in all summed over the services; a minute is up if its "
        "last health event is ok, a silent minute is down; the newest day ends with its last health event",
        "%",
        "ops-events",
        null_when="no health event",
        dimension="service",
        live="system_uptime",
        target="99.9 %",
    ),
    DailyMetric(
        "queue_processing_time_seconds",
        "mean of started_at - requested_at over videos started that day (queue video-generation), and of "
        "processing_start - queued_at over ops events queue",
        "s",
        "video-status, ops-events",
        null_when="nothing left a queue",
        dimension="queue",
        live="queue_processing_time_seconds",
        threshold="< 60 s",
    ),
)
