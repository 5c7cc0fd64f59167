"""Gold by dbt equals the truth that was computed from the files alone, whatever comes late and whoever is killed meanwhile."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import pytest
import redis

from schemas.retention import RETENTION
from streamproc.catalogue.daily import DAILY_METRICS
from streamproc.sinks.clickhouse_client import ClickHouse
from tests.batch.load import load_month
from tests.support.clickhouse import ClickHouseHandle, start_clickhouse
from tests.support.redis import RedisHandle, start_redis
from tests.support.stack import wait_for
from tests.warehouse.clickhouse import ClickHouse as Reader
from tests.warehouse.compare import Options, compare
from tests.warehouse.month import Plan, write_month
from tests.warehouse.truth import compute

pytestmark = [pytest.mark.xdist_group("warehouse"), pytest.mark.timeout(600)]

#: Tables to which builds add rows.
APPENDED = ("fact_video_generation", "fact_user_activity", "daily_metrics", "financial_daily")


@pytest.fixture(scope="module")
def month(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("month")
    # Lately, for gold lets go of what is two years old.
    write_month(Plan(begin=(date.today() - timedelta(days=60)).replace(day=1)), directory)
    return directory


class _House:
    def __init__(self, directory: Path, clickhouse: ClickHouseHandle, server: RedisHandle) -> None:
        self.clickhouse, self.redis = clickhouse, server
        self.env = os.environ | {
            "STREAMPROC_CLICKHOUSE_URL": clickhouse.url,
            "STREAMPROC_REDIS_URL": server.url,
            "STREAMPROC_DATA_DIR": str(directory / "data"),
        }
        self.command("migrate")

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "streamproc.cli.main", *arguments],
            env=self.env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def command(self, *arguments: str) -> str:
        process = self.start(*arguments)
        said, _ = process.communicate(timeout=300)
        assert process.returncode == 0, said
        return said

    def load(self, month: Path, begin: float = 0.0, end: float = 1.0) -> None:
        async def run() -> None:
            clickhouse = ClickHouse(self.clickhouse.url)
            try:
                await load_month(clickhouse, month, begin, end)
            finally:
                await clickhouse.close()

        asyncio.run(run())

    def count(self, table: str) -> int:
        found = Reader(self.clickhouse.url).rows(f"SELECT count() FROM gold.{table}")
        return int(next(iter(found))[0])

    def exists(self, table: str) -> bool:
        sql = f"SELECT count() FROM system.tables WHERE database = 'gold' AND name = '{table}'"
        return bool(int(next(iter(Reader(self.clickhouse.url).rows(sql)))[0]))


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, month: Path) -> Iterator[_House]:
    """Two loads of the month, a build killed in the middle, one between the loads, one after."""
    directory = tmp_path_factory.mktemp("warehouse")
    clickhouse = start_clickhouse(directory / "clickhouse")
    server = start_redis(directory / "redis")
    try:
        house = _House(directory, clickhouse, server)
        house.load(month, 0.0, 0.6)
        killed = house.start("warehouse", "build")
        wait_for("a first model is there", lambda: house.exists("fact_user_activity"), timeout_s=120)
        killed.send_signal(signal.SIGKILL)
        killed.communicate()
        house.command("warehouse", "build", "--no-tests")
        house.load(month, 0.6, 1.0)
        assert "daily metrics in Redis" in house.command("warehouse", "build")
        yield house
    finally:
        server.stop()
        clickhouse.stop()


def test_gold_equals_the_truth_though_events_come_later_and_builds_are_killed(house: _House, month: Path) -> None:
    wrong = compare(house.clickhouse.url, compute(month), Options(cdc=("id", "position")))
    assert not wrong, "\n".join(wrong)


def test_a_build_without_news_writes_nothing(house: _House) -> None:
    before = {table: house.count(table) for table in APPENDED}
    house.command("warehouse", "build")
    assert {table: house.count(table) for table in APPENDED} == before
    assert min(before.values()) > 20


def test_everything_computed_again_is_the_same(house: _House, month: Path) -> None:
    house.command("warehouse", "build", "--everything", "--no-tests")
    wrong = compare(house.clickhouse.url, compute(month), Options())
    assert not wrong, "\n".join(wrong)


def test_the_newest_daily_metrics_are_in_redis(house: _House) -> None:
    client = redis.Redis.from_url(house.redis.url, decode_responses=True)
    sql = """SELECT metric, toString(day), toFloat64(value) FROM gold.daily_metrics FINAL
             WHERE grain = 'day' AND dimension = '' AND day = (SELECT max(day) FROM gold.daily_metrics WHERE grain = 'day')"""
    rows = list(Reader(house.clickhouse.url).rows(sql))
    assert len(rows) == len(DAILY_METRICS)
    for metric, day, value in rows:
        shown = client.hgetall(f"sp:daily:{metric}")
        assert shown["day"] == day and int(shown["updated_at"]) > 0
        assert (float(shown["value"]) if shown["value"] else None) == value, metric


def test_gold_has_what_the_catalogue_says(house: _House) -> None:
    sql = "SELECT DISTINCT metric, grain, dimension FROM gold.daily_metrics"
    found = {tuple(row) for row in Reader(house.clickhouse.url).rows(sql)}
    due = {(metric.name, "day", "") for metric in DAILY_METRICS}
    due |= {(metric.name, "day", metric.dimension) for metric in DAILY_METRICS if metric.dimension}
    due |= {(metric.name, "month", "") for metric in DAILY_METRICS if metric.monthly}
    assert found == due


def test_point_in_time_join(house: _House) -> None:
    """Each event finds the one version of its user that was valid then (or none, before and after the user's life)."""
    sql = """SELECT countIf(n > 1), countIf(n = 1) FROM (
                 SELECT f.event_id AS id, countIf(d.user_id != 0) AS n FROM gold.fact_user_activity AS f FINAL
                 LEFT JOIN gold.dim_user AS d ON d.user_id = f.user_id
                 WHERE d.user_id = 0 OR (f.activity_timestamp >= d.valid_from AND f.activity_timestamp < d.valid_to)
                 GROUP BY id)"""
    several, one = next(iter(Reader(house.clickhouse.url).rows(sql)))
    asof = """SELECT count() FROM gold.fact_user_activity AS f FINAL
              ASOF JOIN gold.dim_user AS d ON d.user_id = f.user_id AND f.activity_timestamp >= d.valid_from
              WHERE f.activity_timestamp < d.valid_to"""
    (by_asof,) = next(iter(Reader(house.clickhouse.url).rows(asof)))
    assert int(several) == 0 and int(one) > 1000
    assert int(by_asof) == int(one)


def test_every_table_is_kept_as_promised(house: _House) -> None:
    """`retention show` knows every table, and each says of itself what is promised."""
    said = house.command("retention", "show")
    sql = """SELECT database || '.' || name FROM system.tables WHERE database IN ('bronze', 'silver', 'gold', 'meta')
             AND engine LIKE '%MergeTree' AND name NOT LIKE 'int\\_%'"""
    there = {name for (name,) in Reader(house.clickhouse.url).rows(sql)}
    assert there == {each.dataset for each in RETENTION}
    assert "not there yet" not in said and len(there) > 30


def test_the_page_shows_models_and_lineage(house: _House, tmp_path: Path) -> None:
    house.command("warehouse", "docs", "--out", str(tmp_path / "warehouse.html"))
    page = (tmp_path / "warehouse.html").read_text(encoding="utf-8")
    assert "fact_video_generation" in page and "One row a video with its times" in page
