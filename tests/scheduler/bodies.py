"""Bodies of the tests, and the tables that name them."""

from __future__ import annotations

import asyncio
import os

from batch.scheduler.child import Run
from batch.scheduler.orders import Outcome
from streamproc.sinks.clickhouse_client import ClickHouse
from tests.scheduler.support import job

UNITS = 12
_UNIT_S = 0.25


async def nothing(_run: Run) -> Outcome:
    """Done at once."""
    return Outcome()


async def units(run: Run) -> Outcome:
    """A row for every unit, each after a look at the fence."""
    clickhouse = ClickHouse.of(run.settings)
    try:
        for unit in range(UNITS):
            run.step("a unit", unit, UNITS)
            await clickhouse.command(
                f"INSERT INTO default.effects (job, scheduled_ms, unit, pid) VALUES ('{run.job}', {run.scheduled_ms}, {unit}, {os.getpid()})"
            )
            await asyncio.sleep(_UNIT_S)
    finally:
        await clickhouse.close()
    return Outcome(rows=UNITS, quota_units=3)


async def busy(run: Run) -> Outcome:
    """Needs the interpreter for itself, as dbt does, for longer than the lease."""
    run.step("computing")
    loop = asyncio.get_running_loop()
    until = loop.time() + 6.0
    while loop.time() < until:
        sum(range(2_000_000))
    return Outcome(rows=1)


async def endless(run: Run) -> Outcome:
    """Never ends by itself."""
    run.step("waiting")
    await asyncio.sleep(3600)
    return Outcome()


# Due at once at the first start, whatever the time: the newest midnight.
_AT_ONCE = {"schedule": "0 0 * * *", "grace_s": 25 * 3600.0}
TABLES = {
    "units": (job("units", body="tests.scheduler.bodies:units", **_AT_ONCE),),
    "busy": (job("busy", body="tests.scheduler.bodies:busy", **_AT_ONCE),),
    "endless": (job("endless", body="tests.scheduler.bodies:endless", timeout_s=2.0, retries=0, **_AT_ONCE),),
}
