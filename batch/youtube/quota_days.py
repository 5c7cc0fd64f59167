"""The quota ledger by Pacific day, for people."""

from __future__ import annotations

from datetime import date
from typing import NamedTuple

from batch.youtube.ledger import ANALYTICS, DATA
from streamproc.config import Settings
from streamproc.sinks.clickhouse_client import ClickHouse


class QuotaDay(NamedTuple):
    """Units (Data API) or queries (Analytics API) of one Pacific day."""

    day: date
    api: str
    planned: int
    spent: int
    left: int


async def quota_days(clickhouse: ClickHouse, settings: Settings) -> list[QuotaDay]:
    """The last 14 days on which anything was planned or spent, newest first.

    Raises:
        RetryableError, PermanentError: ClickHouse's reason.
    """
    limits = {DATA: settings.youtube_daily_units, ANALYTICS: settings.youtube_daily_queries}
    rows = await clickhouse.rows(
        "SELECT pacific_day, api, sumIf(units, kind = 'planned'), sumIf(units, kind = 'spent'), countIf(kind = 'refused')"
        " FROM meta.youtube_quota FINAL GROUP BY pacific_day, api ORDER BY pacific_day DESC, api LIMIT 28"
    )
    return [
        QuotaDay(day, api, int(planned), int(spent), 0 if refused else max(0, limits.get(api, 0) - int(spent)))
        for day, api, planned, spent, refused in rows
    ]
