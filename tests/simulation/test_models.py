"""The modelled stores behave as the real ones, and the oracle as the other one that is written in SQL."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from schemas.results import SIZES_MS, Cell, MetricValue
from streamproc.config import Settings
from streamproc.sinks.clickhouse_client import ClickHouse as RealClickHouse
from streamproc.sinks.redis_live import RedisLive, connect
from streamproc.sinks.windows_sink import WindowsSink
from tests.simulation import oracle
from tests.simulation.broker import Log
from tests.simulation.events import Events
from tests.simulation.stores import ClickHouse, Redis
from tests.support.clickhouse import ClickHouseHandle
from tests.support.compare import differences
from tests.support.migrated import start_migrated
from tests.support.redis import RedisHandle, start_redis
from tests.support.truth import Record, compute

START_MS = 1_800_056_400_000
TOPICS = ("user-events", "video-status", "cost-events")


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisHandle]:
    server = start_redis(tmp_path)
    yield server
    server.stop()


@pytest.fixture
def clickhouse_server(tmp_path: Path) -> Iterator[ClickHouseHandle]:
    server = start_migrated(tmp_path)
    yield server
    server.stop()


def _value(rng: random.Random) -> MetricValue:
    metric = rng.choice(("active_users", "total_cost_usd", "cost_per_video_usd"))
    size = "all" if metric == "cost_per_video_usd" else rng.choice(("1m", "1d"))
    start = 0 if size == "all" else START_MS - START_MS % SIZES_MS[size] + rng.randrange(4) * SIZES_MS[size]
    number = rng.choice((None, 0.0, 2.5))
    return MetricValue(
        metric, size, "video_id" if size == "all" else "", "7" if size == "all" else "", start,
        start + SIZES_MS.get(size, 0), number, rng.randrange(3), int((number or 0) * 10_000), rng.choice(("open", "final")),
        rng.randrange(2), rng.randrange(6), START_MS,
    )  # fmt: skip


@pytest.mark.parametrize("seed", range(6))
def test_redis_shows_what_the_script_shows(redis_server: RedisHandle, seed: int) -> None:
    """Writes and rolls in any order, versions lower, equal and higher."""
    rng = random.Random(seed)
    model = Redis()
    calls = [([_value(rng) for _ in range(rng.randrange(1, 4))], rng.random() < 0.3) for _ in range(60)]

    async def act() -> dict[str, dict[str, str]]:
        redis = connect(Settings(redis_url=redis_server.url))
        live = RedisLive(redis, "t:")
        for values, is_roll in calls:
            windows = [value for value in values if value.size != "all" or not is_roll]
            model.put(windows, is_roll)
            await (live.roll(windows) if is_roll else live.write(windows))
        found = {}
        async for key in redis.scan_iter("t:*"):
            if not key.startswith(b"t:live:da"):
                found[key.decode()] = {k.decode(): v.decode() for k, v in (await redis.hgetall(key)).items()}
        await redis.aclose()
        return found

    found = asyncio.run(act())
    for (metric, size, _, _), live in model.live.items():
        real = found[f"t:live:{metric}:{size}"]
        assert (real["window_start"], real["version"]) == (str(live.start // 1000), str(live.version))
        assert (real["value"], real["count"]) == (live.text, str(live.count))
        assert (real["late"], real["status"]) == (str(live.late), live.status)
        before = (real.get("final_window_start"), real.get("final_version"), real.get("final_value"))
        start, version, text = live.before or (None, None, None)
        assert before == (start and str(start // 1000), None if version is None else str(version), text)
    for (metric, size, _, _), entries in model.series.items():
        assert found[f"t:series:{metric}:{size}"] == {str(at // 1000): text for at, (_, text) in entries.items()}
    for (metric, entity), (version, text, count) in model.entities.items():
        real = found[f"t:entity:{metric}:{entity}"]
        assert (real["version"], real["value"], real["count"]) == (str(version), text, str(count))


def _cell(rng: random.Random) -> Cell:
    size = rng.choice(("1m", "all"))
    start = START_MS + rng.randrange(2) * 60_000
    name = ("cost_per_video", "video_id", "7") if size == "all" else ("user_events", "", "")
    source = f"cost-events/0/{rng.choice('ab')}"
    return Cell(*name, size, start, source, rng.randrange(5), bytes([rng.randrange(256)]))


def test_clickhouse_holds_what_replacing_merge_tree_holds(clickhouse_server: ClickHouseHandle) -> None:
    """Inserts in any order of versions; of equal versions the last insert counts."""
    rng = random.Random(1)
    model = ClickHouse()

    async def act() -> tuple[list[Cell], dict[Any, Any]]:
        client = RealClickHouse(clickhouse_server.url, 20.0)
        sink = WindowsSink(client)
        for _ in range(40):
            # One row a key and insert: within one insert the order of equal versions is not ours to choose.
            cells = list({(c.size, c.start_ms, c.source): c for c in (_cell(rng) for _ in range(3))}.values())
            values = list({(v.metric, v.size, v.window_start_ms): v for v in (_value(rng) for _ in range(3))}.values())
            model.put_cells(cells)
            model.put_values(values)
            await sink.write(cells, values)
        stored = await sink.load_cells(list(model.cells))
        rows = await client.rows(
            "SELECT metric, window, toUnixTimestamp(window_start), value, count, version FROM gold.windows FINAL"
            " UNION ALL SELECT metric, 'all', 0, value, count, version FROM gold.entities FINAL"
        )
        await client.close()
        return stored, {tuple(row[:3]): tuple(row[3:]) for row in rows}

    stored, values = asyncio.run(act())
    assert set(stored) == {cell for parts in model.cells.values() for cell in parts.values()}
    expected = {
        (v.metric, v.size, v.window_start_ms // 1000): (v.value, v.count, v.version) for v in model.values.values()
    }
    assert values == expected


@pytest.mark.parametrize("seed", range(8))
def test_the_oracle_agrees_with_the_one_in_sql(seed: int) -> None:
    """Windows, entity totals, dead letters: two computations of the same rules that share no line."""
    rng = random.Random(seed)
    events = Events(rng)
    logs = {(topic, partition): Log((topic, partition)) for topic in TOPICS for partition in range(2)}
    now = START_MS
    for _ in range(600):
        now += int(rng.expovariate(1 / 4000)) if rng.random() < 0.98 else rng.randrange(900_000)
        log = rng.choice(list(logs.values()))
        log.append(now - rng.randrange(2000), *events.next(log, now))
    records = [
        Record(*name, record.offset, record.timestamp, record.value)
        for name, log in logs.items()
        for record in log.everything
    ]
    truth = compute(records)
    judged = [(log, oracle.judge(name[0], log.everything)) for name, log in logs.items()]
    ours = {
        (metric, size, start, dimension, value): tuple(each)
        for (metric, dimension, value, size, start), each in oracle.publish(oracle.gather(judged)).items()
    }
    assert differences(ours, truth.windows | truth.entities) == []
    assert len(ours) > 500
    dead = [reason for _, each in judged for reason in each.dead.values()]
    assert {reason: dead.count(reason) for reason in dead} == {str(k): n for k, n in truth.dead.items() if n}
