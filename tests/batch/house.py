"""ClickHouse and Redis of their own, with months loaded into them, and streamproc's commands as a user types them."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Self

import clickhouse_connect

from streamproc.sinks.clickhouse_client import ClickHouse
from tests.batch.load import load_month
from tests.support.migrated import start_migrated
from tests.support.redis import start_redis


class House:
    """Use as a context manager."""

    def __init__(self, directory: Path) -> None:
        self.clickhouse = start_migrated(directory / "clickhouse")
        self.redis = start_redis(directory / "redis")
        # There is no broker here to record alerts on daily metrics.
        rules = directory / "no_rules.yaml"
        rules.write_text("rules: []\n")
        self.env = os.environ | {
            "STREAMPROC_ALERT_RULES": str(rules),
            "STREAMPROC_CLICKHOUSE_URL": self.clickhouse.url,
            "STREAMPROC_REDIS_URL": self.redis.url,
            "STREAMPROC_DATA_DIR": str(directory / "data"),
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.redis.stop()
        self.clickhouse.stop()

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """A command that runs on."""
        return subprocess.Popen(
            [sys.executable, "-m", "streamproc.cli.main", *arguments],
            env=self.env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def command(self, *arguments: str) -> str:
        """What a command prints; it must end well."""
        process = self.start(*arguments)
        said, _ = process.communicate(timeout=300)
        assert process.returncode == 0, said
        return said

    def load(self, month: Path, begin: float = 0.0, end: float = 1.0) -> None:
        """A month's files, or a part of them, into bronze and silver."""

        async def run() -> None:
            clickhouse = ClickHouse(self.clickhouse.url)
            try:
                await load_month(clickhouse, month, begin, end)
            finally:
                await clickhouse.close()

        asyncio.run(run())

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

    def count(self, table: str) -> int:
        """Rows of a gold table as they lie there."""
        return int(self.rows(f"SELECT count() FROM gold.{table}")[0][0])

    def exists(self, table: str) -> bool:
        """Whether a gold table is there."""
        sql = f"SELECT count() FROM system.tables WHERE database = 'gold' AND name = '{table}'"
        return bool(self.rows(sql)[0][0])
