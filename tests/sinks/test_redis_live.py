"""Live values in Redis: any order of any writes gives the same keys, and every change is published once."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from schemas.results import MetricValue
from streamproc.config import Settings
from streamproc.errors import PermanentError, RetryableError
from streamproc.sinks.redis_live import RedisLive, connect, money_text, value_text
from tests.sinks.support import MINUTE, START, value
from tests.support.proxy import Mode, TcpProxy
from tests.support.redis import RedisHandle, start_redis

HUGE = 2**62
"""Versions near this are equal as doubles, and differ as integers."""


@contextlib.asynccontextmanager
async def connected(url: str) -> AsyncIterator[Redis]:
    redis = connect(Settings(redis_url=url))
    try:
        yield redis
    finally:
        await redis.aclose()


def with_live(url: str, prefix: str, act: Callable[[RedisLive, Redis], Awaitable[Any]]) -> Any:
    async def run() -> Any:
        async with connected(url) as redis:
            return await act(RedisLive(redis, prefix), redis)

    return asyncio.run(run())


async def contents(redis: Redis, prefix: str) -> dict[str, dict[str, str]]:
    found = {}
    async for key in redis.scan_iter(prefix + "*"):
        fields = await redis.hgetall(key)
        found[key.decode().removeprefix(prefix)] = {name.decode(): each.decode() for name, each in fields.items()}
    return found


def test_a_value_has_all_fields_of_the_contract(redis_server: RedisHandle, name: str) -> None:
    async def act(live: RedisLive, redis: Redis) -> dict[str, dict[str, str]]:
        old = value("active_users", 4, 7.0, START - 86_400_000, size="1d")
        new = value("active_users", 9, 8.5, size="1d", count=3, late=2, status="final", updated_at_ms=START + 5)
        assert await live.write([old, new]) == 4
        return await contents(redis, name)

    found = with_live(redis_server.url, name, act)
    expected = {
        "value": "8.5",
        "count": "3",
        "window_start": str(START // 1000),
        "window_end": str(START // 1000 + 60),
        "status": "final",
        "late": "2",
        "version": "9",
        "updated_at": str(START + 5),
        "final_value": "7",
        "final_window_start": str(START // 1000 - 86_400),
        "final_version": "4",
    }
    assert found["live:active_users:1d"] == found["live:dau:1d"] == expected
    assert found["series:active_users:1d"] == {str(START // 1000 - 86_400): "7", str(START // 1000): "8.5"}


def test_texts_of_values() -> None:
    assert [money_text(e4) for e4 in (26_000, -5, 0, 10_000, -12_300, 2**63 - 1)] == [
        "2.6",
        "-0.0005",
        "0",
        "1",
        "-1.23",
        "922337203685477.5807",
    ]
    texts = [value_text(value("m", 1, number)) for number in (None, 5.0, 0.1, 1e22, -0.0, float("nan"), 1 / 3)]
    assert texts == ["", "5", "0.1", "1e+22", "0", "", repr(1 / 3)]
    assert value_text(value("total_cost_usd", 1, 922337203685477.5, sum_e4=2**63 - 1)) == "922337203685477.5807"


_writes = st.lists(
    st.builds(
        lambda window, version, number: (window, version, number),
        st.integers(0, 5),
        st.integers(0, 3) | st.integers(HUGE, HUGE + 3) | st.integers(9, 11),
        st.none() | st.integers(0, 3).map(float),
    ),
    max_size=14,
    unique_by=lambda each: each[:2],
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data(), _writes)
def test_any_order_gives_the_same_keys(redis_server: RedisHandle, data: st.DataObject, writes: list[Any]) -> None:
    values = [value("m", version, number, START + window * MINUTE) for window, version, number in writes]
    values += [value("e", n + HUGE * (n % 2), each.value, 0, size="all") for n, each in enumerate(values[:5])]
    shuffled = (
        data.draw(st.permutations(values)) + data.draw(st.lists(st.sampled_from(values), max_size=5)) if values else []
    )

    async def act(live: RedisLive, redis: Redis) -> None:
        await redis.flushdb()
        await live.write(values)
        once = await contents(redis, "p:")
        await redis.flushdb()
        for each in shuffled:
            await live.write([each])
        assert await contents(redis, "p:") == once
        _check_live(once, [each for each in values if each.metric == "m"])

    with_live(redis_server.url.removesuffix("/0") + "/5", "p:", act)


def _check_live(found: dict[str, dict[str, str]], values: list[MetricValue]) -> None:
    best: dict[int, MetricValue] = {}
    for each in values:
        if each.window_start_ms not in best or each.version > best[each.window_start_ms].version:
            best[each.window_start_ms] = each
    series = {str(start // 1000): value_text(each) for start, each in best.items()}
    assert found.get("series:m:1m", {}) == series
    newest = sorted(best, reverse=True)
    if newest:
        live = found["live:m:1m"]
        assert (live["window_start"], live["value"], live["version"]) == (
            str(newest[0] // 1000),
            value_text(best[newest[0]]),
            str(best[newest[0]].version),
        )
        assert ("final_value" in live) == (len(newest) > 1)
    if len(newest) > 1:
        assert (live["final_window_start"], live["final_value"]) == (
            str(newest[1] // 1000),
            value_text(best[newest[1]]),
        )


def test_each_change_is_published_once(redis_server: RedisHandle, name: str) -> None:
    async def act(live: RedisLive, redis: Redis) -> list[dict[str, Any]]:
        async with redis.pubsub() as updates:
            await updates.subscribe(name + "updates")
            await updates.get_message(timeout=5)
            first = value("total_cost_usd", HUGE, 2.6, size="1d", sum_e4=26_000)
            assert await live.write([first]) == 2
            assert await live.write([first, first]) == 0
            assert await live.write([value("m", 5, None), value("m", 4, 1.0), value("m", 1, 3.0, START - MINUTE)]) == 2
            await redis.publish(name + "updates", "{}")
            seen: list[dict[str, Any]] = []
            while not seen or seen[-1]:
                message = await updates.get_message(ignore_subscribe_messages=True, timeout=5)
                seen.append(json.loads(message["data"]))
            return seen[:-1]

    total, burn, null, before = with_live(redis_server.url, name, act)
    assert (total["metric"], burn["metric"]) == ("total_cost_usd", "daily_burn_rate_usd")
    assert burn["key"] == f"{name}live:daily_burn_rate_usd:1d"
    assert (total["value"], total["version"], total["window_start"]) == (2.6, HUGE, START // 1000)
    assert (null["value"], null["status"], null["count"]) == (None, "open", 1)
    assert (before["value"], before["window_start"]) == (3, START // 1000 - 60)


def test_the_clock_rolls_into_a_new_window_and_gives_way_to_values(redis_server: RedisHandle, name: str) -> None:
    async def act(live: RedisLive, redis: Redis) -> None:
        await live.write([value("m", 8, 5.0)])
        rolled = value("m", 0, 0.0, START + MINUTE, count=0)
        assert await live.roll([rolled]) == 1
        assert await live.roll([rolled]) == 0
        hash_ = (await contents(redis, name))["live:m:1m"]
        assert (hash_["value"], hash_["count"], hash_["final_value"]) == ("0", "0", "5")
        await live.write([value("m", 9, 6.0), value("m", 4, 1.0, START + MINUTE)])
        found = await contents(redis, name)
        assert (found["live:m:1m"]["value"], found["live:m:1m"]["final_value"]) == ("1", "6")
        assert found["series:m:1m"] == {str(START // 1000): "6", str(START // 1000 + 60): "1"}

    with_live(redis_server.url, name, act)


def test_series_keep_their_newest_windows(redis_server: RedisHandle, name: str) -> None:
    windows = [*range(100, 250), 3, *range(0, 50, 7)]

    async def act(live: RedisLive, redis: Redis) -> None:
        await live.write([value("m", 1, float(n), START + n * MINUTE) for n in windows])
        found = await contents(redis, name)
        kept = {str(START // 1000 + n * 60) for n in range(130, 250)}
        assert found["series:m:1m"].keys() == found["series-version:m:1m"].keys() == kept

    with_live(redis_server.url, name, act)


def test_entities_live_48_hours_after_their_last_event(redis_server: RedisHandle, name: str) -> None:
    def total(version: int, e4: int, at_ms: int) -> MetricValue:
        fields = {"size": "all", "dimension": "video_id", "dimension_value": "7", "sum_e4": e4, "updated_at_ms": at_ms}
        return value("cost_per_video_usd", version, e4 / 10_000, 0, **fields)

    async def act(live: RedisLive, redis: Redis) -> None:
        # Whatever the clock of the worker that writes it.
        assert await live.write([total(2, 26_000, 1), total(1, 10_000, 5), total(2, 26_000, 9_999_999)]) == 1
        key = name + "entity:cost_per_video_usd:7"
        found = {field.decode(): each.decode() for field, each in (await redis.hgetall(key)).items()}
        assert found == {"value": "2.6", "count": "1", "version": "2", "updated_at": "1"}
        assert 48 * 3600 - 30 <= await redis.ttl(key) <= 48 * 3600
        await redis.expire(key, 60)
        assert await live.write([total(2, 26_000, 1)]) == 0
        assert await redis.ttl(key) <= 60
        assert await live.write([total(3, 1, 1)]) == 1
        assert await redis.ttl(key) > 60

    with_live(redis_server.url, name, act)


def test_an_empty_window_of_a_clock_that_was_ahead_gives_way(redis_server: RedisHandle, name: str) -> None:
    """Redis' own clock was a day ahead: rolled windows of tomorrow must not hide today's values."""

    async def act(live: RedisLive, redis: Redis) -> None:
        now = (await redis.time())[0] * 1000
        start = now - now % MINUTE
        await live.write([value("m", 5, 5.0, start - MINUTE), value("m", 7, 7.0, start)])
        assert await live.roll([value("m", 0, 0.0, start + 1440 * MINUTE, count=0)]) == 1
        assert await live.write([value("m", 6, 6.0, start - MINUTE)]) == 0
        assert await live.write([value("m", 8, 8.0, start)]) == 1
        hash_ = (await contents(redis, name))["live:m:1m"]
        assert (hash_["window_start"], hash_["value"]) == (str(start // 1000), "8")
        # One that holds events is no mistake of a clock.
        await live.write([value("m", 1, 1.0, start + 1440 * MINUTE)])
        assert await live.write([value("m", 9, 9.0, start)]) == 1
        hash_ = (await contents(redis, name))["live:m:1m"]
        assert (hash_["value"], hash_["final_value"]) == ("1", "9")

    with_live(redis_server.url, name, act)


def test_redis_away_and_back_empty(tmp_path: Any) -> None:
    server = start_redis(tmp_path)

    async def act(live: RedisLive, redis: Redis) -> None:
        assert await live.write([value("m", 1)]) == 1
        server.kill()
        with pytest.raises(RetryableError) as caught:
            await live.write([value("m", 2)])
        assert caught.value.reason == "connection"
        server.start()
        # The new server knows neither the values nor the script.
        assert await live.write([value("m", 2), value("m", 1)]) == 1

    try:
        with_live(server.url, "sp:", act)
    finally:
        server.stop()


@pytest.mark.parametrize("fault", [Mode.CUT_AFTER_REQUEST, Mode.REFUSE])
def test_a_lost_answer_is_retryable_and_the_retry_changes_nothing(
    redis_server: RedisHandle, redis_proxy: TcpProxy, name: str, fault: Mode
) -> None:
    async def act(live: RedisLive, redis: Redis) -> int:
        await live.write([value("m", 1)])
        redis_proxy.set(fault)
        with pytest.raises(RetryableError):
            await live.write([value("m", 2)])
        redis_proxy.set(Mode.PASS)
        return await live.write([value("m", 2)])

    changed = with_live(f"redis://127.0.0.1:{redis_proxy.port}/0", name, act)
    assert changed == (0 if fault is Mode.CUT_AFTER_REQUEST else 1)


def test_full_memory_is_retryable_and_a_wrong_type_is_permanent(tmp_path: Any) -> None:
    server = start_redis(tmp_path)

    async def act(live: RedisLive, redis: Redis) -> None:
        await redis.set("sp:live:bad:1m", "text")
        with pytest.raises(PermanentError) as wrong:
            await live.write([value("bad", 1)])
        assert wrong.value.reason == "wrong_type_of_key"
        await redis.config_set("maxmemory", "1")
        with pytest.raises(RetryableError) as full:
            await live.write([value("m", 1)])
        assert full.value.reason == "out_of_memory"
        await redis.config_set("maxmemory", "0")
        await redis.config_set("requirepass", "secret")
        await redis.connection_pool.disconnect()
        with pytest.raises(PermanentError) as denied:
            await live.write([value("m", 1)])
        assert denied.value.reason == "authentication_required"

    try:
        with_live(server.url, "sp:", act)
    finally:
        server.stop()
