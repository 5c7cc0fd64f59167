"""What the jobs do. Each body may be killed at any moment and run again: its writes are idempotent."""

from __future__ import annotations

import asyncio

from batch.scheduler.child import Run
from batch.scheduler.orders import Outcome
from streamproc.alerts.texts import time_text
from streamproc.errors import PermanentError, RetryableError
from streamproc.sinks.clickhouse_client import ClickHouse


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
        RetryableError: 'youtube_incomplete': quota or patience is spent; another attempt, or the next day's run, goes on there.
        RetryableError, PermanentError: ClickHouse's reason.
    """
    from batch.youtube.load import load_day

    report = await load_day(run.settings, run.day, run.step)
    if not report.complete:
        when = time_text(report.resume_at_ms) if report.resume_at_ms else "at once"
        raise RetryableError("youtube_incomplete", f"{report.pages} pages are loaded; it goes on {when}")
    return Outcome(
        rows=report.written,
        quota_units=sum(report.spent.values()),
        details={"pages": report.pages, "skipped": report.skipped, "alerts": report.alerts},
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
