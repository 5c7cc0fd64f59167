"""Gold by dbt equals the truth that was computed from the files alone, whatever comes late and whoever is killed meanwhile."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import orjson
import pytest
import redis

from schemas.retention import RETENTION
from streamproc.catalogue.daily import DAILY_METRICS
from tests.batch.house import House
from tests.oracle.unseal import Unsealer
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


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, month: Path) -> Iterator[House]:
    """Two loads of the month, a build killed in the middle, one between the loads, one after."""
    with House(tmp_path_factory.mktemp("warehouse")) as house:
        house.load(month, 0.0, 0.6)
        killed = house.start("warehouse", "build")
        wait_for("a first model is there", lambda: house.exists("fact_user_activity"), timeout_s=120)
        killed.send_signal(signal.SIGKILL)
        killed.communicate()
        house.command("warehouse", "build", "--no-tests")
        house.load(month, 0.6, 1.0)
        assert "daily metrics in Redis" in house.command("warehouse", "build")
        yield house


def test_gold_equals_the_truth_though_events_come_later_and_builds_are_killed(house: House, month: Path) -> None:
    wrong = compare(house.clickhouse.url, compute(month), Options(cdc=("id", "position")))
    assert not wrong, "\n".join(wrong)


def test_a_build_without_news_writes_nothing(house: House) -> None:
    before = {table: house.count(table) for table in APPENDED}
    house.command("warehouse", "build")
    assert {table: house.count(table) for table in APPENDED} == before
    assert min(before.values()) > 20


def test_everything_computed_again_is_the_same(house: House, month: Path) -> None:
    house.command("warehouse", "build", "--everything", "--no-tests")
    wrong = compare(house.clickhouse.url, compute(month), Options())
    assert not wrong, "\n".join(wrong)


def test_the_newest_daily_metrics_are_in_redis(house: House) -> None:
    client = redis.Redis.from_url(house.redis.url, decode_responses=True)
    sql = """SELECT metric, toString(day), toFloat64(value) FROM gold.daily_metrics FINAL
             WHERE grain = 'day' AND dimension = '' AND day = (SELECT max(day) FROM gold.daily_metrics WHERE grain = 'day')"""
    rows = list(Reader(house.clickhouse.url).rows(sql))
    assert len(rows) == len(DAILY_METRICS)
    for metric, day, value in rows:
        shown = client.hgetall(f"sp:daily:{metric}")
        assert shown["day"] == day and int(shown["updated_at"]) > 0
        assert (float(shown["value"]) if shown["value"] else None) == value, metric


def test_gold_has_what_the_catalogue_says(house: House) -> None:
    sql = "SELECT DISTINCT metric, grain, dimension FROM gold.daily_metrics"
    found = {tuple(row) for row in Reader(house.clickhouse.url).rows(sql)}
    due = {(metric.name, "day", "") for metric in DAILY_METRICS}
    due |= {(metric.name, "day", metric.dimension) for metric in DAILY_METRICS if metric.dimension}
    due |= {(metric.name, "month", "") for metric in DAILY_METRICS if metric.monthly}
    assert found == due


def test_point_in_time_join(house: House) -> None:
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


def test_gold_holds_personal_values_sealed_and_nobody_reads_those_of_a_destroyed_key(house: House) -> None:
    reader = Reader(house.clickhouse.url)
    clear = "SELECT count() FROM {} WHERE {} NOT LIKE 'sealed:1:%'"
    places = [("gold.dim_user", "email"), ("gold.dim_user", "username"), ("gold.fact_user_activity", "ip_address")]
    for place in places:
        assert list(reader.rows(clear.format(*place))) == [[0]]
    user, email = next(iter(reader.rows("SELECT user_id, email FROM gold.dim_user WHERE email IS NOT NULL LIMIT 1")))
    assert "@" in str(Unsealer(reader.rows).text(email, "email"))
    house.command("personal", "destroy", "--user", str(user), "--yes")
    assert Unsealer(reader.rows).text(email, "email") == email
    shown = json.loads(house.command("personal", "show", "--user", str(user), "--json"))["held"]
    assert any(each["table"] == "gold.dim_user" for each in shown)
    assert all(each["value"] is None for each in shown)


def test_every_table_is_kept_as_promised(house: House) -> None:
    """`retention show` knows every table, and each says of itself what is promised."""
    said = house.command("retention", "show")
    sql = """SELECT database || '.' || name FROM system.tables WHERE database IN ('bronze', 'silver', 'gold', 'meta', 'keys')
             AND engine LIKE '%MergeTree' AND name NOT LIKE 'int\\_%'"""
    there = {name for (name,) in Reader(house.clickhouse.url).rows(sql)}
    assert there == {each.dataset for each in RETENTION}
    assert "not there yet" not in said and len(there) > 30


def test_the_page_shows_models_and_lineage(house: House, tmp_path: Path) -> None:
    house.command("warehouse", "docs", "--out", str(tmp_path / "warehouse.html"))
    page = (tmp_path / "warehouse.html").read_text(encoding="utf-8")
    assert "fact_video_generation" in page and "One row a video with its times" in page


def test_datasets_know_every_table(house: House) -> None:
    """`meta.datasets` has a row for each table of all layers, with the rows that the table has."""
    said = {each["dataset"]: each for each in orjson.loads(house.command("datasets", "--json"))}
    there = house.rows(
        "SELECT database || '.' || name FROM system.tables WHERE database IN ('bronze', 'silver', 'gold', 'meta', 'keys')"
        " AND engine LIKE '%MergeTree' AND name NOT LIKE 'int\\_%'"
    )
    assert set(said) == {name for (name,) in there} == {each.dataset for each in RETENTION}
    for name in ("bronze.user_events", "silver.cdc_users", "gold.fact_video_generation"):
        assert said[name]["rows"] == house.rows(f"SELECT count() FROM {name}")[0][0] > 0
        assert said[name]["newest"] and said[name]["partitions"] > 0 and said[name]["purpose"]
    stored = house.rows("SELECT dataset, rows, schema_version FROM meta.datasets FINAL")
    assert len(stored) == len(said) and all(version for _, _, version in stored)
    assert {name: version for name, _, version in stored}["bronze.cdc"] == "0012"
