"""Deriving silver again: lost and changed rows come back, all others stay untouched, whoever is killed meanwhile."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from batch.backfill.derive import Deriver
from batch.backfill.slices import Slice, slices_of
from schemas.topics import COST_EVENTS
from streamproc.sinks.clickhouse_client import ClickHouse
from tests.batch.house import House
from tests.sinks.support import batch, bronze_sink
from tests.support.events import cost_event, encode
from tests.warehouse.month import Plan, write_month

TABLES = ("user_activity", "video_status", "cost_events", "ops_events", "billing", "cdc_users", "cdc_channels")

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    directory = tmp_path_factory.mktemp("house")
    month = tmp_path_factory.mktemp("month")
    write_month(Plan(begin=(date.today() - timedelta(days=40)).replace(day=1)), month)
    with House(directory) as made:
        made.load(month)
        yield made


def _content(house: House) -> dict[str, tuple[int, int]]:
    """Rows that readers see, and a hash of all that they hold (when a row came is no part of it)."""
    found = {}
    for table in (*TABLES, "rejected"):
        final = "" if table == "rejected" else "FINAL"
        # A record that is inserted again has another time of ingestion.
        rows = house.rows(f"SELECT count(), sum(cityHash64(tuple(* EXCEPT ingested_at))) FROM silver.{table} {final}")
        found[table] = rows[0]
    return found


def _backfill(house: House, *more: str) -> str:
    today = datetime.now(UTC).date()
    arguments = ("backfill", "silver", "--from", str(today - timedelta(days=1)), "--to", str(today), *more)
    return house.command(*arguments).splitlines()[-1]


def _damage(house: House) -> None:
    """Rows that are gone, rows that say something else, and rows that follow from no record."""
    for table in TABLES:
        key = "id" if table.startswith("cdc") else "event_id"
        house.run(f"ALTER TABLE silver.{table} DELETE WHERE cityHash64({key}) % 5 = 0 SETTINGS mutations_sync = 2")
    house.run(
        "ALTER TABLE silver.cost_events UPDATE amount_e4 = amount_e4 + 1 WHERE cityHash64(event_id) % 7 = 1 SETTINGS mutations_sync = 2"
    )
    house.run(
        "ALTER TABLE silver.cdc_users UPDATE subscription_tier = 'x' WHERE id % 3 = 1 SETTINGS mutations_sync = 2"
    )
    # Of a record that bronze holds as invalid nothing may follow.
    house.run(
        "INSERT INTO silver.cost_events (event_id, schema_version, occurred_at, component, amount_e4, topic, partition, log_id, offset, kafka_timestamp, ingested_at)"
        " SELECT generateUUIDv4(), '1.0.0', kafka_timestamp, 'other', 1, topic, partition, log_id, offset, kafka_timestamp, ingested_at"
        " FROM bronze.cost_events WHERE error != '' LIMIT 3"
    )


def test_silver_is_derived_again(house: House) -> None:
    """A backfill of sound tables writes nothing; of damaged ones, what is missing; a second one, nothing."""
    sound = _content(house)
    assert all(sound[table][0] for table in TABLES)
    assert _backfill(house).startswith("0 rows written, 0 deleted")

    _damage(house)
    damaged = _content(house)
    assert all(damaged[table] != sound[table] for table in TABLES)
    said = _backfill(house)
    assert " 3 deleted" in said and not said.startswith("0 rows"), said
    assert _content(house) == sound
    assert _backfill(house).startswith("0 rows written, 0 deleted")
    assert _content(house) == sound


def test_a_killed_run_goes_on(house: House) -> None:
    """Killed after some slices, the next one does the rest; the result is the same as of one run."""
    sound = _content(house)
    _damage(house)
    today = datetime.now(UTC).date()
    arguments = ("backfill", "silver", "--from", str(today - timedelta(days=1)), "--to", str(today))
    process = house.start(*arguments)
    running = "SELECT count() FROM meta.job_runs FINAL WHERE job = 'backfill silver' AND status = 'running' AND length(JSONExtractArrayRaw(details, 'done')) >= 2"
    deadline = time.monotonic() + 120
    while not house.rows(running)[0][0] and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert house.rows(running)[0][0] == 1, "it ended before it was killed"
    assert _content(house) != sound
    said = house.command(*arguments)
    assert "went on with a run that had been killed" in said, said
    assert _content(house) == sound
    assert (
        house.rows("SELECT count() FROM meta.job_runs FINAL WHERE job = 'backfill silver' AND status = 'running'")[0][0]
        == 0
    )
    assert "went on" not in house.command(*arguments)


class _Busy(Deriver):
    """The stream brings a record after the slice was read."""

    async def _stage(self, piece: Slice) -> None:
        await super()._stage(piece)
        event = cost_event(int(time.time() * 1000))
        await bronze_sink(self._clickhouse).write([batch("meanwhile", [1], [encode(event)], COST_EVENTS)])
        self.event_id = event["event_id"]


def test_what_the_stream_brings_meanwhile_stays(house: House) -> None:
    """A record that was not there when its hour was read keeps its row."""

    async def run() -> None:
        clickhouse = ClickHouse(house.clickhouse.url)
        today = datetime.now(UTC).date()
        try:
            async with _Busy(clickhouse, COST_EVENTS, lambda: pytest.fail("no personal data")) as deriver:
                # An hour that ends meanwhile would prove nothing: the newest one.
                days = today - timedelta(days=1), today
                piece = (await slices_of(clickhouse, "bronze.cost_events", COST_EVENTS, *days))[-1]
                await deriver.derive(piece)
                found = f"SELECT count() FROM silver.cost_events FINAL WHERE event_id = '{deriver.event_id}'"
                assert await clickhouse.rows(found) == [(1,)]
        finally:
            await clickhouse.close()

    asyncio.run(run())


def test_wrong_days_and_topics_are_named(house: House, tmp_path: Path) -> None:
    """Exit code 2, and words that say what is allowed."""
    for arguments, words in (
        (("--from", "2026-02-30", "--to", "2026-03-01"), "--from 2026-02-30: not a day"),
        (("--from", "2026-03-02", "--to", "2026-03-01"), "--to 2026-03-01: lies before"),
        (("--from", "2026-03-01", "--to", "2026-03-01", "--topic", "x"), "--topic x: allowed are"),
    ):
        process = house.start("backfill", "silver", *arguments)
        said, _ = process.communicate(timeout=60)
        assert process.returncode == 2 and words in " ".join(said.split()), said
