"""A sink that goes away and comes back: nothing is missing afterwards, and meanwhile only the newest of each key waits."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import pytest

from schemas.results import MetricValue
from streamproc.agents.handover import Handover
from streamproc.clock import monotonic
from streamproc.config import Settings
from streamproc.sinks.clickhouse_client import ClickHouse
from streamproc.sinks.redis_live import RedisLive, connect
from streamproc.sinks.windows_sink import WindowsSink
from tests.sinks.support import START, cell, value
from tests.support.proxy import Mode, TcpProxy

KEYS = 300
IN_FLIGHT = 100


async def outage(
    write: Callable[[list[MetricValue]], Awaitable[object]], proxy: TcpProxy, metric: str, fault: Mode
) -> dict[int, MetricValue]:
    """Values change all the time while the sink is away; returns the newest of each key."""
    newest: dict[int, MetricValue] = {}

    async def write_keys(keys: list[int]) -> None:
        await write([newest[key] for key in keys])

    handover: Handover[int] = Handover(metric, write_keys, max_keys=IN_FLIGHT, min_interval_s=0.0)

    async def change(first: int, last: int) -> None:
        for version in range(first, last):
            for key in range(0, KEYS, 1 + version % 3):
                newest[key] = value(metric, version, float(version), dimension="d", dimension_value=str(key))
                handover.add(key)
            assert len(handover) <= KEYS + IN_FLIGHT
            await asyncio.sleep(0)

    task = asyncio.create_task(handover.run())
    await change(1, 5)
    assert await handover.drained(20.0)
    proxy.set(fault)
    deadline = monotonic() + 20.0
    while handover.up and monotonic() < deadline:
        await change(5, 50)
        await asyncio.sleep(0.02)
    await change(50, 90)
    assert not handover.up
    proxy.set(Mode.PASS)
    assert await handover.drained(20.0)
    assert handover.up
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    return newest


@pytest.mark.parametrize("fault", [Mode.REFUSE, Mode.CUT_AFTER_REQUEST])
def test_redis_goes_away_and_comes_back(redis_proxy: TcpProxy, name: str, fault: Mode) -> None:
    async def run() -> None:
        redis = connect(Settings(redis_url=f"redis://127.0.0.1:{redis_proxy.port}/0"))
        newest = await outage(RedisLive(redis, name).write, redis_proxy, "m", fault)
        for key, each in newest.items():
            found = await redis.hmget(f"{name}live:m:1m:d={key}", "version", "value")
            assert found == [b"%d" % each.version, b"%d" % each.version]
        await redis.aclose()

    asyncio.run(run())


@pytest.mark.parametrize("fault", [Mode.REFUSE, Mode.CUT_AFTER_REQUEST, Mode.BLACK_HOLE])
def test_clickhouse_goes_away_and_comes_back(clickhouse_proxy: TcpProxy, name: str, fault: Mode) -> None:
    async def run() -> None:
        clickhouse = ClickHouse(f"http://127.0.0.1:{clickhouse_proxy.port}", timeout_s=1.0)
        sink = WindowsSink(clickhouse)

        async def write(values: list[MetricValue]) -> None:
            await sink.write(
                [cell(name, each.version, dimension_value=each.dimension_value) for each in values], values
            )

        newest = await outage(write, clickhouse_proxy, name, fault)
        rows = await clickhouse.rows(
            f"SELECT dimension_value, version FROM gold.windows_latest WHERE metric = '{name}'"
        )
        assert dict(rows) == {str(key): each.version for key, each in newest.items()}
        cells = await sink.load_since({"1m": START}, measures=[name])
        assert {each.dimension_value: each.version for each in cells} == dict(rows)
        await clickhouse.close()

    asyncio.run(run())


def test_a_slow_sink_only_takes_longer(redis_proxy: TcpProxy, name: str) -> None:
    async def run() -> None:
        redis = connect(Settings(redis_url=f"redis://127.0.0.1:{redis_proxy.port}/0"))
        live = RedisLive(redis, name)
        await live.write([value("m", 1)])
        redis_proxy.set(Mode.DELAY, delay_s=0.05)
        began = monotonic()
        assert await live.write([value("m", 2)]) == 1
        assert monotonic() - began >= 0.1
        await redis.aclose()

    asyncio.run(run())
