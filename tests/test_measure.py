"""The measuring itself: planted mistakes are found, and figures mean what they say."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tests.accept.memory import _growth
from tests.accept.plausible import _ALIASES, _RANGES, _SIZES, Shown, problems
from tests.accept.redis_truth import redis_differences
from tests.bench.latency import Latency, _entity_latencies, _window_latencies
from tests.bench.observer import Observer
from tests.bench.throughput import Run
from tests.bench.traffic import Mixed
from tests.bench.userevents import EVENT_BYTES, expected_counts, expected_users, make_user_events
from tests.support.redis import start_redis
from tests.support.truth import Record, compute

NOW = 1_772_445_600_000
MINUTE = NOW - NOW % 60_000
KEY = ("user_events", "1m", MINUTE, "", "")
COST = ("cost_per_video_usd", "all", 0, "video_id", "7")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[redis.Redis]:
    """A real, empty Redis."""
    server = start_redis(tmp_path)
    client = redis.Redis.from_url(server.url, decode_responses=True)
    yield client
    client.close()
    server.kill()


def _fill(store: redis.Redis) -> None:
    start = str(MINUTE // 1000)
    store.hset("sp:series:user_events:1m", start, "5")
    store.hset("sp:live:user_events:1m", mapping={"window_start": start, "value": "5", "count": "5"})
    store.hset("sp:entity:cost_per_video_usd:7", mapping={"value": "2.6", "count": "3"})


@pytest.mark.parametrize(
    ("key", "field", "wrong", "says"),
    [
        ("sp:series:user_events:1m", str(MINUTE // 1000), "6", "series"),
        ("sp:series:user_events:1m", str(MINUTE // 1000 - 60), "1", "not in the truth"),
        ("sp:live:user_events:1m", "value", "4", "live"),
        ("sp:live:user_events:1m", "count", "4", "live"),
        ("sp:live:user_events:1m", "window_start", str(MINUTE // 1000 - 60), "the newest is"),
        ("sp:entity:cost_per_video_usd:7", "value", "2.6001", "entity"),
        ("sp:entity:cost_per_video_usd:7", "count", "4", "entity"),
    ],
)
def test_every_mistake_planted_in_redis_is_found(
    store: redis.Redis, key: str, field: str, wrong: str, says: str
) -> None:
    windows, entities = {KEY: (5.0, 5, 0)}, {COST: (2.6, 3, 0)}
    _fill(store)
    assert redis_differences(store, windows, entities) == []
    store.hset(key, field, wrong)
    found = redis_differences(store, windows, entities)
    assert found and says in " ".join(found)


def test_missing_keys_are_found_and_a_full_series_may_lack_its_oldest(store: redis.Redis) -> None:
    _fill(store)
    store.delete("sp:entity:cost_per_video_usd:7")
    assert any("entity missing" in text for text in redis_differences(store, {}, {COST: (2.6, 3, 0)}))
    # A day's series keeps 35: with 36 in the truth the oldest may be gone, and no other.
    days = {("user_events", "1d", MINUTE + day * 86_400_000, "", ""): (5.0, 5, 0) for day in range(36)}
    starts = [key[2] // 1000 for key in days]
    store.hset("sp:series:user_events:1d", mapping={str(start): "5" for start in starts[1:]})
    store.hset("sp:live:user_events:1d", mapping={"window_start": str(starts[-1]), "value": "5", "count": "5"})
    assert redis_differences(store, days, {}) == []
    store.hdel("sp:series:user_events:1d", str(starts[5]))
    assert any(f"lacks {starts[5]}" in text for text in redis_differences(store, days, {}))


def test_throughput_events_are_valid_and_counted_right() -> None:
    events = make_user_events(3000, NOW)
    assert {len(value) for value in events.values} == {EVENT_BYTES}
    # Other streams in between: DuckDB samples the truth's columns, and one that looks empty is an error to it.
    log, traffic = [], Mixed(1)
    for offset, value in enumerate(events.values):
        log.append(Record("user-events", 0, offset, NOW, value))
        topic, _, other = traffic.one(NOW)
        if topic != "user-events":
            log.append(Record(topic, 0, offset, NOW, other))
    truth = compute(log)
    assert not truth.dead and not truth.late
    by_sql = {
        (size, start // 1000, kind): value[0]
        for (metric, size, start, _, kind), value in truth.windows.items()
        if metric == "user_events"
    }
    assert by_sql == expected_counts(events)
    users = {
        (size, start // 1000): value[0]
        for (metric, size, start, _, _), value in truth.windows.items()
        if metric == "active_users"
    }
    assert users == expected_users(events)


def test_mixed_traffic_is_valid() -> None:
    traffic = Mixed(1)
    log = [Record(topic, 0, offset, NOW, value) for offset in range(3000) for topic, _, value in [traffic.one(NOW)]]
    truth = compute(log)
    assert not truth.dead and not truth.duplicates and not truth.repeats
    assert set(truth.accepted) == {"user-events", "video-status", "cost-events"}
    assert all(json.loads(record.value or b"") for record in log[:10])


def test_latency_counts_from_the_first_look_that_includes_the_probe() -> None:
    sent = [1.0, 1.1, 1.2, 1.3]
    seen = [[1, 1.05], [3, 1.5]]
    assert _window_latencies(sent, seen, 0.0) == pytest.approx([50, 400, 300, float("inf")])
    assert _window_latencies(sent, seen, 1.15) == pytest.approx([300, float("inf")])
    assert _entity_latencies(sent, {"0": 1.2, "2": 1.3}, 0.0) == pytest.approx([200, float("inf"), 100, float("inf")])
    measured = Latency(1.0, 4, 0.0, 1.0, [1.0, 2.0, 3.0, 100.0], [], {}, {}, {})
    assert measured.percentiles("windows") == (2.0, 100.0)


def test_the_observer_counts_on_over_midnight(store: redis.Redis) -> None:
    observer = Observer(store)
    key = "sp:live:user_events:1d:activity_type=probe"
    store.hset(key, mapping={"window_start": "0", "count": "5"})
    observer.look()
    store.hset(key, mapping={"window_start": "86400", "count": "2", "final_window_start": "0", "final_value": "6"})
    store.set("sp:entity:cost_per_video_usd:9000000", "x")
    observer.look()
    observer.look()
    assert [count for count, _ in observer.windows] == [5, 8]
    assert list(observer.entities) == [0]


def test_growth_is_the_highest_later_minute_above_the_one_before() -> None:
    flat = [(float(second), 100.0) for second in range(0, 240, 5)]
    assert _growth(flat, 120.0) == 0.0
    # A single sample says nothing, a minute does.
    assert _growth([*flat, (150.0, 190.0)], 120.0) == 0.0
    assert _growth([(at, mb + (30 if at > 185 else 0)) for at, mb in flat], 120.0) == 30.0
    assert _growth(flat, 600.0) == float("inf")


def test_cpu_is_counted_for_a_million_events() -> None:
    run = Run(200_000, 4.0, {"windows": 3.0, "archive": 1.0}, {"broker": 1.0})
    assert (run.events_per_s, run.cpu_s_per_million(run.worker_cpu_s)) == (50_000, 20.0)


def test_what_a_newcomer_sees_is_judged() -> None:
    middle = {name: (low + high) / 2 for name, (low, high) in _RANGES.items()}
    middle |= {f"api_response_time_p{percent}_ms": 20.0 * percent for percent in (50, 95, 99)}
    middle |= {f"videos_{status}": 10.0 for status in ("requested", "started", "completed", "published", "failed")}
    gold = {(name, size): value for name, value in middle.items() for size in _SIZES}
    live = {key: str(value) for key, value in gold.items()}
    aliases = {alias: live[of, "1d"] for alias, of in _ALIASES.items()}
    good = Shown(dict(gold), live, aliases, [1.25, 2.6])
    assert problems(good) == []
    assert problems(Shown({**gold, ("active_users", "1d"): None}, live, aliases, [1.0]))
    assert problems(Shown(gold, {k: v for k, v in live.items() if k != ("user_events", "5m")}, aliases, [1.0]))
    assert problems(Shown({**gold, ("videos_published", "1d"): 99.0}, live, aliases, [1.0]))
    assert problems(Shown(gold, live, {**aliases, "dau": "1"}, [1.0])) and problems(Shown(gold, live, aliases, []))
