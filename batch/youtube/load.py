"""`load_day`: one day's load from the first page to the last; killed or out of quota anywhere, it goes on where it was."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import date
from functools import partial
from typing import Protocol

from batch.youtube.analytics import Analytics
from batch.youtube.catalogue import Catalogue
from batch.youtube.client import Client
from batch.youtube.credentials import load_credentials
from batch.youtube.errors import QuotaSpentError
from batch.youtube.fetch import Fetcher
from batch.youtube.ledger import ANALYTICS, DATA, Ledger
from batch.youtube.pages import Pages
from batch.youtube.patience import Patience
from batch.youtube.plan import Known, activity_days, planned_units
from batch.youtube.report import Report, note_quality
from batch.youtube.silver import Silver
from streamproc.clock import now_ms
from streamproc.config import Settings
from streamproc.sinks.clickhouse_client import ClickHouse


class Progress(Protocol):
    """Told what is being asked for, and how many of how many units are spent."""

    def __call__(self, text: str, done: int, total: int) -> None:
        """Show it."""


async def load_day(
    settings: Settings, day: date, progress: Progress, *, dry_run: bool = False, now: Callable[[], int] = now_ms
) -> Report:
    """Load all channels of gold.dim_channel: their counts of now, and analytics of the week (35 days on Sundays) up to `day`.

    A load is known by its day: a second run asks for nothing that the first one stored. Short of quota it ends with a report
    that is not complete; run again after `resume_at_ms` it goes on. A dry run only plans.

    Args:
        day: of Pacific time, the newest one whose analytics are asked for.

    Raises:
        ConfigError: credentials are missing, or Google refuses in a way that only a human can change.
        RetryableError: ClickHouse was away too long.
        PermanentError: ClickHouse's reason.
    """
    credentials, api_key = load_credentials(settings)
    clickhouse = ClickHouse(settings.clickhouse_url.get_secret_value(), timeout_s=120.0)
    patience = Patience(settings.youtube_backoff_s)
    report = Report(f"day/{day}", day)
    limits = {DATA: settings.youtube_daily_units, ANALYTICS: settings.youtube_daily_queries}
    ledger = Ledger(clickhouse, patience, report.load, limits, now)
    client = Client(
        credentials, api_key, ledger, endpoint=settings.youtube_endpoint, backoff_s=settings.youtube_backoff_s
    )
    try:
        fetcher = Fetcher(
            client, ledger, Pages(clickhouse, patience, report.load), Silver(clickhouse, patience), report, progress,
            now, settings.youtube_restated_limit,
        )  # fmt: skip
        catalogue = Catalogue(clickhouse, patience, fetcher)
        await _run(fetcher, catalogue, Analytics(fetcher), dry_run)
        if not dry_run:
            progress("noting what was found", 1, 1)
            await note_quality(clickhouse, patience, report, now())
        report.left = {api: await ledger.left(api) for api in limits}
        report.spent = dict(ledger.spent_here)
        return report
    finally:
        client.close()
        await clickhouse.close()


async def _run(fetcher: Fetcher, catalogue: Catalogue, analytics: Analytics, dry_run: bool) -> None:
    report, client = fetcher.report, fetcher.client
    channels = await catalogue.channels()
    report.channels = len(channels)
    counts = await catalogue.counts()
    await fetcher.begin()
    known = {one: Known(counts.get(one), bool(client.owner_of(one))) for one in channels}
    report.channels_unknown = sum(each.videos is None for each in known.values())
    report.planned = planned_units(known, fetcher.stored, report.day, activity_days(report.day))
    if dry_run:
        return
    await fetcher.recover()
    await fetcher.ledger.plan(report.planned)
    uploads: dict[str, str] = {}

    async def counts_of_now() -> None:
        uploads.update(await catalogue.ask_channels(channels))
        for channel_id, playlist in uploads.items():
            await fetcher.for_channel(channel_id, partial(catalogue.load, channel_id, playlist))

    async def days() -> None:
        # Also where the other quota did not even suffice for the channels themselves.
        for channel_id in uploads or channels:
            await fetcher.for_channel(channel_id, partial(analytics.load, channel_id), "analytics")

    # The two APIs have a quota each: when one is spent, the other goes on.
    await _until_spent(report, counts_of_now)
    await _until_spent(report, days)


async def _until_spent(report: Report, act: Callable[[], Awaitable[None]]) -> None:
    try:
        await act()
    except QuotaSpentError as error:
        report.complete = False
        report.resume_at_ms = max(report.resume_at_ms, error.resume_at_ms)
