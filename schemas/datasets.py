"""What each table is for, and who answers for it: what `meta.datasets` says beside what it counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

#: Who answers for a dataset: the team of the stream, or that of the models.
STREAM: Final = "streaming"
ANALYTICS: Final = "analytics"


@dataclass(frozen=True, slots=True)
class Dataset:
    """A table; `newest` is the column of the time by which its freshness is judged ('' : the last write of any part)."""

    name: str
    purpose: str
    owner: str = STREAM
    newest: str = ""

    @property
    def layer(self) -> str:
        """bronze, silver, gold, meta or keys."""
        return self.name.split(".", 1)[0]


def _raw(table: str, what: str) -> Dataset:
    return Dataset(f"bronze.{table}", f"every record of {what} as it came, valid or not", newest="ingested_at")


def _typed(table: str, what: str) -> Dataset:
    return Dataset(f"silver.{table}", what, newest="ingested_at")


def _model(table: str, what: str, newest: str = "") -> Dataset:
    return Dataset(f"gold.{table}", what, ANALYTICS, newest)


DATASETS: Final[tuple[Dataset, ...]] = (
    _raw("user_events", "user-events"),
    _raw("video_status", "video-status"),
    _raw("cost_events", "cost-events"),
    _raw("ops_events", "ops-events"),
    _raw("billing_events", "billing-events"),
    _raw("cdc", "cdc.app.users, cdc.app.channels and cdc.app.subscriptions"),
    Dataset("bronze.youtube", "pages of YouTube's APIs as received, one row an item", ANALYTICS, "fetched_at"),
    _typed("user_activity", "what users did, one row an event"),
    _typed("video_status", "how generation went, one row a status event"),
    _typed("cost_events", "what each step cost, one row an event"),
    _typed("ops_events", "health, queues, API requests and calls of AI services, one row an event"),
    _typed("billing", "subscriptions, payments and refunds, one row an event: the ledger of revenue"),
    _typed("cdc_users", "changes of users in the application's database, one row a change"),
    _typed("cdc_channels", "changes of channels, one row a change"),
    _typed("cdc_subscriptions", "changes of subscriptions, one row a change"),
    Dataset("silver.youtube_videos", "YouTube's numbers of each video, one row a fetch", ANALYTICS, "fetched_at"),
    Dataset("silver.youtube_channels", "YouTube's numbers of each channel, one row a fetch", ANALYTICS, "fetched_at"),
    Dataset("silver.youtube_analytics_daily", "YouTube's analytics by day, one row a fetch", ANALYTICS, "fetched_at"),
    Dataset(
        "silver.rejected", "records that the decoder took and a cast did not: should be empty", newest="ingested_at"
    ),
    Dataset("gold.windows", "live metrics by window, as published", newest="updated_at"),
    Dataset("gold.entities", "running totals, as published: what each video has cost", newest="updated_at"),
    Dataset("gold.alerts", "each change of state of each alert, and its delivery", newest="recorded_at"),
    _model("fact_video_generation", "one row a video: times, costs, results"),
    _model("fact_user_activity", "one row a user event"),
    _model("daily_metrics", "every daily metric, one row a day", "updated_at"),
    _model("financial_daily", "revenue and costs, one row a day"),
    _model("retention_weekly", "weekly cohorts: who came back"),
    _model("dim_user", "users with their history (SCD type 2)"),
    _model("dim_channel", "channels with their history (SCD type 2)"),
    _model("dim_date", "days of 2020 to 2039"),
    Dataset("meta.window_sources", "cells: each window as each source saw it", newest="written_at"),
    Dataset("meta.dead_letters", "records that could not be taken, with the reason", newest="recorded_at"),
    Dataset("meta.dead_letter_replays", "which dead letters were sent again", newest="replayed_at"),
    Dataset("meta.lost_offsets", "records that were deleted before they were read"),
    Dataset("meta.job_runs", "runs of jobs: the scheduler's, reconciling, back-fills", newest="started_at"),
    Dataset("meta.job_pauses", "which jobs are paused, and by whom"),
    Dataset("meta.quality_results", "results of checks", newest="checked_at"),
    Dataset("meta.build_marks", "up to when each gold model is built", newest="marked_at"),
    Dataset("meta.youtube_units", "which pages of YouTube's silver has", ANALYTICS, "done_at"),
    Dataset("meta.youtube_quota", "what was planned and spent of Google's quota", ANALYTICS, "at"),
    Dataset("meta.datasets", "this list", newest="updated_at"),
    Dataset(
        "keys.user_keys", "a key per user, wrapped by the master key: what opens personal data", newest="created_at"
    ),
    Dataset("keys.destroyed", "users whose keys were destroyed", newest="destroyed_at"),
    Dataset("keys.master", "which master key wraps the others (a fingerprint)"),
    Dataset("meta.schema_migrations", "which migrations were applied"),
)
