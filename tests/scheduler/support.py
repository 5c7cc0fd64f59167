"""Servers, jobs, a clock of our own and a launcher that stays in the process."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import clickhouse_connect

from batch.scheduler.launch import OnStep
from batch.scheduler.orders import Order, Said
from batch.scheduler.table import Job
from streamproc.config import Settings
from streamproc.embedded.child import bound_argv, module_argv
from streamproc.migrate import migrate
from tests.support.clickhouse import start_clickhouse
from tests.support.redis import start_redis

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS

_EFFECTS = (
    "CREATE TABLE IF NOT EXISTS default.effects (job String, scheduled_ms Int64, unit UInt32, pid UInt32,"
    " at DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC')) ENGINE = MergeTree ORDER BY at"
)


def job(name: str, schedule: str = "0 2 * * *", **more: Any) -> Job:
    """A job of the tests; the body does nothing unless another is named."""
    fields: dict[str, Any] = {
        "purpose": "for tests", "body": "tests.scheduler.bodies:nothing", "writes": (), "grace_s": 20 * 3600.0,
        "timeout_s": 60.0, "late_s": 7200.0,
    }  # fmt: skip
    return Job(name, schedule, **(fields | more))


class Clock:
    """Epoch ms that stand still until they are moved."""

    def __init__(self, now_ms: int) -> None:
        self.now_ms = now_ms

    def __call__(self) -> int:
        return self.now_ms


class InProcess:
    """A launcher whose bodies are coroutines here: `effects` counts how often each run was done."""

    def __init__(
        self, act: Callable[[Order], Said] = lambda _order: Said(ended=True, rows=1), takes_s: float = 0.0
    ) -> None:
        self.effects: Counter[tuple[str, int]] = Counter()
        self.at_work: Counter[str] = Counter()
        self.overlaps: list[str] = []
        self.act = act
        self.takes_s = takes_s

    async def start(self, order: Order, _on_step: OnStep) -> _Inside:
        return _Inside(self, order)


class _Inside:
    def __init__(self, home: InProcess, order: Order) -> None:
        self._home = home
        self._order = order

    async def ended(self) -> Said:
        home, order = self._home, self._order
        home.at_work[order.job] += 1
        if home.at_work[order.job] > 1:
            home.overlaps.append(order.job)
        try:
            await asyncio.sleep(home.takes_s)
            home.effects[order.job, order.scheduled_ms] += 1
            return home.act(order)
        finally:
            home.at_work[order.job] -= 1

    async def kill(self) -> None:
        """Its task is cancelled by whoever waits for it."""


class Servers:
    """Use as a context manager."""

    def __init__(self, directory: Path) -> None:
        self.dir = directory
        self.clickhouse = start_clickhouse(directory / "clickhouse")
        self.redis = start_redis(directory / "redis")
        self.started: list[subprocess.Popen[str]] = []

    def __enter__(self) -> Self:
        migrate(self.settings())
        self.run(_EFFECTS)
        return self

    def __exit__(self, *_: object) -> None:
        self.end_processes()
        self.redis.stop()
        self.clickhouse.stop()

    def end_processes(self) -> None:
        """SIGKILL for every scheduler that still runs, also one that is stopped."""
        for process in self.started:
            if process.poll() is None:
                process.kill()
            process.wait()
        # What they said belongs to the test that is over.
        for path in self.dir.glob("sidecar-*.log"):
            path.unlink()

    def settings(self, **more: Any) -> Settings:
        """Settings of both; a lease of two seconds."""
        fields = {
            "clickhouse_url": self.clickhouse.url, "redis_url": self.redis.url, "scheduler_lease_s": 2.0, "metrics_port": 0,
            "broker_url": "kafka://127.0.0.1:9",
        }  # fmt: skip
        return Settings(**(fields | more))

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Rows of a query."""
        client = clickhouse_connect.get_client(dsn=self.clickhouse.url, autogenerate_session_id=False)
        try:
            return [tuple(row) for row in client.query(sql).result_rows]
        finally:
            client.close()

    def run(self, sql: str) -> None:
        """A statement without a result."""
        client = clickhouse_connect.get_client(dsn=self.clickhouse.url, autogenerate_session_id=False)
        try:
            client.command(sql)
        finally:
            client.close()

    def books(self) -> list[tuple[Any, ...]]:
        """(job, day, attempt, status) of every attempt."""
        return self.rows(
            "SELECT job, toString(logical_date), attempt, status FROM meta.job_runs FINAL ORDER BY scheduled_for, job, attempt"
        )

    def sidecar(self, table: str, lease_s: float, **env: str) -> subprocess.Popen[str]:
        """A scheduler process of its own with a table of tests/scheduler/bodies.py."""
        log = (self.dir / f"sidecar-{len(self.started)}.log").open("w")
        settings = {
            "STREAMPROC_CLICKHOUSE_URL": self.clickhouse.url, "STREAMPROC_REDIS_URL": self.redis.url,
            "STREAMPROC_BROKER_URL": "kafka://127.0.0.1:9", "STREAMPROC_SCHEDULER_LEASE_S": str(lease_s),
            "STREAMPROC_METRICS_PORT": "0",
        }  # fmt: skip
        process = subprocess.Popen(
            bound_argv(module_argv("tests.scheduler.process", table)), stdout=log, stderr=log, text=True,
            env={**os.environ, **settings, **env}, cwd=Path(__file__).parents[2],
        )  # fmt: skip
        log.close()
        self.started.append(process)
        return process

    def output(self) -> str:
        """What the processes said, for a test that fails."""
        return "\n".join(path.read_text() for path in sorted(self.dir.glob("sidecar-*.log")))


def stop_process(process: subprocess.Popen[str]) -> None:
    """SIGTERM and wait."""
    process.send_signal(signal.SIGTERM)
    process.wait(30)
