"""Ids that come again in another partition with other content: facts, daily metrics, live totals and reconcile agree."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from batch.reconcile.mend import Mender
from batch.reconcile.truth import Scope
from streamproc.decode import decode_batch
from streamproc.sinks.bronze import BronzeBatch
from streamproc.sinks.clickhouse_client import ClickHouse
from streamproc.sinks.windows_sink import WindowsSink
from streamproc.windows.merge import MergeState
from streamproc.windows.source import SourceState
from tests.batch.house import House
from tests.sinks.support import bronze_sink
from tests.support.events import cost_event, encode, user_event, video_event
from tests.support.repeated import MINUTE, Sent, first_of, log_id

pytestmark = [pytest.mark.xdist_group("warehouse"), pytest.mark.timeout(900)]

DAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=3)
NOON = int(DAY.timestamp() * 1000) + 12 * 60 * MINUTE
APPENDED = ("fact_video_generation", "fact_user_activity", "daily_metrics", "financial_daily")
#: As partitions that were there and one that was added: a young record lies at a low offset.
OLD, NEW = (2, log_id(1, 1)), (4, log_id(2, 2))


def _id(number: int) -> str:
    return f"{number:08x}-0000-4000-8000-00000000abcd"


def _pair(number: int, low: int) -> tuple[Sent, Sent]:
    """An older record at a high offset and a younger one at a low offset; `amount` says which is meant."""
    old = Sent(*OLD, 300 + number, NOON + number, _id(number), low)
    return old, Sent(*NEW, number, NOON + 86_000 + number, _id(number), low + 5000)


#: Ids 1 and 3 arrive in the order of the log, 2 and 4 the other way round; 3 and 4 say another user, time and video too.
PAIRS = [_pair(number, 10 * number) for number in (1, 2, 3, 4)]
#: Daily metrics begin with the first day that has an event: days that lose their only one must lie behind it.
EARLY = Sent(*OLD, 200, NOON, _id(99), 1)
FIRST_LOAD = [EARLY, PAIRS[0][0], PAIRS[1][1], PAIRS[2][0], PAIRS[3][1]]
SECOND_LOAD = [PAIRS[0][1], PAIRS[1][0], PAIRS[2][1], PAIRS[3][0]]


def _elsewhere(record: Sent) -> bool:
    """Whether it names another user, day and video than the other record of its id."""
    return record.amount > 5000 and record.key in (_id(3), _id(4))


def _user(record: Sent) -> tuple[int, int, int]:
    """User, time, answer time."""
    if record is EARLY:
        return 1, NOON - 48 * 60 * MINUTE, record.amount
    return (2, NOON - 24 * 60 * MINUTE, record.amount) if _elsewhere(record) else (1, NOON, record.amount)


def _video(record: Sent) -> int:
    return 12 if _elsewhere(record) else 11


def _value(topic: str, record: Sent) -> bytes:
    if topic == "cost-events":
        amount = f"0.{record.amount:04d}"
        return encode(cost_event(NOON, event_id=record.key, video_id=_video(record), amount_usd=amount))
    user, at, took = _user(record)
    return encode(user_event(at, event_id=record.key, user_id=user, response_time_ms=took))


def _batches(topic: str, records: Sequence[Sent]) -> Iterator[BronzeBatch]:
    for each in records:
        value = _value(topic, each)
        yield BronzeBatch(
            topic, each.partition, each.log_id, [each.offset], [each.kafka_ms], [b"7"], [value], owners=[_user(each)[0]]
        )


def _load(house: House, records: Sequence[Sent]) -> None:
    """Each record by an insert of its own, then merged: what was replaced leaves no trace in silver."""

    async def run() -> None:
        clickhouse = ClickHouse(house.clickhouse.url)
        try:
            for topic in ("cost-events", "user-events"):
                for batch in _batches(topic, records):
                    await bronze_sink(clickhouse).write([batch])
        finally:
            await clickhouse.close()

    asyncio.run(run())
    for table in ("cost_events", "user_activity"):
        house.run(f"OPTIMIZE TABLE silver.{table} FINAL")


def _videos(house: House) -> None:
    async def run() -> None:
        clickhouse = ClickHouse(house.clickhouse.url)
        try:
            values = [encode(video_event(NOON, video_id=video)) for video in (11, 12)]
            batch = BronzeBatch("video-status", 0, log_id(3, 3), [0, 1], [NOON, NOON], [b"", b""], values)
            await bronze_sink(clickhouse).write([batch])
        finally:
            await clickhouse.close()

    asyncio.run(run())


def _gold(house: House) -> dict[str, Any]:
    """What readers see."""
    activity = house.rows(
        "SELECT toString(event_id), user_id, toUnixTimestamp64Milli(activity_timestamp), response_time_ms"
        " FROM gold.fact_user_activity FINAL"
    )
    costs = house.rows("SELECT video_id, toInt64(total_cost * 10000) FROM gold.fact_video_generation FINAL")
    daily = house.rows(
        "SELECT metric, toString(day), value FROM gold.daily_metrics FINAL"
        " WHERE metric IN ('dau', 'daily_burn_rate_usd') AND grain = 'day' AND dimension = '' AND value != 0"
    )
    return {"activity": sorted(activity), "costs": sorted(costs), "daily": sorted(daily)}


def _due(records: Sequence[Sent]) -> dict[str, Any]:
    """The same from the records alone."""
    counts = list(first_of(records).values())
    costs, users = Counter({11: 0, 12: 0}), set()
    for each in counts:
        costs[_video(each)] += each.amount
        users.add((_user(each)[1] // (24 * 60 * MINUTE), _user(each)[0]))
    days = Counter(f"{datetime.fromtimestamp(day * 86_400, UTC):%Y-%m-%d}" for day, _ in users)
    burned = sum(each.amount for each in counts) / 10_000
    daily = [("daily_burn_rate_usd", f"{DAY:%Y-%m-%d}", burned), *(("dau", day, float(n)) for day, n in days.items())]
    return {
        "activity": sorted((each.key, *_user(each)) for each in counts),
        "costs": sorted(costs.items()),
        "daily": sorted(daily),
    }


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """The first records, a build, the others, a build."""
    with House(tmp_path_factory.mktemp("warehouse")) as house:
        _videos(house)
        _load(house, FIRST_LOAD)
        house.command("warehouse", "build", "--no-tests")
        assert _gold(house) == _due(FIRST_LOAD)
        _load(house, SECOND_LOAD)
        house.command("warehouse", "build")
        yield house


def test_gold_has_the_older_record_whichever_came_first(house: House) -> None:
    """And nothing of the other: neither its user's activity on another day nor its cost at another video."""
    due = _due([*FIRST_LOAD, *SECOND_LOAD])
    assert due != _due(FIRST_LOAD) and due["costs"] == [(11, 101), (12, 0)]
    assert _gold(house) == due
    before = {table: house.count(table) for table in APPENDED}
    house.command("warehouse", "build", "--everything", "--no-tests")
    assert {table: house.count(table) for table in APPENDED} == before
    assert _gold(house) == due


def _live(records: Sequence[Sent]) -> MergeState:
    """Both stages over the logs, the younger log's cells first."""
    merged = MergeState()
    for place in (NEW, OLD):
        log = sorted((each for each in records if each[:2] == place), key=lambda one: one.offset)
        decoded = decode_batch("cost-events", [_value("cost-events", each) for each in log])
        state = SourceState("cost-events", f"cost-events/{place[0]}/{place[1]}")
        state.apply(log[-1].offset, np.array([each.kafka_ms for each in log]), decoded.ok, decoded.columns)
        merged.apply(state.all_cells(), 0, NOON)
    merged.loaded(list(merged.windows), [], NOON)
    return merged


def test_live_totals_and_reconcile_agree(house: House) -> None:
    """Of the ids that stay with their video: totals of two videos cannot know of each other."""
    records = [each for each in (*FIRST_LOAD, *SECOND_LOAD) if not _elsewhere(each)]
    merged = _live(records)
    totals = [key for key in merged.windows if key.size == "all"]
    values = [value for key in totals for value in merged.values(key, NOON)]
    assert [value.sum_e4 for value in values] == [sum(each.amount for each in first_of(records).values())]

    async def run() -> None:
        clickhouse = ClickHouse(house.clickhouse.url)
        try:
            cells = [cell for key in totals for cell, _ in merged.windows[key].changed.values()]
            await WindowsSink(clickhouse).write(cells, values)
            mender = Mender(clickhouse, Scope(NOON - 12 * 60 * MINUTE, {}), f"{DAY:%Y-%m-%d}")
            found = await mender.mend_totals("cost_per_video", "cost-events", "video_id", "amount_e4")
            assert (found.windows, found.wrong, found.drift, found.stuck, found.cells) == (1, 0, 0, 0, [])
        finally:
            await clickhouse.close()

    asyncio.run(run())
