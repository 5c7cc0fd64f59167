"""What the jobs do. Each body may be killed at any moment and run again: its writes are idempotent."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from itertools import islice
from typing import Final

from batch.scheduler.child import Run
from batch.scheduler.orders import Outcome
from streamproc.alerts.texts import time_text
from streamproc.errors import PermanentError, RetryableError
from streamproc.sinks.clickhouse_client import ClickHouse

#: Of what a load says of single channels and days, so many are in the books; all of it is in meta.quality_results.
_EXAMPLES: Final = 20


async def warehouse_build(run: Run) -> Outcome:
    """dbt build, then the daily metrics into Redis, meta.datasets, and alerts on the day; `rows` are the daily metrics shown.

    Raises:
        ConfigError: dbt is not installed, or the rules file cannot be used.
        RetryableError, PermanentError: what dbt, ClickHouse, Redis or the broker says.
    """
    from batch.warehouse import daily_alerts, daily_redis, dbt
    from streamproc.datasets import refresh

    run.step("dbt build", 0, 4)
    results = await asyncio.to_thread(dbt.run, run.settings, ["build"])
    run.step("daily metrics into Redis", 1, 4)
    shown = await asyncio.to_thread(daily_redis.publish, run.settings)
    run.step("counting tables", 2, 4)
    clickhouse = ClickHouse.of(run.settings)
    try:
        await refresh(clickhouse, run.settings)
    finally:
        await clickhouse.close()
    run.step("rules on daily metrics", 3, 4)
    alerts = await asyncio.to_thread(daily_alerts.judge, run.settings)
    kinds = [each.node.resource_type for each in results]
    return Outcome(rows=shown, details={"models": kinds.count("model"), "tests": kinds.count("test"), "alerts": alerts})


async def youtube_day(run: Run) -> Outcome:
    """Channels, videos and analytics of YouTube up to the run's day; `rows` are rows of silver.

    Raises:
        ConfigError: credentials are missing, or Google refuses in a way that only a human can change.
        QuotaSpentError: nothing is left until midnight in California: the next attempt goes on then.
        RetryableError: 'youtube_incomplete': patience is spent; another attempt goes on there.
        RetryableError, PermanentError: ClickHouse's reason.
    """
    from batch.youtube.errors import QuotaSpentError
    from batch.youtube.load import load_day
    from batch.youtube.pacific import pacific_day

    # At 02:00 UTC yesterday is not over in California. By when the run was due: each of its attempts goes on with the same load.
    day = min(run.day, pacific_day(run.scheduled_ms) - timedelta(days=1))
    report = await load_day(run.settings, day, run.step)
    if report.resume_at_ms:
        when = time_text(report.resume_at_ms)
        raise QuotaSpentError("youtube", report.resume_at_ms, f"{report.pages} pages are loaded; it goes on at {when}")
    if not report.complete:
        raise RetryableError("youtube_incomplete", f"{report.pages} pages are loaded; another attempt goes on there")
    return Outcome(
        rows=report.written,
        quota_units=sum(report.spent.values()),
        details={
            "load": report.load,
            "pages": report.pages,
            "skipped": dict(islice(report.skipped.items(), _EXAMPLES)),
            "alerts": len(report.alerts),
            "alert_examples": report.alerts[:_EXAMPLES],
        },
    )


async def reconcile_day(run: Run) -> Outcome:
    """The windows of the run's day against silver; `rows` are the windows corrected.

    Raises:
        ConfigError: the day is not over.
        RetryableError, PermanentError: what a server says; 'windows_hold_more' if that cannot be mended by adding.
    """
    from batch.reconcile.run import Steps, reconcile

    def step(text: str) -> None:
        run.step(text)

    report = await reconcile(run.settings, run.day, Steps(step, step))
    if report.stuck:
        raise PermanentError(
            "windows_hold_more", f"{report.stuck} windows of {report.day} hold more than silver: `streamproc reconcile`"
        )
    return Outcome(rows=report.sent, details={"drift": report.drift})


async def count_datasets(run: Run) -> Outcome:
    """meta.datasets anew; `rows` are its tables.

    Raises:
        RetryableError, PermanentError: ClickHouse's reason.
    """
    from streamproc.datasets import refresh

    run.step("counting tables")
    clickhouse = ClickHouse.of(run.settings)
    try:
        return Outcome(rows=len(await refresh(clickhouse, run.settings)))
    finally:
        await clickhouse.close()


async def check_retention(run: Run) -> Outcome:
    """Every table's TTL against schemas/retention.py; ClickHouse itself deletes. `rows` are the tables looked at.

    Raises:
        PermanentError: 'retention' names the tables that are kept otherwise than promised.
        RetryableError: ClickHouse's reason.
    """
    from schemas.retention import RETENTION
    from streamproc.cli.retention import tables

    run.step("reading TTLs")
    clickhouse = ClickHouse.of(run.settings)
    try:
        found = await tables(clickhouse)
    finally:
        await clickhouse.close()
    wrong = [each.dataset for each in RETENTION if each.dataset in found and found[each.dataset][0] != each.days]
    if wrong:
        raise PermanentError("retention", f"kept otherwise than promised: {', '.join(wrong)}")
    return Outcome(rows=sum(each.dataset in found for each in RETENTION))
