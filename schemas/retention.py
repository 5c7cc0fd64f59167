"""How long everything is kept: the customer's table (spec.md) by dataset, in one place. Tables hold it as TTLs.

Days of a TTL count from when a row came (events, raw records) or from its own day (aggregates). Longer periods than the
customer's are margins of our own books: cells must outlive the events that may still correct a window.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

YEAR: Final = 365


@dataclass(frozen=True, slots=True)
class Retention:
    """`days` of a dataset: several if rows differ (costs are kept longer); none: for ever, or until somebody is erased."""

    dataset: str
    data_type: str
    days: frozenset[int] = frozenset()
    note: str = ""


def _kept(dataset: str, data_type: str, *days: int, note: str = "") -> Retention:
    return Retention(dataset, data_type, frozenset(days), note)


_RAW, _PROCESSED, _AGGREGATED, _COST = "Raw Events", "Processed Data", "Aggregated Metrics", "Cost Data"
_PII, _OWN = "User PII", "our own books"

RETENTION: Final[tuple[Retention, ...]] = (
    _kept("bronze.user_events", _RAW, 90),
    _kept("bronze.video_status", _RAW, 90),
    _kept("bronze.cost_events", _RAW, 90),
    _kept("bronze.ops_events", _RAW, 90),
    _kept("bronze.billing_events", _RAW, 90),
    _kept("bronze.cdc", _RAW, 90),
    _kept("bronze.youtube", _RAW, 90),
    _kept("silver.user_activity", _PROCESSED, 180),
    _kept("silver.video_status", _PROCESSED, 180),
    _kept("silver.ops_events", _PROCESSED, 180),
    _kept("silver.cost_events", _COST, 3 * YEAR),
    _kept("silver.billing", _COST, 3 * YEAR, note="the ledger of revenue"),
    _kept("silver.cdc_users", _PII, note="history, until a deletion request"),
    _kept("silver.cdc_channels", _PII, note="history, until a deletion request"),
    _kept("silver.cdc_subscriptions", _COST, 3 * YEAR),
    _kept("silver.youtube_videos", _PROCESSED, 180),
    _kept("silver.youtube_channels", _PROCESSED, 180),
    _kept("silver.youtube_analytics_daily", _AGGREGATED, 2 * YEAR),
    _kept("silver.rejected", _RAW, 90),
    _kept("gold.windows", _AGGREGATED, 2 * YEAR, 3 * YEAR, note="costs 3 years"),
    _kept("gold.entities", _COST, note="totals of videos' lives"),
    _kept("gold.alerts", _AGGREGATED, 2 * YEAR),
    _kept("gold.fact_video_generation", _AGGREGATED, 2 * YEAR),
    _kept("gold.fact_user_activity", _AGGREGATED, 2 * YEAR),
    _kept("gold.daily_metrics", _AGGREGATED, 2 * YEAR),
    _kept("gold.financial_daily", _COST, 3 * YEAR),
    _kept("gold.retention_weekly", _AGGREGATED, note="computed whole from facts"),
    _kept("gold.dim_user", _PII, note="computed whole from silver.cdc_users"),
    _kept("gold.dim_channel", _PII, note="computed whole from silver.cdc_channels"),
    _kept("gold.dim_date", _AGGREGATED),
    _kept(
        "meta.window_sources",
        _OWN,
        195,
        1110,
        note="180 days and a margin; costs 3 years and a margin; totals for ever",
    ),
    _kept("meta.dead_letters", _RAW, 90),
    _kept("meta.dead_letter_replays", _OWN, 180),
    _kept("meta.lost_offsets", _OWN, 1110),
    _kept("meta.job_runs", _OWN, 2 * YEAR),
    _kept("meta.job_pauses", _OWN),
    _kept("meta.quality_results", _OWN, YEAR),
    _kept("meta.build_marks", _OWN, 30),
    _kept("meta.youtube_units", _OWN, 100, note="which pages silver has: longer than bronze has them"),
    _kept("meta.youtube_quota", _OWN, 2 * YEAR),
    _kept("meta.datasets", _OWN),
    _kept("meta.schema_migrations", _OWN),
    _kept("keys.user_keys", _PII, note="until a deletion request destroys them"),
    _kept("keys.destroyed", _OWN, note="who was erased, and when"),
    _kept("keys.master", _OWN, note="which master key is in force"),
)
