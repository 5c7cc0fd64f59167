"""What the jobs do. Each body may be killed at any moment and run again: its writes are idempotent."""

from __future__ import annotations

import asyncio

from batch.scheduler.child import Run
from batch.scheduler.orders import Outcome
from streamproc.errors import PermanentError
from streamproc.sinks.clickhouse_client import ClickHouse


async def warehouse_build(run: Run) -> Outcome:
    """dbt build, then the daily metrics into Redis, then meta.datasets; `rows` are the daily metrics shown.

    Raises:
        ConfigError: dbt is not installed.
        RetryableError, PermanentError: what dbt, ClickHouse or Redis says.
    """
    from batch.warehouse import daily_redis, dbt
    from streamproc.datasets import refresh

    run.step("dbt build", 0, 3)
    results = await asyncio.to_thread(dbt.run, run.settings, ["build"])
    run.step("daily metrics into Redis", 1, 3)
    shown = await asyncio.to_thread(daily_redis.publish, run.settings)
    run.step("counting tables", 2, 3)
    clickhouse = ClickHouse.of(run.settings)
    try:
        await refresh(clickhouse, run.settings)
    finally:
        await clickhouse.close()
    kinds = [each.node.resource_type for each in results]
    return Outcome(rows=shown, details={"models": kinds.count("model"), "tests": kinds.count("test")})


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
