"""A warehouse to look at: a seeded month built by dbt, and what the workers write, on a real server."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest

from streamproc.sinks.clickhouse_client import ClickHouse
from tests.batch.load import load_month
from tests.grafana.macros import View
from tests.grafana.stream import dead_letters_sql, write_all
from tests.support.migrated import start_migrated
from tests.support.redis import start_redis
from tests.warehouse.clickhouse import ClickHouse as Reader
from tests.warehouse.month import Plan, write_month

_DAYS = 21
_ASKED = " FORMAT JSONCompactEachRowWithNamesAndTypes"


@dataclass(frozen=True)
class Answer:
    """What a query gives: columns with their types, and rows."""

    types: dict[str, str]
    rows: list[list[Any]]

    def column(self, name: str) -> list[Any]:
        at = list(self.types).index(name)
        return [row[at] for row in self.rows]


@dataclass(frozen=True)
class Warehouse:
    """Where ClickHouse answers, and the moment (epoch s) up to which there is data."""

    url: str
    now: int

    def view(self, seconds: int = 6 * 3600, window: str = "1m") -> View:
        """The last `seconds` up to that moment."""
        return View(self.now - seconds, self.now, variables=(("window", window),))

    def ask(self, sql: str) -> Answer:
        """As a user who may only read and change no setting."""
        text = sql + " SETTINGS readonly = 1" + _ASKED
        names, types, *rows = (orjson.loads(line) for line in Reader(self.url).run(text).splitlines())
        return Answer(dict(zip(names, types, strict=True)), rows)


def _command(env: dict[str, str], *words: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "streamproc.cli.main", *words], env=env, capture_output=True, text=True, timeout=400
    )
    assert done.returncode == 0, done.stdout + done.stderr


async def _load(url: str, month: Path) -> None:
    clickhouse = ClickHouse(url)
    try:
        await load_month(clickhouse, month)
    finally:
        await clickhouse.close()


@pytest.fixture(scope="package")
def warehouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warehouse]:
    """Lately, for gold lets go of what is old; the moment is the last afternoon of the month's data."""
    directory = tmp_path_factory.mktemp("grafana")
    begin = date.today() - timedelta(days=_DAYS + 7)
    write_month(Plan(begin=begin, days=_DAYS, users=40, videos=80, events=5000), directory / "month")
    last = datetime(begin.year, begin.month, begin.day, 15, 37, 20, tzinfo=UTC) + timedelta(days=_DAYS - 1)
    now = int(last.timestamp())
    clickhouse = start_migrated(directory / "clickhouse")
    redis = start_redis(directory / "redis")
    try:
        # There is no broker here to record alerts on daily metrics.
        rules = directory / "no_rules.yaml"
        rules.write_text("rules: []\n")
        env = os.environ | {
            "STREAMPROC_ALERT_RULES": str(rules),
            "STREAMPROC_CLICKHOUSE_URL": clickhouse.url,
            "STREAMPROC_REDIS_URL": redis.url,
            "STREAMPROC_DATA_DIR": str(directory / "data"),
        }
        asyncio.run(_load(clickhouse.url, directory / "month"))
        _command(env, "warehouse", "build", "--no-tests")
        asyncio.run(write_all(clickhouse.url, now * 1000))
        Reader(clickhouse.url).run(dead_letters_sql(now * 1000))
        # Versions of some videos as an earlier build might have left them: whoever takes these counts wrong.
        Reader(clickhouse.url).run(
            "INSERT INTO gold.fact_video_generation SELECT * REPLACE (toDecimal64(999, 4) AS total_cost, 'failed' AS status,"
            " updated_at - INTERVAL 1 HOUR AS updated_at) FROM gold.fact_video_generation LIMIT 20"
        )
        # The build was today; a range that ends at that moment would not see it.
        Reader(clickhouse.url).run(
            f"INSERT INTO meta.build_marks (model, built_at) SELECT model, toDateTime64({now - 3600}, 6, 'UTC')"
            " FROM meta.build_marks GROUP BY model"
        )
        yield Warehouse(clickhouse.url, now)
    finally:
        redis.stop()
        clickhouse.stop()
