"""Alerts and dead letters: written any number of times, read once, and a restart knows what fired and what was sent."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import msgspec

from schemas.alerts import AlertState, AlertTransition
from streamproc.clock import now_ms
from streamproc.config import Settings
from streamproc.sinks.alerts_store import GoldAlerts, LiveAlerts
from streamproc.sinks.clickhouse_client import ClickHouse
from streamproc.sinks.redis_live import connect
from streamproc.sinks.sealing import Sealing
from tests.sinks.support import START, dead_letters, key_store, with_clickhouse
from tests.support.clickhouse import ClickHouseHandle
from tests.support.redis import RedisHandle


def transition(fingerprint: str, seq: int, state: AlertState, **fields: Any) -> AlertTransition:
    known: dict[str, Any] = {
        "transition_id": f"{fingerprint}-{seq}",
        "rule": "cost_per_video",
        "severity": "warning",
        "labels": {"video_id": "7", "odd": "it's \\ ü"},
        "metric": "cost_per_video_usd",
        "window": "all",
        "window_start_ms": 0,
        "window_end_ms": 0,
        "value": 2.6,
        "threshold": 2.5,
        "operator": ">",
        "unit": "USD",
        "summary": "video 7 costs 2.60 USD",
        "event_time_ms": START + seq,
        "recorded_at_ms": START + seq,
        "version": 2**60 + seq,
        "started_at_ms": START,
        "inhibited_by": "",
    }
    return AlertTransition(fingerprint=fingerprint, seq=seq, state=state, **(known | fields))


def delivered(item: AlertTransition) -> AlertTransition:
    at_ms = item.recorded_at_ms + 5
    changes = {"kind": "delivery", "recorded_at_ms": at_ms, "delivered_at_ms": at_ms, "delivery": "slack"}
    return msgspec.structs.replace(item, **changes)


def test_a_restart_knows_what_fired_and_what_was_not_sent(clickhouse_server: ClickHouseHandle, name: str) -> None:
    sent_and_resolved = [
        transition(name + "a", 1, AlertState.PENDING),
        transition(name + "a", 2, AlertState.FIRING),
        transition(name + "a", 3, AlertState.RESOLVED, value=None),
    ]
    firing = transition(name + "b", 1, AlertState.FIRING)
    items = [*sent_and_resolved, delivered(sent_and_resolved[1]), firing, delivered(firing)]

    async def act(clickhouse: ClickHouse) -> None:
        gold = GoldAlerts(clickhouse)
        await gold.write([])
        for each in (items, items[::-1], items[2:4]):
            await gold.write(each)
        states = {each.fingerprint: each for each in await gold.load_states() if each.fingerprint.startswith(name)}
        assert states == {name + "a": sent_and_resolved[2], name + "b": firing}
        left = [each for each in await gold.load_undelivered() if each.fingerprint.startswith(name)]
        assert left == [firing, sent_and_resolved[2], delivered(firing)]
        rows = await clickhouse.rows(f"SELECT count() FROM gold.alerts FINAL WHERE startsWith(fingerprint, '{name}')")
        assert rows == [(6,)]

    with_clickhouse(clickhouse_server.url, act)


def test_redis_shows_the_newest_state(redis_server: RedisHandle, name: str) -> None:
    states = (AlertState.PENDING, AlertState.FIRING, AlertState.RESOLVED)
    # How long a resolved one is shown counts from when it was recorded, so that this has to be lately.
    at_ms = now_ms()
    items = [transition("f", seq, state, recorded_at_ms=at_ms) for seq, state in enumerate(states, 1)]

    async def run() -> None:
        redis = connect(Settings(redis_url=redis_server.url))
        live = LiveAlerts(redis, name)
        key = f"{name}alert:f"
        await live.write([items[1], items[0], delivered(items[1])])
        found = await redis.hgetall(key)
        assert (found[b"state"], found[b"seq"], found[b"labels"]) == (
            b"firing",
            b"2",
            "odd=it's \\ ü,video_id=7".encode(),
        )
        assert await redis.ttl(key) == -1
        await live.write(items)
        await live.write(items[:2])
        assert await redis.hget(key, "state") == b"resolved"
        assert await redis.ttl(key) > 6 * 86_400
        await live.write([transition("f", 4, AlertState.FIRING)])
        assert await redis.ttl(key) == -1
        await redis.aclose()

    asyncio.run(run())


@dataclass
class Record:
    """What of a Kafka record the store looks at."""

    offset: int
    value: bytes | None
    headers: list[tuple[str, bytes]] = field(default_factory=list)
    topic: str = "dead-letters"
    partition: int = 3
    timestamp: int = START


def test_dead_letters_are_kept_once_by_their_source(clickhouse_server: ClickHouseHandle, name: str) -> None:
    headers = [
        ("error", "user_id: expected int, got 'ü'".encode()),
        ("reason", b"malformed"),
        ("topic", b"user-events"),
        ("partition", b"2"),
        ("log_id", name.encode()),
        ("offset", b"41"),
        ("kafka_timestamp", str(START - 9).encode()),
        ("key", b"\xffkey"),
    ]
    ours = Record(7, b"\xff{", headers)
    strangers = [
        Record(8, b"no headers", topic=name),
        Record(9, None, [("offset", b"-1"), ("topic", b"x"), ("partition", b"0")], topic=name),
        Record(10, b"", [("offset", b"9" * 30), ("topic", b"x"), ("partition", b"0")], topic=name),
    ]

    async def act(clickhouse: ClickHouse) -> None:
        store = dead_letters(clickhouse)
        await store.write([])
        await store.write([ours, *strangers])
        await store.write([ours])
        columns = "partition, offset, reason, error, key, payload, toUnixTimestamp64Milli(kafka_timestamp), toUnixTimestamp64Milli(recorded_at)"
        sql = f"SELECT {columns} FROM meta.dead_letters FINAL WHERE log_id = '{name}' OR topic = '{name}' ORDER BY offset DESC"
        stored = await clickhouse.rows(sql, bytes_columns=("key", "payload"))
        # Whoever wrote it, it may hold personal data.
        assert all(not row[5] or row[5].startswith(b"sealed:1:0:") for row in stored)
        payloads = await Sealing(key_store(clickhouse)).unsealed([row[5] for row in stored])
        found = [(*row[:5], payload, *row[6:]) for row, payload in zip(stored, payloads, strict=True)]
        assert found[0] == (
            2,
            41,
            "malformed",
            "user_id: expected int, got 'ü'",
            b"\xffkey",
            b"\xff{",
            START - 9,
            START,
        )
        assert [(row[0], row[1], row[5]) for row in found[1:]] == [(3, 10, b""), (3, 9, b""), (3, 8, b"no headers")]

    with_clickhouse(clickhouse_server.url, act)
